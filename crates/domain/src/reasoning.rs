//! What of a model's text is reasoning, and no answer: one table of marks for every metric and every role.
//!
//! Providers take most reasoning out themselves. Local servers leave it in the text where they do not know a model's marks, or lose the
//! opening one, because their chat template wrote it into the prompt.

/// A pair of marks around reasoning. Upper and lower case of ASCII letters are alike.
struct Mark {
    open: &'static str,
    close: &'static str,
    /// The opening mark is a word of everyday English: it counts at the beginning of the text only, and the closing one with it only.
    word: bool,
}

const fn mark(open: &'static str, close: &'static str) -> Mark {
    Mark {
        open,
        close,
        word: false,
    }
}

/// Every known pair. The first three are those of the first reading rules ([`first_rules`]).
const MARKS: &[Mark] = &[
    mark("<think>", "</think>"),
    mark("<thinking>", "</thinking>"),
    mark("<reasoning>", "</reasoning>"),
    mark("<thought>", "</thought>"),
    mark("<thoughts>", "</thoughts>"),
    mark("<reflection>", "</reflection>"),
    mark("<scratchpad>", "</scratchpad>"),
    mark("<antthinking>", "</antthinking>"),
    mark("[think]", "[/think]"),
    mark("◁think▷", "◁/think▷"),
    mark("<seed:think>", "</seed:think>"),
    mark("<|thinking|>", "<|/thinking|>"),
    mark("<|begin_of_thought|>", "<|end_of_thought|>"),
    mark("<|start_thinking|>", "<|end_thinking|>"),
    mark("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    mark("<|channel|>commentary<|message|>", "<|channel|>final<|message|>"),
    mark("<|channel|>analysis<|message|>", "<|end|>"),
    mark("<|channel|>commentary<|message|>", "<|end|>"),
    mark("<|channel>thought", "<channel|>"),
    mark("<unused94>thought", "<unused95>"),
    Mark {
        open: "analysis",
        close: "assistantfinal",
        word: true,
    },
    Mark {
        open: "Here is my thought process:",
        close: "Here is my response:",
        word: true,
    },
];

/// How many pairs of the table the first reading rules know.
const FIRST: usize = 3;

/// Marks that stand around an answer and are none of it.
const AROUND: &[&str] = &[
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|message|>",
    "<|return|>",
    "<|end|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_response|>",
    "<|end_response|>",
    "<|begin_of_solution|>",
    "<|end_of_solution|>",
];

/// A text without its reasoning, trimmed: what follows the last closing mark, whether or not it was opened. Where nothing follows it, what
/// stands before the reasoning. An opening mark at the beginning of a line that nothing closes hides all that follows it. Empty where all
/// is reasoning. A text that is one JSON value is data to its end: marks in its strings are none.
pub fn without(text: &str) -> &str {
    let text = around_off(text.trim());
    if !may_hold_marks(text) || is_json(text) {
        return text;
    }
    let lower = text.to_ascii_lowercase();
    let (from, mut first_open) = (behind(text), None::<usize>);
    // gpt-oss ends a part of its reasoning with the mark that ends its answer
    let rest = text.get(from..).unwrap_or_default();
    let answer = around_off(before_unclosed(rest));
    if !answer.is_empty() || from == 0 {
        return answer;
    }
    for mark in MARKS {
        if let Some(at) = lower.find(&mark.open.to_ascii_lowercase()) {
            first_open = Some(first_open.map_or(at, |known| known.min(at)));
        }
    }
    around_off(first_open.and_then(|at| text.get(..at)).unwrap_or_default())
}

/// The byte behind the last closing mark of a text; 0 where it has none.
pub fn behind(text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    MARKS.iter().filter_map(|mark| closed(&lower, mark)).max().unwrap_or(0)
}

/// By the first reading rules, which a run that began with them keeps: what follows the last of three closing marks, if anything does.
pub fn first_rules(text: &str) -> &str {
    let rest = MARKS
        .iter()
        .take(FIRST)
        .filter_map(|mark| text.rfind(mark.close).and_then(|at| text.get(at + mark.close.len()..)));
    match rest.min_by_key(|rest| rest.len()) {
        Some(rest) if !rest.trim().is_empty() => rest.trim(),
        _ => text.trim(),
    }
}

/// The text after a block of the first mark of the table that opens it: what clients have always taken off.
pub fn leading_block(text: &str) -> Option<&str> {
    let mark = MARKS.first()?;
    let (_, answer) = text.trim_start().strip_prefix(mark.open)?.split_once(mark.close)?;
    Some(answer.trim_start())
}

/// Whether any mark can stand in a text: most have none, and are not searched for each.
fn may_hold_marks(text: &str) -> bool {
    let begins = |open: &str| {
        text.get(..open.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(open))
    };
    text.contains(['<', '[', '◁']) || MARKS.iter().any(|mark| mark.word && begins(mark.open))
}

/// Where the last closing mark of this pair ends, if it closes reasoning.
fn closed(lower: &str, mark: &Mark) -> Option<usize> {
    let (open, close) = (mark.open.to_ascii_lowercase(), mark.close.to_ascii_lowercase());
    let opened = match mark.word {
        true => lower.starts_with(&open),
        // `<|end|>` ends answers as well
        false if close == "<|end|>" => lower.contains(&open),
        false => true,
    };
    if !opened {
        return None;
    }
    let from = match close.as_str() {
        "<|end|>" => lower.rfind(&open)?,
        _ => 0,
    };
    let at = lower.get(from..)?.rfind(&close)? + from;
    Some(at + close.len())
}

/// The part before an opening mark that begins a line and is not closed.
fn before_unclosed(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    let begins_line = |at: usize| {
        lower.get(..at).is_some_and(|before| {
            before.trim_end_matches([' ', '\t']).is_empty() || before.trim_end_matches([' ', '\t']).ends_with('\n')
        })
    };
    let marks = MARKS.iter().filter(|mark| !mark.word);
    let opens = marks.filter_map(|mark| {
        let open = mark.open.to_ascii_lowercase();
        lower
            .match_indices(&open)
            .map(|(at, _)| at)
            .find(|at| begins_line(*at) || open.starts_with("<|channel|>"))
    });
    match opens.min() {
        Some(at) => text.get(..at).unwrap_or_default().trim(),
        None => text.trim(),
    }
}

fn around_off(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text;
        for mark in AROUND {
            text = strip(text, mark).trim();
        }
        if text == before {
            return text;
        }
    }
}

