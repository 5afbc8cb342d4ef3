//! The leader's scheduler: which asks wait, which are issued, and what the next append decides. No I/O.

pub mod plan;

use crate::run_state::RunState;
use sipdo_domain::{Measured, NotMeasured, Pool, Reason, Reply, Role, Signed};
use sipdo_protocol::pb;
use sipdo_strategies::Stop;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use tokio::sync::oneshot;

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

/// An ask whose answer lies in the run's stream already: asked again, by a strategy that starts again from the top after a takeover.
#[derive(Debug)]
pub struct CachedAnswer {
    /// Where the result lies.
    pub sequence: u64,
    reply: oneshot::Sender<Answered>,
}

impl CachedAnswer {
    /// Answers with the result that was read there.
    pub fn answer(self, result: pb::JobResult) {
        answer(self.reply, read_result(result));
    }
}

/// Asks that wait and asks that are issued.
#[derive(Debug)]
pub struct Scheduler {
    window: usize,
    windows: BTreeMap<Pool, usize>,
    queues: BTreeMap<Pool, VecDeque<Request>>,
    cached_answers: VecDeque<CachedAnswer>,
    issued: HashMap<String, Issued>,
    /// How many of the issued are each pool's: kept, since every decision looks at it.
    in_flight_by_pool: BTreeMap<Pool, usize>,
    republish: Vec<String>,
    lost: Vec<String>,
    run_events: Vec<pb::RunEvent>,
    emitted: usize,
    concludes: bool,
    phase: usize,
    issuing_paused: bool,
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

impl Scheduler {
    /// A scheduler that keeps at most `window` jobs of a pool in flight.
    pub fn new(window: usize) -> Self {
        Scheduler {
            window,
            windows: BTreeMap::new(),
            queues: BTreeMap::new(),
            cached_answers: VecDeque::new(),
            issued: HashMap::new(),
            in_flight_by_pool: BTreeMap::new(),
            republish: Vec::new(),
            lost: Vec::new(),
            run_events: Vec::new(),
            emitted: 0,
            concludes: false,
            phase: 0,
            issuing_paused: false,
        }
    }

    /// Takes an ask: recalls its answer, joins it to the same ask in flight, refuses it, or lets it wait.
    pub fn ask(&mut self, request: Request, state: &RunState) {
        if let Some(sequence) = state.result_at(&request.job) {
            let reply = request.reply;
            self.cached_answers.push_back(CachedAnswer { sequence, reply });
        } else if let Some(issued) = self.issued.get_mut(&request.job) {
            issued.waiters.push(request.reply);
        } else if let Some(open) = state.open.get(&request.job) {
            // Issued by an earlier leader, or before a restart: the message may be gone, so it is published again.
            if open.lost {
                self.lost.push(request.job.clone());
            } else {
                self.republish.push(request.job.clone());
            }
            self.issue(request);
        } else if let Some(stop) = self.refusal(state) {
            answer(request.reply, Err(stop));
        } else {
            self.queues.entry(request.pool.clone()).or_default().push_back(request);
        }
    }

    /// Takes an event.
    pub fn emit(&mut self, run_event: pb::RunEvent) {
        self.run_events.push(run_event);
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
    pub fn pause_issuing(&mut self, paused: bool) {
        self.issuing_paused = paused;
    }

    /// The next answer that is to be read from the run's stream.
    pub fn next_cached_answer(&mut self) -> Option<CachedAnswer> {
        self.cached_answers.pop_front()
    }

    /// A result was applied: answers whoever waits for it.
    pub fn settled(&mut self, result: pb::JobResult) {
        let Some(issued) = self.issued.remove(&result.job) else {
            return;
        };
        if let Some(in_flight_by_pool) = self.in_flight_by_pool.get_mut(&issued.pool) {
            *in_flight_by_pool = in_flight_by_pool.saturating_sub(1);
        }
        let read = read_result(result);
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
            self.republish.push(job.to_owned());
        }
    }

    /// Whether any job is in flight.
    pub fn has_in_flight(&self) -> bool {
        !self.issued.is_empty()
    }

    /// Jobs of a pool in flight.
    fn in_flight(&self, pool: &Pool) -> usize {
        self.in_flight_by_pool.get(pool).copied().unwrap_or(0)
    }

    /// Pools that have asks waiting or in flight.
    pub fn at_work(&self) -> BTreeSet<Pool> {
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.is_empty());
        let in_flight_by_pool = self.in_flight_by_pool.iter().filter(|(_, jobs)| **jobs > 0);
        waiting
            .map(|(pool, _)| pool)
            .chain(in_flight_by_pool.map(|(pool, _)| pool))
            .cloned()
            .collect()
    }

    /// Whether the strategy is to come to its end in the phase that it is in: whatever it asks is refused.
    pub fn refuses(&self, state: &RunState) -> bool {
        self.refusal(state).is_some()
    }

    /// Jobs of these pools in flight that have no result.
    pub fn in_flight_of(&self, pools: &BTreeSet<Pool>, state: &RunState) -> Vec<(String, Role)> {
        let of = |(job, issued): (&String, &Issued)| {
            let open = pools.contains(&issued.pool) && state.open.contains_key(job);
            open.then(|| (job.clone(), issued.pool.role))
        };
        self.issued.iter().filter_map(of).collect()
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
        for cached in self.cached_answers.drain(..) {
            answer(cached.reply, Err(stop.clone()));
        }
        self.in_flight_by_pool.clear();
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
        *self.in_flight_by_pool.entry(pool.clone()).or_insert(0) += 1;
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
}

/// Reads a result as the strategy sees it.
fn read_result(result: pb::JobResult) -> Answered {
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
