//! From data files to examples: read rows, map each one by templates.

mod map;
mod read;
mod template;

pub use map::{Mapping, load_examples};
pub(crate) use map::{SourcedExample, examples};
pub use read::Format;
pub(crate) use read::text;
