//! Where a round takes place: processes on one server, whose disk can be filled, or on three.

use super::kind::Ground;
use crate::{
    cluster::{Cluster, Setup, three_node_cluster::ThreeNodeCluster},
    faults::disk::SmallDisk,
};
use anyhow::Result;
use sipdo_bus::{Bus, BusSettings};
use std::time::Duration;
use tempfile::TempDir;

/// Jobs that an agent works on at a time.
const SLOTS: u32 = 8;
/// Megabytes of the server's disk.
const DISK: u32 = 128;
/// Most bytes of all streams together.
const STORE: u64 = 48_000_000;
/// Whoever injects a fault does not wait longer for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(3);

/// The processes, and what they stand on.
pub struct Site {
    /// The processes.
    pub cluster: Cluster,
    /// How they were made.
    pub setup: Setup,
    /// Three servers, where the cluster does not use its own one.
    pub nodes: Option<ThreeNodeCluster>,
    /// The disk of the only server, where this machine lets us mount one.
    pub disk: Option<SmallDisk>,
    /// A connection past every proxy.
    pub bus: Bus,
    _folder: TempDir,
}

impl Site {
    /// Starts everything.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(ground: Ground) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut setup = strikable();
        let (mut nodes, mut disk) = (None, None);
        if ground == Ground::Three {
            let servers = ThreeNodeCluster::start(folder.path())?;
            setup.servers = Some(servers.urls());
            setup.proxied = false;
            nodes = Some(servers);
        } else {
            disk = SmallDisk::mount(&folder.path().join("disk"), DISK)?;
            setup.max_store = Some(STORE);
            setup.store = disk.as_ref().map(|disk| disk.folder().join("nats"));
            if let Some(store) = &setup.store {
                setup.coordinator = vec!["--store-dir".into(), store.display().to_string()];
            }
        }
        let cluster = Cluster::start(&setup).await?;
        let urls = setup.servers.clone().unwrap_or_else(|| cluster.nats.url());
        let settings = BusSettings {
            urls: urls.split(',').map(str::to_owned).collect(),
            settle_within: PATIENCE,
            ..BusSettings::default()
        };
        Ok(Site {
            bus: Bus::connect(settings).await?,
            cluster,
            setup,
            nodes,
            disk,
            _folder: folder,
        })
    }

    /// Sets the price list for all agents that start from now on: so many USD for a million tokens.
    ///
    /// # Errors
    /// The operator's file cannot be written.
    pub fn set_price(&mut self, usd: u64) -> Result<()> {
        self.setup.operator = operator(usd);
        self.cluster.set_operator(&self.setup)
    }
}

/// A cluster that faults can strike anywhere.
fn strikable() -> Setup {
    Setup {
        simulator: vec!["--latency-ms".into(), "50-250".into()],
        slots: SLOTS,
        coordinators: 3,
        agents: 2,
        ack_wait: 2,
        operator: operator(1),
        proxied: true,
        ..Setup::default()
    }
}

/// The operator's lines, at so many USD for a million tokens.
fn operator(usd: u64) -> String {
    let prices = ["sim-weak", "sim-teacher"].map(|model| {
        format!("[endpoints.simulator.prices.{model}]\ninput_per_million = {usd}.0\noutput_per_million = {usd}.0\n")
    });
    let retry = "[endpoints.simulator.retry]\nattempts = 10\nfirst_delay_seconds = 0.1\nmax_delay_seconds = 2.0\n";
    format!("timeout_seconds = 6\n{retry}{}", prices.concat())
}
