//! What is known of the room on the server. `room.rs` looks, and refuses what would begin while there is none.
//!
//! Nothing new is begun above the high-water mark; what is in flight ends, and its answers have room. Where a limit is met all
//! the same - one that this process knows nothing of, a disk that something else has filled - the leader that meets it keeps its
//! run and says so here. The run's own journal cannot say so, so each coordinator says it when it is asked.

use sipdo_bus::{BusError, RunId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What to do about it.
pub(crate) const REMEDY: &str =
    "delete runs (`sipdo runs delete`) or raise the limit; `sipdo doctor` shows what each stream holds";

/// What it may mean that a server which is there does not acknowledge.
pub(crate) const SILENT: &str =
    "its disk may be full: read the server's log, make room, and restart the server (it does not recover by itself)";

/// What is known of the room on the server. Shared by the parts of a process.
#[derive(Debug, Default, Clone)]
pub struct Storage {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Why nothing new is begun.
    no_room: Option<String>,
    /// Why the last decision of a run that is led here could not be stored.
    refused: BTreeMap<RunId, String>,
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is whole after any panic: nothing is done with it but single inserts and removes.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing new is begun, if so. The words stay the same as long as it lasts.
    pub fn no_room(&self) -> Option<String> {
        self.lock().no_room.clone()
    }

    /// What a run waits for, or else this whole process.
    pub fn trouble(&self, run: Option<&RunId>) -> Option<String> {
        let known = self.lock();
        let refused = run.map_or(known.refused.values().next(), |run| known.refused.get(run));
        refused.or(known.no_room.as_ref()).cloned()
    }

    /// A decision or a job of this run could not be stored.
    pub fn refused(&self, run: &RunId, reason: String) {
        if self.lock().refused.insert(run.clone(), reason.clone()).is_none() {
            tracing::warn!(%run, reason, "there is no room for the next decision or job; the run waits");
        }
    }

    /// This run goes on, or is no longer led here.
    pub fn taken(&self, run: &RunId) {
        if self.lock().refused.remove(run).is_some() {
            tracing::info!(%run, "the run goes on");
        }
    }

    /// Takes what was found: why there is too little room, if so.
    pub(crate) fn look(&self, found: Result<Option<String>, BusError>) {
        let mut known = self.lock();
        match (found, &known.no_room) {
            (Ok(Some(reason)), None) => {
                tracing::warn!(reason, "the server has too little room: runs wait");
                known.no_room = Some(format!("room: {reason}; {REMEDY}"));
            }
            (Ok(None), Some(_)) => {
                tracing::info!("the server has room again: runs go on");
                known.no_room = None;
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::debug!(%error, "cannot ask the server what its streams hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_stays_the_same_until_there_is_room() {
        let storage = Storage::default();
        storage.look(Ok(None));
        assert_eq!(storage.no_room(), None);
        storage.look(Ok(Some("91 of 100".into())));
        let first = storage.no_room().unwrap();
        assert!(first.contains("91 of 100") && first.contains("runs delete"), "{first}");
        storage.look(Ok(Some("95 of 100".into())));
        assert_eq!(
            storage.no_room(),
            Some(first),
            "a run that says it would fill its stream by that"
        );
        storage.look(Ok(None));
        assert_eq!(storage.no_room(), None);
    }

    #[test]
    fn a_refused_decision_is_told_of_its_run_and_of_the_process() {
        let (storage, run) = (Storage::default(), RunId::new("r1").unwrap());
        storage.refused(&run, "full".into());
        assert_eq!(storage.trouble(Some(&run)).as_deref(), Some("full"));
        assert_eq!(storage.trouble(None).as_deref(), Some("full"));
        assert_eq!(storage.trouble(Some(&RunId::new("r2").unwrap())), None);
        storage.taken(&run);
        assert_eq!(storage.trouble(None), None);
    }
}
