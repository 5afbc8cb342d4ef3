//! The journal of a run, as its leader writes it: every entry names the one it follows, and the server refuses the
//! entry if that one is no longer the last. So the append itself is the fence between an old leader and a new one.

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{NewMessage, Stored};
use crate::place::{CasOutcome, Target};
use crate::subjects::{self, RUN_STREAM, RunId, header};

/// The log of one run, open for appending. Holds no state: the caller keeps the last sequence.
#[derive(Clone, Debug)]
pub struct Journal {
    bus: Bus,
    run: RunId,
    subject: String,
}

/// Why an entry was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended in between: the caller no longer leads, and must stop at once.
    #[error("another leader has appended to run {run}: its log ends at {last}, not at {expected}")]
    Fenced {
        /// Which run.
        run: RunId,
        /// What the caller took for the last entry.
        expected: u64,
        /// What the last entry is.
        last: u64,
    },
    /// The message id has been used for an earlier entry, so the server swallowed this one. A mistake of the caller.
    #[error("the id {id} of an entry of run {run} was used before, at sequence {seq}")]
    IdUsed {
        /// Which run.
        run: RunId,
        /// Which id.
        id: String,
        /// Where.
        seq: u64,
    },
    /// Everything else. After [`BusError::Unsettled`] the entry may still arrive: the caller must not go on as leader
    /// before it has read the log again.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Journal {
    /// Opens the log of `run`. Nothing is sent.
    #[must_use]
    pub fn open(bus: &Bus, run: &RunId) -> Self {
        Self {
            bus: bus.clone(),
            run: run.clone(),
            subject: subjects::run_log(run),
        }
    }

    /// Appends `entry` after the entry at the sequence `expected` (0: as the first), and returns its own sequence.
    ///
    /// `id` names this entry among all entries of the run, by whomever: the leader's epoch is not enough, because two
    /// processes may try for the same epoch. By it the entry is recognised when its acknowledgement got lost. A lost
    /// acknowledgement is settled here, by reading.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, entry: NewMessage, id: &str, expected: u64) -> Result<u64, AppendError> {
        // The server compares ids of all runs with each other.
        let entry = entry.with(header::MESSAGE_ID, format!("{}.{id}", self.run));
        let target = Target {
            stream: RUN_STREAM,
            subject: &self.subject,
            what: "journal entry",
        };
        match self.bus.publish_if(target, entry, expected, header::MESSAGE_ID).await? {
            CasOutcome::Stored(seq) => Ok(seq),
            CasOutcome::Taken(last) => Err(AppendError::Fenced {
                run: self.run.clone(),
                expected,
                last: last.map_or(0, |last| last.seq),
            }),
            CasOutcome::Repeated(seq) => Err(AppendError::IdUsed {
                run: self.run.clone(),
                id: id.to_owned(),
                seq,
            }),
        }
    }

    /// The last entry, if there is one, as the leader of the stream knows it.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn last(&self) -> Result<Option<Stored>, BusError> {
        self.bus.last_from_leader(RUN_STREAM, &self.subject).await
    }
}
