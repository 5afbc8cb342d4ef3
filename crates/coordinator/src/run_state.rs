//! A run's state, computed from its stream alone: decisions and results in one order.
//!
//! Pure: no clock, no bus. The same messages always give the same state, in the leader, in a takeover and in a reader.

mod authors;
mod jobs;
pub mod open_job;
pub mod usage;

use authors::Authors;
use open_job::OpenJob;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::{
    Budget, Ledger, Role,
    outcome::{FINAL_ARM, SEED_ARM},
};
use sipdo_protocol::pb::{self, State, log_event::Event, run_event::Event as RunEvent};
use sipdo_telemetry::Trace;
use std::collections::{BTreeMap, HashMap};
use usage::RoleUsage;

/// What is known of one run.
#[derive(Debug, Default)]
pub struct RunState {
    /// The first event; none until it was read.
    pub created: Option<pb::Created>,
    /// Stream sequence of the last log message that was applied: what the next append must expect.
    pub log_sequence: u64,
    /// The leader's epoch.
    pub epoch: u64,
    /// The trace of the entry that is applied, or of the last one that named any: what happens then belongs there.
    pub trace: Trace,
    /// The caps, what is reserved and what is spent.
    pub ledger: Ledger,
    /// Issued jobs that have no result yet.
    pub open: HashMap<String, OpenJob>,
    /// The place of each job's result in the stream. The result itself is read again where it is wanted again: a run has many.
    results: HashMap<Box<str>, u64>,
    /// Hash of each event that the strategy emitted, by number less one.
    pub run_events: Vec<u64>,
    /// Which cap stopped the strategy (0) or the conclusion (1).
    pub exhausted: [Option<String>; 2],
    /// A client asked for an early end.
    pub stopped: bool,
    /// A client asked for a pause that still holds.
    pub paused: bool,
    /// A client cancelled the run.
    pub cancelled: bool,
    /// Ids of control requests already taken up.
    pub controls: Vec<String>,
    /// Control requests that were read and not taken up yet.
    pub requested: Vec<pb::Control>,
    /// Prompts judged so far, by version.
    pub prompts: BTreeMap<u32, pb::Prompt>,
    /// Warnings so far.
    pub warnings: Vec<String>,
    /// What it came to.
    pub outcome: Option<pb::Outcome>,
    /// Why it failed.
    pub failure: String,
    /// Models and latencies by role.
    pub usage_by_role: BTreeMap<Role, RoleUsage>,
    /// Results not measured by reason.
    pub not_measured: BTreeMap<String, u64>,
    authors: Authors,
    /// The learner's model that answered last.
    last_learner: Option<pb::Provenance>,
    /// Results for jobs that were never issued.
    pub unknown_results: u64,
    concluding: bool,
    /// At a glance; kept up with every message.
    pub summary: pb::Summary,
}

impl RunState {
    /// An empty state of a run.
    pub fn new(run: &str) -> Self {
        RunState {
            summary: pb::Summary {
                run: run.to_owned(),
                ..Default::default()
            },
            ..RunState::default()
        }
    }

    /// The state's name.
    pub fn state(&self) -> State {
        self.summary.state()
    }

    /// Whether the run has ended, well or not.
    pub fn ended(&self) -> bool {
        is_end(self.state())
    }

    /// Whether this control request was taken up before.
    pub fn took_up(&self, control: &pb::Control) -> bool {
        self.controls.contains(&control.id)
    }

    /// Notes a control request; it takes effect when the leader's log says so.
    pub fn apply_request(&mut self, control: pb::Control) {
        if !self.took_up(&control) {
            self.requested.push(control);
        }
    }

    /// Applies a log message.
    pub fn apply_entry(&mut self, sequence: u64, entry: &pb::Entry) {
        self.log_sequence = sequence;
        self.epoch = self.epoch.max(entry.epoch);
        if self.summary.created_ms == 0 {
            self.summary.created_ms = entry.at_ms;
            if let Some(head) = &entry.summary {
                self.summary.task.clone_from(&head.task);
            }
        }
        self.summary.updated_ms = entry.at_ms;
        for event in entry.events.iter().filter_map(|event| event.event.as_ref()) {
            self.apply_event(event);
        }
        self.refresh();
    }

    fn apply_event(&mut self, event: &Event) {
        match event {
            Event::Created(created) => {
                self.ledger = Ledger::new(created.budget.map(Budget::from).unwrap_or_default());
                self.summary.strategy.clone_from(&created.strategy);
                self.warnings.extend(created.warnings.iter().cloned());
                self.set_state(State::Pending);
                self.created = Some(created.clone());
            }
            Event::Claimed(claimed) => {
                self.summary.coordinator.clone_from(&claimed.coordinator);
                if !self.ended() {
                    self.set_state(if self.paused { State::Paused } else { State::Running });
                }
            }
            Event::Issued(issued) => self.apply_issued(issued),
            Event::Told(recorded) => self.apply_recorded(recorded),
            Event::Exhausted(exhausted) => {
                let phase = usize::from(self.concluding());
                if let Some(slot) = self.exhausted.get_mut(phase) {
                    *slot = Some(exhausted.cap.clone());
                }
            }
            Event::Controlled(controlled) => {
                if let Some(control) = &controlled.control {
                    self.apply_control(control);
                }
            }
            Event::Concluding(_) => self.concluding = true,
            Event::Waiting(waiting) => self.summary.waiting.clone_from(&waiting.reason),
            Event::Ended(ended) => {
                self.set_state(ended.state());
                self.outcome.clone_from(&ended.outcome);
                for prompt in self.outcome.iter_mut().flat_map(|outcome| &mut outcome.prompts) {
                    if let Some(judged) = self.prompts.get(&prompt.version) {
                        prompt.written_by.clone_from(&judged.written_by);
                        prompt.tried_by.clone_from(&judged.tried_by);
                    }
                }
                self.failure.clone_from(&ended.reason);
                self.summary.waiting.clear();
                self.summary.stopping = false;
            }
        }
    }

