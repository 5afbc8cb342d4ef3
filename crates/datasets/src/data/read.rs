//! Reading rows out of JSONL, JSON, CSV, TSV and Parquet files.

use crate::error::{LoadError, shorten};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row as Record},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fs::File, path::Path};

/// How a data file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object on each line.
    Jsonl,
    /// One JSON document that holds a list.
    Json,
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// By the file's extension.
    fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// One row of a data file.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `line 12`, `element 3`, `row 5`.
    pub place: String,
    /// Column by column.
    pub columns: Map<String, Value>,
}

/// A file's rows, and what its JSON document holds beside the list.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub rows: Vec<Row>,
    pub document: Map<String, Value>,
}

/// How to read a file; what the mapping says of its options.
pub(crate) struct ReadOptions<'a> {
    pub format: Option<Format>,
    pub pointer: Option<&'a str>,
    pub header: bool,
}

/// Reads all rows of a file.
pub(crate) fn table(path: &Path, options: &ReadOptions) -> Result<Table, LoadError> {
    let format = options
        .format
        .or_else(|| Format::of(path))
        .ok_or_else(|| LoadError::Data {
            path: path.into(),
            place: None,
            problem: "its extension is not one of a known format".into(),
            advice: "Name the format in `[data] format`: jsonl, json, csv, tsv or parquet".into(),
        })?;
    match format {
        Format::Parquet => parquet(path),
        Format::Jsonl => jsonl(path, &text(path)?),
        Format::Json => json(path, &text(path)?, options.pointer),
        Format::Csv => delimited(path, &text(path)?, b',', options.header),
        Format::Tsv => delimited(path, &text(path)?, b'\t', options.header),
    }
}

/// A file's text: UTF-8, without a byte-order mark.
pub(crate) fn text(path: &Path) -> Result<String, LoadError> {
    let bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(malformed(
            path,
            None,
            "it is UTF-16; sipdo reads UTF-8".into(),
            "Convert it: iconv -f UTF-16 -t UTF-8",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let problem = format!("it is not UTF-8: the first bad byte is at offset {at}");
        malformed(
            path,
            Some(format!("line {line}")),
            problem,
            "Convert it: iconv -f WINDOWS-1252 -t UTF-8 (or from the encoding that it has)",
        )
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map_or_else(|| text.clone(), str::to_owned))
}

fn jsonl(path: &Path, text: &str) -> Result<Table, LoadError> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", at + 1);
        let value = serde_json::from_str(line).map_err(|error| {
            let problem = format!("this line is not a JSON object: {error}");
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
        rows.push(Row {
            columns: columns(path, &place, value)?,
            place,
        });
    }
    Ok(Table {
        rows,
        document: Map::new(),
    })
}

fn json(path: &Path, text: &str, pointer: Option<&str>) -> Result<Table, LoadError> {
    let mut document: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}", error.line());
        malformed(
            path,
            Some(place),
            format!("it is not JSON: {error}"),
            "If each line is an object of its own, set `[data] format = \"jsonl\"`",
        )
    })?;
    let pointer = match pointer {
        Some(pointer) => pointer.to_owned(),
        None => only_list(path, &document)?,
    };
    let list = document.pointer_mut(&pointer).map(Value::take);
    let Some(Value::Array(list)) = list else {
        let problem = format!("`[data] pointer = \"{pointer}\"` does not point to a list");
        return Err(malformed(
            path,
            None,
            problem,
            &format!("Lists in this document: {}", lists(&document).join(", ")),
        ));
    };
    let mut rows = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let place = format!("element {}", at + 1);
        rows.push(Row {
            columns: columns(path, &place, value)?,
            place,
        });
    }
    let document = match document {
        Value::Object(rest) => rest,
        _ => Map::new(),
    };
    Ok(Table { rows, document })
}

/// Where the one list of a document is; a document that is a list needs no pointer.
fn only_list(path: &Path, document: &Value) -> Result<String, LoadError> {
    if document.is_array() {
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
            Err(malformed(
                path,
                None,
                problem,
                "Name the one with the examples in `[data] pointer`",
            ))
        }
    }
}

