//! The command line: its commands, whose flags stand beside each of them.

use clap::{Parser, Subcommand};

use crate::commands::{
    agents, completions, diff, doctor, eval, init, man, models, optimize, prompt, runs, schema, stack,
};
use crate::global::Global;

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    something failed
  2    wrong usage, a bad input file, or a model or key that an endpoint does not take
  3    the run ended, and its prompt is not shown to be better than the seed prompt
  4    no such run or prompt
  5    the coordinator refused the token
  6    a required service does not answer in time, or its storage is full
  7    the run reached a cap of its budget
  8    the run ended, and its prompt is worse than the seed prompt
  9    a gate of `sipdo eval` failed
  10   too little was measured for a verdict
  130  interrupted

Data goes to stdout, messages to stderr. NO_COLOR and TERM=dumb are honoured.";

/// The version, with the commit that it is built from where that is known.
const VERSION: &str = env!("SIPDO_VERSION");

/// Optimizes prompts: generates test examples for the current prompt's weaknesses, lets several models vote on each, and repairs the prompt.
#[derive(Debug, Parser)]
#[command(name = "sipdo", version = VERSION, after_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a task folder to start from; asks for what no flag gives
    Init(init::InitArgs),
    /// Optimize the prompt of a task
    Optimize(Box<optimize::OptimizeArgs>),
    /// Score a prompt on a task's examples, alone or against a second one
    Eval(Box<eval::EvalArgs>),
    /// List, show and control runs
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Print the text of a run's prompt
    Prompt(prompt::PromptArgs),
    /// Show what changed between two versions of a run's prompt
    Diff(diff::DiffArgs),
    /// List the running agents: role, model, load
    Agents(agents::AgentsArgs),
    /// Show, set or unset the model of a role; a change needs no restart
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Start a local stack that keeps running: nats-server, coordinator, one agent per role
    Up(stack::UpArgs),
    /// Stop the local stack
    Down,
    /// Show which sipdo processes run on this machine
    Status,
    /// Check everything that a run needs, and report what is missing
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the JSON Schema of a task file or of the operator's file, for an editor
    Schema(schema::SchemaArgs),
    /// Print the manual page, or write the pages of all commands into a folder
    Man(man::ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_documents_every_exit_code() {
        use crate::failure::Exit;
        let help = Cli::command().render_long_help().to_string();
        for exit in [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::NothingBetter,
            Exit::NotFound,
            Exit::Auth,
            Exit::Unavailable,
            Exit::BudgetExhausted,
            Exit::Worse,
            Exit::GateFailed,
            Exit::TooLittleMeasured,
            Exit::Interrupted,
        ] {
            let code = exit as u8;
            assert!(
                help.lines()
                    .any(|line| line.trim_start().starts_with(&format!("{code} "))),
                "{code} in\n{help}"
            );
        }
    }

    /// Flags of our other programs, of which messages and the local stack speak too.
    const OF_OTHERS: &[&str] = &[
        "admin-listen",
        "admin-port-file",
        "base-url",
        "fingerprint-file",
        "knows",
        "leave-unfinished",
        "listen",
        "nats-url",
        "pool",
        "port-file",
        "spool-dir",
        "store-dir",
        "workspace",
    ];

    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        std::iter::once(command)
            .chain(command.get_subcommands().flat_map(all))
            .collect()
    }

    /// The lines of this crate's sources that are no comments, and no tests.
    fn lines() -> Vec<(String, String)> {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut lines = Vec::new();
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("tests.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                    let code = text
                        .lines()
                        .filter(|line| !line.trim_start().starts_with("//") || line.contains("///"));
                    lines.extend(code.map(|line| (path.display().to_string(), line.to_owned())));
                }
            }
        }
        lines
    }

    fn word(text: &str) -> &str {
        let end = text
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(text.len());
        &text[..end]
    }

    #[test]
    fn every_flag_and_command_that_a_message_names_exists() {
        let mut sipdo = Cli::command();
        sipdo.build();
        let flags: std::collections::BTreeSet<&str> = all(&sipdo)
            .iter()
            .flat_map(|command| command.get_arguments())
            .filter_map(clap::Arg::get_long)
            .collect();
        let mut named = (0, 0);
        for (path, line) in lines() {
            for rest in line.split("--").skip(1) {
                let flag = word(rest).trim_end_matches('-');
                if flag.len() > 1 {
                    named.0 += 1;
                    assert!(
                        flags.contains(flag) || OF_OTHERS.contains(&flag),
                        "{path}: there is no --{flag}: {line}"
                    );
                }
            }
            for rest in line.split("`sipdo ").skip(1) {
                let mut words = rest
                    .split(['`', ' '])
                    .map(word)
                    .filter(|word| !word.is_empty() && !word.starts_with('-'));
                let Some(command) = words.next() else { continue };
                named.1 += 1;
                let found = sipdo.find_subcommand(command);
                assert!(found.is_some(), "{path}: there is no `sipdo {command}`: {line}");
                let below = found.filter(|found| found.has_subcommands());
                if let (Some(below), Some(second)) = (below, words.next()) {
                    assert!(
                        below.find_subcommand(second).is_some(),
                        "{path}: there is no `sipdo {command} {second}`: {line}"
                    );
                }
            }
        }
        assert!(named.0 > 50 && named.1 > 20, "{named:?}: the messages were not found");
    }

    #[test]
    fn the_version_is_the_package_s_first() {
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
