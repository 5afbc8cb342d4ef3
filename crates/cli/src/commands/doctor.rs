//! `sipdo doctor`: everything a run needs, looked at one by one, with what to do where something is missing.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use serde_json::json;
use sipdo_bus::local::{binary_version, find_binary};
use sipdo_bus::size;
use sipdo_domain::{Pool, Role};
use sipdo_protocol::pb;

use crate::{
    ask::roll_call,
    client::Api,
    commands::agents::model_notes,
    failure::{Exit, Outcome},
    global::Global,
    operator::{self, StackArgs},
    output::{self, Color, clean_line},
    session::shown,
    stack::{children::find_program, layout::Layout, state::State},
};

/// Dead letters that are shown.
const SHOWN_LETTERS: i32 = 5;

/// Flags of `sipdo doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    stack: StackArgs,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// Works without, or not needed for everything.
    Note,
    Bad,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Grade::Good => "ok",
            Grade::Note => "note",
            Grade::Bad => "bad",
        }
    }
}

/// What was looked at, and what was found.
#[derive(Debug)]
struct Finding {
    grade: Grade,
    what: String,
    words: String,
}

/// The findings so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, grade: Grade, what: impl Into<String>, words: impl AsRef<str>) {
        let words = words.as_ref().lines().map(clean_line).collect::<Vec<_>>().join("\n");
        self.0.push(Finding {
            grade,
            what: what.into(),
            words,
        });
    }

    fn text(&self, color: bool) -> String {
        let width = self
            .0
            .iter()
            .map(|finding| finding.what.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for Finding { grade, what, words } in &self.0 {
            let grade_color = match grade {
                Grade::Good => Color::Green,
                Grade::Note => Color::Yellow,
                Grade::Bad => Color::Red,
            };
            let mark = grade_color.paint(&format!("{:<4}", grade.name()), color);
            let padding = " ".repeat(width - what.chars().count());
            let indented = words.replace('\n', &format!("\n{}", " ".repeat(width + 8)));
            text.push_str(&format!("{mark}  {what}{padding}  {indented}\n"));
        }
        text
    }

    fn is_bad(&self) -> bool {
        self.0.iter().any(|finding| finding.grade == Grade::Bad)
    }
}

/// Looks and tells. Exit code 1 where something is missing that a run needs.
///
/// # Errors
/// Stdout cannot be written.
pub async fn run(global: &Global, args: &DoctorArgs) -> Outcome {
    let mut findings = Findings::default();
    nats_server(&mut findings).await;
    programs(&mut findings);
    for layout in global.layouts()? {
        local_stack(&mut findings, &layout);
    }
    models(&mut findings, global, &args.stack).await;
    coordinator(&mut findings, global).await;
    if output::json() {
        let found: Vec<_> = findings
            .0
            .iter()
            .map(|f| json!({"grade": f.grade.name(), "what": f.what, "found": f.words}))
            .collect();
        output::json_line(&json!({ "findings": found, "ok": !findings.is_bad() }))?;
    } else {
        output::data(&findings.text(output::stdout_color()))?;
    }
    Ok(if findings.is_bad() { Exit::Failure } else { Exit::Ok })
}

async fn nats_server(findings: &mut Findings) {
    let binary = match find_binary() {
        Ok(binary) => binary,
        Err(error) => return findings.add(Grade::Bad, "nats-server", error.to_string()),
    };
    match binary_version(&binary).await {
        Ok(version) if is_new_enough(&version) => {
            findings.add(Grade::Good, "nats-server", format!("{version}, {}", shown(&binary)));
        }
        Ok(version) => findings.add(
            Grade::Bad,
            "nats-server",
            format!("{version}, {}: too old; sipdo needs 2.10.27 or newer\nscripts/get-nats-server.sh installs one into the project's tools folder; NATS_SERVER_BIN names another one", shown(&binary)),
        ),
        Err(error) => findings.add(Grade::Bad, "nats-server", error.to_string()),
    }
}

fn is_new_enough(version: &str) -> bool {
    let parts: Vec<u32> = version
        .split(['.', '-'])
        .take(3)
        .filter_map(|part| part.parse().ok())
        .collect();
    parts.as_slice() >= [2, 10, 27].as_slice()
}

fn programs(findings: &mut Findings) {
    let roles = Role::ALL.map(|role| role.name());
    let names = ["coordinator", "simulator"].into_iter().chain(roles);
    let missing: Vec<String> = names
        .map(|name| format!("sipdo-{name}"))
        .filter(|name| find_program(name).is_err())
        .collect();
    if missing.is_empty() {
        findings.add(
            Grade::Good,
            "programs",
            "found the coordinator, the simulator and all five agents",
        );
    } else {
        let words = format!(
            "not found beside this program or on PATH: {}\n`cargo build --workspace` builds all of them",
            missing.join(", ")
        );
        findings.add(Grade::Bad, "programs", words);
    }
}

