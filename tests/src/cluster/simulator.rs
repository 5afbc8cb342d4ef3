//! The simulator's own ledger of calls: the oracle of what was bought, which none of our agents writes.

use crate::cluster::http::http;
use anyhow::{Context as _, Result};
use sipdo_simulator::{Call, Totals};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// What the simulator has seen.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Ledger {
    /// Sums.
    pub totals: Totals,
    /// Every call, oldest first.
    pub calls: Vec<Call>,
}

impl Ledger {
    /// Reads it.
    ///
    /// # Errors
    /// The simulator cannot be reached.
    pub async fn read(simulator: SocketAddr) -> Result<Self> {
        let body = http(simulator, "GET", "/admin/ledger", "").await?;
        serde_json::from_str(&body).context("the simulator's ledger cannot be read")
    }

    /// Whether a call was answered with a whole completion that no fault has spoilt.
    pub fn is_whole(call: &Call) -> bool {
        use sipdo_simulator::FaultKind::{Empty, MalformedContent, Refusal, Truncated};
        let spoilt = |fault| [Empty, MalformedContent, Refusal, Truncated].contains(&fault);
        call.outcome == "answered" && !call.fault.is_some_and(spoilt)
    }

    /// Requests that were answered with a whole completion.
    pub fn whole(&self) -> BTreeSet<&str> {
        self.calls
            .iter()
            .filter(|call| Self::is_whole(call))
            .map(|call| call.request.as_str())
            .collect()
    }

    /// Requests that were answered with a whole completion more than once.
    pub fn bought_twice(&self) -> Vec<(String, usize)> {
        let mut answered: BTreeMap<&str, usize> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| Self::is_whole(call)) {
            *answered.entry(&call.request).or_default() += 1;
        }
        answered
            .into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(request, times)| (request.to_owned(), times))
            .collect()
    }
}

/// Scripts faults, as `POST /admin/faults` takes them.
///
/// # Errors
/// The simulator cannot be reached or does not take them.
pub async fn script_faults(simulator: SocketAddr, faults: &serde_json::Value) -> Result<()> {
    http(simulator, "POST", "/admin/faults", &faults.to_string())
        .await
        .map(drop)
}

/// Forgets the ledger and all faults.
///
/// # Errors
/// The simulator cannot be reached.
pub async fn reset(simulator: SocketAddr) -> Result<()> {
    http(simulator, "POST", "/admin/reset", "").await.map(drop)
}
