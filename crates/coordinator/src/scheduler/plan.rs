//! What the scheduler decides next: what is recorded, issued, published again and given up, within window and budget.

use super::{Issued, Scheduler};
use crate::{
    roster::{Roster, WorstCase},
    run_state::{RunState, open_job::attempt_key, run_event_hash, take_author},
};
use sipdo_domain::{Ledger, Pool, Role};
use sipdo_protocol::pb::{self, log_event::Event};
use std::collections::{BTreeMap, VecDeque};

/// After this many lost attempts a job is given up as not measured: whatever kills its agents must not block the run.
pub const MAX_ATTEMPTS: u32 = 4;

/// A job to be published once the append that issues it is stored.
#[derive(Debug, Clone)]
pub struct JobToPublish {
    /// The job's identity.
    pub job: String,
    /// Whom it goes to.
    pub pool: Pool,
    /// The operation's name.
    pub operation: &'static str,
    /// Which attempt.
    pub attempt: u32,
    /// Tells independent samples apart.
    pub sample: u32,
    /// Completions that may be bought.
    pub max_calls: u32,
    /// The prices that the reservation covers, under a cap in USD.
    pub at_most: Option<pb::Prices>,
    /// What is asked.
    pub ask: pb::Ask,
    /// Whether an attempt at it ended with its agent's death: then it is to be worked on alone.
    pub suspect: bool,
}

/// What the next append decides and what follows from it.
#[derive(Debug, Default)]
pub struct Plan {
    /// The decisions; empty where nothing is to be appended.
    pub events: Vec<pb::LogEvent>,
    /// Jobs to publish afterwards.
    pub publish: Vec<JobToPublish>,
    /// Jobs to give up: `(job, role, attempt)`.
    pub give_up: Vec<(String, Role, u32)>,
    /// Jobs that nobody can do now, of a run that is to come to its end: they are given up too.
    pub stuck: Vec<(String, Role)>,
}

impl Scheduler {
    /// Decides what comes next. Reservations are taken here; the caller appends, applies, publishes.
    pub fn plan(&mut self, state: &mut RunState, roster: &Roster, models: &BTreeMap<String, pb::ModelChoice>) -> Plan {
        let mut plan = Plan::default();
        self.plan_controls(state, &mut plan);
        self.plan_run_events(state, &mut plan);
        if std::mem::take(&mut self.concludes) && !state.concluding() {
            plan.events.push(event(Event::Concluding(pb::Concluding {})));
        }
        if state.cancelled
            || state
                .requested
                .iter()
                .any(|control| control.kind() == pb::control::Kind::Cancel)
        {
            return plan;
        }
        self.plan_republished(state, roster, models, &mut plan);
        if !state.paused && !self.issuing_paused {
            self.plan_lost(state, roster, models, &mut plan);
            self.plan_issues(state, roster, models, &mut plan);
        }
        plan
    }

    fn plan_controls(&mut self, state: &RunState, plan: &mut Plan) {
        for control in &state.requested {
            plan.events.push(event(Event::Controlled(pb::Controlled {
                control: Some(control.clone()),
            })));
        }
    }

    fn plan_run_events(&mut self, state: &RunState, plan: &mut Plan) {
        for mut run_event in self.run_events.drain(..) {
            let written_by = take_author(&mut run_event);
            self.emitted += 1;
            if state.run_events.get(self.emitted - 1) != Some(&run_event_hash(&run_event)) {
                let number = u32::try_from(self.emitted).unwrap_or(u32::MAX);
                plan.events.push(event(Event::Told(pb::EventRecorded {
                    number,
                    telling: Some(run_event),
                    written_by,
                })));
            }
        }
    }

    fn plan_republished(
        &mut self,
        state: &RunState,
        roster: &Roster,
        models: &BTreeMap<String, pb::ModelChoice>,
        plan: &mut Plan,
    ) {
        let mut later = Vec::new();
        for job in std::mem::take(&mut self.republish) {
            let (Some(issued), Some(open)) = (self.issued.get_mut(&job), state.open.get(&job)) else {
                continue;
            };
            if issued.max_calls == 0 {
                let Some(worst) = worst_case(state, roster, models, &issued.pool, &issued.ask) else {
                    later.push(job);
                    continue;
                };
                // Another leader reserved for it, and perhaps less than would be now.
                let key = attempt_key(&job, open.attempt);
                let reserved = state.ledger.reserved_for(&key).unwrap_or_default();
                issued.record_reservation(&worst.within(reserved.calls), state, &key);
            }
            plan.publish.push(issued.to_publish(&job, open.attempt, open.died > 0));
        }
        self.republish = later;
    }

