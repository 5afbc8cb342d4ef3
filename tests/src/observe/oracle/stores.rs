//! What the streams beside a run's own hold at its end: the rights to buy that were taken, and what is left in the work queues.

use super::History;
use crate::cluster::process::eventually_within;
use anyhow::Result;
use sipdo_bus::{Bus, RunId};
use sipdo_protocol::pb::log_event::Event;
use std::{collections::BTreeMap, time::Duration};

/// An acknowledgement is not confirmed: the one that was lost with a server comes again after the queue's patience.
const QUEUES: Duration = Duration::from_secs(60);

/// What is left beside the runs of a cluster that have all ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Jobs that nobody has acknowledged.
    pub jobs: u64,
    /// Dead letters, with their reasons.
    pub dead: Vec<String>,
    /// Attempts that were taken and never granted, in words.
    pub ungranted: Vec<String>,
}

impl Left {
    /// Reads it, once the queues have had the time to empty.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn read(bus: &Bus, histories: &[History]) -> Result<Self> {
        // A server that cannot be asked for a moment is asked again, as in `watch`.
        let emptied = eventually_within(QUEUES, "empty queues", || async {
            Ok(bus.open_jobs().await.is_ok_and(|jobs| jobs == 0).then_some(()))
        });
        let jobs = match emptied.await {
            Ok(()) => 0,
            Err(_) => bus.open_jobs().await?,
        };
        let (dead, _) = bus.dead_letters(None, 100).await?;
        let mut ungranted = Vec::new();
        for history in histories {
            ungranted.extend(history.ungranted(bus).await?);
        }
        Ok(Left {
            jobs,
            dead: dead.into_iter().map(|letter| letter.reason).collect(),
            ungranted,
        })
    }
}

impl History {
    /// Rights to buy that were taken and that no leader ever granted.
    async fn ungranted(&self, bus: &Bus) -> Result<Vec<String>> {
        let mut granted: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, event) in self.events() {
            if let Event::Issued(issued) = event {
                let most = granted.entry(&issued.job).or_default();
                *most = issued.attempt.max(*most);
            }
        }
        let taken = bus.attempts(&RunId::new(&self.run)?).await?;
        Ok(taken
            .into_iter()
            .filter(|(job, n)| granted.get(job.as_str()).is_none_or(|most| n > most))
            .map(|(job, n)| format!("run {}: attempt {n} of job {job} was taken and never granted", self.run))
            .collect())
    }
}
