//! Where a key stands in a task file, and errors that say so.

use crate::error::{LoadError, suggestion};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A task file's path and text.
pub(super) struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// An error at a key, such as `["data", "input"]` or `["prompt", "messages", "0", "role"]`; the line is that of the nearest table
    /// that exists.
    pub(super) fn at(&self, keys: &[&str], problem: impl Into<String>, advice: impl Into<String>) -> LoadError {
        LoadError::TaskFile {
            path: self.path.clone(),
            line: self.line_of(keys),
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// An error of the TOML reader: syntax, a missing or unknown key, a value of the wrong kind.
    pub(super) fn refused(&self, error: &toml::de::Error) -> LoadError {
        let line = error.span().map(|span| self.line_at(span.start));
        let message = error.message();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (problem, advice) = match quoted.split_first() {
            Some((unknown, known)) if message.starts_with("unknown field") => (
                format!("unknown key `{unknown}`"),
                suggestion(unknown, known.iter().copied()),
            ),
            Some((missing, _)) if message.starts_with("missing field") => (
                format!("the key `{missing}` is missing"),
                format!("Add `{missing}`; docs/tasks.md describes every key"),
            ),
            Some((unknown, known)) if message.starts_with("unknown variant") => (
                format!("`{unknown}` is not a valid value of this key"),
                suggestion(unknown, known.iter().copied()),
            ),
            _ => (
                message.to_owned(),
                "Correct this line; docs/tasks.md describes every key".to_owned(),
            ),
        };
        LoadError::TaskFile {
            path: self.path.clone(),
            line,
            problem,
            advice,
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn line_of(&self, keys: &[&str]) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut table = root.get_ref();
        let mut line = None;
        let mut keys = keys.iter();
        while let Some(key) = keys.next() {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == *key) else {
                break;
            };
            line = Some(self.line_at(name.span().start));
            let element = match value.get_ref() {
                // In a list of tables the next key is a number, from 0.
                DeValue::Array(list) => keys.next().and_then(|at| list.get(at.parse::<usize>().ok()?)),
                _ => Some(value),
            };
            let Some(element) = element else { break };
            if !std::ptr::eq(element, value) {
                line = Some(self.line_at(element.span().start));
            }
            match element.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        line
    }

    /// A path that the task file names: relative to `folder`, by default the task file's own.
    pub(super) fn resolve(&self, name: &str, folder: Option<&Path>) -> PathBuf {
        let own = self.path.parent().unwrap_or(Path::new("."));
        folder.unwrap_or(own).join(name)
    }
}
