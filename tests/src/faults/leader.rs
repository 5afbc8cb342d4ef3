//! Who leads a run, as its stream says, and the death of that one while the run goes on.

use crate::{
    cluster::Cluster,
    observe::{
        oracle::History,
        watch::{RECOVERY, goes_on, reached},
    },
};
use anyhow::{Context as _, Result};
use sipdo_bus::Bus;

/// Waits until somebody leads a run who is none of these; that one's id.
///
/// # Errors
/// Nobody comes to lead it.
pub async fn leader(bus: &Bus, run: &str, not: &[String]) -> Result<String> {
    let other = |history: &History| {
        history
            .leader()
            .filter(|leader| !not.iter().any(|gone| gone == leader))
            .map(str::to_owned)
    };
    let history = reached(bus, run, RECOVERY, "a leader", |history| other(history).is_some()).await?;
    other(&history).context("a leader")
}

impl Cluster {
    /// Which of the coordinators leads a run. Any of them may: who finds a run that nobody has claimed yet takes it.
    ///
    /// # Errors
    /// None of them does.
    pub async fn leader(&self, bus: &Bus, run: &str) -> Result<usize> {
        let id = leader(bus, run, &[]).await?;
        let mut all = self.coordinators.iter();
        let at = all.position(|(process, _)| process.coordinator_id().as_ref() == Some(&id));
        at.with_context(|| format!("{id} leads, and is none of the coordinators"))
    }

    /// Kills the coordinator that leads a run, while it goes on; that one's id.
    ///
    /// # Errors
    /// The run was over: its leader's death would have shown nothing.
    pub async fn kill_leader(&mut self, bus: &Bus, run: &str) -> Result<String> {
        let at = self.leader(bus, run).await?;
        let (mut process, _) = self.coordinators.remove(at);
        process.kill()?;
        goes_on(&History::read(bus, run).await?)?;
        process.coordinator_id().context("a coordinator's id")
    }
}
