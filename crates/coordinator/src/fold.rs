//! A run's state as a fold over its stream: decisions and facts in one order, and nothing else.
//!
//! Pure: no clock, no bus. The same messages always give the same state, in the leader, in a takeover and in a reader.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::{Amount, Budget, Ledger, Role};
use sipdo_protocol::pb::{self, State, event::Event, job_result::Finding};
use sipdo_telemetry::Trace;
use std::collections::{BTreeMap, HashMap};

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
    /// Results by job, encoded: a long run holds many of them, and few are read again.
    results: HashMap<String, Box<[u8]>>,
    /// Hash of each telling, by number less one.
    pub tellings: Vec<u64>,
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
    /// Prompts told so far, by version.
    pub prompts: BTreeMap<u32, pb::Prompt>,
    /// Warnings told so far.
    pub warnings: Vec<String>,
    /// What it came to.
    pub outcome: Option<pb::Outcome>,
    /// Why it failed.
    pub failure: String,
    /// Models and latencies by role.
    pub use_by_role: BTreeMap<Role, Use>,
    /// Results not measured by reason.
    pub not_measured: BTreeMap<String, u64>,
    /// Who wrote each of the optimizer's texts, so that a prompt can say whose work it is.
    authors: HashMap<String, pb::Provenance>,
    /// Who answered last, by role.
    latest: BTreeMap<Role, pb::Provenance>,
    /// Results for jobs that were never issued.
    pub unknown_results: u64,
    concluding: bool,
    /// At a glance; kept up with every message.
    pub summary: pb::Summary,
}

/// A job that was issued and has no result.
#[derive(Debug, Clone)]
pub struct OpenJob {
    /// Whom it went to.
    pub role: Role,
    /// The newest attempt.
    pub attempt: u32,
    /// The newest attempt was lost with its agent: the next one must be issued.
    pub lost: bool,
    /// Attempts that died with their agents. Those that were given up unpaid do not count.
    pub died: u32,
    /// The iteration that issued it first: whatever is done for it belongs there.
    pub trace: Trace,
}

/// What a role used.
#[derive(Debug, Default)]
pub struct Use {
    /// `endpoint/model`, in order of first use.
    pub models: Vec<String>,
    /// Jobs done.
    pub jobs: u64,
    /// What each model did, in order of first use.
    pub stints: Vec<Stint>,
}

/// What one model did for a role.
#[derive(Debug, Default)]
pub struct Stint {
    /// Who, when, how much.
    pub told: pb::ModelStint,
    /// Milliseconds in model calls, one for each job that called.
    pub model_ms: Vec<u32>,
}

impl Use {
    /// The stint of this model.
    fn stint(&mut self, by: &pb::Provenance, job: u64) -> Option<&mut Stint> {
        let same = |Stint { told, .. }: &Stint| {
            (&told.endpoint, &told.model, &told.revision) == (&by.endpoint, &by.model, &by.revision)
        };
        let at = self.stints.iter().position(same).unwrap_or(self.stints.len());
        if at == self.stints.len() {
            let told = pb::ModelStint {
                endpoint: by.endpoint.clone(),
                model: by.model.clone(),
                revision: by.revision.clone(),
                first_job: job,
                ..Default::default()
            };
            self.stints.push(Stint {
                told,
                ..Default::default()
            });
        }
        self.stints.get_mut(at)
    }
}

impl Stint {
    /// One more result, with its number among all results of the run.
    fn note(&mut self, result: &pb::JobResult, job: u64) {
        self.told.last_job = job;
        self.told.jobs += 1;
        if let Some(usage) = &result.usage {
            let spent = self.told.spent.get_or_insert_default();
            let cost = cost_of(usage);
            spent.calls += cost.calls;
            spent.tokens += cost.tokens;
            spent.nano_usd += cost.nano_usd;
            if usage.nano_usd.is_none() {
                self.told.unpriced_calls += cost.calls;
            }
        }
        if let Some(timing) = result.timing.as_ref().filter(|timing| timing.model_ms > 0) {
            self.model_ms.push(timing.model_ms);
        }
    }
}

