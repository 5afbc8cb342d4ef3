//! The steps of buying, in their order and without I/O of their own. The order is the point: whatever step a process dies at, nothing
//! that is paid for is lost, and nothing is paid for twice. `tests.rs` beside it holds them to random schedules.
//!
//! 0. Take room in the spool, so that an answer that is paid for can be kept.
//! 1. Create the attempt's record, which is the right to buy. Who finds one buys nothing: the result is there (done), its owner lives
//!    (hand back), or its owner is dead (upload its answer if it lies in the spool of this machine, else report the attempt as lost;
//!    whether to buy again is for the run's leader to say).
//! 2. Meanwhile look into the completion store: the same request may have been answered already.
//! 3. Call the model, unless it costs more than was reserved, and write the answer to the spool. Before each request that may
//!    repeat one, look again (`lookup.rs`).
//! 4. Put it into the completion store and create the result, at the same time: the spool covers both.
//! 5. Forget the spool's file and acknowledge.

use crate::settle::Settle;
use std::time::Duration;

/// A job whose attempt a living process works on comes back after this time.
const OWNER_LIVES: Duration = Duration::from_secs(1);
/// A job that is left to others in an outage, or for want of room, comes back after this time.
pub(super) const OUTAGE: Duration = Duration::from_secs(5);
/// An owner that is connected and says nothing is believed to be dead after so many deliveries.
const SILENT_DELIVERIES: u64 = 4;

/// What the steps need of the world, for one delivery of one job.
pub(crate) trait Port: Sync {
    /// Why the bus could not be asked.
    type Error: std::fmt::Display + Send;
    /// Marks the attempt as worked on by this process, until it is dropped.
    type InFlightGuard: Send;
    /// An answer from the completion store.
    type Stored: Send;
    /// An answer that is to be uploaded.
    type Answer: Send + Sync;
    /// A file of the spool.
    type File: Send;
    /// Room for an answer in the spool, given back when it is dropped.
    type Reservation: Send;

    /// Whether the job has its result, or what lies in the spool has just become it. Not known is as good as no.
    fn has_result(&self) -> impl Future<Output = bool> + Send;
    /// Marks the attempt as in flight; none where it is already in flight in this process.
    fn take_in_flight(&self) -> Option<Self::InFlightGuard>;
    /// Takes room for the answer; none where there is not so much, or what was bought before waits for room elsewhere.
    fn take_room(&self) -> Option<Self::Reservation>;
    /// Creates the attempt's record.
    fn create_attempt(&self) -> impl Future<Output = Result<ClaimResult, Self::Error>> + Send;
    /// Whose the attempt's record is.
    fn owner(&self) -> impl Future<Output = Result<Owner, Self::Error>> + Send;
    /// Whether this process lives.
    fn liveness(&self, owner: &str) -> impl Future<Output = Result<OwnerLiveness, Self::Error>> + Send;
    /// Whether the job has its result.
    fn result(&self) -> impl Future<Output = Result<bool, Self::Error>> + Send;
    /// Uploads the answer that a process has left in the spool of this machine; false where there is none.
    fn upload_left_behind(&self) -> impl Future<Output = bool> + Send;
    /// The stored answer to the same request. Not known is as good as none.
    fn look_up(&self) -> impl Future<Output = Option<Self::Stored>> + Send;
    /// Makes a stored answer the job's result.
    fn publish_stored(&self, stored: Self::Stored) -> impl Future<Output = ()> + Send;
    /// Calls the model.
    fn call(&self) -> impl Future<Output = CallOutcome<Self::Answer>> + Send;
    /// Writes an answer to the spool; none where that fails.
    fn keep(&self, answer: &Self::Answer, room: Self::Reservation) -> Option<Self::File>;
    /// Puts an answer into the completion store and creates the result, however long it takes.
    fn upload(&self, answer: &Self::Answer) -> impl Future<Output = ()> + Send;
    /// Deletes a file of the spool.
    fn forget(&self, file: Self::File);
    /// Records that the attempt has ended with its owner, which is us if none is named; `unpaid`: without having bought anything.
    fn report_lost(&self, owner: Option<&str>, unpaid: bool) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// How long a job stays with a process that says nothing.
    fn patience(&self) -> Duration;
}

/// The outcome of creating an attempt's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimResult {
    /// This call created it.
    New,
    /// It was there.
    There,
    /// Nobody knows.
    Unsure,
}

/// Whose an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This very delivery's.
    This,
    /// This process's, by another delivery.
    Us,
    /// Another process's; empty where the record cannot be read, or there is none.
    Other(String),
}

/// What a process that was asked for says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerLiveness {
    /// That it lives.
    Alive,
    /// Nothing, though it is connected.
    Silent,
    /// The server knows of nobody.
    Dead,
}

