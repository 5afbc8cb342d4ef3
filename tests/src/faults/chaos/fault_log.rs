//! What struck a round, and when: what its judge has to know.

use crate::observe::oracle::Hurt;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// What struck, and when.
#[derive(Debug, Default)]
pub struct FaultLog {
    /// Faults by kind.
    pub faults: BTreeMap<String, usize>,
    /// Agents that could not bring anything to safety for a while.
    pub hurts: Vec<Hurt>,
    /// Coordinators that were killed or frozen.
    pub leaders: Vec<LeaderHurt>,
    /// Times in which no decision could be stored, in Unix milliseconds: no server, no leader among three, or no room.
    pub outages: Vec<(u64, u64)>,
    /// Messages that nobody can use, by words of the reason for which they are to become dead letters. Not every one came to lie in its
    /// stream.
    pub poison: BTreeMap<&'static str, usize>,
    /// What did not end, did not show, or was taken though it had to be refused.
    pub broken: Vec<String>,
}

/// A coordinator that was killed or frozen.
#[derive(Debug, Clone)]
pub struct LeaderHurt {
    /// Its id on the bus.
    pub id: String,
    /// When.
    pub at_ms: u64,
    /// Until when it was frozen; none where it was killed.
    pub frozen_until_ms: Option<u64>,
}

impl FaultLog {
    /// How many faults of all kinds.
    pub fn struck(&self) -> usize {
        self.faults.values().sum()
    }
}

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
