//! `sipdo schema`: JSON Schemas of the files that people write, for completion and checks in an editor.

use clap::{Args, ValueEnum};

use crate::{
    failure::{Exit, Outcome},
    output,
};

/// A file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// A task file, task.toml.
    Task,
    /// The operator's file, sipdo.toml.
    Config,
}

/// Flags of `sipdo schema`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, for editors with Taplo: sipdo schema task > task.schema.json, and in the first line of task.toml: \
                  #:schema ./task.schema.json"
)]
pub struct SchemaArgs {
    /// The file that the schema describes
    file: Written,
}

/// Prints the schema.
///
/// # Errors
/// Stdout cannot be written.
pub fn run(args: &SchemaArgs) -> Outcome {
    output::data(match args.file {
        Written::Task => sipdo_datasets::TASK_SCHEMA,
        Written::Config => sipdo_agent::settings::SCHEMA,
    })?;
    Ok(Exit::Ok)
}