/// The ledger's key of one attempt.
pub fn attempt_key(job: &str, attempt: u32) -> String {
    format!("{job}#{attempt}")
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
            Event::Told(told) => self.apply_told(told),
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
                    if let Some(told) = self.prompts.get(&prompt.version) {
                        prompt.written_by.clone_from(&told.written_by);
                        prompt.tried_by.clone_from(&told.tried_by);
                    }
                }
                self.failure.clone_from(&ended.reason);
                self.summary.waiting.clear();
            }
        }
    }

    fn apply_issued(&mut self, issued: &pb::Issued) {
        let Ok(role) = Role::try_from(issued.role()) else {
            return;
        };
        let worst = issued.reserved.map(Amount::from).unwrap_or_default();
        self.ledger.force(&attempt_key(&issued.job, issued.attempt), worst);
        let died = self.open.get(&issued.job).map_or(0, |open| open.died);
        let first = self.open.get(&issued.job);
        let trace = first.map_or_else(|| self.trace.clone(), |open| open.trace.clone());
        self.open.insert(
            issued.job.clone(),
            OpenJob {
                role,
                attempt: issued.attempt,
                lost: false,
                died,
                trace,
            },
        );
    }

    fn apply_told(&mut self, told: &pb::Told) {
        let Some(telling) = &told.telling else { return };
        let before = (told.number as usize).saturating_sub(1);
        self.tellings.truncate(before);
        self.tellings.push(telling_hash(telling));
        match &telling.telling {
            Some(pb::telling::Telling::LevelBegun(begun)) => {
                self.summary.level = begun.level;
                self.summary.levels = begun.of;
            }
            Some(pb::telling::Telling::ExampleJudged(example)) => {
                let accepted = example
                    .decision
                    .as_ref()
                    .is_some_and(|d| d.kind() == pb::decision::Kind::Accepted);
                if accepted {
                    self.summary.accepted += 1;
                } else {
                    self.summary.rejected += 1;
                }
            }
            Some(pb::telling::Telling::CandidateJudged(prompt)) => {
                if prompt.standing() == pb::prompt::Standing::Accepted {
                    self.summary.prompt_version = prompt.version;
                }
                let author = self.authors.get(&prompt.text).or(self.latest.get(&Role::Optimizer));
                let signed = pb::Prompt {
                    written_by: author.cloned(),
                    tried_by: self.latest.get(&Role::Learner).cloned(),
                    ..prompt.clone()
                };
                self.prompts.insert(prompt.version, signed);
            }
            Some(pb::telling::Telling::ArmMeasured(arm)) => match arm.name.as_str() {
                "seed" => self.summary.seed_score = arm.score,
                "final" => self.summary.final_score = arm.score,
                _ => {}
            },
            Some(pb::telling::Telling::Warning(text)) if !self.warnings.contains(text) => {
                self.warnings.push(text.clone())
            }
            _ => {}
        }
    }

    fn apply_control(&mut self, control: &pb::Control) {
        use pb::control::Kind;
        self.requested.retain(|requested| requested.id != control.id);
        self.controls.push(control.id.clone());
        match control.kind() {
            Kind::Cancel => self.cancelled = true,
            Kind::Stop => {
                self.stopped = true;
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

    /// Applies a result. False where the job was never issued or has a result already: then it counts for nothing.
    pub fn apply_result(&mut self, result: pb::JobResult) -> bool {
        if self.results.contains_key(&result.job) {
            return false;
        }
        let Some(open) = self.open.remove(&result.job) else {
            self.unknown_results += 1;
            return false;
        };
        let cost = result.usage.as_ref().map(cost_of).unwrap_or_default();
        for attempt in 1..=open.attempt {
            let key = attempt_key(&result.job, attempt);
            if attempt == result.attempt {
                self.ledger.settle(&key, open.role, cost);
            } else {
                // Another attempt may still be paid somewhere: charge it as if it were.
                self.ledger.charge_worst(&key, open.role);
            }
        }
        if let Some(usage) = result.usage.as_ref().filter(|usage| usage.nano_usd.is_none()) {
            self.ledger.unpriced_calls += u64::from(usage.calls);
        }
        self.count(open.role, &result);
        self.sign(open.role, &result);
        self.results
            .insert(result.job.clone(), result.encode_to_vec().into_boxed_slice());
        self.refresh();
        true
    }

    fn count(&mut self, role: Role, result: &pb::JobResult) {
        self.summary.jobs_done += 1;
        let used = self.use_by_role.entry(role).or_default();
        used.jobs += 1;
        if let Some(by) = &result.by {
            let label = format!("{}/{}", by.endpoint, by.model);
            if label != "/" && !used.models.contains(&label) {
                used.models.push(label.clone());
            }
            // What the leader itself gave up comes from no model.
            if label != "/"
                && let Some(stint) = used.stint(by, self.summary.jobs_done)
            {
                stint.note(result, self.summary.jobs_done);
            }
        }
        if let Some(Finding::NotMeasured(missing)) = &result.finding {
            self.summary.not_measured += 1;
            *self
                .not_measured
                .entry(missing.reason().as_str_name().to_owned())
                .or_default() += 1;
        }
    }

    /// Remembers whose work a result is.
    fn sign(&mut self, role: Role, result: &pb::JobResult) {
        let (Some(Finding::Reply(reply)), Some(by)) = (&result.finding, &result.by) else {
            return;
        };
        if let Some(pb::reply::Reply::Edit(edit)) = &reply.reply {
            self.authors.insert(edit.text.clone(), by.clone());
        }
        self.latest.insert(role, by.clone());
    }

    /// The result of a job, where there is one.
    pub fn result(&self, job: &str) -> Option<pb::JobResult> {
        let encoded = self.results.get(job)?;
        pb::JobResult::decode(encoded.as_ref()).ok()
    }

    /// Whether a job has its result.
    pub fn has_result(&self, job: &str) -> bool {
        self.results.contains_key(job)
    }

    /// Applies the loss of an attempt: charged at its worst case unless nothing can have been bought, and the job waits for its
    /// next attempt. False where that attempt is not open.
    pub fn apply_lost(&mut self, lost: &pb::AttemptLost) -> bool {
        let Some(open) = self.open.get_mut(&lost.job) else {
            return false;
        };
        if open.attempt != lost.attempt || open.lost {
            return false;
        }
        open.lost = true;
        let (role, key) = (open.role, attempt_key(&lost.job, lost.attempt));
        if lost.unpaid {
            self.ledger.settle(&key, role, Amount::default());
        } else {
            open.died += 1;
            self.ledger.charge_worst(&key, role);
            self.summary.attempts_lost += 1;
        }
        self.refresh();
        true
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

/// Whether a run in this state has ended.
pub fn is_end(state: State) -> bool {
    match state {
        State::Finished | State::BudgetExhausted | State::Stopped | State::Cancelled | State::Failed => true,
        State::Unspecified | State::Pending | State::Running | State::Paused => false,
    }
}

/// A telling's hash: equal tellings are recorded once, whatever a replay does.
pub fn telling_hash(telling: &pb::Telling) -> u64 {
    let digest = Sha256::digest(telling.encode_to_vec());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

/// What a result cost.
pub fn cost_of(usage: &pb::Usage) -> Amount {
    Amount {
        calls: u64::from(usage.calls),
        tokens: usage.input_tokens.saturating_add(usage.output_tokens),
        nano_usd: usage.nano_usd.unwrap_or(0),
    }
}
