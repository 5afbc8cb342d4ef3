//! What can be wrong with a task file or its data: what, where (file, line or row, key), and what to do.

use std::{fmt, path::PathBuf};

/// Why a task or a data set was refused. Its text is one line for the problem and one for the advice.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}\n  {advice}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: String,
    },
    /// The task file is no TOML, has an unknown key, lacks one, or a value makes no sense.
    #[error("{}: {problem}\n  {advice}", Location(path, .line.map(|line| format!("line {line}"))))]
    TaskFile {
        /// The task file.
        path: PathBuf,
        /// Line, from 1.
        line: Option<usize>,
        /// What is wrong; names the key.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// A data file is malformed, or one of its rows cannot become an example.
    #[error("{}: {problem}\n  {advice}", Location(path, place.clone()))]
    Data {
        /// The data file.
        path: PathBuf,
        /// `line 12`, `element 3`, `row 5`; none where the whole file is meant.
        place: Option<String>,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// The examples as a whole cannot serve: too few, all alike, contradictory, in both sets.
    #[error("{}: {problem}\n  {advice}", path.display())]
    Examples {
        /// The task or data file.
        path: PathBuf,
        /// What is wrong; names the rows.
        problem: String,
        /// What to do.
        advice: String,
    },
}

/// `file, line 3`.
struct Location<'a>(&'a PathBuf, Option<String>);

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())?;
        self.1.as_ref().map_or(Ok(()), |place| write!(f, ", {place}"))
    }
}

/// The nearest of `known` to a misspelt word, if any is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`? Known: a, b, c".
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list = known.clone().into_iter().collect::<Vec<_>>().join(", ");
    match nearest(word, known) {
        Some(near) => format!("Did you mean `{near}`? Known here: {list}"),
        None => format!("Known here: {list}"),
    }
}

/// The beginning of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(60).collect();
    if short.len() < line.len() {
        format!("{short}…")
    } else {
        short
    }
}