/// Pointers to the lists of objects (or lists) at the top of a document.
fn lists(document: &Value) -> Vec<String> {
    let is_table = |value: &Value| {
        value
            .as_array()
            .is_some_and(|list| list.first().is_some_and(|first| first.is_object() || first.is_array()))
    };
    let fields = document.as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| is_table(value))
        .map(|(key, _)| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

fn columns(path: &Path, place: &str, value: Value) -> Result<Map<String, Value>, LoadError> {
    match value {
        Value::Object(columns) => Ok(columns),
        Value::Array(cells) => Ok(cells
            .into_iter()
            .enumerate()
            .map(|(at, cell)| (format!("c{at}"), cell))
            .collect()),
        other => {
            let problem = format!("expected a JSON object, found `{}`", shorten(&other.to_string()));
            Err(malformed(
                path,
                Some(place.into()),
                problem,
                "Each example must be an object with named columns (or a list: c0, c1, ..)",
            ))
        }
    }
}

fn delimited(path: &Path, text: &str, delimiter: u8, header: bool) -> Result<Table, LoadError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(header)
        .from_reader(text.as_bytes());
    let names: Vec<String> = if header {
        let names = reader.headers().map_err(|error| bad_csv(path, &error))?;
        names.iter().map(|name| name.trim().to_owned()).collect()
    } else {
        Vec::new()
    };
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find(|(at, name)| names.iter().take(*at).any(|other| other == *name))
    {
        let problem = format!("the header names the column `{}` twice", twice.1);
        return Err(malformed(
            path,
            Some("line 1".into()),
            problem,
            "Rename one, or set `[data] header = false` and use c0, c1, ..",
        ));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad_csv(path, &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = |at: usize| names.get(at).cloned().unwrap_or_else(|| format!("c{at}"));
        let columns = record
            .iter()
            .enumerate()
            .map(|(at, cell)| (name(at), Value::from(cell)))
            .collect();
        rows.push(Row {
            place: format!("line {line}"),
            columns,
        });
    }
    Ok(Table {
        rows,
        document: Map::new(),
    })
}

fn bad_csv(path: &Path, error: &csv::Error) -> LoadError {
    let place = error.position().map(|position| format!("line {}", position.line()));
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this row has {len} columns; expected {expected_len}")
        }
        other => format!("the table is malformed: {other:?}"),
    };
    malformed(
        path,
        place,
        problem,
        "Quote cells that contain the delimiter, a quote or a line break",
    )
}

fn parquet(path: &Path) -> Result<Table, LoadError> {
    let bad = |error: parquet::errors::ParquetError| {
        let advice = "sipdo reads uncompressed and Snappy-compressed Parquet: convert the file, or export it as JSONL";
        malformed(path, None, format!("it cannot be read as Parquet: {error}"), advice)
    };
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let reader = SerializedFileReader::new(file).map_err(bad)?;
    let mut rows = Vec::new();
    for (at, record) in reader.get_row_iter(None).map_err(bad)?.enumerate() {
        rows.push(Row {
            place: format!("row {}", at + 1),
            columns: object(&record.map_err(bad)?),
        });
    }
    Ok(Table {
        rows,
        document: Map::new(),
    })
}

fn object(record: &Record) -> Map<String, Value> {
    record
        .get_column_iter()
        .map(|(name, field)| (name.clone(), cell(field)))
        .collect()
}

fn cell(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => Value::from(*value),
        Field::Double(value) => Value::from(*value),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => Value::from(String::from_utf8_lossy(bytes.data()).into_owned()),
        Field::Group(record) => Value::Object(object(record)),
        Field::ListInternal(list) => list.elements().iter().map(cell).collect(),
        Field::MapInternal(map) => Value::Object(
            map.entries()
                .iter()
                .map(|(key, value)| (key_text(key), cell(value)))
                .collect(),
        ),
        // dates, times, decimals: as they are printed
        other => Value::from(other.to_string()),
    }
}

fn key_text(key: &Field) -> String {
    match key {
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn unreadable(path: &Path, source: std::io::Error) -> LoadError {
    let advice = match source.kind() {
        std::io::ErrorKind::NotFound => {
            "There is no such file: paths in a task file are relative to the task file's folder"
        }
        std::io::ErrorKind::PermissionDenied => "Allow the user who runs sipdo to read it",
        _ => "Check that it is a regular file",
    };
    LoadError::Unreadable {
        path: path.into(),
        source,
        advice: advice.into(),
    }
}

fn malformed(path: &Path, place: Option<String>, problem: String, advice: &str) -> LoadError {
    LoadError::Data {
        path: path.into(),
        place,
        problem,
        advice: advice.into(),
    }
}
