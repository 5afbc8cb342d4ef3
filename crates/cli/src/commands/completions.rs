//! `sipdo completions`: a completion script on stdout. The script asks `sipdo` itself, which knows runs and roles; it starts nothing.

use std::{env, io, path::PathBuf};

use clap::{Args, ValueEnum};
use clap_complete::{
    engine::CompletionCandidate,
    env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh},
};
use sipdo_domain::Role;

use crate::{
    failure::{Exit, Outcome},
    output,
    session::LATEST,
    stack::layout::{DATA_VARIABLE, Layout},
};

/// The variable by which the script asks; the library's own.
const VARIABLE: &str = "COMPLETE";
/// Run ids that are offered, newest first: more nobody looks through.
const RUNS: usize = 50;

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    Powershell,
    /// Zsh.
    Zsh,
}

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
pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    register(args.shell, &mut script)?;
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

fn register(shell: Shell, script: &mut Vec<u8>) -> io::Result<()> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
        Shell::Zsh => &Zsh,
    };
    completer.write_registration(VARIABLE, "sipdo", "sipdo", "sipdo", script)
}

/// Ids of runs that were created on this machine, newest first, and `latest`.
pub fn run_ids() -> Vec<CompletionCandidate> {
    let dir = env::var_os(DATA_VARIABLE)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let layouts = [false, true].map(|simulated| Layout::new(dir.as_deref(), simulated));
    let runs = layouts.into_iter().flatten().flat_map(|layout| layout.newest(RUNS));
    [LATEST.to_owned()]
        .into_iter()
        .chain(runs)
        .map(CompletionCandidate::new)
        .collect()
}

/// The roles.
pub fn roles() -> Vec<CompletionCandidate> {
    Role::ALL
        .iter()
        .map(|role| CompletionCandidate::new(role.name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            register(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains("sipdo") && script.contains(VARIABLE),
                "{shell:?}: {script}"
            );
        }
    }

    #[test]
    fn every_role_is_offered() {
        assert_eq!(roles().len(), Role::ALL.len());
    }
}
