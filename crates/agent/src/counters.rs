//! What an agent has in work and has done.

use sipdo_bus::now_ms;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counts of one process.
#[derive(Debug)]
pub(crate) struct Counters {
    busy: AtomicU32,
    done: AtomicU64,
    started_ms: u64,
}

/// Counts a job as in work until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Counters);

impl Counters {
    pub fn new() -> Self {
        Self {
            busy: AtomicU32::new(0),
            done: AtomicU64::new(0),
            started_ms: now_ms(),
        }
    }

    /// One more job is in work.
    pub fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Jobs in work.
    pub fn in_work(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Jobs finished.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// When the process started, in Unix milliseconds.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// One more job is finished.
    pub fn finished(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
