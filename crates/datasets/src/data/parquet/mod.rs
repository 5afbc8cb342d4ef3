//! Tables out of Parquet files: only the columns that are used are decoded, and what cannot be read is refused by name.

mod classes;
mod types;
mod values;

use super::{
    caps,
    file::{malformed, open, too_much},
    table::{Row, Table},
    uses::Uses,
};
use crate::error::LoadError;
use classes::Classes;
use parquet::{
    errors::ParquetError,
    file::{
        metadata::ParquetMetaData,
        reader::{FileReader, SerializedFileReader},
    },
    schema::types::{Type, TypePtr},
};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};
use values::Reading;

/// Reads the columns that are used.
pub(super) fn parquet(path: &Path, uses: &Uses) -> Result<Table, LoadError> {
    let file = open(path, caps::PARQUET_BYTES)?;
    // The library asserts in places what a damaged file breaks: a refusal, too.
    catch_unwind(AssertUnwindSafe(|| read(path, file, uses)))
        .unwrap_or_else(|_| Err(damaged(path, "its pages contradict its schema")))
}

fn damaged(path: &Path, why: &str) -> LoadError {
    let advice = "Fetch or write the file anew; the file may be cut off. JSONL is read as well";
    malformed(path, None, format!("it cannot be read as Parquet: {why}"), advice)
}

fn read(path: &Path, file: File, uses: &Uses) -> Result<Table, LoadError> {
    let bad = |error: ParquetError| damaged(path, &error.to_string());
    let reader = SerializedFileReader::new(file).map_err(bad)?;
    let about = reader.metadata();
    let rows = usize::try_from(about.file_metadata().num_rows()).unwrap_or(usize::MAX);
    if rows > caps::ROWS {
        return Err(too_much(path, None, "rows", caps::ROWS));
    }
    let fields = about.file_metadata().schema().get_fields();
    let mut table = Table::default();
    let mut wanted: Vec<TypePtr> = Vec::new();
    for field in fields {
        match uses.names(field.name()) {
            false => table.others.push(field.name().to_owned()),
            // a look shows what there is and refuses nothing
            true if uses.all && types::readable(field).is_err() => table.others.push(field.name().to_owned()),
            true => {
                types::readable(field).map_err(|kind| unreadable_type(path, field, &kind))?;
                wanted.push(field.clone());
            }
        }
    }
    check_names(path, &wanted)?;
    check_sizes(path, &reader, &wanted)?;
    let classes = Classes::of(about.file_metadata().key_value_metadata());
    fill(path, &reader, &wanted, &classes, rows, &mut table)?;
    Ok(table)
}

fn unreadable_type(path: &Path, field: &Type, kind: &str) -> LoadError {
    let name = field.name();
    let problem = format!("the column `{name}` has the type {kind}, which sipdo does not read");
    let advice = "Write the column as text or numbers, or use another one; columns that nothing names are not read";
    malformed(path, None, problem, advice)
}

fn check_names(path: &Path, wanted: &[TypePtr]) -> Result<(), LoadError> {
    if wanted.len() > caps::COLUMNS {
        return Err(too_much(path, None, "columns", caps::COLUMNS));
    }
    let mut seen = std::collections::HashSet::new();
    match wanted.iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => {
            let problem = format!("it has two columns `{}`", twice.name());
            Err(malformed(path, None, problem, "Rename one of them"))
        }
    }
}

/// Refuses by the headers of the pages what would not fit, before a page is decoded.
fn check_sizes(path: &Path, reader: &SerializedFileReader<File>, wanted: &[TypePtr]) -> Result<(), LoadError> {
    let bad = |error: ParquetError| damaged(path, &error.to_string());
    let is_wanted = |about: &ParquetMetaData, leaf: usize| {
        let root = about.file_metadata().schema_descr().get_column_root(leaf).name();
        wanted.iter().any(|field| field.name() == root)
    };
    let (mut cells, mut bytes) = (0_usize, 0_u64);
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(bad)?;
        for leaf in (0..group.num_columns()).filter(|leaf| is_wanted(reader.metadata(), *leaf)) {
            let size = group.metadata().column(leaf).uncompressed_size();
            bytes = bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
            let mut pages = group.get_column_page_reader(leaf).map_err(bad)?;
            while let Some(page) = pages.peek_next_page().map_err(bad)? {
                if !page.is_dict {
                    cells = cells.saturating_add(page.num_levels.or(page.num_rows).unwrap_or_default());
                }
                if cells > caps::CELLS {
                    return Err(too_much(path, None, "cells in the columns that are used", caps::CELLS));
                }
                pages.skip_next_page().map_err(bad)?;
            }
        }
    }
    match bytes > caps::COLUMN_BYTES {
        true => {
            let problem = format!(
                "the columns that are used have {bytes} bytes; at most {} are read",
                caps::COLUMN_BYTES
            );
            Err(malformed(path, None, problem, caps::ADVICE))
        }
        false => Ok(()),
    }
}

fn fill(
    path: &Path,
    reader: &SerializedFileReader<File>,
    wanted: &[TypePtr],
    classes: &Classes,
    rows: usize,
    table: &mut Table,
) -> Result<(), LoadError> {
    let bad = |error: ParquetError| damaged(path, &error.to_string());
    let mut reading = Reading::default();
    if wanted.is_empty() {
        // the rows are there all the same: what names no column of theirs is said with a row
        for at in 0..rows {
            let place = format!("row {}", at + 1);
            table.push(
                path,
                Row {
                    place,
                    columns: Vec::new(),
                },
            )?;
        }
        return Ok(());
    }
    let schema = reader.metadata().file_metadata().schema();
    let projection = Type::group_type_builder(schema.name())
        .with_fields(wanted.to_vec())
        .build()
        .map_err(bad)?;
    for (at, record) in reader.get_row_iter(Some(projection)).map_err(bad)?.enumerate() {
        let record = record.map_err(bad)?;
        let place = format!("row {}", at + 1);
        let columns = reading.row(&record, wanted, classes);
        if reading.bytes > caps::COLUMN_BYTES {
            let problem = format!(
                "up to here the columns that are used have more than {} bytes",
                caps::COLUMN_BYTES
            );
            return Err(malformed(path, Some(place), problem, caps::ADVICE));
        }
        table.push(path, Row { place, columns })?;
    }
    Ok(())
}
