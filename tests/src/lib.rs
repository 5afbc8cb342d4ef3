//! The kit of the cross-crate tests and benchmarks: a cluster of real processes on this machine, and ways to hurt it.

pub mod cluster;
mod faults;
pub mod fences;
mod measure;
mod observe;

// The folders group the files. Tests know each file by its own name.
pub use cluster::simulator::{Ledger, Simulator};
pub use cluster::{Cluster, Setup, command::User, process::Process};
pub use cluster::{client, command, families, http, process, proxy, simulator, task, three_node_cluster};
pub use faults::{chaos, disk, leader, repeater};
pub use measure::{bench, durability, long_run, overhead, paired, throughput, usage, verdict};
pub use observe::otlp::Collector;
pub use observe::{bus_listener, oracle, otlp, runs, spec, watch};

use std::path::{Path, PathBuf};

/// The folder with the public benchmark files, where the machine has it: `SIPDO_SHARED`, or `shared` beside the workspace.
pub fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("SIPDO_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?.join("shared");
    let data = named.unwrap_or(beside).join("data");
    data.is_dir().then_some(data)
}