    fn apply_recorded(&mut self, recorded: &pb::EventRecorded) {
        let Some(run_event) = &recorded.telling else { return };
        let before = (recorded.number as usize).saturating_sub(1);
        self.run_events.truncate(before);
        self.run_events.push(run_event_hash(run_event));
        match &run_event.event {
            Some(RunEvent::LevelBegun(begun)) => {
                self.summary.level = begun.level;
                self.summary.levels = begun.of;
            }
            Some(RunEvent::ExampleJudged(example)) => match example.decision.as_ref().map(pb::Decision::kind) {
                Some(pb::decision::Kind::Accepted) => self.summary.accepted += 1,
                _ => self.summary.rejected += 1,
            },
            Some(RunEvent::CandidateJudged(prompt)) => self.apply_judged(prompt, recorded.written_by.as_ref()),
            Some(RunEvent::ArmMeasured(arm)) => match arm.name.as_str() {
                SEED_ARM => self.summary.seed_score = arm.score,
                FINAL_ARM => self.summary.final_score = arm.score,
                _ => {}
            },
            Some(RunEvent::Warning(text)) if !self.warnings.contains(text) => self.warnings.push(text.clone()),
            _ => {}
        }
    }

    fn apply_judged(&mut self, prompt: &pb::Prompt, written_by: Option<&pb::Provenance>) {
        if prompt.standing() == pb::prompt::Standing::Accepted {
            self.summary.prompt_version = prompt.version;
        }
        if written_by.is_some() {
            self.authors.are_named();
        }
        let prompt = pb::Prompt {
            written_by: written_by.or_else(|| self.authors.of(&prompt.text)).cloned(),
            tried_by: self.last_learner.clone(),
            ..prompt.clone()
        };
        self.prompts.insert(prompt.version, prompt);
    }

    fn apply_control(&mut self, control: &pb::Control) {
        use pb::control::Kind;
        self.requested.retain(|requested| requested.id != control.id);
        self.controls.push(control.id.clone());
        match control.kind() {
            Kind::Cancel => self.cancelled = true,
            Kind::Stop => {
                self.stopped = true;
                self.summary.stopping = !self.ended();
                // Its conclusion is wanted now: a pause would keep it waiting.
                self.go_on();
            }
            Kind::Pause => {
                self.paused = true;
                if !self.ended() {
                    self.set_state(State::Paused);
                }
            }
            Kind::Resume => self.go_on(),
            Kind::Continue => {
                // The strategy starts again from the top, and answers from the journal what it asked before it heard of the stop.
                self.stopped = false;
                self.summary.stopping = false;
                self.concluding = false;
                self.go_on();
            }
            Kind::SetBudget => {
                self.ledger
                    .set_cap(control.budget.map(Budget::from).unwrap_or_default());
                if self.state() == State::BudgetExhausted {
                    // More budget: the strategy starts again from the top, answers from the journal, and goes further.
                    self.exhausted = [None, None];
                    self.concluding = false;
                    self.outcome = None;
                    self.set_state(State::Running);
                }
            }
            Kind::Unspecified => {}
        }
    }

    fn go_on(&mut self) {
        if std::mem::take(&mut self.paused) && !self.ended() {
            self.set_state(State::Running);
        }
    }

    /// Whether the conclusion has begun.
    pub fn concluding(&self) -> bool {
        self.concluding
    }

    fn set_state(&mut self, state: State) {
        self.summary.set_state(state);
    }

    fn refresh(&mut self) {
        let summary = &mut self.summary;
        summary.spent = Some(self.ledger.spent().into());
        summary.spent_by_role = self
            .ledger
            .spent_by_role()
            .iter()
            .map(|(role, spent)| (role.name().to_owned(), (*spent).into()))
            .collect();
        summary.budget = Some(self.ledger.cap().into());
        summary.unpriced_calls = self.ledger.unpriced_calls;
    }
}

/// What the first entry of a run's log says of it; none of any other entry.
pub fn created(entry: pb::Entry) -> Option<pb::Created> {
    entry.events.into_iter().find_map(|event| match event.event {
        Some(Event::Created(created)) => Some(created),
        _ => None,
    })
}

/// Whether a run in this state has ended.
pub fn is_end(state: State) -> bool {
    match state {
        State::Finished | State::BudgetExhausted | State::Stopped | State::Cancelled | State::Failed => true,
        State::Unspecified | State::Pending | State::Running | State::Paused => false,
    }
}

/// The options that a run goes on with: those that were resolved when it was created. What they do not name, because the version that
/// created it did not store defaults or did not know the option, is as in the first version, whatever our defaults are by now.
pub fn options(created: &pb::Created) -> serde_json::Value {
    let resolved = serde_json::from_str(&created.resolved_options_json);
    let named = resolved.or_else(|_| serde_json::from_str(&created.options_json));
    sipdo_strategies::with_first_defaults(&created.strategy, named.unwrap_or_default())
}

/// Takes the author out of a judged candidate: the log keeps it beside the event, so that versions that do not write it recognise the
/// event.
pub fn take_author(run_event: &mut pb::RunEvent) -> Option<pb::Provenance> {
    match &mut run_event.event {
        Some(RunEvent::CandidateJudged(prompt)) => prompt.written_by.take(),
        _ => None,
    }
}

/// An event's hash: equal events are recorded once, whatever a replay does.
pub fn run_event_hash(run_event: &pb::RunEvent) -> u64 {
    let digest = Sha256::digest(run_event.encode_to_vec());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}
