//! A look at a data file: its columns and first rows, to propose how it becomes examples.

use super::{
    cell::{Cell, field},
    documents::pointers,
    file::text,
    read::{Format, ReadOptions, table},
    uses::Uses,
};
use crate::error::LoadError;
use std::path::Path;

/// Rows that are looked at.
const LOOKED_AT: usize = 200;

/// What most values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: all are null or empty.
    Empty,
    /// Texts.
    Text,
    /// Numbers.
    Number,
    /// `true` and `false`.
    Flag,
    /// Lists.
    List,
    /// Objects.
    Object,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookColumn {
    /// Its name.
    pub name: String,
    /// What its values are; of several kinds that of the first value.
    pub kind: Kind,
    /// The texts of its first values, one a row, empty where there is none. Elements of lists are not told apart.
    pub texts: Vec<String>,
    /// The elements of its first values, where these are lists.
    pub lists: Vec<Vec<String>>,
    /// Nulls among them.
    pub nulls: usize,
}

/// A data file's columns, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Columns in the order of the file.
    pub columns: Vec<LookColumn>,
    /// Rows in the file.
    pub rows: usize,
    /// The list of a JSON document that has several: the longest one.
    pub pointer: Option<String>,
}

/// Looks at a file. What the file's extension says of its format counts.
///
/// # Errors
/// Its format is not known, or it cannot be read: what [`super::load_examples`] says, too.
pub fn look(path: &Path) -> Result<Look, LoadError> {
    let pointer = match Format::of(path) {
        Some(Format::Json) => Some(pointers(&text(path)?))
            .filter(|lists| lists.len() > 1)
            .and_then(|lists| lists.into_iter().next()),
        _ => None,
    };
    let options = ReadOptions {
        pointer: pointer.as_deref(),
        uses: Uses {
            all: true,
            ..Uses::default()
        },
        ..ReadOptions::default()
    };
    let table = table(path, &options)?;
    let mut names: Vec<String> = Vec::new();
    let looked_at = table.rows.get(..LOOKED_AT).unwrap_or(&table.rows);
    for (name, _) in looked_at.iter().flat_map(|row| &row.columns) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let columns = names.into_iter().map(|name| {
        let cells: Vec<Option<&Cell>> = looked_at.iter().map(|row| field(&row.columns, &name)).collect();
        column(name, &cells)
    });
    Ok(Look {
        columns: columns.collect(),
        rows: table.rows.len(),
        pointer,
    })
}

fn column(name: String, cells: &[Option<&Cell>]) -> LookColumn {
    let kind_of = |cell: &&Cell| match cell {
        Cell::Null | Cell::NoNumber(_) | Cell::Unreadable(_) => None,
        Cell::Text(text) if text.trim().is_empty() => None,
        Cell::Text(text) if matches!(super::literal::listed(text), Some(Cell::List(_))) => Some(Kind::List),
        Cell::Text(_) => Some(Kind::Text),
        Cell::Bool(_) => Some(Kind::Flag),
        Cell::Number(_) => Some(Kind::Number),
        Cell::List(_) => Some(Kind::List),
        Cell::Object(_) => Some(Kind::Object),
    };
    let elements = |cell: &Option<&Cell>| match cell {
        Some(Cell::List(list)) => list.iter().map(Cell::words).collect(),
        Some(Cell::Text(text)) => match super::literal::listed(text) {
            Some(Cell::List(list)) => list.iter().map(Cell::words).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    LookColumn {
        kind: cells.iter().flatten().find_map(kind_of).unwrap_or(Kind::Empty),
        texts: cells
            .iter()
            .map(|cell| cell.map(Cell::words).unwrap_or_default())
            .collect(),
        lists: cells.iter().map(elements).collect(),
        nulls: cells
            .iter()
            .filter(|cell| matches!(cell, None | Some(Cell::Null | Cell::NoNumber(_))))
            .count(),
        name,
    }
}
