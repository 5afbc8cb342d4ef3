//! Flags of every command: where to look for a coordinator, and how to print.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Coordinator to connect to, as http://host:port [default: the local stack]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SIPDO_COORDINATOR",
        help_heading = "Where"
    )]
    pub coordinator: Option<String>,
    /// File with the coordinator's token
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SIPDO_TOKEN_FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Where"
    )]
    pub token_file: Option<PathBuf>,
    /// Folder of the local stack's data [default: sipdo in the user's data directory]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SIPDO_DATA_DIR",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Where"
    )]
    pub data_dir: Option<PathBuf>,
    /// Use simulated models, with a data folder of their own: no key, no account; the scores say nothing about real models
    #[arg(long, global = true, help_heading = "Where")]
    pub simulated: bool,
    /// Write JSON to stdout; streams are one object per line
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Print only data, warnings, errors and what a run waits for
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Log more detail; give it twice for all of it
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Print without colour
    #[arg(long, global = true, help_heading = "Output")]
    pub no_color: bool,
}

impl Global {
    /// A variable that is set to nothing is as good as not set: scripts and compose files write it so.
    pub fn without_empty(mut self) -> Self {
        let named = |path: &PathBuf| !path.as_os_str().is_empty();
        self.token_file = self.token_file.filter(named);
        self.data_dir = self.data_dir.filter(named);
        self.coordinator = self.coordinator.filter(|url| !url.is_empty());
        self
    }
}
