//! Tables out of CSV and TSV files, as spreadsheets and programs write them.

use super::{
    caps,
    cell::Cell,
    file::{malformed, too_much},
    table::{Row, Table},
};
use crate::error::LoadError;
use std::path::Path;

/// Delimiters that a CSV file is tried with, the first that gives an even table counts.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// How a delimited file is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Parts cells; none: found by the file.
    pub delimiter: Option<char>,
    /// Whether a cell may stand in quotes; none: found by the file.
    pub quotes: Option<bool>,
    /// Whether the first record names the columns.
    pub header: bool,
}

/// One record and the line on which it begins.
struct Record {
    line: usize,
    cells: Vec<String>,
}

/// Where a text is no table, and why.
struct Bad {
    line: usize,
    why: String,
}

/// Reads the table.
pub(super) fn delimited(path: &Path, text: &str, dialect: Dialect) -> Result<Table, LoadError> {
    let (text, first, said) = announced(text);
    let records = records_of(text, first, dialect.delimiter.or(said), dialect.quotes).map_err(|bad| {
        let advice = "Quote cells that contain the delimiter, a quote or a line break, and double quotes inside of them. Where quotes are \
                      ordinary characters, set `[data] quotes = false`";
        malformed(path, Some(format!("line {}", bad.line)), bad.why, advice)
    })?;
    let mut records = records
        .into_iter()
        .filter(|record| record.cells.iter().any(|cell| !cell.trim().is_empty()));
    let mut table = Table {
        flat: true,
        ..Table::default()
    };
    let names = match dialect.header {
        true => match records.next() {
            Some(record) => names(path, record)?,
            None => return Ok(table),
        },
        false => Vec::new(),
    };
    let mut width = (!names.is_empty()).then_some(names.len());
    let mut left = caps::CELLS;
    for Record { line, mut cells } in records {
        let expected = *width.get_or_insert(cells.len());
        // a spreadsheet pads rows with empty cells
        while cells.len() > expected && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
            cells.pop();
        }
        let place = format!("line {line}");
        if cells.len() != expected {
            return Err(uneven(path, place, cells.len(), expected));
        }
        left = left
            .checked_sub(cells.len())
            .ok_or_else(|| too_much(path, Some(place.clone()), "cells", caps::CELLS))?;
        let name = |at: usize| names.get(at).cloned().unwrap_or_else(|| format!("c{at}"));
        let columns = cells
            .into_iter()
            .enumerate()
            .map(|(at, cell)| (name(at), Cell::Text(cell)))
            .collect();
        table.push(path, Row { place, columns })?;
    }
    Ok(table)
}

fn uneven(path: &Path, place: String, found: usize, expected: usize) -> LoadError {
    let advice = "Quote cells that contain the delimiter, a quote or a line break; if the cells are parted otherwise, set `[data] delimiter`";
    malformed(
        path,
        Some(place),
        format!("this row has {found} columns; expected {expected}"),
        advice,
    )
}

/// The names of a header. Empty ones at the end are no columns, others are named by their place.
fn names(path: &Path, record: Record) -> Result<Vec<String>, LoadError> {
    let mut names: Vec<String> = record.cells.iter().map(|name| name.trim().to_owned()).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    for (at, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
        *name = format!("c{at}");
    }
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(twice) => Err(malformed(
            path,
            Some(format!("line {}", record.line)),
            format!("the header names the column `{twice}` twice"),
            "Rename one, or set `[data] header = false` and use c0, c1, ..",
        )),
    }
}

/// The text behind a line `sep=;`, the number of its first line, and the delimiter that the line announces to spreadsheets.
fn announced(text: &str) -> (&str, usize, Option<char>) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim_end_matches('\r').trim_matches('"');
    let delimiter = line
        .strip_prefix("sep=")
        .map(|said| if said == "\\t" { "\t" } else { said });
    match delimiter.map(|said| (said.chars().next(), said.chars().count())) {
        Some((Some(said), 1)) => (rest, 2, Some(said)),
        _ => (text, 1, None),
    }
}