fn strip<'a>(text: &'a str, mark: &str) -> &'a str {
    let starts = text
        .get(..mark.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(mark));
    let text = if starts {
        text.get(mark.len()..).unwrap_or_default()
    } else {
        text
    };
    let end = text.len().saturating_sub(mark.len());
    let ends = text.get(end..).is_some_and(|tail| tail.eq_ignore_ascii_case(mark));
    if ends {
        text.get(..end).unwrap_or_default()
    } else {
        text
    }
}

fn is_json(text: &str) -> bool {
    text.starts_with('{') && text.ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_reasoning_is_no_answer() {
        for mark in MARKS {
            let (open, close) = (mark.open, mark.close);
            assert_eq!(without(&format!("{open}maybe (A)? {close}\n\n(B)")), "(B)", "{open}");
            assert_eq!(without(&format!("{open}maybe (A)? {close}")), "", "{open}");
            if !mark.word {
                assert_eq!(without(&format!("{open}\nnever ends (A)")), "", "{open}");
                assert_eq!(without(&format!("(B)\n{open} never ends (A)")), "(B)", "{open}");
                assert_eq!(without(&format!("(B)\n{open} why {close}")), "(B)", "{open}");
            }
            if !mark.word && close != "<|end|>" {
                assert_eq!(without(&format!("maybe (A)? {close}\n\n(B)")), "(B)", "without {open}");
            }
        }
    }

    #[test]
    fn every_mark_is_searched_for() {
        for mark in MARKS {
            assert!(may_hold_marks(mark.open), "{}", mark.open);
            assert!(mark.word || may_hold_marks(mark.close), "{}", mark.close);
        }
    }

    #[test]
    fn channels_of_gpt_oss_leave_the_final_one() {
        for text in [
            "<|channel|>analysis<|message|>(A)?<|end|><|start|>assistant<|channel|>final<|message|>(B)<|return|>",
            "<|start|>assistant<|channel|>analysis<|message|>(A)?<|end|>\n<|channel|>commentary<|message|>well<|end|>(B)<|end|>",
            "analysisWe think (A).assistantfinal(B)",
            "<|channel|>final<|message|>(B)<|end|>",
        ] {
            assert_eq!(without(text), "(B)", "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_reasoning_stays() {
        for text in [
            "Analysis shows (B)",
            "analysis: (B) is right",
            "the tag <think> opens it; (B)",
            "[thinking] (B)",
            r#"{"prompt": "Think in <think>..</think>, then answer."}"#,
            "",
        ] {
            assert_eq!(without(text), text, "{text}");
        }
    }

    #[test]
    fn the_first_rules_stay() {
        assert_eq!(first_rules("[THINK](A)[/THINK](B)"), "[THINK](A)[/THINK](B)");
        assert_eq!(first_rules("(A)</think> (B)"), "(B)");
        assert_eq!(first_rules("(A)</think>"), "(A)</think>");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(?s)[<>|/◁▷\\[\\]a-cthinkTHINKé \n]{0,60}") {
            prop_assert!(text.contains(without(&text)));
            let _ = (first_rules(&text), leading_block(&text));
        }
    }
}
