//! The leader's desk: which asks wait, which are issued, and what the next append decides. No I/O.

use crate::{
    fold::{RunState, attempt_key, telling_hash},
    roster::{Roster, Worst},
};
use sipdo_domain::{Measured, NotMeasured, Pool, Reason, Reply, Role, Signed};
use sipdo_protocol::pb::{self, event::Event};
use sipdo_strategies::Stop;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use tokio::sync::oneshot;

/// After this many lost attempts a job is given up as not measured: whatever kills its agents must not block the run.
pub const MAX_ATTEMPTS: u32 = 4;

/// The answer to an ask.
pub type Answered = Result<Measured<Signed<Reply>>, Stop>;

/// One ask of the strategy.
#[derive(Debug)]
pub struct Request {
    /// The job's identity.
    pub job: String,
    /// Whom it goes to.
    pub pool: Pool,
    /// The operation's name.
    pub operation: &'static str,
    /// What is asked.
    pub ask: pb::Ask,
    /// Tells independent samples apart.
    pub sample: u32,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answered>,
}

/// A job to be published once the append that issues it is stored.
#[derive(Debug, Clone)]
pub struct Publication {
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
    pub events: Vec<pb::Event>,
    /// Jobs to publish afterwards.
    pub publish: Vec<Publication>,
    /// Jobs to give up: `(job, role, attempt)`.
    pub give_up: Vec<(String, Role, u32)>,
}

/// Asks that wait and asks that are issued.
#[derive(Debug)]
pub struct Desk {
    window: usize,
    windows: BTreeMap<Pool, usize>,
    queues: BTreeMap<Pool, VecDeque<Request>>,
    issued: HashMap<String, Issued>,
    /// How many of the issued are each pool's: kept, since every decision looks at it.
    flying: BTreeMap<Pool, usize>,
    again: Vec<String>,
    lost: Vec<String>,
    tellings: Vec<pb::Telling>,
    told: usize,
    concludes: bool,
    phase: usize,
    held: bool,
}

#[derive(Debug)]
struct Issued {
    pool: Pool,
    operation: &'static str,
    sample: u32,
    max_calls: u32,
    at_most: Option<pb::Prices>,
    ask: pb::Ask,
    waiters: Vec<oneshot::Sender<Answered>>,
}

impl Desk {
    /// A desk that keeps at most `window` jobs of a pool in flight.
    pub fn new(window: usize) -> Self {
        Desk {
            window,
            windows: BTreeMap::new(),
            queues: BTreeMap::new(),
            issued: HashMap::new(),
            flying: BTreeMap::new(),
            again: Vec::new(),
            lost: Vec::new(),
            tellings: Vec::new(),
            told: 0,
            concludes: false,
            phase: 0,
            held: false,
        }
    }

    /// Takes an ask: answers it from the journal, joins it to the same ask in flight, refuses it, or lets it wait.
    pub fn ask(&mut self, request: Request, state: &RunState) {
        if let Some(result) = state.result(&request.job) {
            answer(request.reply, reading(result));
        } else if let Some(issued) = self.issued.get_mut(&request.job) {
            issued.waiters.push(request.reply);
        } else if let Some(open) = state.open.get(&request.job) {
            // Issued by an earlier leader, or before a restart: the message may be gone, so it is published again.
            if open.lost {
                self.lost.push(request.job.clone());
            } else {
                self.again.push(request.job.clone());
            }
            self.issue(request);
        } else if let Some(stop) = self.refusal(state) {
            answer(request.reply, Err(stop));
        } else {
            self.queues.entry(request.pool.clone()).or_default().push_back(request);
        }
    }

    /// Takes a telling.
    pub fn tell(&mut self, telling: pb::Telling) {
        self.tellings.push(telling);
    }

    /// The strategy goes over to its conclusion.
    pub fn conclude(&mut self, state: &mut RunState) {
        self.concludes = true;
        self.phase = 1;
        state.ledger.hold(sipdo_domain::Amount::default());
    }

    /// Keeps at most so many jobs of each of these roles in flight from now on; what is in flight above that comes to its end.
    pub fn set_windows(&mut self, windows: BTreeMap<Pool, usize>) {
        self.windows = windows;
    }

    /// Issues nothing new while this holds, as in a pause: there is no room for it. What is in flight comes to its end.
    pub fn hold_back(&mut self, held: bool) {
        self.held = held;
    }

