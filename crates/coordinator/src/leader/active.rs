//! How many runs of this process have jobs in flight: a long run keeps back while others ask too.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Whether a run has jobs in flight, counted among those of this process until it is dropped.
pub(super) struct ActiveRunGuard {
    all: Arc<AtomicU32>,
    own: bool,
}

impl ActiveRunGuard {
    pub(super) fn among(all: &Arc<AtomicU32>) -> Self {
        ActiveRunGuard {
            all: Arc::clone(all),
            own: false,
        }
    }

    pub(super) fn set(&mut self, asks: bool) {
        match (self.own, asks) {
            (false, true) => drop(self.all.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.all.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.own = asks;
    }

    pub(super) fn others(&self) -> u32 {
        self.all.load(Ordering::Relaxed).saturating_sub(u32::from(self.own))
    }
}

impl Drop for ActiveRunGuard {
    fn drop(&mut self) {
        self.set(false);
    }
}
