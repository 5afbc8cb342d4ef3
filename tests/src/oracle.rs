//! What a run's stream and the simulator's own ledger say about a run, checked without any of the coordinator's code.

use crate::simulator::Ledger;
use anyhow::Result;
use prost::Message as _;
use sipdo_bus::{Bus, RunId, RunReader, RunSubject};
use sipdo_protocol::pb::{self, State, event::Event};
use sipdo_simulator::{Call, FaultKind};
use std::collections::{BTreeMap, BTreeSet};

/// A run's stream as it was read.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// The run.
    pub run: String,
    /// What happened, in the stream's order.
    pub facts: Vec<Fact>,
}

/// One message of the stream.
#[derive(Debug, Clone)]
pub enum Fact {
    /// An append of a leader.
    Entry(Box<pb::Entry>),
    /// A result.
    Result(Box<pb::JobResult>),
    /// A lost attempt.
    Lost(pb::AttemptLost),
    /// Something else, or something that cannot be decoded.
    Other,
}

/// What is wrong with a history, and what it counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Broken rules, in words.
    pub broken: Vec<String>,
    /// Issued jobs without a result.
    pub results_lost: usize,
    /// Attempts granted beyond the first of a job: what may have been bought again.
    pub granted_again: usize,
    /// Moments at which spent and reserved together passed the cap on calls.
    pub over_cap: usize,
}

impl History {
    /// Reads a run up to its present end.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn read(bus: &Bus, run: &str) -> Result<Self> {
        let mut reader = RunReader::open(bus, &RunId::new(run)?, 0).await?;
        let mut facts = Vec::new();
        loop {
            let chunk = reader.next_chunk().await?;
            for message in chunk.messages {
                let payload = message.payload;
                facts.push(match message.kind {
                    RunSubject::Log => {
                        pb::Entry::decode(payload).map_or(Fact::Other, |entry| Fact::Entry(Box::new(entry)))
                    }
                    RunSubject::Result { .. } => {
                        pb::JobResult::decode(payload).map_or(Fact::Other, |result| Fact::Result(Box::new(result)))
                    }
                    RunSubject::Lost { .. } => pb::AttemptLost::decode(payload).map_or(Fact::Other, Fact::Lost),
                    _ => Fact::Other,
                });
            }
            if chunk.caught_up {
                return Ok(History {
                    run: run.to_owned(),
                    facts,
                });
            }
        }
    }

    /// The leaders' entries.
    pub fn entries(&self) -> impl Iterator<Item = &pb::Entry> {
        self.facts.iter().filter_map(|fact| match fact {
            Fact::Entry(entry) => Some(&**entry),
            _ => None,
        })
    }

    /// The leaders' decisions, each with its entry.
    pub fn events(&self) -> impl Iterator<Item = (&pb::Entry, &Event)> {
        self.entries().flat_map(|entry| {
            entry
                .events
                .iter()
                .filter_map(move |event| Some((entry, event.event.as_ref()?)))
        })
    }

    /// The state at the end.
    pub fn state(&self) -> State {
        self.entries()
            .last()
            .and_then(|entry| entry.summary.as_ref())
            .map(pb::Summary::state)
            .unwrap_or_default()
    }

    /// The summary at the end.
    pub fn summary(&self) -> pb::Summary {
        self.entries()
            .last()
            .and_then(|entry| entry.summary.clone())
            .unwrap_or_default()
    }

    /// What it came to.
    pub fn outcome(&self) -> Option<&pb::Outcome> {
        self.events()
            .filter_map(|(_, event)| {
                if let Event::Ended(ended) = event {
                    ended.outcome.as_ref()
                } else {
                    None
                }
            })
            .last()
    }

    /// The text of the prompt to use.
    pub fn best_prompt(&self) -> Option<&str> {
        let outcome = self.outcome()?;
        outcome
            .prompts
            .iter()
            .find(|prompt| prompt.version == outcome.best)
            .map(|prompt| prompt.text.as_str())
    }

    /// The story as it was told in the end, in order, without the names of processes.
    pub fn tellings(&self) -> Vec<pb::Telling> {
        let mut told = BTreeMap::new();
        for (_, event) in self.events() {
            if let Event::Told(pb::Told {
                number,
                telling: Some(telling),
            }) = event
            {
                told.insert(*number, nameless(telling));
            }
        }
        told.into_values().collect()
    }

    /// Results not measured.
    pub fn not_measured(&self) -> usize {
        let missing = |fact: &&Fact| matches!(fact, Fact::Result(result) if matches!(result.finding, Some(pb::job_result::Finding::NotMeasured(_))));
        self.facts.iter().filter(missing).count()
    }

    /// The claims after the first one: `(when in ms, who led before, who leads now)`.
    pub fn takeovers(&self) -> Vec<(u64, String, String)> {
        let mut leader = String::new();
        let mut takeovers = Vec::new();
        for (entry, event) in self.events() {
            if let Event::Claimed(claimed) = event {
                let before = std::mem::replace(&mut leader, claimed.coordinator.clone());
                if !before.is_empty() && before != leader {
                    takeovers.push((entry.at_ms, before, leader.clone()));
                }
            }
        }
        takeovers
    }

    /// Checks the rules that hold for every run, whatever was done to it.
    pub fn check(&self) -> Findings {
        let mut findings = Findings::default();
        self.check_epochs(&mut findings);
        self.check_tellings(&mut findings);
        Money::default().check(self, &mut findings);
        findings
    }

    /// Each epoch begins with its own claim, epochs only rise, and nothing follows the end but more budget.
    fn check_epochs(&self, findings: &mut Findings) {
        let (mut epoch, mut ended) = (0, false);
        for (number, entry) in self.entries().enumerate() {
            let first = entry.events.first().and_then(|event| event.event.as_ref());
            let claims = matches!(first, Some(Event::Claimed(_)));
            let fits = match number {
                0 => entry.epoch == 0 && matches!(first, Some(Event::Created(_))),
                _ if claims => entry.epoch > epoch,
                _ => entry.epoch == epoch,
            };
            if !fits {
                findings.broken.push(format!(
                    "entry {number} has epoch {} after {epoch}: {first:?}",
                    entry.epoch
                ));
            }
            let raised = entry
                .events
                .iter()
                .any(|event| matches!(&event.event, Some(Event::Controlled(_))));
            if ended && !claims && !raised {
                findings.broken.push(format!("entry {number} comes after the end"));
            }
            epoch = entry.epoch;
            ended = entry
                .summary
                .as_ref()
                .is_some_and(|summary| ![State::Pending, State::Running, State::Paused].contains(&summary.state()));
        }
    }

    /// The k-th telling is recorded once, and stays what it was, unless more budget takes the end back.
    fn check_tellings(&self, findings: &mut Findings) {
        let (mut next, mut taken_back) = (1, false);
        for (_, event) in self.events() {
            taken_back |= matches!(event, Event::Controlled(pb::Controlled { control: Some(control) })
                if control.kind() == pb::control::Kind::SetBudget);
            if let Event::Told(told) = event {
                if told.number != next && !(std::mem::take(&mut taken_back) && told.number < next) {
                    findings
                        .broken
                        .push(format!("telling {} where {next} was due", told.number));
                }
                next = told.number + 1;
            }
        }
    }
}

