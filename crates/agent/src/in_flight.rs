//! The attempts that a process works on: a job that is delivered to it again meanwhile is not worked on twice.

use sipdo_bus::{JobId, RunId};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The attempts that a process works on.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<BTreeSet<Place>>);

/// Run and job, and the attempt.
type Place = (String, u32);

/// The mark that this process works on an attempt, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard<'a> {
    in_flight: &'a InFlight,
    place: Place,
}

impl InFlight {
    /// Takes up an attempt; none where the process works on it already.
    pub fn take(&self, run: &RunId, job: &JobId, attempt: u32) -> Option<InFlightGuard<'_>> {
        self.mark((format!("{run}.{job}"), attempt))
    }

    fn mark(&self, place: Place) -> Option<InFlightGuard<'_>> {
        let new = self.lock().insert(place.clone());
        // Made only where it is ours: a mark that is dropped takes the attempt out.
        new.then(|| InFlightGuard { in_flight: self, place })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.in_flight.lock().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_delivery_does_not_take_the_first_ones_mark_away() {
        let in_flight = InFlight::default();
        let place = || ("r.j".to_owned(), 1);
        let first = in_flight.mark(place());
        assert!(first.is_some());
        assert!(in_flight.mark(place()).is_none());
        assert!(in_flight.mark(place()).is_none(), "nor does it for a third one");
        assert!(
            in_flight.mark(("r.j".to_owned(), 2)).is_some(),
            "another attempt is another thing"
        );
        drop(first);
        assert!(in_flight.mark(place()).is_some());
    }
}
