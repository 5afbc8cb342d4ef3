//! Tables out of JSONL files and JSON documents.

use super::{
    caps,
    cell::{Cell, field},
    file::malformed,
    json::{Bad, parse},
    table::{Row, Table},
};
use crate::error::{LoadError, shorten};
use std::path::Path;

/// One object on each line.
pub(super) fn jsonl(path: &Path, text: &str) -> Result<Table, LoadError> {
    let mut table = Table::default();
    let mut cells = caps::CELLS;
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", at + 1);
        let value = parse(line, &mut cells).map_err(|bad| {
            let problem = format!(
                "this line is not a JSON object: {} (column {})",
                bad.why,
                column(line, bad.at)
            );
            let whole = if at == 0 {
                "; if the file is one JSON document, set `[data] format = \"json\"`"
            } else {
                ""
            };
            malformed(
                path,
                Some(place.clone()),
                problem,
                &format!("Each line must be one JSON object{whole}"),
            )
        })?;
        let columns = columns(path, &place, value)?;
        table.push(path, Row { place, columns })?;
    }
    Ok(table)
}

/// The list at `pointer`, or the only one.
pub(super) fn json(path: &Path, text: &str, pointer: Option<&str>) -> Result<Table, LoadError> {
    let mut document = parse(text, &mut caps::CELLS.clone()).map_err(|bad| not_json(path, text, &bad))?;
    let pointer = match pointer {
        Some(pointer) => pointer.to_owned(),
        None => only_list(path, &document)?,
    };
    let Some(Cell::List(list)) = at(&mut document, &pointer).map(|found| std::mem::replace(found, Cell::Null)) else {
        let problem = format!("`[data] pointer = \"{pointer}\"` does not point to a list");
        let advice = format!("Lists in this document: {}", lists(&document).join(", "));
        return Err(malformed(path, None, problem, &advice));
    };
    let mut table = Table::default();
    for (at, value) in list.into_iter().enumerate() {
        let place = format!("element {}", at + 1);
        let columns = columns(path, &place, value)?;
        table.push(path, Row { place, columns })?;
    }
    if let Cell::Object(rest) = document {
        table.document = rest;
    }
    Ok(table)
}

fn not_json(path: &Path, text: &str, bad: &Bad) -> LoadError {
    let before = text.as_bytes().get(..bad.at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let advice = "If each line is an object of its own, set `[data] format = \"jsonl\"`";
    malformed(
        path,
        Some(format!("line {line}")),
        format!("it is not JSON: {}", bad.why),
        advice,
    )
}

/// Characters before a byte of a line, from 1.
fn column(line: &str, at: usize) -> usize {
    line.get(..at).map_or(at, |before| before.chars().count()) + 1
}

/// What a JSON pointer points to.
fn at<'a>(document: &'a mut Cell, pointer: &str) -> Option<&'a mut Cell> {
    let mut found = document;
    if pointer.is_empty() {
        return Some(found);
    }
    for part in pointer.strip_prefix('/')?.split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        found = match found {
            Cell::Object(fields) => fields
                .iter_mut()
                .rev()
                .find(|(key, _)| *key == part)
                .map(|(_, cell)| cell)?,
            Cell::List(list) => list.get_mut(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// Where the one list of a document is; a document that is a list needs no pointer.
fn only_list(path: &Path, document: &Cell) -> Result<String, LoadError> {
    if matches!(document, Cell::List(_)) {
        return Ok(String::new());
    }
    match lists(document).as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(malformed(
            path,
            None,
            "this JSON document has no list of examples".into(),
            "Name the list in `[data] pointer`, such as \"/examples\"",
        )),
        several => {
            let problem = format!("this JSON document has several lists: {}", several.join(", "));
            let advice = "Name the one with the examples in `[data] pointer`";
            Err(malformed(path, None, problem, advice))
        }
    }
}

/// Pointers to the lists of objects (or lists) at the top of a document.
fn lists(document: &Cell) -> Vec<String> {
    let Cell::Object(fields) = document else {
        return Vec::new();
    };
    let is_table =
        |cell: &Cell| matches!(cell, Cell::List(list) if matches!(list.first(), Some(Cell::Object(_) | Cell::List(_))));
    fields
        .iter()
        .filter(|(_, cell)| is_table(cell))
        .map(|(key, _)| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// The lists of a document by their pointers, longest first: for a proposal.
pub(super) fn pointers(text: &str) -> Vec<String> {
    let Ok(document) = parse(text, &mut caps::CELLS.clone()) else {
        return Vec::new();
    };
    let length = |pointer: &String| match &document {
        Cell::Object(fields) => match field(
            fields,
            &pointer.replacen('/', "", 1).replace("~1", "/").replace("~0", "~"),
        ) {
            Some(Cell::List(list)) => list.len(),
            _ => 0,
        },
        _ => 0,
    };
    let mut found = lists(&document);
    found.sort_by_key(|pointer| std::cmp::Reverse(length(pointer)));
    found
}

fn columns(path: &Path, place: &str, value: Cell) -> Result<Vec<(String, Cell)>, LoadError> {
    match value {
        Cell::Object(columns) => Ok(columns),
        Cell::List(cells) => {
            let named = cells.into_iter().enumerate();
            Ok(named.map(|(at, cell)| (format!("c{at}"), cell)).collect())
        }
        other => {
            let problem = format!("expected a JSON object, found `{}`", shorten(&other.words()));
            let advice = "Each example must be an object with named columns (or a list: c0, c1, ..)";
            Err(malformed(path, Some(place.into()), problem, advice))
        }
    }
}