/// The run's money, folded anew.
#[derive(Default)]
struct Money {
    reserved: BTreeMap<(String, u32), u64>,
    attempts: BTreeMap<String, u32>,
    done: BTreeSet<String>,
    spent: u64,
    cap: Option<u64>,
}

impl Money {
    fn check(mut self, history: &History, findings: &mut Findings) {
        for fact in &history.facts {
            match fact {
                Fact::Entry(entry) => entry
                    .events
                    .iter()
                    .filter_map(|event| event.event.as_ref())
                    .for_each(|event| self.event(event, findings)),
                Fact::Result(result) => self.result(result, findings),
                Fact::Lost(lost) => {
                    let worst = self.reserved.remove(&(lost.job.clone(), lost.attempt));
                    self.spent += worst.filter(|_| !lost.unpaid).unwrap_or_default();
                }
                Fact::Other => {}
            }
            if self
                .cap
                .is_some_and(|cap| self.spent + self.reserved.values().sum::<u64>() > cap)
            {
                findings.over_cap += 1;
            }
        }
        if history.state() != State::Cancelled {
            findings.results_lost = self.attempts.keys().filter(|job| !self.done.contains(*job)).count();
        }
    }

    fn event(&mut self, event: &Event, findings: &mut Findings) {
        match event {
            Event::Created(created) => self.cap = created.budget.and_then(|budget| budget.calls),
            Event::Controlled(pb::Controlled { control: Some(control) })
                if control.kind() == pb::control::Kind::SetBudget =>
            {
                self.cap = control.budget.and_then(|budget| budget.calls);
            }
            Event::Issued(issued) => {
                let before = self.attempts.insert(issued.job.clone(), issued.attempt).unwrap_or(0);
                if issued.attempt != before + 1 {
                    findings.broken.push(format!(
                        "attempt {} of {} was granted after {before}",
                        issued.attempt, issued.job
                    ));
                }
                findings.granted_again += usize::from(issued.attempt > 1);
                let worst = issued.reserved.as_ref().map_or(0, |amount| amount.calls);
                self.reserved.insert((issued.job.clone(), issued.attempt), worst);
            }
            _ => {}
        }
    }

