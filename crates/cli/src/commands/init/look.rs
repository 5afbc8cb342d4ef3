//! A look at a data file, to propose columns and a metric. Only a look: the task's own loader decides what is right.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Rows looked at to propose columns and metric.
const LOOKED_AT: usize = 200;
/// Kinds of metric.
pub const METRICS: [&str; 9] = [
    "exact",
    "normalized",
    "choice",
    "numeric",
    "token_f1",
    "regex",
    "json",
    "contains",
    "judge",
];
/// Names that such columns usually have, layouts_for first.
const INPUTS: [&str; 9] = [
    "input", "question", "prompt", "text", "query", "problem", "sentence", "x", "q",
];
const TARGETS: [&str; 10] = [
    "target", "answer", "label", "output", "gold", "expected", "class", "response", "y", "a",
];

/// The first rows of a data file as objects. Only a look: the task's own loader decides what is right.
pub fn rows(path: &Path) -> Result<Vec<Map<String, Value>>, Failure> {
    let text = || {
        let bytes = fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: is not UTF-8 text", path.display())))
    };
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let objects = |values: Vec<Value>| {
        let objects = values.into_iter().filter_map(|value| {
            if let Value::Object(object) = value {
                Some(object)
            } else {
                None
            }
        });
        objects.take(LOOKED_AT).collect()
    };
    Ok(match extension.as_str() {
        "jsonl" | "ndjson" => {
            let text = text()?;
            let lines = text.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT);
            objects(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
        }
        "json" => match serde_json::from_str(&text()?) {
            Ok(Value::Array(values)) => objects(values),
            Ok(Value::Object(document)) => {
                let list = document.into_iter().find_map(|(_, value)| {
                    if let Value::Array(list) = value {
                        Some(list)
                    } else {
                        None
                    }
                });
                objects(list.unwrap_or_default())
            }
            Ok(_) => Vec::new(),
            Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
        },
        "csv" | "tsv" | "tab" => delimited(&text()?, if extension == "csv" { b',' } else { b'\t' }),
        // Other forms are the loader's to read; their columns have to be named.
        _ if path.is_file() => Vec::new(),
        _ => return Err(Failure::usage(format!("{}: there is no such file", path.display()))),
    })
}

fn delimited(text: &str, delimiter: u8) -> Vec<Map<String, Value>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let Ok(headers) = reader.headers().cloned() else {
        return Vec::new();
    };
    let row = |record: csv::StringRecord| {
        headers
            .iter()
            .zip(record.iter())
            .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
            .collect()
    };
    reader
        .records()
        .take(LOOKED_AT)
        .filter_map(Result::ok)
        .map(row)
        .collect()
}

/// Names of columns, in the order of their first row.
pub fn columns(rows: &[Map<String, Value>]) -> Vec<String> {
    rows.first()
        .map(|row| row.keys().cloned().collect())
        .unwrap_or_default()
}

pub fn propose_columns(columns: &[String]) -> (Option<&str>, Option<&str>) {
    let named = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| columns.iter().find(|column| column.eq_ignore_ascii_case(name)))
            .map(String::as_str)
    };
    let (input, target) = (named(&INPUTS), named(&TARGETS));
    match (columns, input, target) {
        // With two columns the one that is known tells the other.
        ([one, other], Some(input), None) => (Some(input), Some(if one == input { other } else { one })),
        ([one, other], None, Some(target)) => (Some(if one == target { other } else { one }), Some(target)),
        ([one, other], None, None) => (Some(one), Some(other)),
        _ => (input, target),
    }
}

pub fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

/// Most labels of a closed label space, and the longest of them in characters.
const LABELS: usize = 12;
const LONGEST_LABEL: usize = 60;

pub fn propose_metric(targets: &[String]) -> &'static str {
    let all = |test: fn(&str) -> bool| !targets.is_empty() && targets.iter().all(|target| test(target));
    let letter = |target: &str| {
        let inner = target.trim_matches(['(', ')', '.', ' ']);
        inner.len() == 1 && inner.chars().all(|c| c.is_ascii_uppercase())
    };
    let long = targets.iter().map(|target| target.chars().count()).sum::<usize>() > 80 * targets.len();
    let distinct: BTreeSet<&String> = targets.iter().collect();
    // The loader's own rule for a closed label space: such answers are options, however they are said.
    let closed = distinct.len() <= LABELS && targets.len() >= 4 * distinct.len();
    if all(letter) && distinct.len() <= 10 {
        "choice"
    } else if all(|target| target.replace(',', "").parse::<f64>().is_ok()) {
        "numeric"
    } else if closed && all(|target| target.chars().count() <= LONGEST_LABEL) {
        "choice"
    } else if long {
        "judge"
    } else {
        "normalized"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_proposed_by_name_or_by_elimination() {
        let propose = |names: &[&str]| {
            let columns: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let (input, target) = propose_columns(&columns);
            (input.map(str::to_owned), target.map(str::to_owned))
        };
        let both = |input: &str, target: &str| (Some(input.to_owned()), Some(target.to_owned()));
        assert_eq!(propose(&["id", "Question", "Answer"]), both("Question", "Answer"));
        assert_eq!(propose(&["statement", "label"]), both("statement", "label"));
        assert_eq!(propose(&["a1", "b1"]), both("a1", "b1"));
        assert_eq!(propose(&["id", "foo", "bar"]), (None, None));
    }

    #[test]
    fn the_metric_follows_the_targets() {
        let metric = |targets: &[&str]| propose_metric(&targets.iter().map(|&t| t.to_owned()).collect::<Vec<_>>());
        assert_eq!(metric(&["(A)", "B", "C."]), "choice");
        assert_eq!(metric(&["1", "-2.5", "1,000"]), "numeric");
        assert_eq!(
            metric(&["yes", "no"]),
            "normalized",
            "two answers are no label space yet"
        );
        assert_eq!(metric(&["yes", "no"].repeat(4)), "choice");
        assert_eq!(metric(&[&"long ".repeat(40)]), "judge");
        assert_eq!(metric(&[]), "normalized");
    }
}
