//! From data files to examples: read rows, map each one by templates.

mod absent;
mod caps;
mod cell;
mod delimited;
mod documents;
mod file;
mod filters;
mod json;
mod literal;
mod look;
mod map;
mod parquet;
mod read;
mod table;
mod template;
mod uses;
mod values;

pub(crate) use file::text;
pub use look::{Kind, Look, LookColumn, look};
pub use map::{Mapping, load_examples};
pub(crate) use map::{SourcedExample, examples};
pub use read::Format;
