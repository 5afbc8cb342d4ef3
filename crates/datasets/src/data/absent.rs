//! What stands in a template for a value that is not there: it may be asked about, but never becomes a word.

use minijinja::{
    Value,
    value::{DynObject, Object, ObjectRepr},
};
use std::{cmp::Ordering, fmt, sync::Arc};

/// Marks the trace of an absent value in a text. They are characters of private use, which no file has by chance in this order.
const BEGIN: char = '\u{f0510}';
const MIDDLE: char = '\u{f0511}';
const END: char = '\u{f0512}';

/// A value that is not there, or cannot be read.
#[derive(Debug)]
struct Absent {
    /// The column, and where inside of it.
    name: String,
    /// `is null`, `is NaN`, `holds bytes that are no text`.
    why: String,
    /// Whether something else may stand for it.
    missing: bool,
}

/// A missing value of a column.
pub(super) fn missing(name: &str, why: &str) -> Value {
    absent(name, why, true)
}

/// A value of a column that cannot be used.
pub(super) fn unusable(name: &str, why: &str) -> Value {
    absent(name, why, false)
}

fn absent(name: &str, why: &str, missing: bool) -> Value {
    Value::from_object(Absent {
        name: name.to_owned(),
        why: why.to_owned(),
        missing,
    })
}

/// Whether a value is a missing one.
pub(super) fn is_missing(value: &Value) -> bool {
    value.is_none()
        || value
            .downcast_object_ref::<Absent>()
            .is_some_and(|absent| absent.missing)
}

/// ``the column `x` is null``, where a value is an absent one.
pub(super) fn told(value: &Value) -> Option<String> {
    let absent = value.downcast_object_ref::<Absent>()?;
    Some(format!("the column `{}` {}", absent.name, absent.why))
}

/// The first absent value that left its trace in a text: its column, and what is the matter.
pub(super) fn trace(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (traced, _) = rest.split_once(END)?;
    traced.split_once(MIDDLE)
}

impl Object for Absent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|_| Ordering::Equal)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BEGIN}{}{MIDDLE}{}{END}", self.name, self.why)
    }
}
