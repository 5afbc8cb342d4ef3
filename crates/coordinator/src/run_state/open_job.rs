//! A job that was issued and has no result.

use sipdo_domain::Role;
use sipdo_telemetry::Trace;

/// A job that was issued and has no result.
#[derive(Debug, Clone)]
pub struct OpenJob {
    /// The role that does it.
    pub role: Role,
    /// The pool of the role; empty for the unnamed one.
    pub pool: String,
    /// The newest attempt.
    pub attempt: u32,
    /// The newest attempt was lost with its agent: the next one must be issued.
    pub lost: bool,
    /// Attempts that died with their agents. Those that were given up unpaid do not count.
    pub died: u32,
    /// The iteration that issued it first: the trace of everything that is done for it.
    pub trace: Trace,
}

/// The ledger's key of one attempt.
pub fn attempt_key(job: &str, attempt: u32) -> String {
    format!("{job}#{attempt}")
}
