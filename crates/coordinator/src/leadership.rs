//! One leader's right to a run's log, without I/O: what each of its appends says of itself, and what ends the right.
//!
//! An append names the entry that it follows; the server refuses it if that one is no longer the last. So a coordinator that has lost
//! a run cannot write to it, however late it wakes. It must stop at the first sign: it must not take another's entry for the one to
//! follow.

use crate::{replay::Applied, run_state::RunState};
use sipdo_protocol::pb;

/// What one leader of a run appends by.
#[derive(Debug)]
pub struct Leadership {
    epoch: u64,
    unique: String,
    appended: u64,
}

/// An entry on its way to the log.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The entry.
    pub entry: pb::Entry,
    /// Its name among all entries of the run, by whomever.
    pub id: String,
    /// The sequence of the entry that it follows.
    pub expected: u64,
}

impl Leadership {
    /// The next leadership of a run in this state. `unique` is of this leadership alone.
    pub fn after(state: &RunState, unique: String) -> Self {
        Leadership {
            epoch: state.epoch + 1,
            unique,
            appended: 0,
        }
    }

    /// Its number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The next entry. It is applied to the state at once, because it carries the summary that it leads to: if it is refused, the
    /// state must be thrown away; if it is stored, [`Leadership::stored`] must be called.
    pub fn draft(&mut self, state: &mut RunState, events: Vec<pb::LogEvent>, at_ms: u64) -> Draft {
        let mut entry = pb::Entry {
            run: state.summary.run.clone(),
            at_ms,
            epoch: self.epoch,
            events,
            summary: None,
        };
        let expected = state.log_sequence;
        state.apply_entry(expected, &entry);
        entry.summary = Some(state.summary.clone());
        self.appended += 1;
        // Two processes may try to claim the same epoch: the unique part tells them apart, or the loser would take the winner's
        // entry for its own.
        let id = format!("{}-{}-{}", self.unique, self.epoch, self.appended);
        Draft { entry, id, expected }
    }

    /// The last draft lies in the log at this sequence.
    pub fn stored(&self, state: &mut RunState, sequence: u64) {
        state.log_sequence = sequence;
    }

    /// Whether what was read from the stream ends this leadership. An entry that this leader did not know when it came can only be
    /// another leader's, and the state names its sequence now: an append after it would be taken.
    pub fn is_ended_by(&self, applied: &Applied) -> bool {
        matches!(applied, Applied::Entry(_))
    }
}
