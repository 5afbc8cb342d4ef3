//! `sipdo completions`: a completion script on stdout.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::{
    args::Cli,
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

/// Prints the script.
///
/// # Errors
/// Stdout cannot be written.
pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "sipdo", &mut script);
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
