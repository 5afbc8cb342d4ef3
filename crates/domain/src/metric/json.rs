//! JSON in what a model wrote, the answer in it, and when two values are the same.

use super::{
    rules::{Rules, without_thinking},
    text::pattern,
};
use crate::slips;
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

pub(super) static FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```[\w+-]*[ \t]*\n?(.*?)```"));
static NULL: Value = Value::Null;

/// The JSON of a text: all of it, a code fence, or the last object or list in it.
pub(super) fn json(text: &str, rules: Rules) -> Option<Value> {
    let text = without_thinking(text, rules);
    if let Some(value) = parse(text, rules) {
        return Some(value);
    }
    let fenced: Vec<&str> = FENCE
        .captures_iter(text)
        .filter_map(|fence| fence.get(1))
        .map(|inner| inner.as_str())
        .collect();
    if let Some(value) = fenced.iter().rev().find_map(|inner| parse(inner.trim(), rules)) {
        return Some(value);
    }
    embedded(text).or_else(|| match rules {
        Rules::First => None,
        Rules::Second => pieces(text).pop().map(|(_, value)| value),
    })
}

fn parse(text: &str, rules: Rules) -> Option<Value> {
    let mended = || serde_json::from_str(text).ok();
    match rules {
        Rules::First => mended(),
        Rules::Second => slips::parse(text).or_else(mended),
    }
}

/// The last outermost object or list that stands in running text.
fn embedded(text: &str) -> Option<Value> {
    let (mut last, mut at, mut tries) = (None, 0, 0);
    while let Some(open) = text.get(at..).and_then(|rest| rest.find(['{', '['])) {
        let start = at + open;
        tries += 1;
        let mut parsed = text
            .get(start..)
            .map(|rest| serde_json::Deserializer::from_str(rest).into_iter::<Value>())?;
        match parsed.next() {
            Some(Ok(value)) => {
                at = start + parsed.byte_offset().max(1);
                last = Some(value);
            }
            _ => at = start + 1,
        }
        if tries > 200 {
            break;
        }
    }
    last
}

/// The objects and lists in a text, with the byte where each ends.
fn pieces(text: &str) -> Vec<(usize, Value)> {
    let found = slips::balanced(text);
    found
        .filter_map(|(start, piece)| Some((start + piece.len(), slips::parse(piece)?)))
        .collect()
}

/// The names of a field that holds an answer, the likeliest first.
const NAMES: [&str; 7] = [
    "answer",
    "final_answer",
    "label",
    "choice",
    "result",
    "target",
    "output",
];

/// The answer in a JSON object that holds one under a usual name, and the byte where the object ends.
pub(super) fn answer_object(text: &str, rules: Rules) -> Option<(usize, String)> {
    if !text.contains('{') {
        return None;
    }
    if rules.first() {
        return first_answer(&json(text, rules)?).map(|found| (text.len(), found));
    }
    let found = pieces(text).into_iter().rev();
    let mut named = found.filter_map(|(end, value)| Some((end, shown(answer_of(&value)?))));
    named.next()
}

/// By the first rules: of an object, the value of the first usual name.
fn first_answer(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    match NAMES.iter().find_map(|key| object.get(*key))? {
        Value::String(text) => Some(text.clone()),
        found @ (Value::Number(_) | Value::Bool(_)) => Some(found.to_string()),
        _ => None,
    }
}

/// The answer where the whole reply is one JSON object, bare or in a fence.
pub(super) fn whole_reply(text: &str) -> Option<String> {
    let text = text.trim();
    let fenced = FENCE
        .captures(text)
        .filter(|fence| fence.get(0).is_some_and(|all| all.len() == text.len()));
    let inner = fenced
        .as_ref()
        .and_then(|fence| fence.get(1))
        .map_or(text, |inner| inner.as_str());
    let inner = inner.trim();
    let value = slips::parse(inner).filter(|_| inner.starts_with('{'))?;
    answer_of(&value).map(shown)
}

/// The field with the answer: in the object, or in the only value of an object or list.
fn answer_of(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(list) => match list.as_slice() {
            [only @ Value::Object(_)] => answer_of(only),
            _ => None,
        },
        Value::Object(object) => named(object).or_else(|| {
            let mut values = object.values();
            match (values.next(), values.next()) {
                (Some(only @ Value::Object(_)), None) => answer_of(only),
                _ => None,
            }
        }),
        _ => None,
    }
}

fn named(object: &Map<String, Value>) -> Option<&Value> {
    let plain = |key: &str| -> String {
        key.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    NAMES.iter().find_map(|name| {
        let found = object
            .iter()
            .find(|(key, _)| plain(key) == plain(name))
            .map(|(_, value)| value)?;
        Some(match found {
            Value::Array(list) => match list.as_slice() {
                [only] => only,
                [] => &NULL,
                _ => found,
            },
            _ => found,
        })
    })
}

/// A value as the answer that it is: a text without quotes, nothing for null.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".to_owned(),
        _ => value.to_string(),
    }
}

/// The JSON of an answer that is to be held against `target`: the stated part, or the whole text. By the later rules an object with an
/// `answer` is unwrapped only where the target has no such field.
pub(super) fn found(stated: Option<&str>, answer: &str, target: &Value, rules: Rules) -> Option<Value> {
    if rules.first() {
        return stated
            .and_then(|text| json(text, rules))
            .or_else(|| json(answer, rules));
    }
    let answer = long_integers_as_text(without_thinking(answer, rules));
    let whole = json(&answer, rules);
    let own = |value: &Value| answer_of(value).is_none() || answer_of(target).is_some();
    match whole {
        Some(value) if own(&value) => Some(value),
        _ => stated
            .and_then(|text| json(&long_integers_as_text(text), rules))
            .or(whole),
    }
}

/// A target's value.
pub(super) fn target(text: &str, rules: Rules) -> Option<Value> {
    match rules {
        Rules::First => serde_json::from_str(text).ok(),
        Rules::Second => serde_json::from_str(&long_integers_as_text(text)).ok(),
    }
}

/// Stands before the digits of an integer that is too long for a number of 64 bits.
const LONG: &str = "\\u0000integer ";

/// The text with each integer of 20 digits or more, outside strings, as a JSON string: as a number it would lose digits.
fn long_integers_as_text(text: &str) -> String {
    static LONG_INTEGER: LazyLock<Regex> = LazyLock::new(|| pattern(r#""(?:[^"\\]|\\.)*"|(-?\d+)(\.\d|[eE][+-]?\d)?"#));
    LONG_INTEGER
        .replace_all(text, |hit: &regex::Captures| {
            let whole = hit.get(0).map_or("", |found| found.as_str());
            match hit.get(1) {
                Some(digits) if digits.len() >= 19 && hit.get(2).is_none() => format!("\"{LONG}{}\"", digits.as_str()),
                _ => whole.to_owned(),
            }
        })
        .into_owned()
}

/// Whether two values are the same: order of keys and form of numbers aside.
pub(super) fn same(a: &Value, b: &Value, rules: Rules) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b, rules),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, rules)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other, rules)))
        }
        _ => a == b,
    }
}

fn same_number(a: &serde_json::Number, b: &serde_json::Number, rules: Rules) -> bool {
    let integer = |number: &serde_json::Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    let whole = |number: &serde_json::Number| {
        let value = number
            .as_f64()
            .filter(|value| value.fract() == 0.0 && value.abs() < 1e30)?;
        integer(number).or(Some(value as i128))
    };
    if !rules.first() && (integer(a).is_some() || integer(b).is_some()) {
        return whole(a).is_some() && whole(a) == whole(b);
    }
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}
