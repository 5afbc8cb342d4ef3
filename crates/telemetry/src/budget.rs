//! What the runs that this process leads have left of their caps. A run is no label, so each cap shows the run that has least of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::names;

/// The caps of a run, in the order of [`Left`].
const CAPS: [&str; 4] = ["calls", "tokens", "usd", "time"];

/// Shares left, from 0 to 1, of calls, tokens, USD and time; none where there is no cap.
pub type Left = [Option<f64>; 4];

static RUNS: Mutex<BTreeMap<u64, Left>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One run's place among those that are shown, until it is dropped.
#[derive(Debug)]
pub struct Budget(u64);

impl Budget {
    /// A run of which nothing is known yet.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it takes a place; nobody should get one by accident"
    )]
    pub fn new() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// This is left now.
    pub fn left(&self, left: Left) {
        lock().insert(self.0, left);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        lock().remove(&self.0);
    }
}

/// The least share of each cap among all runs.
fn least() -> impl Iterator<Item = (&'static str, f64)> {
    let mut least = Left::default();
    for left in lock().values() {
        for (least, left) in least.iter_mut().zip(left) {
            *least = match (*least, *left) {
                (Some(least), Some(left)) => Some(least.min(left)),
                (least, left) => least.or(left),
            };
        }
    }
    CAPS.into_iter().zip(least).filter_map(|(cap, left)| Some((cap, left?)))
}

pub(crate) fn show(meter: &Meter) {
    meter
        .f64_observable_gauge(names::METRIC_BUDGET_LEFT)
        .with_unit("1")
        .with_description("Share of a cap that is left, of the run that has least")
        .with_callback(|gauge| {
            least().for_each(|(cap, left)| gauge.observe(left, &[KeyValue::new(names::BUDGET, cap)]))
        })
        .build();
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Left>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_has_least_is_shown_as_long_as_it_is_led() {
        let (one, two) = (Budget::new(), Budget::new());
        one.left([Some(0.5), None, Some(0.9), None]);
        two.left([Some(0.2), None, None, Some(0.1)]);
        assert_eq!(
            least().collect::<Vec<_>>(),
            [("calls", 0.2), ("usd", 0.9), ("time", 0.1)]
        );
        drop(two);
        assert_eq!(least().collect::<Vec<_>>(), [("calls", 0.5), ("usd", 0.9)]);
    }
}
