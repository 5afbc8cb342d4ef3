//! Cells as templates see them, and the numbers as they are written.

use super::{
    absent::{missing, unusable},
    cell::Cell,
};
use minijinja::{
    Value,
    value::{Enumerator, Object, ObjectRepr},
};
use std::sync::Arc;

/// A column's cell as the templates see it; the order of an object's keys is kept.
pub(super) fn value(cell: &Cell, name: &str) -> Value {
    match cell {
        Cell::Null => missing(name, "is null"),
        Cell::NoNumber(text) if text.to_ascii_lowercase().contains("nan") => missing(name, "is NaN"),
        Cell::NoNumber(text) => unusable(name, &format!("is {text}")),
        Cell::Unreadable(why) => unusable(name, why),
        Cell::Bool(value) => Value::from(*value),
        Cell::Number(text) => number(text),
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::List(list) => list.iter().map(|item| value(item, name)).collect(),
        Cell::Object(fields) => ordered(
            fields
                .iter()
                .map(|(key, field)| (key.clone(), value(field, &format!("{name}.{key}")))),
        ),
    }
}

/// Whole numbers of up to 38 digits and reals are numbers; what is beyond them keeps its digits as text.
fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return Value::from(whole);
    }
    if let Ok(whole) = text.parse::<i128>() {
        return Value::from(whole);
    }
    match text.parse::<f64>() {
        Ok(real) if real.is_finite() && text.contains(['.', 'e', 'E']) => Value::from(real),
        _ => Value::from(text),
    }
}

/// A map that keeps its order; of equal keys the last counts.
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

/// How the reals of a row are written, where a template would print them in another way: `1.10` for 1.1.
#[derive(Debug, Default, Clone)]
pub(super) struct Written(Vec<(u64, String)>);

impl Written {
    /// Of these cells and what is inside of them.
    pub fn of(cells: &[(String, Cell)]) -> Written {
        let mut written = Written::default();
        cells.iter().for_each(|(_, cell)| written.add(cell));
        written
    }

    fn add(&mut self, cell: &Cell) {
        match cell {
            Cell::Number(text) => {
                let printed = number(text);
                if let Some(real) = real(&printed).filter(|_| printed.to_string() != *text) {
                    self.0.push((real.to_bits(), text.clone()));
                }
            }
            Cell::List(list) => list.iter().for_each(|cell| self.add(cell)),
            Cell::Object(fields) => fields.iter().for_each(|(_, cell)| self.add(cell)),
            _ => {}
        }
    }

    /// A value's text.
    pub fn text(&self, value: &Value) -> String {
        let found = real(value).and_then(|real| self.0.iter().find(|(bits, _)| *bits == real.to_bits()));
        found.map_or_else(|| value.to_string(), |(_, text)| text.clone())
    }
}

impl Object for Written {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A value that is a number and no whole one by its kind.
fn real(value: &Value) -> Option<f64> {
    match value.is_number() && !value.is_integer() {
        true => f64::try_from(value.clone()).ok(),
        false => None,
    }
}