fn local_stack(findings: &mut Findings, layout: &Layout) {
    let what = if layout.simulated {
        "simulated stack"
    } else {
        "local stack"
    };
    match State::load(layout) {
        Some(state) if state.lives() => {
            let ended: Vec<&str> = state
                .processes
                .iter()
                .filter(|process| !process.lives())
                .map(|process| process.name.as_str())
                .collect();
            let whose = if state.is_owned() {
                "private to a running command"
            } else {
                "started by `sipdo up`"
            };
            if ended.is_empty() {
                findings.add(
                    Grade::Good,
                    what,
                    format!("{whose}; coordinator at {}", state.coordinator),
                );
            } else {
                let words = format!(
                    "{whose}, but these processes have ended: {}; logs are in {}",
                    ended.join(", "),
                    layout.logs().display()
                );
                findings.add(Grade::Note, what, words);
            }
        }
        Some(_) => findings.add(
            Grade::Note,
            what,
            "a command that crashed left it behind; the next start or `sipdo down` cleans up",
        ),
        None => findings.add(
            Grade::Note,
            what,
            format!("not running; data in {}", layout.root.display()),
        ),
    }
    if layout.has_data() && !writable(&layout.root) {
        findings.add(Grade::Bad, what, format!("{} cannot be written", layout.root.display()));
    }
}

fn writable(folder: &Path) -> bool {
    let probe = folder.join(".sipdo-doctor");
    let written = std::fs::write(&probe, "").is_ok();
    // Left behind only where it could not be made in the first place.
    let _ = std::fs::remove_file(&probe);
    written
}

async fn models(findings: &mut Findings, global: &Global, stack: &StackArgs) {
    if global.simulated {
        return;
    }
    let config = match operator::operator_file(stack, None) {
        Ok(config) => config,
        Err(failure) => return findings.add(Grade::Bad, "models", failure.to_string()),
    };
    match &config {
        Some(file) => findings.add(Grade::Good, "sipdo.toml", shown(file)),
        None => findings.add(
            Grade::Note,
            "sipdo.toml",
            "not found here or in the user's configuration directory",
        ),
    }
    let settings = operator::pools(config.as_deref())
        .and_then(|pools| operator::check_models(config.as_deref(), pools, &BTreeMap::new()));
    match settings {
        // Without any model, everything still works with simulated ones.
        Err(failure) => findings.add(
            if config.is_some() { Grade::Bad } else { Grade::Note },
            "models",
            format!(
                "{}\n`sipdo init` writes a sipdo.toml to complete; --simulated needs no model",
                failure.message
            ),
        ),
        Ok(settings) if stack.no_probe => {
            findings.add(
                Grade::Good,
                "models",
                format!(
                    "every role and pool has a model ({} in all); not checked",
                    settings.len()
                ),
            );
        }
        Ok(settings) => {
            for probed in operator::probe(&settings).await {
                let pools: Vec<String> = probed.pools.iter().map(Pool::to_string).collect();
                let (grade, words) = match &probed.finding {
                    Ok(words) => (Grade::Good, words),
                    Err(problem) => (Grade::Bad, &problem.words),
                };
                findings.add(grade, probed.label, format!("{words} ({})", pools.join(", ")));
            }
        }
    }
}

async fn coordinator(findings: &mut Findings, global: &Global) {
    let mut session = match global.running(None).await {
        Ok(Some(session)) => session,
        Ok(None) => {
            return findings.add(
                Grade::Note,
                "coordinator",
                "not running; commands start one when they need it",
            );
        }
        Err(failure) => return findings.add(Grade::Bad, "coordinator", failure.to_string()),
    };
    ask_coordinator(findings, &mut session.api).await;
    session.close().await;
}

async fn ask_coordinator(findings: &mut Findings, api: &mut Api) {
    match roll_call(api, 400).await {
        Ok(cards) => {
            findings.add(Grade::Good, "coordinator", "answers");
            agents(findings, &cards);
        }
        Err(failure) => return findings.add(Grade::Bad, "coordinator", failure.to_string()),
    }
    match api.get_storage(pb::GetStorageRequest {}).await {
        Ok(storage) => storage_use(findings, &storage.into_inner()),
        Err(status) => findings.add(Grade::Bad, "storage", status.message()),
    }
    let request = pb::ListDeadLettersRequest {
        run: String::new(),
        page_size: SHOWN_LETTERS,
    };
    match api.list_dead_letters(request).await {
        Ok(letters) => dead_letters(findings, &letters.into_inner().dead_letters),
        Err(status) => findings.add(Grade::Bad, "dead letters", status.message()),
    }
}

