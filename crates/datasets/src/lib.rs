//! Reading task files and data sets, and writing what a run leaves: all of sipdo's dealings with users' files.
//!
//! [`load`] reads a `task.toml` with the data that it names and refuses, with file, line or key and advice, whatever could not work.
//! [`load_examples`] reads a data set alone, [`export`] writes synthetic examples and corrections. The schema is in `docs/tasks.md`.

mod data;
mod error;
pub mod export;
mod task;

pub use data::{Format, Kind, Look, LookColumn, Mapping, load_examples, look};
pub use error::LoadError;
pub use task::{LoadOptions, ModelChoice, TASK_SCHEMA, TaskFile, load, load_with};
