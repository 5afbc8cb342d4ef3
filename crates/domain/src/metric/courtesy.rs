//! What a model says beside an answer to be polite: no answer.

use super::text::pattern;
use regex::Regex;
use std::sync::LazyLock;

static COURTESY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^[\W_]*(?:please,? )?(?:",
        r"let me know\b|(?:please )?feel free\b|(?:do not|don['’]t) hesitate\b|",
        r"(?:i )?hope (?:this|that|it|these|the|my|you)\b.{0,60}\b(?:help\w*|useful|clear\w*|sense|enjoy|answers?|clarif\w*|luck|day)\b|",
        r"(?:and )?if (?:you|there)\b.{0,40}\b(?:questions?|more|else|further|clarif\w*|help|assistance|explanations?|details?|examples?)\b|",
        r"(?:is|was) there anything\b|anything else\b|(?:would|do) you (?:like|want|need)\b.*\?\W*$|(?:want|need) (?:me to|more|anything|any)\b.*\?\W*$|",
        r"shall i\b.*\?\W*$|should i\b.*\?\W*$|(?:how|what) (?:else )?can i (?:help|assist|do)\b|can i help\b|does (?:this|that) (?:help|make sense|answer)\b|",
        r"(?:i['’]m|i am|i['’]ll be|i would be|i['’]d be) (?:always )?(?:here|happy|glad|available)\b|(?:always )?(?:happy|glad) to (?:help|explain|clarify|assist|elaborate)\b|glad i could\b|",
        r"you(?:['’]re| are) (?:very |most )?welcome\b|thank(?:s| you)\b|have a (?:great|nice|good|wonderful|lovely)\b|(?:good|best of) luck\b|",
        r"cheers\W*$|happy (?:reading|coding|learning|studying|cooking|travels|solving)\b|enjoy\W*$|just (?:ask|let me know)\b)",
    ))
});

/// The text without the courtesies at its end: whole lines, then sentences of the last line. A text that is nothing else stays.
pub(super) fn without(text: &str) -> &str {
    let mut rest = text.trim_end();
    loop {
        let start = rest.rfind('\n').map_or(0, |at| at + 1);
        let line = rest.get(start..).unwrap_or_default();
        let sentence = last_sentence(line);
        if !COURTESY.is_match(line.get(sentence..).unwrap_or_default()) && !only_signs(line, start) {
            return rest;
        }
        let shorter = rest.get(..start + sentence).unwrap_or_default().trim_end();
        if shorter.trim().is_empty() {
            return rest;
        }
        rest = shorter;
    }
}

/// Where the last sentence of a line begins.
fn last_sentence(line: &str) -> usize {
    static END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.!?)\]*]\s+"));
    let body = line.trim_end_matches(|c: char| !c.is_alphanumeric());
    END.find_iter(body).last().map_or(0, |end| end.end())
}

/// A line of emoji or a rule (`---`), which says nothing; on the first line it may be the answer.
fn only_signs(line: &str, start: usize) -> bool {
    let line = line.trim();
    let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '*' | '_'));
    let emoji = !line.is_empty()
        && line
            .chars()
            .all(|c| c as u32 >= 0x1F300 || c == '\u{fe0f}' || c.is_whitespace());
    start > 0 && (rule || emoji || line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn courtesies_are_dropped_and_answers_stay() {
        for (text, left) in [
            ("Jane Austen\n\nLet me know if you need more!", "Jane Austen"),
            ("Jane Austen. Let me know if you need more!", "Jane Austen."),
            ("42\n\nI hope this helps! Feel free to ask more.", "42"),
            ("42\n\n---\n\nWould you like me to show the steps?", "42"),
            ("B\n\nIf you have any other questions, just ask. 😊", "B"),
            ("Let me know", "Let me know"),
            ("Emma\nIs it true?", "Emma\nIs it true?"),
            (
                "a\n\nHope is a thing with feathers",
                "a\n\nHope is a thing with feathers",
            ),
        ] {
            assert_eq!(without(text), left, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_begins_the_text(text in "(?s).{0,60}") {
            prop_assert!(text.starts_with(without(&text)));
        }
    }
}
