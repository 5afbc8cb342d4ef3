//! The filters of templates that data sets need, beside Jinja's own.

use super::{
    absent::{is_missing, told},
    literal::listed,
    values::value,
};
use minijinja::{Environment, Error, ErrorKind, State, Value, value::ValueKind};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The context's names of the row's number and the split's seed, which no column can hide.
pub(super) const INDEX: &str = " index";
/// See [`INDEX`].
pub(super) const SEED: &str = " seed";
/// The names of the filters, for a message.
pub(super) const NAMES: &str = "best, after, lettered, letter_of, listed, or and shuffled";

/// Adds the filters, and the tests that must know a missing value.
pub(super) fn add(environment: &mut Environment) {
    environment.add_filter("best", best);
    environment.add_filter("after", after);
    environment.add_filter("lettered", lettered);
    environment.add_filter("letter_of", letter_of);
    environment.add_filter("listed", items);
    environment.add_filter("shuffled", shuffled);
    environment.add_filter("or", or);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_test("none", |value: &Value| is_missing(value));
}

/// `answer | or("none given")`: what stands for a null, for a key that the row lacks and for an empty text.
fn or(value: &Value, other: Value) -> Value {
    let empty = value.is_undefined() || is_missing(value) || value.as_str().is_some_and(|text| text.trim().is_empty());
    if empty { other } else { value.clone() }
}

/// Jinja's `default`, for which a null is undefined too.
fn default(value: &Value, other: Option<Value>, falsy: Option<bool>) -> Value {
    let replaced = value.is_undefined() || is_missing(value) || (falsy.unwrap_or_default() && !value.is_true());
    if replaced {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    }
}

/// `options | listed`: the list or object itself, also where the file holds it as text.
fn items(options: &Value) -> Result<Value, Error> {
    if let Some(why) = told(options) {
        return Err(invalid(&why));
    }
    match options.as_str().map(|text| (text, listed(text))) {
        None => Ok(options.clone()),
        Some((_, Some(cell))) => Ok(value(&cell, "")),
        Some((text, None)) => {
            let short = crate::error::shorten(text);
            Err(invalid(&format!("a list is needed, and this text is none: `{short}`")))
        }
    }
}

/// `target_scores | best`: the keys with the highest score, in the order of the file.
fn best(scores: &Value) -> Result<Value, Error> {
    let scores = items(scores)?;
    let mut scored: Vec<(Value, f64)> = Vec::new();
    for key in scores.try_iter()? {
        let score = f64::try_from(scores.get_item(&key)?)
            .map_err(|_| invalid("`best` needs an object of numbers: {choice: score}"))?;
        scored.push((key, score));
    }
    let highest = scored.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
    Ok(scored
        .into_iter()
        .filter(|(_, score)| *score == highest)
        .map(|(key, _)| key)
        .collect())
}

/// `answer | after("#### ")`: what follows the last occurrence, trimmed.
fn after(text: &Value, marker: &str) -> Result<String, Error> {
    if let Some(why) = told(text) {
        return Err(invalid(&why));
    }
    let text = text.as_str().ok_or_else(|| invalid("`after` needs a text"))?;
    match text.rsplit_once(marker) {
        Some((_, rest)) => Ok(rest.trim().to_owned()),
        None => Err(invalid(&format!("`after(\"{marker}\")`: the text does not contain it"))),
    }
}

/// `[a, b] | lettered`: one line for each, `(A) a`. An object of strings brings its own letters, a list of scores its keys; a list
/// whose elements all begin with their letters (`A) True`) keeps them.
fn lettered(options: &Value) -> Result<String, Error> {
    let options = items(options)?;
    let keys: Vec<Value> = options.try_iter()?.collect();
    let texts: Vec<String> = keys.iter().map(Value::to_string).collect();
    let unmarked = unmarked(&texts);
    let mut lines = Vec::new();
    for (at, item) in keys.iter().enumerate() {
        let own = match options.kind() {
            ValueKind::Map => options.get_item(item)?,
            _ => Value::UNDEFINED,
        };
        lines.push(match (own.as_str(), told(&own)) {
            (_, Some(why)) => return Err(invalid(&why)),
            (Some(text), _) => format!("({item}) {text}"),
            (None, _) => format!(
                "({}) {}",
                letter(at),
                unmarked.get(at).copied().unwrap_or_default().trim()
            ),
        });
    }
    Ok(lines.join("\n"))
}

