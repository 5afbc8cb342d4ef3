//! Finding the JSON in what a model wrote: whole, fenced, or somewhere in prose, with the slips models make.

use serde_json::Value;

/// Openings looked at before giving up, so that a text full of braces costs a bounded amount of work.
const MOST_CANDIDATES: usize = 24;

/// The JSON values that `text` may mean, most likely first: the whole text, then each code fence, then each balanced
/// object or array in order of appearance. Trailing commas and raw line breaks inside strings are mended.
pub(crate) fn candidates(text: &str) -> impl Iterator<Item = Value> + '_ {
    let text = text.trim_start_matches('\u{feff}').trim();
    let whole = std::iter::once(text);
    let fences = text.split("```").skip(1).step_by(2).map(without_language);
    whole
        .chain(fences)
        .chain(balanced(text))
        .filter_map(parse)
        .take(MOST_CANDIDATES)
}

/// A fence's text without its language mark (`json`).
fn without_language(fence: &str) -> &str {
    let fence = fence.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    fence.trim()
}

/// Parses strictly, or else with its slips mended. Bare scalars are not taken: any stray number would be an answer.
fn parse(text: &str) -> Option<Value> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&mended(text)))
        .ok()
}

/// The balanced objects and arrays of `text`, outermost only, in order.
fn balanced(text: &str) -> impl Iterator<Item = &str> {
    let mut from = 0;
    let mut tries = MOST_CANDIDATES;
    std::iter::from_fn(move || {
        while tries > 0 {
            tries -= 1;
            let rest = text.get(from..)?;
            let start = from + rest.find(['{', '['])?;
            match end_of_value(text.get(start..)?) {
                Some(length) => {
                    from = start + length;
                    return text.get(start..from);
                }
                None => from = start + 1,
            }
        }
        None
    })
}

/// Length of the balanced value that begins `text`, brackets inside strings left out of account.
fn end_of_value(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// `text` without commas before a closing bracket, and with control characters inside strings escaped.
fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped) = (false, false);
    let mut comma: Option<usize> = None;
    for c in text.chars() {
        if in_string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ => out.push(c),
            }
            continue;
        }
        match c {
            '"' => in_string = true,
            '}' | ']' => {
                if let Some(at) = comma {
                    out.truncate(at);
                }
            }
            _ => {}
        }
        comma = match c {
            ',' => Some(out.len()),
            _ if c.is_whitespace() => comma,
            _ => None,
        };
        out.push(c);
    }
    out
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
    fn braces_in_prose_do_not_hide_the_object() {
        let found: Vec<_> = candidates(r#"The set {x} and [y] give {"n": 1} or {"n": 2}"#).collect();
        assert_eq!(found, [json!({"n": 1}), json!({"n": 2})]);
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
            let value = json!({"a": a, "b": b, "c": c});
            let text = value.to_string();
            prop_assert_eq!(serde_json::from_str::<Value>(&mended(&text)).unwrap(), value);
        }
    }
}
