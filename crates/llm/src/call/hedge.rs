//! Hedging: a request that has no answer after a time is sent a second time, and whichever answer comes first is taken.
//!
//! It buys a shorter wait with money: the request that is abandoned may be paid for, and nobody tells what it cost. So a call does it
//! once at most, and its owner reserves twice as much; a [`Permit`] without room for another request forbids it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use secrecy::SecretString;

use super::Call;
use crate::chat::{AttemptRecord, Paid};
use crate::client::{Model, Shared};
use crate::limit::Slot;
use crate::permit::Permit;
use crate::wire::{Failure, Sent, Shaped};

impl Sent {
    /// The record of a sending that failed beside one that goes on.
    fn record(&self, failure: &Failure) -> AttemptRecord {
        AttemptRecord {
            started: self.started,
            latency: self.latency,
            status: failure.status(),
            kind: "hedged",
            retry_after: failure.retry_after(),
            paid: failure.paid(),
        }
    }
}

impl Model {
    /// Whether a call to it may send its request twice.
    pub fn hedges(&self) -> bool {
        self.hedge.is_some()
    }

    /// The same model, never asked twice at a time.
    pub fn unhedged(&self) -> Model {
        let mut model = self.clone();
        model.hedge = None;
        model
    }
}

impl Call<'_> {
    /// Sends the request, and once more if no answer has begun after the endpoint's `hedge_after_seconds`. What was sent beside the
    /// answer that is returned is noted.
    pub(super) async fn send(&mut self, shaped: &Shaped<'_>, key: Option<&SecretString>) -> Sent {
        let (shared, limit) = (&self.model.endpoint.0, self.model.timeout());
        let begun = AtomicBool::new(false);
        let sending = |permit: Option<&dyn Permit>| permit.map_or((), Permit::sending);
        sending(self.permit);
        let mut first = std::pin::pin!(one(shared, shaped, key, limit, &begun));
        let Some(after) = self.model.hedge.filter(|_| !self.hedged) else {
            return first.await;
        };
        let clock = (SystemTime::now(), Instant::now());
        tokio::select! {
            biased;
            sent = &mut first => return sent,
            () = tokio::time::sleep(after) => {}
        }
        let second_begun = AtomicBool::new(false);
        let sent_at = std::sync::OnceLock::new();
        let (permit, tokens) = (self.permit, self.tokens());
        let mut second = std::pin::pin!(async {
            let slot: Slot<'_> = shared.limiter.acquire(tokens).await;
            let leave = match permit {
                Some(permit) => permit.may_send().await,
                None => true,
            };
            // An answer that has begun is waited for.
            if !leave || begun.load(Ordering::Relaxed) || !permit.is_none_or(Permit::has_room) {
                return None;
            }
            sending(permit);
            sent_at.get_or_init(|| (SystemTime::now(), Instant::now()));
            let sent = one(shared, shaped, key, limit, &second_begun).await;
            if let Err(failure) = &sent.result
                && failure.is_overload()
            {
                slot.overloaded(failure.retry_after());
            }
            Some(sent)
        });
        let winner = tokio::select! {
            biased;
            sent = &mut first => match (&sent.result, sent_at.get()) {
                (Ok(_), Some(since)) => {
                    self.note(abandoned(*since));
                    sent
                }
                (Ok(_), None) => sent,
                (Err(failure), _) => {
                    let record = sent.record(failure);
                    match second.await {
                        Some(other) => {
                            self.note(record);
                            other
                        }
                        None => sent,
                    }
                }
            },
            other = &mut second => match other {
                Some(other) if other.result.is_ok() => {
                    self.note(abandoned(clock));
                    other
                }
                Some(other) => {
                    if let Err(failure) = &other.result {
                        self.note(other.record(failure));
                    }
                    first.await
                }
                None => first.await,
            },
        };
        self.hedged = sent_at.get().is_some();
        winner
    }
}

/// A time limit that is noticed so much too late was noticed by a process that had stood still.
const LATE: Duration = Duration::from_millis(250);

/// One sending within the time limit. Where the process has stood still meanwhile, an answer may have come that nobody could read: it is
/// paid for, so there is a moment more to read it.
async fn one(
    shared: &Shared,
    shaped: &Shaped<'_>,
    key: Option<&SecretString>,
    limit: Duration,
    begun: &AtomicBool,
) -> Sent {
    let (started, clock) = (SystemTime::now(), Instant::now());
    let mut sending = std::pin::pin!(shared.send(shaped, key, begun));
    let mut sent = tokio::time::timeout(limit, &mut sending).await;
    if sent.is_err() && clock.elapsed() > limit + LATE {
        sent = tokio::time::timeout(LATE, sending).await;
    }
    Sent {
        result: sent.unwrap_or(Err(Failure::TimedOut(limit))),
        started,
        latency: clock.elapsed(),
    }
}

/// The record of a sending that nobody waited for any longer: it may be paid for.
fn abandoned((started, clock): (SystemTime, Instant)) -> AttemptRecord {
    AttemptRecord {
        started,
        latency: clock.elapsed(),
        status: None,
        kind: "hedged",
        retry_after: None,
        paid: Paid::Unknown,
    }
}
