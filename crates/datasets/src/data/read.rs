//! Reading rows out of JSONL, JSON, CSV, TSV and Parquet files.

use super::{
    delimited::{Dialect, delimited},
    documents::{json, jsonl},
    file::{malformed, text},
    parquet::parquet,
    table::Table,
    uses::Uses,
};
use crate::error::LoadError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How a data file is written. Each but Parquet may be compressed with gzip or zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object on each line.
    Jsonl,
    /// One JSON document that holds a list.
    Json,
    /// Values separated by commas, or by another delimiter.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// By the file's extension, that of a compression aside.
    pub(super) fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let mut parts = name.rsplit('.');
        let last = parts.next()?;
        let extension = match last {
            "gz" | "gzip" | "zst" | "zstd" => parts.next()?,
            plain => plain,
        };
        match extension {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// How to read a file; what the mapping says of its options.
#[derive(Debug, Default)]
pub(super) struct ReadOptions<'a> {
    pub format: Option<Format>,
    pub pointer: Option<&'a str>,
    pub headless: bool,
    pub delimiter: Option<char>,
    pub quotes: Option<bool>,
    pub uses: Uses,
}

/// Reads all rows of a file.
pub(super) fn table(path: &Path, options: &ReadOptions) -> Result<Table, LoadError> {
    let format = options.format.or_else(|| Format::of(path)).ok_or_else(|| {
        let problem = "its extension is not one of a known format".into();
        let advice = "Name the format in `[data] format`: jsonl, json, csv, tsv or parquet";
        malformed(path, None, problem, advice)
    })?;
    let dialect = Dialect {
        delimiter: options.delimiter.or((format == Format::Tsv).then_some('\t')),
        quotes: options.quotes,
        header: !options.headless,
    };
    match format {
        Format::Parquet => parquet(path, &options.uses),
        Format::Jsonl => jsonl(path, &text(path)?),
        Format::Json => json(path, &text(path)?, options.pointer),
        Format::Csv | Format::Tsv => delimited(path, &text(path)?, dialect),
    }
}
