//! Finding the JSON in what a model wrote: whole, fenced, or somewhere in prose, with the slips models make.

use serde_json::Value;
use sipdo_domain::{reasoning, slips};

/// Values looked at before giving up, so that a text full of them costs a bounded amount of work.
const MOST_CANDIDATES: usize = 24;

/// The JSON values that `text` may mean, most likely first: without its reasoning the whole text, then each balanced object or array
/// and each code fence, the last one first, as a draft comes before what is meant.
pub(crate) fn candidates(text: &str) -> impl Iterator<Item = Value> + '_ {
    let text = text.trim_start_matches('\u{feff}').trim();
    let whole = slips::parse(text);
    let answer = reasoning_dropped(text);
    let mut pieces: Vec<&str> = slips::balanced(answer).map(|(_, piece)| piece).collect();
    pieces.reverse();
    let mut fences: Vec<&str> = answer.split("```").skip(1).step_by(2).map(without_language).collect();
    fences.reverse();
    let parts = pieces.into_iter().chain(fences);
    whole
        .into_iter()
        .chain(parts.filter_map(slips::parse))
        .take(MOST_CANDIDATES)
}

/// The text behind its reasoning. Marks in the strings of an object that the text ends with are data: a prompt may well speak of them.
fn reasoning_dropped(text: &str) -> &str {
    let last = slips::balanced(text).last();
    let data = |(start, piece): &(usize, &str)| {
        let rest = text.get(start + piece.len()..).unwrap_or_default();
        slips::parse(piece).is_some() && reasoning::behind(piece) > 0 && reasoning::behind(rest) == 0
    };
    match last.filter(data) {
        Some((start, _)) => {
            let before = text.get(..start).unwrap_or_default();
            let behind = reasoning::behind(before);
            text.get(behind..).unwrap_or_default()
        }
        None => reasoning::without(text),
    }
}

/// A fence's text without its language mark (`json`).
fn without_language(fence: &str) -> &str {
    let fence = fence.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    fence.trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn first(text: &str) -> Option<Value> {
        candidates(text).next()
    }

    #[test]
    fn json_is_found_however_models_wrap_it() {
        let wanted = json!({"a": "x } y", "b": [1, 2]});
        let plain = r#"{"a": "x } y", "b": [1, 2]}"#;
        for text in [
            plain.to_owned(),
            format!("\u{feff}  {plain}\n"),
            format!("```json\n{plain}\n```"),
            format!("```\n{plain}\n```\nHope this helps!"),
            format!("Sure! Here it is:\n{plain}\nIs that fine?"),
            r#"{"a": "x } y", "b": [1, 2,],}"#.to_owned(),
            "Here:\n```json\n{\"a\": \"x } y\",\n \"b\": [1, 2 , ],\n}\n```".to_owned(),
        ] {
            assert_eq!(first(&text), Some(wanted.clone()), "{text}");
        }
        assert_eq!(first("{\"a\": \"two\nlines\"}"), Some(json!({"a": "two\nlines"})));
    }

    #[test]
    fn a_draft_is_not_what_is_meant() {
        let (draft, meant) = (r#"{"n": 1}"#, r#"{"n": 2}"#);
        for text in [
            format!("{draft} hm, no\n</think>\n{meant}"),
            format!("[THINK]{draft}[/THINK]{meant}"),
            format!("<think>{draft}</think>\n```json\n{meant}\n```"),
            format!("First:\n```json\n{draft}\n```\nBetter:\n```json\n{meant}\n```"),
            format!("<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>{meant}"),
            format!("◁think▷{draft}◁/think▷{meant}"),
            format!("analysis{draft}assistantfinal{meant}"),
        ] {
            assert_eq!(first(&text), Some(json!({"n": 2})), "{text}");
        }
        assert_eq!(first(&format!("<think>{draft} never ends")), None);
        assert_eq!(first(&format!("<think>{draft}</think>")), None);
    }

    #[test]
    fn marks_of_reasoning_in_a_string_are_data() {
        let prompt = json!({"prompt": "Think in <think>..</think>, then answer."});
        for text in [
            prompt.to_string(),
            format!("Here it is: {prompt}"),
            format!("<think>{{\"prompt\": \"draft\"}}</think>{prompt}"),
            format!("```json\n{prompt}\n```"),
        ] {
            assert_eq!(first(&text), Some(prompt.clone()), "{text}");
        }
    }

    #[test]
    fn backslashes_are_restored() {
        for (text, meant) in [
            (r#"{"p": "Put it in \boxed{}."}"#, r"Put it in \boxed{}."),
            (r#"{"p": "\frac{1}{2} \(x\)"}"#, r"\frac{1}{2} \(x\)"),
        ] {
            // one backslash, as models write it
            let text = text.replace("\\\\", "\\");
            assert_eq!(first(&text), Some(json!({"p": meant.replace("\\\\", "\\")})), "{text}");
        }
    }

    #[test]
    fn braces_in_prose_do_not_hide_the_object() {
        let found: Vec<_> = candidates(r#"The set {x} and [y] give {"n": 1} or {"n": 2}"#).collect();
        assert_eq!(found, [json!({"n": 2}), json!({"n": 1})], "the last one first");
        // An opening that never closes.
        assert_eq!(first(r#"if { then {"n": 1}"#), Some(json!({"n": 1})));
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", "yes", "42", "{", "{\"a\": ", "{'a': 1}", "``````"] {
            assert_eq!(first(text), None, "{text}");
        }
    }

    #[test]
    fn hostile_text_costs_bounded_work() {
        let text = "{".repeat(1 << 20);
        let start = std::time::Instant::now();
        assert_eq!(first(&text), None);
        assert!(start.elapsed().as_secs() < 5);
        assert_eq!(first(&"[".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = candidates(&text).count();
        }

        #[test]
        fn valid_json_survives_mending(a in ".{0,20}", b in any::<i64>(), c in prop::collection::vec(".{0,5}", 0..4)) {
            let text = json!({"a": a, "b": b, "c": c}).to_string();
            prop_assert!(candidates(&text).next().is_some());
        }
    }
}
