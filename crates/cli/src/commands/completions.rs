//! `sipdo completions`: a completion script on stdout.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::{
    failure::{Exit, Outcome},
    output,
};

/// Flags of `sipdo completions`.
#[derive(Debug, Args)]
#[command(after_help = "For bash: sipdo completions bash > ~/.local/share/bash-completion/completions/sipdo")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script for `sipdo`.
///
/// # Errors
/// Stdout cannot be written.
pub fn run(args: &CompletionsArgs, mut sipdo: Command) -> Outcome {
    let mut script = Vec::new();
    generate(args.shell, &mut sipdo, "sipdo", &mut script);
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
