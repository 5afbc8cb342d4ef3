//! The record of every call taken and how it ended, for tests and for counting what was bought.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::faults::FaultKind;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Counted from 1 in the order of arrival.
    pub id: u64,
    /// Whose work it was taken for.
    pub role: String,
    /// The model asked.
    pub model: String,
    /// Hash of the request: the same ask has the same hash.
    pub request: String,
    /// Address and port of the caller.
    pub from: String,
    /// `open`, `answered`, `refused` (an error status), `broken` (no whole answer was sent), or `abandoned` (the caller went away).
    pub outcome: String,
    /// HTTP status; 0 while open and when none was sent.
    pub status: u16,
    /// The fault that struck.
    pub fault: Option<FaultKind>,
    /// Tokens of the request.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// When it came, in milliseconds since 1970.
    pub received_ms: u64,
    /// When it ended; 0 while open.
    pub ended_ms: u64,
}

/// Sums over all calls since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Calls taken.
    pub calls: u64,
    /// Calls answered with a whole completion.
    pub answered: u64,
    /// Tokens of answered requests.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Calls taken, by role.
    pub by_role: BTreeMap<String, u64>,
    /// Most calls that were open at one time.
    pub peak_open: u64,
    /// Calls open now.
    pub open: u64,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    keep: usize,
}

#[derive(Debug, Default)]
struct Inner {
    calls: VecDeque<Call>,
    next: u64,
    totals: Totals,
}

/// An open call; when it is dropped without an end, the caller has gone away.
pub(crate) struct OpenCall {
    ledger: Arc<Ledger>,
    id: u64,
    ended: bool,
}

/// How a call ends.
pub(crate) struct End {
    pub outcome: &'static str,
    pub status: u16,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

impl Ledger {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            inner: Mutex::default(),
            keep,
        }
    }

    /// The calls kept with an id above `after`, at most `limit` of them.
    #[must_use]
    pub fn calls(&self, after: u64, limit: usize) -> Vec<Call> {
        self.lock()
            .calls
            .iter()
            .filter(|call| call.id > after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    /// Forgets all calls; ids go on.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.calls.clear();
        inner.totals = Totals::default();
    }

    pub(crate) fn open(self: &Arc<Self>, role: &str, model: &str, request: String, from: String) -> OpenCall {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let totals = &mut inner.totals;
        totals.calls += 1;
        totals.open += 1;
        totals.peak_open = totals.peak_open.max(totals.open);
        match totals.by_role.get_mut(role) {
            Some(count) => *count += 1,
            None => {
                totals.by_role.insert(role.to_owned(), 1);
            }
        }
        if inner.calls.len() >= self.keep {
            inner.calls.pop_front();
        }
        inner.calls.push_back(Call {
            id,
            role: role.to_owned(),
            model: model.to_owned(),
            request,
            from,
            outcome: "open".to_owned(),
            status: 0,
            fault: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            received_ms: now_ms(),
            ended_ms: 0,
        });
        OpenCall {
            ledger: Arc::clone(self),
            id,
            ended: false,
        }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Call)) {
        let mut inner = self.lock();
        let first = inner.calls.front().map_or(id, |call| call.id);
        let place = id.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| inner.calls.get_mut(place)) {
            change(call);
        }
    }

    fn end(&self, id: u64, end: &End) {
        self.change(id, |call| {
            end.outcome.clone_into(&mut call.outcome);
            call.status = end.status;
            call.prompt_tokens = end.prompt_tokens;
            call.completion_tokens = end.completion_tokens;
            call.ended_ms = now_ms();
        });
        let totals = &mut self.lock().totals;
        totals.open = totals.open.saturating_sub(1);
        if end.outcome == "answered" {
            totals.answered += 1;
            totals.prompt_tokens += end.prompt_tokens;
            totals.completion_tokens += end.completion_tokens;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenCall {
    /// Notes the fault that strikes this call.
    pub(crate) fn struck(&self, kind: FaultKind) {
        self.ledger.change(self.id, |call| call.fault = Some(kind));
    }

    /// Notes how the call ended.
    pub(crate) fn end(mut self, end: &End) {
        self.ended = true;
        self.ledger.end(self.id, end);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.ended {
            self.ledger.end(
                self.id,
                &End {
                    outcome: "abandoned",
                    status: 0,
                    prompt_tokens: 0,
                    completion_tokens: 0,
                },
            );
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_kept_to_a_number_and_totals_for_ever() {
        let ledger = Arc::new(Ledger::new(2));
        let end = End {
            outcome: "answered",
            status: 200,
            prompt_tokens: 3,
            completion_tokens: 1,
        };
        let first = ledger.open("learner", "m", "a".into(), String::new());
        ledger.open("learner", "m", "b".into(), String::new()).end(&end);
        drop(ledger.open("checker", "m", "c".into(), String::new()));
        first.end(&end);
        let outcomes: Vec<_> = ledger
            .calls(0, 9)
            .into_iter()
            .map(|call| (call.id, call.outcome))
            .collect();
        assert_eq!(outcomes, [(2, "answered".to_owned()), (3, "abandoned".to_owned())]);
        let totals = ledger.totals();
        assert_eq!(
            (
                totals.calls,
                totals.answered,
                totals.open,
                totals.peak_open,
                totals.prompt_tokens
            ),
            (3, 2, 0, 2, 6)
        );
    }
}
