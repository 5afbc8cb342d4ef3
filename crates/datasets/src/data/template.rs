//! Small templates over a row: strict about unknown columns, limited in work, without access to anything else.

use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, Value,
    value::{Enumerator, Object, ObjectRepr, ValueKind},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Steps that one template may take on one row.
const FUEL: u64 = 200_000;

/// An environment with the filters that data sets need.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.add_filter("best", best);
    environment.add_filter("after", after);
    environment.add_filter("lettered", lettered);
    environment.add_filter("letter_of", letter_of);
    environment.add_filter("shuffled", shuffled);
    environment
}

/// A JSON value as the templates see it; the order of an object's keys is kept.
pub(super) fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(real)) => Value::from(real),
            (None, None) => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => list.iter().map(value).collect(),
        serde_json::Value::Object(fields) => ordered(fields.iter().map(|(key, field)| (key.clone(), value(field)))),
    }
}

/// A map that keeps its order.
pub(super) fn ordered(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::from_object(Ordered(fields.into_iter().collect()))
}

#[derive(Debug)]
struct Ordered(Vec<(String, Value)>);

impl Object for Ordered {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(name.as_str())).collect())
    }
}

/// `target_scores | best`: the keys with the highest score, in the order of the file.
fn best(scores: &Value) -> Result<Value, Error> {
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
fn after(text: &str, marker: &str) -> Result<String, Error> {
    match text.rsplit_once(marker) {
        Some((_, rest)) => Ok(rest.trim().to_owned()),
        None => Err(invalid(&format!("`after(\"{marker}\")`: the text does not contain it"))),
    }
}

/// `[a, b] | lettered`: one line for each, `(A) a`. An object of strings brings its own letters, a list of scores its keys; a list
/// whose elements begin with their letters (`A) True`) keeps them.
fn lettered(options: &Value) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (at, item) in options.try_iter()?.enumerate() {
        let own = if options.kind() == ValueKind::Map {
            options.get_item(&item)?
        } else {
            Value::UNDEFINED
        };
        let line = match own.as_str() {
            Some(text) => format!("({item}) {text}"),
            None => {
                let text = item.to_string();
                let marked = text.split_once([')', '.']).filter(|(mark, _)| *mark == letter(at));
                format!(
                    "({}) {}",
                    letter(at),
                    marked.map_or(text.as_str(), |(_, rest)| rest).trim()
                )
            }
        };
        lines.push(line);
    }
    Ok(lines.join("\n"))
}

/// `choices | letter_of(answer)`: `(B)`, where `answer` is the second choice.
fn letter_of(options: &Value, wanted: &Value) -> Result<String, Error> {
    let at = options.try_iter()?.position(|option| option == *wanted);
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
    let mut random = ChaCha8Rng::seed_from_u64(number("seed"));
    random.set_stream(number("index"));
    let mut list: Vec<Value> = options.try_iter()?.collect();
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
