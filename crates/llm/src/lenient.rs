//! Reading a reply whose JSON is not quite JSON: odd values beside the answer must not cost the answer.
//!
//! A byte-order mark, `NaN` and infinities, half a surrogate pair, bytes that are no UTF-8, and control characters inside a string are
//! mended, and only where the reply cannot be read as it is.

use serde::de::DeserializeOwned;

/// Reads `body`, mended where it has to be. The error is that of the body as it came.
pub(crate) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    serde_json::from_slice(body)
        .or_else(|error| serde_json::from_str(&mended(&String::from_utf8_lossy(body))).map_err(|_| error))
}

/// Numbers that Python and JavaScript write into JSON.
const NO_NUMBERS: [&str; 4] = ["NaN", "-Infinity", "Infinity", "-NaN"];

fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(c) = rest.chars().next() {
        let taken = if quoted {
            in_string(rest, c, &mut out)
        } else {
            outside(rest, c, &mut out)
        };
        quoted ^= c == '"';
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Copies what begins `rest` inside a string, and says how many bytes of it.
fn in_string(rest: &str, c: char, out: &mut String) -> usize {
    match c {
        '\\' => match surrogate(rest) {
            Some(High) => {
                let pair = rest.get(6..).and_then(surrogate) == Some(Low);
                let taken = if pair { 12 } else { 6 };
                out.push_str(if pair {
                    rest.get(..12).unwrap_or_default()
                } else {
                    "\u{fffd}"
                });
                taken
            }
            Some(Low) => {
                out.push('\u{fffd}');
                6
            }
            None => {
                let taken = 1 + rest
                    .get(1..)
                    .and_then(|rest| rest.chars().next())
                    .map_or(0, char::len_utf8);
                out.push_str(rest.get(..taken).unwrap_or_default());
                taken
            }
        },
        c if c.is_ascii_control() => {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
            1
        }
        c => {
            out.push(c);
            c.len_utf8()
        }
    }
}

fn outside(rest: &str, c: char, out: &mut String) -> usize {
    match NO_NUMBERS.iter().find(|word| rest.starts_with(*word)) {
        Some(word) => {
            out.push_str("null");
            word.len()
        }
        None => {
            out.push(c);
            c.len_utf8()
        }
    }
}

/// Which half of a pair an escape is.
#[derive(PartialEq)]
enum Half {
    High,
    Low,
}
use Half::{High, Low};

/// The half of a surrogate pair that `rest` begins with, as `\ud83d`.
fn surrogate(rest: &str) -> Option<Half> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    match u32::from_str_radix(digits, 16).ok()? {
        0xd800..0xdc00 => Some(High),
        0xdc00..0xe000 => Some(Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn odd_values_are_mended_and_the_rest_stays() {
        let read = |body: &[u8]| from_slice::<Value>(body).unwrap();
        assert_eq!(read("\u{feff}{\"a\": 1}".as_bytes()), json!({"a": 1}));
        assert_eq!(
            read(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN"}"#),
            json!({"a": null, "b": [null, null], "c": "NaN"})
        );
        assert_eq!(
            read(br#"{"a": "x\ud83d y", "b": "\ud83d\ude00", "c": "\ude00"}"#),
            json!({"a": "x\u{fffd} y", "b": "\u{1F600}", "c": "\u{fffd}"})
        );
        assert_eq!(read(b"{\"a\": \"one\ntwo\\\"\"}"), json!({"a": "one\ntwo\""}));
        assert_eq!(read(b"{\"a\": \"\xff\"}"), json!({"a": "\u{fffd}"}));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for body in ["<html>", "{", "", "\"\\", "{\"a\": \"\\u12"] {
            assert!(from_slice::<Value>(body.as_bytes()).is_err(), "{body}");
        }
    }
}
