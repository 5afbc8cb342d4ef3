//! Whether a job is answered already: looked up before it is bought, and again before each request that may repeat one.
//!
//! An agent that was cut off, frozen or unheard for longer than the queue's patience is believed to be dead, and its job is given to
//! another with a new attempt. It may be alive all the same, and then two of them work on one job. Whoever of them is about to send a
//! request looks for the other's answer first: in the spool that they may share, in the run, and in the completion store. Only a request
//! that was under way when the other's answer came is paid for twice.

use crate::publisher::Publisher;
use crate::reuse::may_reuse;
use crate::work::Work;
use prost::Message as _;
use sipdo_bus::BusError;
use sipdo_llm::{Paid, Permit};
use sipdo_protocol::{JobOutcome, pb};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A pause before a bus that could not be asked is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Where an answer was found.
#[derive(Debug)]
pub(crate) enum ExistingAnswer {
    /// The job's result is in the run, or has just been brought there from the spool.
    InRun,
    /// The same request was answered before; the answer is in the completion store.
    Stored(Box<JobOutcome>),
}

/// Looks for answers that are there already.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    publisher: &'a Publisher,
}

impl<'a> Lookup<'a> {
    pub fn new(publisher: &'a Publisher) -> Self {
        Self { publisher }
    }

    /// The answer to this job or to the very same request, if it is in a safe place that can be reached.
    ///
    /// # Errors
    /// The bus cannot be asked, so that nobody knows.
    pub async fn answered(&self, work: &Work, key: &str) -> Result<Option<ExistingAnswer>, BusError> {
        if self.upload_left_behind(work).await {
            return Ok(Some(ExistingAnswer::InRun));
        }
        let (result, stored) = tokio::join!(
            self.publisher
                .bus
                .result_for_certain(&work.run, &self.publisher.name, &work.job),
            self.stored_completion(work, key)
        );
        if result?.is_some() {
            return Ok(Some(ExistingAnswer::InRun));
        }
        if let Some(outcome) = stored? {
            return Ok(Some(ExistingAnswer::Stored(Box::new(outcome))));
        }
        // Another process of this machine may have saved its answer while the bus was asked.
        Ok(self.upload_left_behind(work).await.then_some(ExistingAnswer::InRun))
    }

    /// Whether the job has its result. Not known is as good as no: the record of the attempt guards against buying again.
    pub async fn has_result(&self, work: &Work) -> bool {
        self.upload_left_behind(work).await
            || matches!(
                self.publisher
                    .bus
                    .result(&work.run, &self.publisher.name, &work.job)
                    .await,
                Ok(Some(_))
            )
    }

    /// The stored answer to the same request, if the run may reuse it. Not known is as good as none.
    pub async fn look_up(&self, work: &Work, key: &str) -> Option<JobOutcome> {
        self.stored_completion(work, key).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the completion store");
            None
        })
    }

    async fn stored_completion(&self, work: &Work, key: &str) -> Result<Option<JobOutcome>, BusError> {
        let Some(entry) = self.publisher.bus.completions().get(key).await? else {
            return Ok(None);
        };
        let read = pb::JobResult::decode(entry.value).map_err(|error| error.to_string());
        match read.and_then(|result| JobOutcome::try_from(result).map_err(|error| error.to_string())) {
            Ok(outcome) => Ok(may_reuse(&outcome, work).then_some(outcome)),
            Err(error) => {
                tracing::warn!(error, "cannot decode a stored completion; the agent buys it again");
                Ok(None)
            }
        }
    }

    /// Uploads the answer to any attempt at this job that a process has left in the spool that we share with it.
    pub async fn upload_left_behind(&self, work: &Work) -> bool {
        match self.publisher.spool.of(work.run.as_str(), work.job.as_str()) {
            Ok(Some((file, answer))) => {
                self.publisher.upload(&file, &answer, &work.trace).await;
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "cannot search the spool");
                false
            }
        }
    }
}

/// Gives a job's call leave to send each request.
///
/// The first request of a first attempt needs no look, if it is sent soon: nobody else can have had a reason to buy. Every other one
/// does. A bus that cannot be asked is waited for: behind a cut somebody else may have the answer. What was seen must be fresh, since
/// a process may be frozen between the look and the request.
///
/// It also counts: a request that would go beyond what is reserved for the attempt is not sent.
pub(crate) struct SendPermit<'a> {
    lookup: Lookup<'a>,
    work: &'a Work,
    key: &'a str,
    /// The completions that are reserved for the attempt.
    reserved: u32,
    sent_before: AtomicBool,
    requests: AtomicU32,
    /// Requests that are certainly not paid for.
    unpaid: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why the last request was withheld.
    answered: Option<ExistingAnswer>,
    /// For how long the bus, or the endpoint's limits, were waited for.
    waited: Duration,
    /// Since when it is waited for now.
    waiting: Option<Instant>,
}

impl<'a> SendPermit<'a> {
    pub fn new(lookup: Lookup<'a>, work: &'a Work, key: &'a str, reserved: u32) -> Self {
        Self {
            lookup,
            work,
            key,
            reserved,
            sent_before: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            unpaid: AtomicU32::new(0),
            state: Mutex::default(),
        }
    }

    /// The answer for which a request was withheld.
    pub fn into_answered(self) -> Option<ExistingAnswer> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).answered
    }

    /// Requests that were sent.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that were sent and are paid for, may be, or are under way.
    pub fn maybe_paid(&self) -> u32 {
        self.requests().saturating_sub(self.unpaid.load(Ordering::Relaxed))
    }

    /// The time for which the bus and the endpoint's limits were waited for so far. It is nobody's fault in the call.
    pub fn waited(&self) -> Duration {
        let state = self.state();
        state.waited + state.waiting.map_or(Duration::ZERO, |since| since.elapsed())
    }

    async fn look(&self) -> bool {
        // Nobody is believed to be dead before the queue's patience has run out.
        let fresh = self.lookup.publisher.bus.settings().ack_wait / 3;
        let first = !self.sent_before.swap(true, Ordering::Relaxed);
        if !needs_look(first, self.work.wire.attempt, self.work.clock.elapsed(), fresh) {
            return true;
        }
        loop {
            let clock = Instant::now();
            match self.lookup.answered(self.work, self.key).await {
                Ok(Some(found)) => {
                    tracing::info!(job = %self.work.job, attempt = self.work.wire.attempt, "another agent has answered the job");
                    self.state().answered = Some(found);
                    return false;
                }
                Ok(None) if clock.elapsed() < fresh => {
                    self.waits(None);
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot look up whether the job has an answer; its next request waits");
                    self.waits(Some(clock));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Notes that the bus is waited for since then, or no longer.
    fn waits(&self, since: Option<Instant>) {
        let mut state = self.state();
        match since {
            Some(since) => drop(state.waiting.get_or_insert(since)),
            None => {
                let waited = state.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
                state.waited += waited;
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody else may have had a reason to buy by now: not before the first request of a first attempt, if it is sent soon.
pub(crate) fn needs_look(first: bool, attempt: u32, in_flight_for: Duration, fresh: Duration) -> bool {
    !(first && attempt == 1 && in_flight_for < fresh)
}

impl Permit for SendPermit<'_> {
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.look())
    }

    fn has_room(&self) -> bool {
        self.maybe_paid() < self.reserved
    }

    fn waits_for_limits(&self, begins: bool) {
        self.waits(begins.then(Instant::now));
    }

    fn sending(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, paid: Paid) {
        if paid == Paid::No {
            self.unpaid.fetch_add(1, Ordering::Relaxed);
        }
    }
}