    fn result(&mut self, result: &pb::JobResult, findings: &mut Findings) {
        let Some(attempts) = self.attempts.get(&result.job).copied() else {
            // A result of nobody's asking counts for nothing.
            return;
        };
        if !self.done.insert(result.job.clone()) {
            findings.broken.push(format!("job {} has two results", result.job));
        }
        for attempt in 1..=attempts {
            let Some(worst) = self.reserved.remove(&(result.job.clone(), attempt)) else {
                continue;
            };
            let cost = result.usage.as_ref().map_or(0, |usage| u64::from(usage.calls));
            if attempt == result.attempt && cost > worst {
                findings
                    .broken
                    .push(format!("job {} cost {cost} calls of {worst} reserved", result.job));
            }
            self.spent += if attempt == result.attempt { cost } else { worst };
        }
    }
}

/// A telling without the names of the processes that had to do with it.
fn nameless(telling: &pb::Telling) -> pb::Telling {
    let mut telling = telling.clone();
    if let Some(pb::telling::Telling::ExampleJudged(example)) = &mut telling.telling {
        for vote in &mut example.votes {
            if let Some(by) = &mut vote.by {
                by.agent.clear();
            }
        }
    }
    telling
}

/// A time in which a process could not bring to safety what it had bought: killed (a moment), frozen or cut off (a while).
#[derive(Debug, Clone)]
pub struct Hurt {
    /// Its role.
    pub role: String,
    /// From when, in Unix milliseconds.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// How long a process takes at most to write an answer to its spool on a loaded machine, in milliseconds.
const TO_SPOOL_MS: u64 = 500;

/// Requests that were bought again although an earlier answer to them was in safe hands, in words.
///
/// An answer is in safe hands unless its process was hurt while the call was in flight or within the moment that it takes to write
/// the answer down. What was struck by a fault that spoils the answer itself may be asked again.
pub fn finished_and_bought_again(ledger: &Ledger, hurts: &[Hurt]) -> Vec<String> {
    let mut safe: BTreeMap<&str, u64> = BTreeMap::new();
    let mut again = Vec::new();
    let mut trying_again: BTreeMap<&str, bool> = BTreeMap::new();
    for call in &ledger.calls {
        let request = call.request.as_str();
        // The second owner of a job that tries again has begun before the answer of the first was safe.
        let tries = trying_again.insert(request, !Ledger::is_whole(call)).unwrap_or(false);
        if !tries && safe.get(request).is_some_and(|since| call.received_ms > *since) {
            again.push(told(ledger, call, hurts));
        }
        let until = call.ended_ms + TO_SPOOL_MS;
        let hurt = hurts
            .iter()
            .any(|hurt| hurt.role == call.role && hurt.from_ms <= until && call.received_ms <= hurt.until_ms);
        // A body that drips is on its way for seconds after the ledger has closed the call.
        let drips = call.fault == Some(FaultKind::SlowDrip);
        if Ledger::is_whole(call) && !hurt && !drips {
            safe.insert(&call.request, until);
        }
    }
    again
}

/// All calls of one request, with the hurts of its role around them; times in milliseconds from its first call.
fn told(ledger: &Ledger, call: &Call, hurts: &[Hurt]) -> String {
    let calls: Vec<&Call> = ledger
        .calls
        .iter()
        .filter(|other| other.request == call.request)
        .collect();
    let start = calls.first().map_or(0, |first| first.received_ms) as i128;
    let at = |ms: u64| ms as i128 - start;
    let calls = calls.iter().map(|call| {
        format!(
            "{}..{} {} {:?}",
            at(call.received_ms),
            at(call.ended_ms),
            call.outcome,
            call.fault
        )
    });
    let near = hurts
        .iter()
        .filter(|hurt| hurt.role == call.role && at(hurt.until_ms) > -5_000 && at(hurt.from_ms) < 15_000);
    let hurts = near.map(|hurt| format!("{}..{}", at(hurt.from_ms), at(hurt.until_ms)));
    format!(
        "{}: calls {:?}, hurts {:?}",
        call.role,
        calls.collect::<Vec<_>>(),
        hurts.collect::<Vec<_>>()
    )
}
