//! A data file's bytes and text: regular files only, decompressed, capped, UTF-8.

use super::caps;
use crate::error::LoadError;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// First bytes of files that are neither text nor Parquet, what they are, and what to do.
const OTHERS: [(&[u8], &str, &str); 9] = [
    (
        b"PAR1",
        "a Parquet file",
        "Set `[data] format = \"parquet\"`, or let its name end in .parquet",
    ),
    (
        b"PK\x03\x04",
        "a ZIP archive or an Excel workbook",
        "Unpack it, or export the sheet as CSV (UTF-8)",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook",
        "Export the sheet as CSV (UTF-8)",
    ),
    (
        b"BZh",
        "compressed with bzip2",
        "Decompress it: bunzip2. sipdo reads gzip and zstd",
    ),
    (
        b"\xfd7zXZ\x00",
        "compressed with xz",
        "Decompress it: unxz. sipdo reads gzip and zstd",
    ),
    (
        b"\x04\x22\x4d\x18",
        "compressed with lz4",
        "Decompress it: unlz4. sipdo reads gzip and zstd",
    ),
    (b"ARROW1", "an Arrow (Feather) file", "Write it as Parquet or JSONL"),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV"),
    (b"Obj\x01", "an Avro file", "Write it as Parquet or JSONL"),
];

/// Opens a regular file of at most `most` bytes. Pipes, devices and folders are refused before they are opened.
pub(super) fn open(path: &Path, most: u64) -> Result<File, LoadError> {
    let about = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !about.is_file() {
        let kind = if about.is_dir() { "a folder" } else { "no regular file" };
        let advice = "Name a regular file; what comes out of a pipe has to be saved first";
        return Err(malformed(path, None, format!("it is {kind}"), advice));
    }
    if about.len() > most {
        let problem = format!("it has {} bytes; at most {most} are read", about.len());
        return Err(malformed(path, None, problem, caps::ADVICE));
    }
    File::open(path).map_err(|source| unreadable(path, source))
}

/// A file's text: decompressed where it is gzip or zstd, UTF-8, without a byte-order mark.
pub(crate) fn text(path: &Path) -> Result<String, LoadError> {
    let bytes = decompressed(path, raw(path)?)?;
    if let Some((_, what, advice)) = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(malformed(path, None, format!("it is {what}"), advice));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let advice = "Convert it: iconv -f UTF-16 -t UTF-8";
        return Err(malformed(path, None, "it is UTF-16; sipdo reads UTF-8".into(), advice));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let problem = format!("it is not UTF-8: the first bad byte is at offset {at}");
        let advice = "Convert it: iconv -f WINDOWS-1252 -t UTF-8 (or from the encoding that it has)";
        malformed(path, Some(format!("line {line}")), problem, advice)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn raw(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    // capped again: a file can grow while it is read
    open(path, caps::TEXT_BYTES)?
        .take(caps::TEXT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

/// What the first bytes say counts, not the name.
fn decompressed(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        unpack(path, "gzip", flate2::read::MultiGzDecoder::new(bytes.as_slice()))
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::new(bytes.as_slice());
        unpack(path, "zstd", decoder.map_err(|source| unreadable(path, source))?)
    } else {
        Ok(bytes)
    }
}

fn unpack(path: &Path, form: &str, decoder: impl Read) -> Result<Vec<u8>, LoadError> {
    let mut out = Vec::new();
    decoder
        .take(caps::TEXT_BYTES + 1)
        .read_to_end(&mut out)
        .map_err(|error| {
            let problem = format!("it begins as {form}, but cannot be decompressed: {error}");
            malformed(path, None, problem, "Fetch or write the file anew: it may be cut off")
        })?;
    if out.len() as u64 > caps::TEXT_BYTES {
        let problem = format!("decompressed it has more than {} bytes", caps::TEXT_BYTES);
        return Err(malformed(path, None, problem, caps::ADVICE));
    }
    Ok(out)
}

pub(crate) fn unreadable(path: &Path, source: io::Error) -> LoadError {
    let advice = match source.kind() {
        io::ErrorKind::NotFound => "There is no such file: paths in a task file are relative to the task file's folder",
        io::ErrorKind::PermissionDenied => "Allow the user who runs sipdo to read it",
        _ => "Check that it is a regular file",
    };
    LoadError::Unreadable {
        path: path.into(),
        source,
        advice: advice.into(),
    }
}

pub(super) fn malformed(path: &Path, place: Option<String>, problem: String, advice: &str) -> LoadError {
    LoadError::Data {
        path: path.into(),
        place,
        problem,
        advice: advice.into(),
    }
}

/// A refusal where there is more of something than is read.
pub(super) fn too_much(path: &Path, place: Option<String>, what: &str, most: usize) -> LoadError {
    malformed(path, place, format!("it has more than {most} {what}"), caps::ADVICE)
}
