//! Small templates over a row: strict about unknown columns, limited in work, without access to anything else.

use super::{absent::told, filters, values::Written};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter,
    value::ValueKind,
};
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

/// Steps that one template may take on one row.
const FUEL: u64 = 200_000;
/// The context's name of how the row's numbers are written.
pub(super) const WRITTEN: &str = " written";

/// An environment with the filters that data sets need.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(print);
    filters::add(&mut environment);
    environment
}

/// Prints a value: numbers as the file writes them, and nothing that is no value, such as a function.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::Plain && told(value).is_none() {
        return Err(Error::new(ErrorKind::UndefinedError, "this name is no column"));
    }
    let written = state.lookup(WRITTEN).filter(|_| value.is_number());
    match written
        .as_ref()
        .and_then(|written| written.downcast_object_ref::<Written>())
    {
        Some(written) => out.write_str(&written.text(value)).map_err(Error::from),
        None => escape_formatter(out, state, value),
    }
}

static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}|\{%.*?%\}").ok());
static COMPARED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(==|!=)\s*[nN]one\b").ok());

/// A template in which comparisons with `none` are the test `is none`, which knows a missing value of a column.
pub(super) fn prepared(template: &str) -> Cow<'_, str> {
    match &*CODE {
        Some(code) => code.replace_all(template, |found: &Captures| {
            found
                .get(0)
                .map_or_else(String::new, |code| compared(code.as_str()).into_owned())
        }),
        None => Cow::Borrowed(template),
    }
}

/// The same for an expression.
pub(super) fn compared(expression: &str) -> Cow<'_, str> {
    match &*COMPARED {
        Some(pattern) => pattern.replace_all(expression, |found: &Captures| {
            match found.get(1).map(|sign| sign.as_str()) {
                Some("!=") => " is not none",
                _ => " is none",
            }
        }),
        None => Cow::Borrowed(expression),
    }
}
