//! The command line: its commands, whose flags stand beside each of them.

use clap::{Parser, Subcommand};

use crate::commands::{agents, completions, diff, doctor, eval, init, models, optimize, prompt, runs, stack};
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
  10   too little was measured for a verdict
  130  interrupted

Data goes to stdout, messages to stderr. NO_COLOR and TERM=dumb are honoured.";

/// Optimizes prompts: generates test examples for the current prompt's weaknesses, lets several models vote on each, and repairs the prompt.
#[derive(Debug, Parser)]
#[command(name = "sipdo", version, after_help = AFTER_HELP)]
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
}
