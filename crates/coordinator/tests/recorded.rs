//! Runs that an older version began go on unchanged. Logs written by commit 479e040 are read back, and each strategy is started again
//! over them from the top, as after a takeover: it may ask no job that the log does not hold, and must tell the same story and come to
//! the same outcome. Cut off after any record, a log is that of a run in its middle: then every result that it holds must be used.
//!
//! `recorded/README.md` says how the logs were made.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use flate2::read::GzDecoder;
use futures::FutureExt as _;
use prost::Message as _;
use sipdo_bus::{NewMessage, RunMessage, subjects, subjects::header};
use sipdo_coordinator::{
    replay::{Applied, try_apply},
    run_state::{RunState, options, take_author},
};
use sipdo_domain::{Ask, Measured, Outcome, Reply, RunEvent, Signed, Task};
use sipdo_protocol::{
    JobOutcome, job_id,
    pb::{self, log_event::Event},
};
use sipdo_strategies::{Agents, Stop};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
    sync::Mutex,
    time::SystemTime,
};

const MAGIC: &[u8] = b"sipdo-archive-1\n";
/// Options that are newer than the logs.
const NEWER: [&str; 3] = ["try_before_repair", "empty_levels", "watch_roles"];
/// Places at which a log is cut.
const CUTS: usize = 12;

/// What a log holds.
#[derive(Default)]
struct Log {
    run: String,
    results: BTreeMap<String, pb::JobResult>,
    issued: BTreeSet<String>,
    events: Vec<pb::RunEvent>,
    created: pb::Created,
    outcome: Option<pb::Outcome>,
    state: Option<RunState>,
    /// Records that count for nothing.
    unexpected: Vec<u64>,
}

fn records(name: &str) -> Vec<pb::Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recorded/479e040/{name}.archive.gz"));
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    let mut rest = bytes.strip_prefix(MAGIC).unwrap();
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(pb::Record::decode_length_delimited(&mut rest).unwrap());
    }
    records
}

fn task(records: &[pb::Record]) -> Task {
    let task = records.iter().find(|record| record.kind == "task").unwrap();
    Task::try_from(pb::Task::decode(task.payload.as_slice()).unwrap()).unwrap()
}

/// Reads a log back as a coordinator does.
fn read(records: &[pb::Record]) -> Log {
    let run = records.first().unwrap().run.clone();
    let mut state = RunState::new(&run);
    let mut log = Log { run, ..Log::default() };
    for record in records.iter().filter(|record| record.kind != "task") {
        let message = RunMessage {
            seq: record.sequence,
            kind: subjects::run_part(&record.kind),
            time: SystemTime::UNIX_EPOCH,
            headers: NewMessage::new(Vec::new()).with(header::SCHEMA, &record.schema).headers,
            payload: record.payload.clone().into(),
        };
        match try_apply(&mut state, &message).unwrap() {
            Applied::Entry(entry) => entry.events.into_iter().for_each(|event| log.take(event)),
            Applied::Settled(result) => drop(log.results.insert(result.job.clone(), *result)),
            Applied::Nothing => {}
            Applied::Lost(_) | Applied::Unexpected(_) => log.unexpected.push(record.sequence),
        }
    }
    log.state = Some(state);
    log
}

impl Log {
    fn take(&mut self, event: pb::LogEvent) {
        match event.event.unwrap() {
            Event::Created(created) => self.created = created,
            Event::Issued(issued) => drop(self.issued.insert(issued.job)),
            Event::Told(told) => self.events.push(told.telling.unwrap()),
            Event::Ended(ended) => self.outcome = ended.outcome,
            _ => {}
        }
    }

    /// Starts the strategy again from the top. None where it waits for what the log does not hold.
    fn replay(&self, task: &Task) -> (Option<Outcome>, Asked) {
        let asked = Mutex::new(Asked::default());
        let agents = Answers {
            log: self,
            asked: &asked,
        };
        let options = options(&self.created);
        let outcome = sipdo_strategies::run(&self.created.strategy, &options, task, &agents).now_or_never();
        (outcome.map(Result::unwrap), asked.into_inner().unwrap())
    }
}

/// What a strategy has asked and told.
#[derive(Default)]
struct Asked {
    jobs: BTreeSet<String>,
    told: usize,
}

/// Answers what the log holds, and nothing else.
struct Answers<'a> {
    log: &'a Log,
    asked: &'a Mutex<Asked>,
}