    /// A result was folded: answers whoever waits for it.
    pub fn settled(&mut self, job: &str, state: &RunState) {
        let (Some(issued), Some(result)) = (self.issued.remove(job), state.result(job)) else {
            return;
        };
        if let Some(flying) = self.flying.get_mut(&issued.pool) {
            *flying = flying.saturating_sub(1);
        }
        let read = reading(result);
        for waiter in issued.waiters {
            answer(waiter, read.clone());
        }
    }

    /// An attempt was lost: the next plan issues another one.
    pub fn attempt_lost(&mut self, job: &str) {
        if self.issued.contains_key(job) {
            self.lost.push(job.to_owned());
        }
    }

    /// A job's message could not be stored or is overdue: the next plan publishes it again.
    pub fn publish_again(&mut self, job: &str) {
        if self.issued.contains_key(job) {
            self.again.push(job.to_owned());
        }
    }

    /// Whether any job is in flight.
    pub fn has_in_flight(&self) -> bool {
        !self.issued.is_empty()
    }

    /// Jobs of a pool in flight.
    fn in_flight(&self, pool: &Pool) -> usize {
        self.flying.get(pool).copied().unwrap_or(0)
    }

    /// Pools that have asks waiting or in flight.
    pub fn at_work(&self) -> BTreeSet<Pool> {
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.is_empty());
        let flying = self.flying.iter().filter(|(_, jobs)| **jobs > 0);
        waiting
            .map(|(pool, _)| pool)
            .chain(flying.map(|(pool, _)| pool))
            .cloned()
            .collect()
    }

    /// Decides what comes next. Reservations are taken here; the caller appends, applies, publishes.
    pub fn plan(&mut self, state: &mut RunState, roster: &Roster, models: &BTreeMap<String, pb::ModelChoice>) -> Plan {
        let mut plan = Plan::default();
        self.plan_controls(state, &mut plan);
        self.plan_tellings(state, &mut plan);
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
        self.plan_again(state, roster, models, &mut plan);
        if !state.paused && !self.held {
            self.plan_lost(state, roster, models, &mut plan);
            self.plan_issues(state, roster, models, &mut plan);
        }
        plan
    }

    /// Refuses everything that waits, after the state's refusal changed (stop, exhausted).
    pub fn refuse_waiting(&mut self, state: &RunState) {
        let Some(stop) = self.refusal(state) else { return };
        for request in self.queues.values_mut().flat_map(|queue| queue.drain(..)) {
            answer(request.reply, Err(stop.clone()));
        }
    }

    /// Halts everything: the run is no longer ours.
    pub fn halt(&mut self, why: &str) {
        let stop = Stop::Halted(why.to_owned());
        for request in self.queues.values_mut().flat_map(|queue| queue.drain(..)) {
            answer(request.reply, Err(stop.clone()));
        }
        self.flying.clear();
        for waiter in self.issued.drain().flat_map(|(_, issued)| issued.waiters) {
            answer(waiter, Err(stop.clone()));
        }
    }

    /// Why nothing new is asked in the phase that the strategy is in.
    fn refusal(&self, state: &RunState) -> Option<Stop> {
        if let Some(cap) = state.exhausted.get(self.phase).and_then(Option::as_ref) {
            return Some(Stop::BudgetExhausted(cap.clone()));
        }
        (self.phase == 0 && state.stopped).then_some(Stop::StoppedEarly)
    }

    fn issue(&mut self, request: Request) {
        let Request {
            job,
            pool,
            operation,
            ask,
            sample,
            reply,
        } = request;
        *self.flying.entry(pool.clone()).or_insert(0) += 1;
        self.issued.insert(
            job,
            Issued {
                pool,
                operation,
                sample,
                max_calls: 0,
                at_most: None,
                ask,
                waiters: vec![reply],
            },
        );
    }

    fn plan_controls(&mut self, state: &RunState, plan: &mut Plan) {
        for control in &state.requested {
            plan.events.push(event(Event::Controlled(pb::Controlled {
                control: Some(control.clone()),
            })));
        }
    }

    fn plan_tellings(&mut self, state: &RunState, plan: &mut Plan) {
        for telling in self.tellings.drain(..) {
            self.told += 1;
            if state.tellings.get(self.told - 1) != Some(&telling_hash(&telling)) {
                let number = u32::try_from(self.told).unwrap_or(u32::MAX);
                plan.events.push(event(Event::Told(pb::Told {
                    number,
                    telling: Some(telling),
                })));
            }
        }
    }

    fn plan_again(
        &mut self,
        state: &RunState,
        roster: &Roster,
        models: &BTreeMap<String, pb::ModelChoice>,
        plan: &mut Plan,
    ) {
        let mut later = Vec::new();
        for job in std::mem::take(&mut self.again) {
            let (Some(issued), Some(open)) = (self.issued.get_mut(&job), state.open.get(&job)) else {
                continue;
            };
            if issued.max_calls == 0 {
                match worst(state, roster, models, &issued.pool, &issued.ask) {
                    Some(worst) => issued.reserved(&worst, state, &attempt_key(&job, open.attempt)),
                    None => {
                        later.push(job);
                        continue;
                    }
                }
            }
            plan.publish.push(issued.publication(&job, open.attempt, open.died > 0));
        }
        self.again = later;
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
            let Some(worst) = worst(state, roster, models, &issued.pool, &issued.ask) else {
                later.push(job);
                continue;
            };
            let next = attempt + 1;
            if died >= MAX_ATTEMPTS {
                plan.give_up.push((job, role, attempt));
            } else if state.ledger.reserve(&attempt_key(&job, next), worst.amount).is_ok() {
                issued.reserved(&worst, state, &attempt_key(&job, next));
                plan.events.push(issued.event(&job, next, worst.amount));
                plan.publish.push(issued.publication(&job, next, died > 0));
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
                if self.issued.contains_key(&request.job) || state.has_result(&request.job) {
                    self.ask(request, state);
                    continue;
                }
                let Some(worst) = worst(state, roster, models, &pool, &request.ask) else {
                    self.queues.entry(pool).or_default().push_front(request);
                    break;
                };
                match state.ledger.reserve(&attempt_key(&request.job, 1), worst.amount) {
                    Ok(()) => {
                        let job = request.job.clone();
                        self.issue(request);
                        if let Some(issued) = self.issued.get_mut(&job) {
                            issued.reserved(&worst, state, &attempt_key(&job, 1));
                            plan.events.push(issued.event(&job, 1, worst.amount));
                            plan.publish.push(issued.publication(&job, 1, false));
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
    fn event(&self, job: &str, attempt: u32, reserved: sipdo_domain::Amount) -> pb::Event {
        event(Event::Issued(pb::Issued {
            job: job.to_owned(),
            role: pb::Role::from(self.pool.role).into(),
            operation: self.operation.to_owned(),
            attempt,
            reserved: Some(reserved.into()),
        }))
    }

    /// Takes down what the reservation of `key` allows.
    fn reserved(&mut self, worst: &Worst, state: &RunState, key: &str) {
        self.max_calls = worst.max_calls;
        let reserved = state.ledger.reserved_for(key).unwrap_or_default();
        self.at_most = state.ledger.cap().nano_usd.map(|_| worst.prices(reserved));
    }

    fn publication(&self, job: &str, attempt: u32, suspect: bool) -> Publication {
        Publication {
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
pub fn event(event: Event) -> pb::Event {
    pb::Event { event: Some(event) }
}

/// What is to be reserved for a job. None while no agent answers, and under a cap in USD also while the price of a model is unknown:
/// nothing is bought that cannot be counted.
fn worst(
    state: &RunState,
    roster: &Roster,
    models: &BTreeMap<String, pb::ModelChoice>,
    pool: &Pool,
    ask: &pb::Ask,
) -> Option<Worst> {
    let worst = roster.worst(pool, size(ask), models.get(&pool.to_string()))?;
    (worst.priced || state.ledger.cap().nano_usd.is_none()).then_some(worst)
}

/// Bytes of an ask.
fn size(ask: &pb::Ask) -> usize {
    prost::Message::encoded_len(ask)
}

/// Reads a result as the strategy sees it.
fn reading(result: pb::JobResult) -> Answered {
    let malformed = |detail: String| NotMeasured::new(Reason::Malformed, detail);
    Ok(match sipdo_protocol::JobOutcome::try_from(result) {
        Ok(outcome) => outcome.finding.map(|value| Signed { value, by: outcome.by }),
        Err(error) => Err(malformed(error.to_string())),
    })
}

/// Nobody may wait any more (the strategy was dropped): then the answer is in the journal all the same.
fn answer(reply: oneshot::Sender<Answered>, answered: Answered) {
    drop(reply.send(answered));
}
