//! How a delivered job is settled with its queue.

use std::time::Duration;

/// What to tell the queue about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settle {
    /// It is done, or needs nothing.
    Ack,
    /// It comes again after this time, here or elsewhere.
    HandBack(Duration),
    /// Nobody can do it; the reason.
    DeadLetter(String),
}