fn records_of(text: &str, first: usize, delimiter: Option<char>, quotes: Option<bool>) -> Result<Vec<Record>, Bad> {
    let read = |delimiter: char| match (quotes, delimiter) {
        (Some(quotes), _) => records(text, first, delimiter, quotes),
        (None, '\t') => tabbed(text, first),
        (None, _) => records(text, first, delimiter, true),
    };
    if let Some(delimiter) = delimiter {
        return read(delimiter);
    }
    for delimiter in DELIMITERS {
        if let Ok(records) = read(delimiter)
            && is_even(&records)
        {
            return Ok(records);
        }
    }
    read(',')
}

/// Values parted by tabs often hold quotes that quote nothing. Quotes count where they make an even table, and where they join lines
/// only if the table is uneven otherwise.
fn tabbed(text: &str, first: usize) -> Result<Vec<Record>, Bad> {
    let plain = records(text, first, '\t', false)?;
    match records(text, first, '\t', true) {
        Ok(quoted) if is_even(&quoted) && (quoted.len() == plain.len() || !is_even(&plain)) => Ok(quoted),
        _ => Ok(plain),
    }
}

/// Whether all records have the same number of columns, and more than one, empty ones at the end aside.
fn is_even(records: &[Record]) -> bool {
    let width = |record: &Record| record.cells.len();
    let used = |record: &Record| {
        record
            .cells
            .iter()
            .rposition(|cell| !cell.trim().is_empty())
            .map_or(0, |at| at + 1)
    };
    let Some(first) = records.iter().find(|record| used(record) > 0) else {
        return false;
    };
    let expected = used(first);
    width(first) > 1
        && records
            .iter()
            .all(|record| used(record) == 0 || (width(record) >= expected && used(record) <= width(first)))
}

/// Splits a text into records. A cell is quoted if it begins with a quote; what follows its closing quote must be its end.
fn records(text: &str, first: usize, delimiter: char, quotes: bool) -> Result<Vec<Record>, Bad> {
    let mut all = Vec::new();
    let (mut line, mut begun) = (first, first);
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut at_start = true;
    while let Some(c) = chars.next() {
        if quotes && at_start && c == '"' {
            let opened = line;
            cell = quoted(&mut chars, &mut line).ok_or_else(|| Bad {
                line: opened,
                why: "a quote that begins a cell here is never closed".into(),
            })?;
            if chars
                .peek()
                .is_some_and(|next| *next != delimiter && !matches!(next, '\n' | '\r'))
            {
                return Err(Bad {
                    line,
                    why: "text follows the closing quote of a cell".into(),
                });
            }
            at_start = false;
        } else if c == delimiter {
            cells.push(std::mem::take(&mut cell));
            at_start = true;
        } else if matches!(c, '\n' | '\r') {
            if c == '\r' {
                chars.next_if_eq(&'\n');
            }
            cells.push(std::mem::take(&mut cell));
            all.push(Record {
                line: begun,
                cells: std::mem::take(&mut cells),
            });
            line += 1;
            (begun, at_start) = (line, true);
        } else {
            cell.push(c);
            at_start = false;
        }
    }
    if !cells.is_empty() || !cell.is_empty() {
        cells.push(cell);
        all.push(Record { line: begun, cells });
    }
    Ok(all)
}

/// The text up to the closing quote; none where there is none. Counts the lines that it crosses.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars>, line: &mut usize) -> Option<String> {
    let mut text = String::new();
    loop {
        let c = chars.next()?;
        if c == '"' && chars.next_if_eq(&'"').is_none() {
            return Some(text);
        }
        if c == '\n' || (c == '\r' && chars.peek() != Some(&'\n')) {
            *line += 1;
        }
        text.push(c);
    }
}
