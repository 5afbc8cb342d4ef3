//! The commands, one file each: flags, what they do, what they print.

pub mod agents;
pub mod archive;
pub mod completions;
pub mod cross;
pub mod diff;
pub mod doctor;
pub mod dry_run;
pub mod eval;
pub mod examples;
pub mod init;
pub mod man;
pub mod models;
pub mod optimize;
pub mod prompt;
pub mod run_list;
pub mod runs;
pub mod schema;
mod show;
pub mod stack;
pub mod top;
pub mod trace;
