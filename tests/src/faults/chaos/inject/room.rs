//! No room for more: limits that are met and disks that are full, until there is room again.

use super::{
    super::{fault_log::now_ms, kind::Room},
    Effect, Injector, Recovery, Struck,
};
use anyhow::{Context as _, Result};
use sipdo_bus::{Bus, BusError, BusSettings, JobId, Limits, NewMessage, Role, RunId, Store};
use std::time::Duration;

/// A server that is well answers sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are left on a disk that is nearly full: less than the tenth that is to stay free.
const NEARLY_FULL: u64 = 8_000_000;
/// Largest and least piece of what fills a server.
const PIECES: (usize, usize) = (1_000_000, 100);

impl Injector {
    /// Leaves no room. That has struck when a run says that it waits for it; a while later there is room again.
    pub(super) async fn no_room(&mut self, room: Room) -> Result<Struck> {
        let no_disk = matches!(room, Room::NearlyFullDisk | Room::FullDisk) && self.site.disk.is_none();
        if self.no_server || self.no_room || no_disk || self.open_runs().await.is_empty() {
            return Ok(Struck::No);
        }
        let since_ms = now_ms();
        let (filled, words) = match room {
            Room::NearLimit => (self.limit_runs(1_090).await, "limit of runs"),
            Room::AtLimit => (self.limit_runs(1_000).await, "limit of runs"),
            Room::Server => (self.fill().await, "insufficient resources"),
            Room::NearlyFullDisk => (self.fill_disk(NEARLY_FULL), "the disk of"),
            Room::FullDisk => (self.fill_disk(0), "disk"),
        };
        self.no_room = true;
        // Nothing else is to happen to a server that does not survive its full disk as it is.
        self.no_server = room == Room::FullDisk;
        let recovery = Recovery::Room { room, since_ms };
        if filled.is_err() {
            self.later(0, recovery);
            return Ok(Struck::No);
        }
        let hold = if room == Room::FullDisk {
            10_000
        } else {
            500 + self.below(2_000)
        };
        Ok(Struck::When(Effect::RunWaits(words), Some((hold, recovery))))
    }

    /// Makes room again; where the server is not there, later.
    pub(super) async fn make_room(&mut self, room: Room, since_ms: u64) -> Result<()> {
        let made = match room {
            Room::FullDisk => {
                self.empty_disk()?;
                self.site.cluster.nats.kill().await?;
                self.site.cluster.nats.start_again().await?;
                self.no_server = false;
                true
            }
            Room::NearlyFullDisk => self.empty_disk().is_ok(),
            _ if self.no_server => false,
            Room::NearLimit | Room::AtLimit => self.set_limit("none").await.is_ok(),
            Room::Server => match tokio::time::timeout(PATIENCE, self.site.bus.delete_run(&ballast()?)).await {
                Ok(deleted) => deleted.is_ok(),
                Err(_) => false,
            },
        };
        if !made {
            self.later(500, Recovery::Room { room, since_ms });
            return Ok(());
        }
        self.no_room = false;
        if matches!(room, Room::AtLimit | Room::Server | Room::FullDisk) {
            self.log.outages.push((since_ms, now_ms()));
        }
        Ok(())
    }

    /// Lets the stream of runs hold so many thousandths of what it holds.
    async fn limit_runs(&self, per_mille: u64) -> Result<()> {
        let usage = tokio::time::timeout(PATIENCE, self.site.bus.usage()).await??;
        let runs = usage.stores.iter().find(|used| used.store == Store::Runs);
        let bytes = runs.context("there are runs")?.bytes;
        self.set_limit(&(bytes * per_mille / 1_000).to_string()).await
    }

    async fn set_limit(&self, bytes: &str) -> Result<()> {
        let mut limits = Limits::default();
        limits.set_max_bytes("runs", bytes).map_err(anyhow::Error::msg)?;
        let operator = BusSettings {
            limits,
            connect_within: Some(PATIENCE),
            ..self.site.bus.settings().clone()
        };
        let applied = async { Bus::connect(operator).await?.apply_limits().await };
        Ok(tokio::time::timeout(PATIENCE, applied).await??)
    }

    /// Fills the server down to the last bytes with results of a run that is none.
    async fn fill(&self) -> Result<()> {
        let (run, role) = (ballast()?, Role::new("learner")?);
        let (mut bytes, least) = PIECES;
        for number in 0.. {
            let piece = NewMessage::new(vec![0xff; bytes]);
            let job = JobId::new(format!("ballast-{}-{number}", now_ms()))?;
            match self.site.bus.create_result(&run, &role, &job, piece).await {
                Ok(_) => {}
                Err(BusError::Full { .. }) if bytes < least => break,
                Err(BusError::Full { .. }) => bytes /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn fill_disk(&self, free: u64) -> Result<()> {
        self.site.disk.as_ref().map_or(Ok(()), |disk| disk.fill_until(free))
    }

    fn empty_disk(&self) -> Result<()> {
        self.site.disk.as_ref().map_or(Ok(()), |disk| disk.empty())
    }
}

fn ballast() -> Result<RunId> {
    Ok(RunId::new("ballast")?)
}
