//! The kit of the cross-crate tests and benchmarks: a cluster of real processes on this machine, and ways to hurt it.

pub mod bench;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod command;
pub mod disk;
pub mod durability;
pub mod http;
pub mod leader;
pub mod long_run;
pub mod oracle;
pub mod otlp;
pub mod overhead;
pub mod paired;
pub mod process;
pub mod proxy;
pub mod repeater;
pub mod runs;
pub mod simulator;
pub mod spec;
pub mod tap;
pub mod task;
pub mod throughput;
pub mod trio;
pub mod usage;
pub mod watch;

pub use cluster::{Cluster, Setup};
pub use command::User;
pub use otlp::Collector;
pub use process::Process;
pub use simulator::{Ledger, Simulator};

use std::path::{Path, PathBuf};

/// The folder with the public benchmark files, where the machine has it: `SIPDO_SHARED`, or `shared` beside the workspace.
pub fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("SIPDO_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?.join("shared");
    let data = named.unwrap_or(beside).join("data");
    data.is_dir().then_some(data)
}
