//! Rows as every reader gives them.

use super::{caps, cell::Cell, file::too_much};
use crate::error::LoadError;
use std::path::Path;

/// One row of a data file.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `line 12`, `element 3`, `row 5`.
    pub place: String,
    /// Column by column, in the order of the file.
    pub columns: Vec<(String, Cell)>,
}

/// A file's rows, and what it holds beside them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub rows: Vec<Row>,
    /// Columns that were not read, since nothing names them.
    pub others: Vec<String>,
    /// What a JSON document holds beside the list.
    pub document: Vec<(String, Cell)>,
    /// Whether cells are texts only, so that a list can only be written as text.
    pub flat: bool,
}

impl Table {
    /// Adds a row.
    ///
    /// # Errors
    /// There are too many rows, or it has too many columns.
    pub fn push(&mut self, path: &Path, row: Row) -> Result<(), LoadError> {
        if row.columns.len() > caps::COLUMNS {
            return Err(too_much(path, Some(row.place), "columns", caps::COLUMNS));
        }
        if self.rows.len() >= caps::ROWS {
            return Err(too_much(path, Some(row.place), "rows", caps::ROWS));
        }
        self.rows.push(row);
        Ok(())
    }
}
