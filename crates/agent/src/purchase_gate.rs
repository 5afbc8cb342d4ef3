//! Whether this agent may buy at all: not while its answers cannot be brought to the bus, and not while the spool has no room for
//! another one. Until then it hands its jobs back, and its status says why.

use sipdo_bus::BusError;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What stops this agent from buying.
#[derive(Debug, Default)]
pub(crate) struct PurchaseGate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Answers that wait to be uploaded, and why the last of them could not be.
    waiting: usize,
    refused: String,
    /// Why the spool has no room.
    spool: Option<String>,
    /// Why the bus has none for the records of attempts.
    records: Option<String>,
}

/// Counts an answer as waiting until it is dropped.
#[derive(Debug)]
pub(crate) struct BlockedGuard<'a>(&'a PurchaseGate);

impl PurchaseGate {
    /// Why nothing is bought at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        let state = self.lock();
        if state.waiting > 0 {
            let answers = state.waiting;
            return Some(format!(
                "{answers} answers cannot be brought to the bus: {}",
                state.refused
            ));
        }
        let records = |why| format!("no attempt can be recorded: {why}");
        state.spool.clone().or_else(|| state.records.clone().map(records))
    }

    /// Whether answers wait to be uploaded.
    pub fn is_stuck(&self) -> bool {
        self.lock().waiting > 0
    }

    /// An answer could not be uploaded, for this reason, and waits.
    pub fn waits(&self, reason: &str) -> BlockedGuard<'_> {
        let mut state = self.lock();
        if state.waiting == 0 {
            tracing::warn!(reason, "cannot upload an answer; the agent buys nothing until it can");
        }
        state.waiting += 1;
        reason.clone_into(&mut state.refused);
        BlockedGuard(self)
    }

    /// Whether the spool has room; if not, why.
    pub fn spool(&self, lacks: Option<String>) {
        let mut state = self.lock();
        match (&state.spool, &lacks) {
            (None, Some(reason)) => tracing::error!(reason, "the agent buys nothing until the spool has room"),
            (Some(_), None) => tracing::info!("the spool has room again"),
            _ => {}
        }
        state.spool = lacks;
    }

    /// Whether the bus took the record of an attempt. Without room for it nothing is bought, and no leader would know why. A server that
    /// is there and does not acknowledge has no room on its disk, most likely.
    pub fn recorded<T>(&self, taken: &Result<T, BusError>, connected: bool) {
        self.lock().records = match taken {
            Err(error @ BusError::Full { .. }) => Some(error.to_string()),
            Err(error @ BusError::Unsettled { .. }) if connected => Some(format!(
                "{error}; the disk of the server may be full: read its log, make room, and restart it"
            )),
            _ => None,
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlockedGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            tracing::info!("all answers are on the bus; the agent takes jobs again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_bought_while_an_answer_waits_or_the_spool_is_full() {
        let purchase_gate = PurchaseGate::default();
        assert_eq!(purchase_gate.trouble(), None);
        let (one, two) = (purchase_gate.waits("full"), purchase_gate.waits("full up"));
        drop(one);
        assert!(purchase_gate.is_stuck());
        assert!(
            purchase_gate
                .trouble()
                .unwrap()
                .contains("1 answers cannot be brought to the bus: full up")
        );
        drop(two);
        assert_eq!((purchase_gate.is_stuck(), purchase_gate.trouble()), (false, None));
        purchase_gate.spool(Some("no space".into()));
        assert_eq!(purchase_gate.trouble().as_deref(), Some("no space"));
        purchase_gate.spool(None);
        assert_eq!(purchase_gate.trouble(), None);
        let full = BusError::Full {
            doing: "record of an attempt",
            reason: "server full".into(),
        };
        purchase_gate.recorded(&Err::<(), _>(full), true);
        assert!(
            purchase_gate
                .trouble()
                .is_some_and(|words| words.contains("server full"))
        );
        purchase_gate.recorded(&Ok(()), true);
        assert_eq!(purchase_gate.trouble(), None);
        let silent = || {
            Err::<(), _>(BusError::Unsettled {
                doing: "record of an attempt",
                waited: std::time::Duration::from_secs(30),
                reason: "no answer".into(),
            })
        };
        purchase_gate.recorded(&silent(), false);
        assert_eq!(
            purchase_gate.trouble(),
            None,
            "a connection that is lost is another matter"
        );
        purchase_gate.recorded(&silent(), true);
        assert!(
            purchase_gate
                .trouble()
                .is_some_and(|words| words.contains("may be full"))
        );
    }
}