/// The outcome of a call.
pub(crate) enum CallOutcome<A> {
    /// An answer, or a reason why there is none. It must not be lost where it was paid for.
    Answer { answer: A, paid: bool },
    /// Somebody else's answer was found meanwhile: it is the job's result already.
    InRun,
    /// The attempt is given up, and nothing was paid.
    GivenUp,
}

/// Who has the right to buy an attempt.
enum Right {
    Mine,
    /// Somebody else took it before.
    Taken,
}

/// Does a job, or finds out that it needs nothing of us. `delivered` counts the deliveries of this message, `attempt` the grants of
/// this job; both from 1.
pub(crate) async fn buy<P: Port>(port: &P, delivered: u64, attempt: u32) -> Settle {
    // Only a job that was delivered or attempted before can have a result; the others are not looked up.
    let seen_before = delivered > 1 || attempt > 1;
    if seen_before && port.has_result().await {
        return Settle::Ack;
    }
    let Some(_in_flight) = port.take_in_flight() else {
        return Settle::HandBack(OWNER_LIVES);
    };
    let Some(room) = port.take_room() else {
        return Settle::HandBack(OUTAGE);
    };
    let (right, stored) = tokio::join!(take_right(port), port.look_up());
    match (right, stored) {
        (Err(error), _) => {
            tracing::warn!(%error, "cannot claim the right to buy");
            Settle::HandBack(OWNER_LIVES)
        }
        (Ok(_), Some(stored)) => {
            port.publish_stored(stored).await;
            Settle::Ack
        }
        (Ok(Right::Mine), None) => match port.call().await {
            CallOutcome::Answer { answer, paid } => deliver(port, &answer, paid.then_some(room)).await,
            CallOutcome::InRun => Settle::Ack,
            CallOutcome::GivenUp => give_back(port).await,
        },
        (Ok(Right::Taken), None) => leave_taken(port, delivered).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the state of another agent's attempt");
            Settle::HandBack(OWNER_LIVES)
        }),
    }
}

/// Takes the right to buy. A record whose fate was unknown may turn out to be our own.
async fn take_right<P: Port>(port: &P) -> Result<Right, P::Error> {
    let mut unsure = false;
    loop {
        match port.create_attempt().await? {
            ClaimResult::New => return Ok(Right::Mine),
            ClaimResult::There if unsure && port.owner().await? == Owner::This => return Ok(Right::Mine),
            ClaimResult::There => return Ok(Right::Taken),
            ClaimResult::Unsure => unsure = true,
        }
    }
}

/// Uploads an answer; by way of the spool, where there is `room` for it, if it was paid for.
async fn deliver<P: Port>(port: &P, answer: &P::Answer, room: Option<P::Reservation>) -> Settle {
    let file = room.and_then(|room| port.keep(answer, room));
    port.upload(answer).await;
    if let Some(file) = file {
        port.forget(file);
    }
    Settle::Ack
}

/// Gives the attempt up without having bought anything: the leader grants another one, which costs the run nothing.
async fn give_back<P: Port>(port: &P) -> Settle {
    match port.report_lost(None, true).await {
        Ok(()) => Settle::Ack,
        Err(error) => {
            tracing::warn!(%error, "cannot give an attempt up; another agent will report it as lost");
            Settle::HandBack(OWNER_LIVES)
        }
    }
}

/// Another process took the right: buys nothing, and finds out whether it will create the result.
async fn leave_taken<P: Port>(port: &P, delivered: u64) -> Result<Settle, P::Error> {
    if port.result().await? {
        return Ok(Settle::Ack);
    }
    let owner = port.owner().await?;
    if let Owner::Other(owner) = &owner {
        // A record that cannot be read was left by nobody who could be asked.
        let liveness = match owner.as_str() {
            "" => OwnerLiveness::Dead,
            owner => port.liveness(owner).await?,
        };
        match liveness {
            OwnerLiveness::Alive => return Ok(Settle::HandBack(OWNER_LIVES)),
            OwnerLiveness::Silent if delivered < SILENT_DELIVERIES => return Ok(Settle::HandBack(port.patience())),
            OwnerLiveness::Silent | OwnerLiveness::Dead => {}
        }
        // Its result may have come while we asked for it, or lie in the spool of this machine.
        if port.result().await? || port.upload_left_behind().await {
            return Ok(Settle::Ack);
        }
    }
    // Ours, and no longer in flight: the task that worked on it failed unexpectedly. Then it is lost as well.
    let other = match &owner {
        Owner::Other(owner) => Some(owner.as_str()),
        Owner::This | Owner::Us => None,
    };
    port.report_lost(other, false).await?;
    Ok(Settle::Ack)
}
