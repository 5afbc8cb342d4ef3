//! What a run's stream and the simulator's own ledger say about a run, checked without any of the coordinator's code.

mod bought;
mod money;
mod stores;

pub use bought::{Again, Hurt, bought_again};
pub use stores::Left;

use crate::cluster::over;
use anyhow::Result;
use money::Money;
use prost::Message as _;
use sipdo_bus::{Bus, RunId, RunMessage, RunReader, RunSubject};
use sipdo_protocol::pb::{self, State, job_result::Finding, log_event::Event};
use std::collections::BTreeMap;

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
    /// Moments at which spent and reserved together passed a cap on calls, tokens or money.
    pub over_cap: usize,
}

impl History {
    /// Reads a run up to its present end.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn read(bus: &Bus, run: &str) -> Result<Self> {
        Self::follow(bus, run, |_| true).await
    }

    /// Reads a run up to its present end, and on until there is `enough`.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn follow(bus: &Bus, run: &str, enough: impl Fn(&History) -> bool) -> Result<Self> {
        let mut reader = RunReader::open(bus, &RunId::new(run)?, 0).await?;
        let mut history = History {
            run: run.to_owned(),
            facts: Vec::new(),
        };
        loop {
            let chunk = reader.next_chunk().await?;
            history.facts.extend(chunk.messages.into_iter().map(Fact::from));
            if chunk.caught_up && enough(&history) {
                return Ok(history);
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

    /// Who claimed it last.
    pub fn leader(&self) -> Option<&str> {
        let claims = self.events().filter_map(|(_, event)| match event {
            Event::Claimed(claimed) => Some(claimed.coordinator.as_str()),
            _ => None,
        });
        claims.last()
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
    pub fn run_events(&self) -> Vec<pb::RunEvent> {
        let mut told = BTreeMap::new();
        for (_, event) in self.events() {
            if let Event::Told(pb::EventRecorded {
                number,
                telling: Some(run_event),
                ..
            }) = event
            {
                told.insert(*number, nameless(run_event));
            }
        }
        told.into_values().collect()
    }

    /// How many results there are.
    pub fn results(&self) -> usize {
        self.facts.iter().filter(|fact| matches!(fact, Fact::Result(_))).count()
    }

    /// Results not measured.
    pub fn not_measured(&self) -> usize {
        let missing = |fact: &&Fact| matches!(fact, Fact::Result(result) if matches!(result.finding, Some(Finding::NotMeasured(_))));
        self.facts.iter().filter(missing).count()
    }

    /// Jobs that were given up because their agents died of them.
    pub fn given_up(&self) -> usize {
        let is_given_up = |fact: &&Fact| match fact {
            Fact::Result(result) => matches!(&result.finding, Some(Finding::NotMeasured(why))
                if why.detail.contains("ended with the death of their agent")),
            _ => false,
        };
        self.facts.iter().filter(is_given_up).count()
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
        self.check_run_events(&mut findings);
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
            ended = entry.summary.as_ref().is_some_and(|summary| over(summary.state()));
        }
    }

    /// The k-th telling is recorded once, and stays what it was, unless more budget takes the end back, or a user a stop.
    fn check_run_events(&self, findings: &mut Findings) {
        let (mut next, mut taken_back) = (1, false);
        for (_, event) in self.events() {
            taken_back |= matches!(event, Event::Controlled(pb::Controlled { control: Some(control) })
                if matches!(control.kind(), pb::control::Kind::SetBudget | pb::control::Kind::Continue));
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

impl From<RunMessage> for Fact {
    fn from(RunMessage { kind, payload, .. }: RunMessage) -> Self {
        match kind {
            RunSubject::Log => pb::Entry::decode(payload).map_or(Fact::Other, |entry| Fact::Entry(Box::new(entry))),
            RunSubject::Result { .. } => {
                pb::JobResult::decode(payload).map_or(Fact::Other, |result| Fact::Result(Box::new(result)))
            }
            RunSubject::Lost { .. } => pb::AttemptLost::decode(payload).map_or(Fact::Other, Fact::Lost),
            _ => Fact::Other,
        }
    }
}

/// A telling without the names of the processes that had to do with it.
fn nameless(run_event: &pb::RunEvent) -> pb::RunEvent {
    let mut run_event = run_event.clone();
    if let Some(pb::run_event::Event::ExampleJudged(example)) = &mut run_event.event {
        for vote in &mut example.votes {
            if let Some(by) = &mut vote.by {
                by.agent.clear();
            }
        }
    }
    run_event
}
