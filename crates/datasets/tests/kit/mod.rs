//! A folder with a small task, whose file a test changes and loads.

use sipdo_datasets::{LoadError, TaskFile, load};
use std::{fmt::Write as _, fs, path::PathBuf};
use tempfile::TempDir;

/// Parts of the usual task file's text, and what takes their place.
pub type Changes<'a> = &'a [(&'a str, &'a str)];

/// A folder with a task file over small data.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("data.jsonl", &rows(40));
        folder
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Loads the usual task file with parts of its text replaced.
    pub fn load(&self, changes: Changes) -> Result<TaskFile, LoadError> {
        let text = changes.iter().fold(USUAL.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        load(&self.write("task.toml", &text))
    }

    pub fn refusal(&self, changes: Changes) -> String {
        match self.load(changes) {
            Err(error) => error.to_string(),
            Ok(file) => panic!("should be refused: {changes:?}, but gave {file:?}"),
        }
    }
}

const USUAL: &str = r#"[task]
name = "colours"
description = "Name the colour."
prompt = "Answer."

[data]
file = "data.jsonl"
input = "question"
target = "answer"
train = 10
test = 20

[metric]
kind = "normalized"

[budget]
calls = 100

[strategy]
name = "sipdo"
levels = 3
seed = 7
"#;

/// So many questions, one JSON object a line, with three answers in turn.
pub fn rows(count: usize) -> String {
    let colours = ["red", "green", "blue"];
    (0..count).fold(String::new(), |mut text, at| {
        writeln!(
            text,
            r#"{{"question": "What is thing {at}?", "answer": "{}", "number": {at}}}"#,
            colours[at % 3]
        )
        .unwrap();
        text
    })
}
