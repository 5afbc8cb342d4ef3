//! Reading the file: what the TOML reader says in one line, and checks that no type can make.

use super::models::{DEFAULT, RoleModel};
use super::{ProgramSettings, Settings, SettingsError, known};
use sipdo_domain::Pool;
use std::net::SocketAddr;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Most slots of one agent.
pub(super) const MAX_SLOTS: u32 = 4096;

/// Reads `text` and checks every value. `path` is for messages.
pub(super) fn parse(path: &Path, text: &str) -> Result<Settings, SettingsError> {
    let invalid = |line, problem| SettingsError::Invalid {
        path: path.to_owned(),
        line,
        problem,
    };
    let settings: Settings = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        // Only the message: the reader's full text quotes the line, in which a key may stand that does not belong there.
        invalid(line_at(text, at), error.message().to_owned())
    })?;
    match problem(&settings) {
        None => Ok(settings),
        Some((key, problem)) => Err(invalid(line_of(text, &key), format!("{}: {problem}", key.join(".")))),
    }
}

/// The first thing that is wrong: its key, part by part, and what is wrong with it.
fn problem(settings: &Settings) -> Option<(Vec<String>, String)> {
    let key = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    if let Some((name, problem)) = settings.nats.problem() {
        return Some((key(&["nats", name]), problem));
    }
    for (name, endpoint) in &settings.endpoints {
        if !is_name(name) {
            return Some((
                key(&["endpoints", name]),
                "an endpoint's name has 1 to 64 letters, digits, `_`, `-` or `.`".into(),
            ));
        }
        if let Err(error) = endpoint.validate(name) {
            return Some(split_key(&error.to_string(), &["endpoints", name]));
        }
    }
    for (name, model) in settings.models.named() {
        if let Some((field, problem)) = model_problem(name, model, settings) {
            return Some((key(&["models", name, &field]), problem));
        }
    }
    for (name, program) in &settings.programs {
        if let Some((field, problem)) = program_problem(program) {
            return Some((key(&["programs", name, field]), problem.into()));
        }
    }
    let listen = settings
        .admin
        .listen
        .as_deref()
        .filter(|listen| listen.parse::<SocketAddr>().is_err());
    listen.map(|listen| {
        (
            key(&["admin", "listen"]),
            format!("\"{listen}\" is not an address and port, such as 127.0.0.1:8081"),
        )
    })
}

fn model_problem(name: &str, model: &RoleModel, settings: &Settings) -> Option<(String, String)> {
    let pool = match name {
        DEFAULT => None,
        name => match name.parse::<Pool>() {
            Ok(pool) => Some(pool),
            Err(problem) => {
                return Some((
                    String::new(),
                    format!("{problem}; a table is `default`, a role or ROLE_POOL"),
                ));
            }
        },
    };
    if let Some(endpoint) = model
        .endpoint
        .as_ref()
        .filter(|endpoint| !settings.endpoints.contains_key(*endpoint))
    {
        let known = known(settings.endpoints.keys());
        return Some((
            "endpoint".into(),
            format!("there is no endpoint \"{endpoint}\" ({known})"),
        ));
    }
    if model.concurrency.is_some_and(|slots| slots == 0 || slots > MAX_SLOTS) {
        return Some(("concurrency".into(), format!("must be 1 to {MAX_SLOTS}")));
    }
    if let Some(named) = &model.pool {
        if pool.is_none_or(|pool| !pool.name.is_empty()) {
            return Some(("pool".into(), "a pool is one role's: set it in [models.<role>]".into()));
        }
        if let Err(problem) = sipdo_domain::pool::check_name(named) {
            return Some(("pool".into(), problem));
        }
    }
    for (key, rate) in [
        ("requests_per_minute", model.requests_per_minute),
        ("tokens_per_minute", model.tokens_per_minute),
    ] {
        if rate == Some(0) {
            return Some((key.into(), "must be at least 1; leave it out for no limit".into()));
        }
    }
    // The client library checks the rest; what is not set here is filled with something that passes.
    let defaults = sipdo_llm::ModelSettings::new("any", model.model.as_deref().unwrap_or("any"));
    let complete = sipdo_llm::ModelSettings {
        temperature: model.temperature,
        top_p: model.top_p,
        max_tokens: model.max_tokens.unwrap_or(defaults.max_tokens),
        timeout_seconds: model.timeout_seconds,
        reasoning_effort: model.reasoning_effort,
        ..defaults
    };
    let error = complete.validate(&format!("models.{name}")).err()?.to_string();
    let (mut key, problem) = split_key(&error, &["models", name]);
    Some((key.pop().unwrap_or_default(), problem))
}

fn program_problem(program: &ProgramSettings) -> Option<(&'static str, &'static str)> {
    if program.command.first().is_none_or(|command| command.trim().is_empty()) {
        return Some(("command", "must name a program, as [\"python3\", \"check.py\"]"));
    }
    let seconds = program.timeout_seconds;
    (!(seconds > 0.0 && seconds <= 3600.0)).then_some(("timeout_seconds", "must be above 0 and at most 3600"))
}

/// An endpoint's name travels in messages and reports.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

/// Takes `endpoints.name.retry.attempts: problem` apart. The name may hold dots, so its place is given.
fn split_key(error: &str, table: &[&str]) -> (Vec<String>, String) {
    let (place, problem) = error.split_once(": ").unwrap_or(("", error));
    let prefix = format!("{}.", table.join("."));
    let rest = place.strip_prefix(&prefix).unwrap_or_default();
    let parts = table
        .iter()
        .copied()
        .chain(rest.split('.').filter(|part| !part.is_empty()));
    (parts.map(str::to_owned).collect(), problem.to_owned())
}

/// The line of a key, or of the innermost table on the way to it that is there.
fn line_of(text: &str, key: &[String]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 1 };
    let mut at = 0;
    let mut table = Some(document.get_ref());
    for part in key {
        let Some((name, value)) = table.and_then(|table| table.get_key_value(part.as_str())) else {
            break;
        };
        at = name.span().start;
        table = match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        };
    }
    line_at(text, at)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
