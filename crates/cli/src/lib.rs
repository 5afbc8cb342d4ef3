//! The `sipdo` command: what a person types, and the local stack that it starts for them.
//!
//! Knows the contract and a task's shape; knows nothing of how agents work inside. Data goes to stdout, messages to stderr.

pub mod args;
pub mod ask;
pub mod caps;
pub mod checks;
pub mod client;
pub mod commands;
pub mod display;
pub mod explain;
pub mod failure;
pub mod files;
pub mod follow;
pub mod forecast;
pub mod global;
pub mod held_out;
pub mod json;
pub mod known_tasks;
pub mod launch;
pub mod missing;
pub mod next_steps;
pub mod offline_control;
pub mod operator;
pub mod output;
pub mod progress;
pub mod reach;
pub mod report;
pub mod reuse;
pub mod run_end;
pub mod session;
pub mod stack;
pub mod text;
pub mod words;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};
use failure::{Failure, Outcome};

/// Reads the command line, does what it says, and tells failures on stderr.
pub fn main() -> ExitCode {
    // A shell that asks for completions gets them, and nothing else happens.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let mut cli = Cli::parse();
    cli.global = cli.global.without_empty();
    output::set_style(output::Style {
        json: cli.global.json,
        quiet: cli.global.quiet,
        no_color: cli.global.no_color,
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return told(&Failure::from(error)),
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

fn told(failure: &Failure) -> ExitCode {
    // A reader that went away wants to hear nothing more.
    if failure.exit != failure::Exit::Ok {
        output::failure(failure);
    }
    failure.exit.into()
}

async fn run(cli: Cli) -> Outcome {
    log(cli.global.verbose);
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => commands::init::run(args),
        Command::Optimize(args) => commands::optimize::run(global, args).await,
        Command::Eval(args) => commands::eval::run(global, args).await,
        Command::Runs(command) => commands::runs::run(global, command).await,
        Command::Prompt(args) => commands::prompt::run(global, args).await,
        Command::Diff(args) => commands::diff::run(global, args).await,
        Command::Agents(args) => commands::agents::run(global, args).await,
        Command::Models(command) => commands::models::run(global, command).await,
        Command::Up(args) => commands::stack::up(global, args).await,
        Command::Down => commands::stack::down(global).await,
        Command::Status => commands::stack::status(global),
        Command::Doctor(args) => commands::doctor::run(global, args).await,
        Command::Completions(args) => commands::completions::run(args),
        Command::Schema(args) => commands::schema::run(args),
        Command::Man(args) => commands::man::run(args, Cli::command()),
    }
}

/// Log lines of the libraries are for those who ask: with `-v`, or by `SIPDO_LOG` in the syntax of every sipdo program.
fn log(verbose: u8) {
    let asked = std::env::var("SIPDO_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = match (asked, verbose) {
        (Some(text), _) => text,
        (None, 0) => return,
        (None, 1) => "warn,sipdo=debug".into(),
        (None, _) => "debug,h2=info".into(),
    };
    let layer = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second subscriber can only be a test's: its own is as good.
    drop(layer.with_ansi(output::stderr_color()).try_init());
}