fn agents(findings: &mut Findings, cards: &[pb::AgentStatus]) {
    for role in Role::ALL {
        let these: Vec<&pb::AgentStatus> = cards.iter().filter(|card| card.role == role.name()).collect();
        let problems: Vec<&str> = these
            .iter()
            .map(|card| card.trouble.as_str())
            .filter(|problem| !problem.is_empty())
            .collect();
        let models: std::collections::BTreeSet<String> = these
            .iter()
            .map(|card| format!("{}/{}", card.endpoint, card.model))
            .collect();
        let models = models.into_iter().collect::<Vec<_>>().join(", ");
        match (these.len(), problems.first()) {
            (0, _) => findings.add(Grade::Bad, role.name(), "no agent answers"),
            (n, None) => findings.add(Grade::Good, role.name(), format!("{n} with {models}")),
            (n, Some(problem)) => findings.add(Grade::Bad, role.name(), format!("{n} with {models}: {problem}")),
        }
        for note in model_notes(these.iter().copied()) {
            findings.add(Grade::Note, role.name(), note);
        }
    }
}

/// What every stream holds and may hold, and whether there is room for more.
fn storage_use(findings: &mut Findings, storage: &pb::Storage) {
    let of = |most: Option<u64>| most.map_or("no limit".to_owned(), |most| format!("of {}", size(most)));
    let mut lines: Vec<String> = storage
        .streams
        .iter()
        .map(|used| {
            let age = used
                .max_age_seconds
                .map_or("for ever".to_owned(), |seconds| format!("{} days", seconds / 86_400));
            format!(
                "{} {}, {}, kept {age}, {}",
                used.name,
                size(used.bytes),
                of(used.max_bytes),
                used.stream
            )
        })
        .collect();
    lines.push(format!(
        "total {}, {}",
        size(storage.total_bytes),
        of(storage.max_total_bytes)
    ));
    let (grade, head) = match storage.trouble.as_str() {
        "" => (Grade::Good, "there is room"),
        problem => (Grade::Bad, problem),
    };
    findings.add(grade, "storage", format!("{head}\n{}", lines.join("\n")));
}

fn dead_letters(findings: &mut Findings, letters: &[pb::DeadLetter]) {
    if letters.is_empty() {
        return findings.add(Grade::Good, "dead letters", "none");
    }
    let lines: Vec<String> = letters
        .iter()
        .map(|letter| {
            format!(
                "{} {} run {}: {}",
                output::when(letter.at_ms),
                letter.role,
                letter.run,
                output::short(&letter.reason, 100)
            )
        })
        .collect();
    findings.add(
        Grade::Note,
        "dead letters",
        format!(
            "messages that could not be handled, newest first:\n{}",
            lines.join("\n")
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_new_enough("2.10.27") && is_new_enough("2.15.1") && is_new_enough("3.0.0-beta"));
        assert!(!is_new_enough("2.9.30") && !is_new_enough("2.10.9") && !is_new_enough("what"));
    }

    #[test]
    fn a_role_that_nobody_plays_is_bad() {
        let mut findings = Findings::default();
        let card = |role: &str, problem: &str| pb::AgentStatus {
            role: role.into(),
            endpoint: "cloud".into(),
            model: "m".into(),
            trouble: problem.into(),
            ..Default::default()
        };
        agents(
            &mut findings,
            &[card("learner", ""), card("checker", "401: key refused")],
        );
        let text = findings.text(false);
        assert!(text.contains("ok    learner    1 with cloud/m\n"), "{text}");
        assert!(
            text.contains("bad   checker    1 with cloud/m: 401: key refused\n"),
            "{text}"
        );
        assert!(text.contains("bad   verifier   no agent answers\n"), "{text}");
        assert!(findings.is_bad());
    }

    #[test]
    fn every_stream_is_shown_with_its_limit() {
        let used = pb::StreamUse {
            name: "runs".into(),
            stream: "SIPDO_RUN".into(),
            bytes: 95_000,
            max_bytes: Some(100_000),
            ..Default::default()
        };
        let mut storage = pb::Storage {
            streams: vec![used],
            total_bytes: 120_000,
            ..Default::default()
        };
        let mut findings = Findings::default();
        storage_use(&mut findings, &storage);
        let text = findings.text(false);
        assert!(
            text.contains("runs 95.0 kB, of 100.0 kB, kept for ever, SIPDO_RUN"),
            "{text}"
        );
        assert!(
            text.contains("total 120.0 kB, no limit") && !findings.is_bad(),
            "{text}"
        );
        storage.trouble = "room: the stream is full".into();
        storage_use(&mut findings, &storage);
        assert!(findings.is_bad());
    }

    #[test]
    fn dead_letters_are_shown_line_by_line_and_harmless() {
        let mut findings = Findings::default();
        let letter = pb::DeadLetter {
            role: "learner".into(),
            run: "r1".into(),
            reason: "\u{1b}[2Jbad version".into(),
            ..Default::default()
        };
        dead_letters(&mut findings, &[letter]);
        let text = findings.text(false);
        assert!(text.contains("learner run r1: \\u{1b}[2Jbad version"), "{text}");
        assert!(!findings.is_bad());
    }
}