impl Agents for Answers<'_> {
    async fn ask(&self, ask: Ask, sample: u32) -> Result<Measured<Signed<Reply>>, Stop> {
        let job = job_id(&self.log.run, &pb::Ask::from(ask), sample);
        self.asked.lock().unwrap().jobs.insert(job.clone());
        let Some(result) = self.log.results.get(&job) else {
            return std::future::pending().await;
        };
        let outcome = JobOutcome::try_from(result.clone()).unwrap();
        Ok(outcome.finding.map(|value| Signed { value, by: outcome.by }))
    }

    async fn emit(&self, event: RunEvent) -> Result<(), Stop> {
        let told = {
            let mut asked = self.asked.lock().unwrap();
            asked.told += 1;
            asked.told - 1
        };
        let mut event = pb::RunEvent::from(event);
        let author = take_author(&mut event);
        if let Some(recorded) = self.log.events.get(told) {
            assert_eq!(event, *recorded, "event {told}");
            if let Some(pb::run_event::Event::CandidateJudged(prompt)) = &recorded.event {
                let shown = self
                    .log
                    .state
                    .as_ref()
                    .and_then(|state| state.prompts.get(&prompt.version));
                assert!(author.is_some(), "event {told} has no author");
                assert_eq!(
                    author,
                    shown.unwrap().written_by,
                    "the log of an older version shows it, too"
                );
            }
        }
        Ok(())
    }

    async fn conclude(&self) -> Result<(), Stop> {
        Ok(())
    }
}

/// Each strategy of that version, with default options and with every option set.
const LOGS: [&str; 5] = ["sipdo", "sipdo-all", "none", "eval", "eval-all"];

#[test]
fn a_finished_run_of_an_older_version_asks_nothing_new_and_ends_as_it_did() {
    for name in LOGS {
        let records = records(name);
        let (log, task) = (read(&records), task(&records));
        assert!(log.state.as_ref().unwrap().ended(), "{name}");
        assert_eq!(log.unexpected, [0; 0], "{name}");
        let (outcome, asked) = log.replay(&task);
        let new: Vec<&String> = asked.jobs.difference(&log.issued).collect();
        assert!(
            new.is_empty(),
            "{name} asks {} jobs that its log does not hold",
            new.len()
        );
        assert_eq!(asked.jobs.len(), log.results.len(), "{name}: every result is used");
        assert_eq!(asked.told, log.events.len(), "{name}");
        let recorded = Outcome::try_from(log.outcome.unwrap()).unwrap();
        let shown = Outcome::try_from(log.state.unwrap().outcome.unwrap()).unwrap();
        let mut outcome = outcome.unwrap();
        assert_eq!(outcome, shown, "{name}, with authors");
        outcome.prompts.iter_mut().for_each(|prompt| prompt.written_by = None);
        assert_eq!(outcome, recorded, "{name}");
    }
}

#[test]
fn a_run_of_an_older_version_goes_on_from_any_place_where_it_stopped() {
    for name in LOGS {
        let records = records(name);
        let task = task(&records);
        // The task and the first entry are there in every run.
        for cut in (1..CUTS).map(|part| 2 + part * (records.len() - 2) / CUTS) {
            let log = read(&records[..cut]);
            let (outcome, asked) = log.replay(&task);
            let left: Vec<&String> = log.results.keys().filter(|job| !asked.jobs.contains(*job)).collect();
            assert!(
                left.is_empty(),
                "{name}, cut at {cut}: {} results would be bought again",
                left.len()
            );
            assert!(
                asked.told >= log.events.len(),
                "{name}, cut at {cut}: {} of {}",
                asked.told,
                log.events.len()
            );
            let waits = asked.jobs.iter().any(|job| !log.results.contains_key(job));
            assert_eq!(outcome.is_none(), waits, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn the_logs_hold_what_they_are_to_show() {
    let set = |name: &str| {
        let created = read(&records(name)).created;
        serde_json::from_str::<serde_json::Value>(&created.options_json).unwrap_or_default()
    };
    let (defaults, all) = (set("sipdo"), set("sipdo-all"));
    let known = sipdo_strategies::resolve("sipdo", &serde_json::Value::Null).unwrap();
    let first = sipdo_strategies::with_first_defaults("sipdo", serde_json::Value::Null);
    assert!(defaults.as_object().is_none_or(serde_json::Map::is_empty), "{defaults}");
    let missing: Vec<_> = first
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| all.get(key).is_none() && !NEWER.contains(&key.as_str()))
        .collect();
    assert!(missing.is_empty(), "not set: {missing:?}");
    assert!(known.as_object().unwrap().len() >= first.as_object().unwrap().len());
}
