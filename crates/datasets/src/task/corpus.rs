//! The `[corpus]` table: passages that may ground synthetic questions.

use super::{place::Source, schema::CorpusTable};
use crate::{
    data::{Mapping, examples, text},
    error::LoadError,
};
use std::path::Path;

/// Longest passage, in characters: it goes whole into a request.
const LONGEST: usize = 8_000;

/// A text file's paragraphs, or a column of a data file (`text = "column or template"`).
pub(super) fn read(source: &Source, table: &CorpusTable, folder: Option<&Path>) -> Result<Vec<String>, LoadError> {
    let path = source.resolve(&table.file, folder);
    let passages: Vec<String> = match &table.text {
        Some(column) => {
            let mapping = Mapping {
                input: column.clone(),
                target: Some(column.clone()),
                ..Mapping::default()
            };
            examples(&path, &mapping)?
                .into_iter()
                .map(|sourced| sourced.example.input)
                .collect()
        }
        None => paragraphs(&text(&path)?),
    };
    if passages.is_empty() {
        return Err(source.at(
            &["corpus", "file"],
            "the corpus has no passages",
            "Give a text file with paragraphs, or omit `[corpus]`",
        ));
    }
    if let Some((at, long)) = passages
        .iter()
        .enumerate()
        .find(|(_, passage)| passage.chars().count() > LONGEST)
    {
        let problem = format!(
            "passage {} of the corpus has {} characters, more than {LONGEST}",
            at + 1,
            long.chars().count()
        );
        return Err(source.at(
            &["corpus", "file"],
            problem,
            "Divide it with blank lines, or name the column in `text` if this is a data file",
        ));
    }
    Ok(passages)
}

/// Paragraphs are parted by blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        match all.last_mut() {
            Some(last) if !line.trim().is_empty() => {
                last.push_str(line);
                last.push('\n');
            }
            _ => all.push(String::new()),
        }
    }
    all.into_iter()
        .map(|passage| passage.trim().to_owned())
        .filter(|passage| !passage.is_empty())
        .collect()
}