/// The texts without their marks `A)` or `A.`, where all of them are marked in order. `A. baumannii` alone is a name: two options that go
/// on in lower case behind a full stop are not taken for marked ones.
fn unmarked(texts: &[String]) -> Vec<&str> {
    let strip = |end: char| -> Option<Vec<&str>> {
        let rest = |(at, text): (usize, &String)| {
            let text = text.trim_start();
            let text = text.strip_prefix('(').filter(|_| end == ')').unwrap_or(text);
            text.strip_prefix(letter(at).as_str())
                .and_then(|text| text.strip_prefix(end))
                .map(|_| ())
        };
        texts.iter().enumerate().all(|pair| rest(pair).is_some()).then(|| {
            texts
                .iter()
                .map(|text| text.split_once(end).map_or("", |(_, rest)| rest))
                .collect()
        })
    };
    let plain = || texts.iter().map(String::as_str).collect();
    if texts.len() < 2 {
        return plain();
    }
    let is_mark = |rest: &Vec<&str>| {
        let capital = |text: &&str| !text.trim_start().starts_with(char::is_lowercase);
        texts.len() > 2 || rest.iter().all(capital)
    };
    strip(')').or_else(|| strip('.').filter(is_mark)).unwrap_or_else(plain)
}

/// `choices | letter_of(answer)`: `(B)`, where `answer` is the second choice.
fn letter_of(options: &Value, wanted: &Value) -> Result<String, Error> {
    if let Some(why) = told(wanted) {
        return Err(invalid(&why));
    }
    let all: Vec<Value> = items(options)?.try_iter()?.collect();
    let same = |option: &Value| option.to_string().trim() == wanted.to_string().trim();
    let at = all
        .iter()
        .position(|option| option == wanted)
        .or_else(|| all.iter().position(same));
    at.map(|at| format!("({})", letter(at)))
        .ok_or_else(|| invalid(&format!("`letter_of`: `{wanted}` is not one of the choices")))
}

/// `choices | shuffled`: an order that depends on the split's seed and the row, and is the same in every template of the row.
fn shuffled(state: &State, options: &Value) -> Result<Value, Error> {
    let number = |name: &str| {
        state
            .lookup(name)
            .and_then(|value| u64::try_from(value).ok())
            .unwrap_or_default()
    };
    let mut random = ChaCha8Rng::seed_from_u64(number(SEED));
    random.set_stream(number(INDEX));
    let mut list: Vec<Value> = items(options)?.try_iter()?.collect();
    list.shuffle(&mut random);
    Ok(list.into_iter().collect())
}

fn letter(at: usize) -> String {
    u8::try_from(at)
        .ok()
        .filter(|at| *at < 26)
        .map_or_else(|| (at + 1).to_string(), |at| char::from(b'A' + at).to_string())
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_eaten_from_a_text_that_is_no_mark() {
        let of = |texts: &[&str]| {
            lettered(&texts.iter().map(|text| Value::from(*text)).collect())
                .unwrap()
                .replace('\n', " ")
        };
        assert_eq!(of(&["A. baumannii", "E. coli"]), "(A) A. baumannii (B) E. coli");
        assert_eq!(of(&["A. baumannii", "B. subtilis"]), "(A) A. baumannii (B) B. subtilis");
        assert_eq!(of(&["A. baumannii"]), "(A) A. baumannii");
        assert_eq!(of(&["A) True", "B) False"]), "(A) True (B) False");
        assert_eq!(of(&["(A) True", "(B) False"]), "(A) True (B) False");
        assert_eq!(of(&["A. red", "B. green", "C. blue"]), "(A) red (B) green (C) blue");
        assert_eq!(of(&["A. Yes", "B. No"]), "(A) Yes (B) No");
        assert_eq!(of(&["A) True", "False"]), "(A) A) True (B) False");
        assert_eq!(of(&["3.5", "B.C."]), "(A) 3.5 (B) B.C.");
    }
}
