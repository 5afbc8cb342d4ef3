//! One value of a data file, as it is written there.

/// A cell, whatever format it comes from. Numbers keep their digits: an identifier of 20 digits and `1.10` are not rounded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// No value.
    Null,
    /// `NaN`, `Infinity` or `-Infinity`: what some tools write for no value.
    NoNumber(String),
    /// What cannot be read, and why; refused where it is used.
    Unreadable(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number's text.
    Number(String),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Cell>),
    /// Values by name, in order.
    Object(Vec<(String, Cell)>),
}

impl Cell {
    /// The value's text, for a look: lists and objects as JSON-like text.
    pub fn words(&self) -> String {
        let joined = |parts: Vec<String>| parts.join(", ");
        match self {
            Cell::Null => String::new(),
            Cell::NoNumber(text) | Cell::Number(text) => text.clone(),
            Cell::Text(text) => text.trim().to_owned(),
            Cell::Unreadable(why) => format!("({why})"),
            Cell::Bool(value) => value.to_string(),
            Cell::List(list) => format!("[{}]", joined(list.iter().map(Cell::words).collect())),
            Cell::Object(fields) => {
                let fields = fields.iter().map(|(key, cell)| format!("{key}: {}", cell.words()));
                format!("{{{}}}", joined(fields.collect()))
            }
        }
    }
}

/// The cell of this name; where a name occurs twice, the last one.
pub(crate) fn field<'a>(fields: &'a [(String, Cell)], name: &str) -> Option<&'a Cell> {
    fields.iter().rev().find(|(key, _)| key == name).map(|(_, cell)| cell)
}
