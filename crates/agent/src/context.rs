//! What all jobs of one agent share.

use crate::counters::Counters;
use crate::in_flight::InFlight;
use crate::models::Models;
use crate::publisher::Publisher;
use crate::role::{MAX_REPAIRS, Overhead, RoleAgent};
use crate::settings::AgentSettings;
use sipdo_protocol::pb;
use tokio::sync::watch;

/// Requests of a job that repeat one that failed though it may be paid for, as after a timeout. Each is reserved like a completion.
/// One is a compromise: more of them would leave less of a budget for other jobs at the same time, and a strategy asks again for what was
/// not measured.
pub(crate) const MAX_REPEATS: u32 = 1;

/// What all jobs of one agent share.
pub(crate) struct Context {
    pub role: Box<dyn RoleAgent>,
    /// What the role's requests hold beyond the asks.
    pub overhead: Overhead,
    pub settings: AgentSettings,
    pub models: Models,
    pub publisher: Publisher,
    pub counters: Counters,
    /// Attempts that this process works on.
    pub in_flight: InFlight,
    /// True as soon as the agent is to stop.
    pub draining: watch::Receiver<bool>,
}

impl Context {
    /// Most completions that one job can buy, with what is reserved for requests that are sent twice.
    pub fn max_calls(&self) -> u32 {
        let hedges = |endpoint: &sipdo_llm::Endpoint| endpoint.hedge_after_seconds.is_some();
        if self.settings.endpoints.values().any(hedges) {
            2 * self.most_completions()
        } else {
            self.most_completions()
        }
    }

    /// Tokens that a repair adds to a request at most, beyond the answer that it repairs; none where nothing is repaired.
    pub fn repair_tokens(&self) -> Option<u64> {
        self.role.structured().then_some(self.overhead.repair as u64)
    }

    /// What its requests hold beyond the asks, as the coordinators reserve by it.
    pub fn request_overhead(&self) -> pb::RequestOverhead {
        let Overhead {
            request,
            growth,
            repair,
        } = self.overhead;
        pb::RequestOverhead {
            request_bytes: request as u64,
            bytes_per_ask_byte: growth,
            repair_bytes: repair as u64,
        }
    }

    /// Most completions that are of use to one job: one, and its repairs where it has a shape.
    pub fn most_completions(&self) -> u32 {
        if self.role.structured() { 1 + MAX_REPAIRS } else { 1 }
    }
}
