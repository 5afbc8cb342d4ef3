//! The process around an agent: flags, telemetry, signals, exit code. Not generic, so that it is compiled once and not once per role.

use crate::agent::serve;
use crate::circuit::Patience;
use crate::error::AgentError;
use crate::role::RoleAgent;
use crate::settings::{AgentFlags, AgentSettings};
use clap::{Args as _, FromArgMatches as _};
use sipdo_domain::Role;
use sipdo_process::stop_signal;
use std::error::Error;
use std::process::ExitCode;

/// A role, prepared, or why it cannot be.
pub type Made = Result<Box<dyn RoleAgent>, Box<dyn Error>>;

/// Exit code of a setting that cannot work, as of a flag that cannot be read.
const USAGE: u8 = 2;

/// Runs the process of `role`: reads flags, environment and file, joins the bus, works until SIGTERM or SIGINT, drains, and returns the
/// exit code. `make` prepares the role.
pub fn run(role: Role, make: fn() -> Made) -> ExitCode {
    let command = AgentFlags::augment_args(clap::Command::new(program(role)))
        .version(env!("CARGO_PKG_VERSION"))
        .about(about(role))
        .after_help("Precedence of settings: live model registry, the run's own models, flags, environment, file.");
    let flags = AgentFlags::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let settings = match flags.resolve(role, |name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        Ok(settings) => settings,
        Err(error) => return fail(role, &error, USAGE),
    };
    let role_agent = match make() {
        Ok(role_agent) => role_agent,
        Err(error) => return fail(role, error.as_ref(), 1),
    };
    sipdo_llm::install_crypto_provider();
    // An agent mostly waits: two threads keep up with any provider, and keep the process small.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(role, settings, role_agent)),
        Err(error) => fail(role, &error, 1),
    }
}

async fn live(role: Role, settings: AgentSettings, role_agent: Box<dyn RoleAgent>) -> ExitCode {
    let telemetry = match sipdo_telemetry::init(role.name()) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(role, &error, USAGE),
    };
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(role, &error, 1),
    };
    let ended = serve(settings, role_agent, Patience::default(), stop).await;
    telemetry.shutdown().await;
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AgentError::Settings(_)) => fail(role, &error, USAGE),
        Err(error) => fail(role, &error, 1),
    }
}

fn program(role: Role) -> &'static str {
    match role {
        Role::Generator => "sipdo-generator",
        Role::Checker => "sipdo-checker",
        Role::Verifier => "sipdo-verifier",
        Role::Learner => "sipdo-learner",
        Role::Optimizer => "sipdo-optimizer",
    }
}

fn about(role: Role) -> &'static str {
    match role {
        Role::Generator => "Writes synthetic examples that are aimed at a prompt's weaknesses.",
        Role::Checker => "Solves synthetic examples blind, and runs the checks that an operator allows.",
        Role::Verifier => "Judges synthetic examples, and grades answers where the metric is `judge`.",
        Role::Learner => "Answers with the prompt that is being optimized.",
        Role::Optimizer => "Analyses errors, recommends, and rewrites prompts.",
    }
}

fn fail(role: Role, error: &(dyn Error + 'static), code: u8) -> ExitCode {
    eprintln!("{}: {error}", program(role));
    ExitCode::from(code)
}
