//! Field-by-field credit of a JSON answer.

use serde_json::Value;
use std::collections::BTreeMap;

/// The share of fields that two JSON values have in common, in 0..=1; 1 exactly where they are the same value.
///
/// A field is a value that holds no others, at its place. Counted are the fields of both values together, so a field that is missing
/// costs as much as one that is wrong, and so does one too many.
pub(super) fn credit(answer: &Value, target: &Value, same: impl Fn(&Value, &Value) -> bool) -> f64 {
    let (answer, target) = (fields(answer), fields(target));
    let alike = target
        .iter()
        .filter(|(place, wanted)| answer.get(*place).is_some_and(|found| same(found, wanted)));
    let shared = alike.count();
    let more = answer.keys().filter(|place| !target.contains_key(*place)).count();
    shared as f64 / (target.len() + more).max(1) as f64
}

/// Every value that holds no others, by its place as a JSON pointer.
fn fields(value: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((place, value)) = open.pop() {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
                open.extend(
                    inner
                        .iter()
                        .map(|(key, value)| (format!("{place}/{}", escaped(key)), value)),
                );
            }
            Value::Array(inner) if !inner.is_empty() => {
                open.extend(
                    inner
                        .iter()
                        .enumerate()
                        .map(|(at, value)| (format!("{place}/[{at}]"), value)),
                );
            }
            _ => {
                found.insert(place, value);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{example::Example, measured::Mark, metric::Metric};
    use proptest::prelude::*;

    fn of(answer: &str, target: &str) -> f64 {
        let read = |text: &str| serde_json::from_str(text).unwrap();
        credit(&read(answer), &read(target), |a, b| a == b)
    }

    #[test]
    fn each_field_counts_once() {
        for (answer, target, expected) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, 1.0),
            (r#"{"a":1,"b":3}"#, r#"{"a":1,"b":2}"#, 0.5),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, 0.5),
            (r#"{"a":1,"b":2,"c":3,"d":4}"#, r#"{"a":1,"b":2}"#, 0.5),
            (r#"{"a":{"b":[1,2],"c":{}}}"#, r#"{"a":{"b":[1,3],"c":{}}}"#, 2.0 / 3.0),
            (r#"{"0":1}"#, "[1]", 0.0),
            (r#"{"a/b":1}"#, r#"{"a":{"b":1}}"#, 0.0),
            ("{}", r#"{"a":1}"#, 0.0),
            ("3", "3", 1.0),
        ] {
            assert!((of(answer, target) - expected).abs() < 1e-12, "{answer} for {target}");
        }
    }

    #[test]
    fn json_may_be_credited_field_by_field() {
        let example = Example {
            id: String::new(),
            input: String::new(),
            target: r#"{"queue":"billing","urgent":true}"#.into(),
            aliases: vec![r#"{"queue":"sales","urgent":true}"#.into()],
        };
        let metric = |text: &str| serde_json::from_str::<Metric>(text).unwrap();
        let whole = metric(r#"{"kind":"json"}"#);
        assert_eq!(
            serde_json::to_string(&whole).unwrap(),
            r#"{"kind":"json"}"#,
            "as it was always written"
        );
        assert_eq!(whole.credit(r#"{"queue":"billing"}"#, &example), None);
        let partial = metric(r#"{"kind":"json","partial":true}"#);
        let half = metric(r#"{"kind":"json","partial":true,"right_from":0.5}"#);
        for (answer, credit, right, right_from_half) in [
            (r#"{"queue":"billing","urgent":true}"#, 1.0, true, true),
            (r#"It is {"queue":"sales","urgent":true}"#, 1.0, true, true),
            (r#"{"queue":"account","urgent":true}"#, 0.5, false, true),
            ("no JSON", 0.0, false, false),
        ] {
            assert_eq!(partial.credit(answer, &example), Some(credit), "{answer}");
            assert_eq!(partial.mark(answer, &example), Mark::from_bool(right), "{answer}");
            assert_eq!(
                half.mark(answer, &example),
                Mark::from_bool(right_from_half),
                "{answer}"
            );
        }
        for (bad, word) in [
            (r#"{"kind":"json","right_from":0.5}"#, "partial"),
            (r#"{"kind":"json","partial":true,"right_from":0}"#, "every answer"),
            (r#"{"kind":"json","partial":true,"right_from":2}"#, "right_from"),
        ] {
            assert!(metric(bad).check().unwrap_err().contains(word), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn credit_is_a_share_and_whole_only_for_the_same(
            answer in prop::collection::btree_map("[a-c]", 0..3u8, 0..4),
            target in prop::collection::btree_map("[a-c]", 0..3u8, 0..4),
        ) {
            let json = |map: &BTreeMap<String, u8>| serde_json::to_value(map).unwrap();
            let credit = credit(&json(&answer), &json(&target), |a, b| a == b);
            prop_assert!((0.0..=1.0).contains(&credit));
            prop_assert_eq!(credit == 1.0, answer == target);
        }
    }
}