    fn plan_lost(
        &mut self,
        state: &mut RunState,
        roster: &Roster,
        models: &BTreeMap<String, pb::ModelChoice>,
        plan: &mut Plan,
    ) {
        let mut later = Vec::new();
        for job in std::mem::take(&mut self.lost) {
            let (Some(issued), Some(open)) = (self.issued.get_mut(&job), state.open.get(&job)) else {
                continue;
            };
            let (role, attempt, died) = (issued.pool.role, open.attempt, open.died);
            let Some(worst) = worst_case(state, roster, models, &issued.pool, &issued.ask) else {
                later.push(job);
                continue;
            };
            let next = attempt + 1;
            if died >= MAX_ATTEMPTS {
                plan.give_up.push((job, role, attempt));
            } else if let Ok(worst) = reserve(state, &attempt_key(&job, next), worst) {
                issued.record_reservation(&worst, state, &attempt_key(&job, next));
                plan.events.push(issued.event(&job, next, worst.amount));
                plan.publish.push(issued.to_publish(&job, next, died > 0));
            } else if state.ledger.in_flight() > 0 {
                later.push(job);
            } else {
                plan.give_up.push((job, role, attempt));
            }
        }
        self.lost = later;
    }

    /// Issues what window and budget allow, first come first served within each pool. What the budget does not allow waits for
    /// jobs in flight to settle below their worst case; when none is left, the budget is exhausted.
    fn plan_issues(
        &mut self,
        state: &mut RunState,
        roster: &Roster,
        models: &BTreeMap<String, pb::ModelChoice>,
        plan: &mut Plan,
    ) {
        for pool in self.queues.keys().cloned().collect::<Vec<_>>() {
            let window = self
                .windows
                .get(&pool)
                .map_or(self.window, |window| self.window.min(*window));
            while self.in_flight(&pool) < window {
                let Some(request) = self.queues.get_mut(&pool).and_then(VecDeque::pop_front) else {
                    break;
                };
                if self.issued.contains_key(&request.job) || state.result_at(&request.job).is_some() {
                    self.ask(request, state);
                    continue;
                }
                let Some(worst) = worst_case(state, roster, models, &pool, &request.ask) else {
                    self.queues.entry(pool).or_default().push_front(request);
                    break;
                };
                match reserve(state, &attempt_key(&request.job, 1), worst) {
                    Ok(worst) => {
                        let job = request.job.clone();
                        self.issue(request);
                        if let Some(issued) = self.issued.get_mut(&job) {
                            issued.record_reservation(&worst, state, &attempt_key(&job, 1));
                            plan.events.push(issued.event(&job, 1, worst.amount));
                            plan.publish.push(issued.to_publish(&job, 1, false));
                        }
                    }
                    Err(cap) => {
                        self.queues.entry(pool).or_default().push_front(request);
                        if state.ledger.in_flight() == 0 {
                            plan.events
                                .push(event(Event::Exhausted(pb::Exhausted { cap: cap.to_owned() })));
                            return;
                        }
                        break;
                    }
                }
            }
        }
    }
}

impl Issued {
    fn event(&self, job: &str, attempt: u32, reserved: sipdo_domain::Amount) -> pb::LogEvent {
        event(Event::Issued(pb::Issued {
            job: job.to_owned(),
            role: pb::Role::from(self.pool.role).into(),
            operation: self.operation.to_owned(),
            attempt,
            reserved: Some(reserved.into()),
            pool: self.pool.name.clone(),
        }))
    }

    /// Records what the reservation of `key` allows.
    fn record_reservation(&mut self, worst: &WorstCase, state: &RunState, key: &str) {
        self.max_calls = worst.max_calls;
        let reserved = state.ledger.reserved_for(key).unwrap_or_default();
        self.at_most = state.ledger.cap().nano_usd.map(|_| worst.prices(reserved));
    }

    fn to_publish(&self, job: &str, attempt: u32, suspect: bool) -> JobToPublish {
        JobToPublish {
            job: job.to_owned(),
            pool: self.pool.clone(),
            operation: self.operation,
            attempt,
            sample: self.sample,
            max_calls: self.max_calls,
            at_most: self.at_most,
            ask: self.ask.clone(),
            suspect,
        }
    }
}

/// Wraps an event.
pub fn event(event: Event) -> pb::LogEvent {
    pb::LogEvent { event: Some(event) }
}

/// What is to be reserved for a job. None while no agent answers, and under a cap in USD also while the price of a model is unknown:
/// nothing is bought that cannot be counted.
fn worst_case(
    state: &RunState,
    roster: &Roster,
    models: &BTreeMap<String, pb::ModelChoice>,
    pool: &Pool,
    ask: &pb::Ask,
) -> Option<WorstCase> {
    let worst = roster.worst_case(pool, ask.reserved_bytes(), models.get(&pool.to_string()))?;
    (worst.priced || state.ledger.cap().nano_usd.is_none()).then_some(worst)
}

/// Reserves an attempt at its worst case and gives what is reserved, or names the cap that stands in the way. Where nothing in flight
/// can still make room for the worst case, one completion will do: so the last that a cap allows is asked too.
fn reserve(state: &mut RunState, key: &str, worst: WorstCase) -> Result<WorstCase, &'static str> {
    let take = |ledger: &mut Ledger, worst: WorstCase| ledger.reserve(key, worst.amount).map(|()| worst);
    match take(&mut state.ledger, worst) {
        Err(_) if state.ledger.in_flight() == 0 => take(&mut state.ledger, worst.within(1)),
        taken => taken,
    }
}
