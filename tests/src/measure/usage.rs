//! What processes use of this machine, from /proc.

use crate::cluster::{Cluster, process::Process};
use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, fs, thread};

/// The processes of a cluster by name.
pub fn processes(cluster: &Cluster) -> Vec<(&'static str, u32)> {
    let mut all = vec![("simulator", cluster.simulator.pid())];
    all.extend(cluster.nats.pid().map(|pid| ("nats-server", pid)));
    all.extend(
        cluster
            .coordinators
            .iter()
            .map(|(process, _)| ("coordinator", process.pid())),
    );
    all.extend(
        cluster
            .agents
            .iter()
            .map(|(role, process): &(&'static str, Process)| (*role, process.pid())),
    );
    all
}

/// Seconds of processor time so far, by process.
///
/// # Errors
/// /proc cannot be read.
pub fn cpu(cluster: &Cluster) -> Result<BTreeMap<&'static str, f64>> {
    processes(cluster)
        .into_iter()
        .map(|(name, pid)| Ok((name, cpu_seconds(pid)?)))
        .collect()
}

/// User and system time from /proc, in clock ticks of 10 ms.
///
/// # Errors
/// /proc cannot be read.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("unreadable /proc/pid/stat")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<f64>().ok())
            .context("unreadable /proc/pid/stat")
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// How many processes want each processor of this machine, now or on average in the last minute; at least one. A bound on time holds
/// where nobody has to wait for a processor, and on a crowded machine it takes so many times as long. One where the system does not say.
pub fn crowding() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words = load.split_whitespace().take(4).enumerate();
    let told = words.filter_map(|(at, word)| match at {
        0 => word.parse().ok(),
        3 => word.split('/').next()?.parse().ok(),
        _ => None,
    });
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    told.map(|wants: f64| wants / processors as f64).fold(1.0, f64::max)
}

/// Files and connections that a process has open.
///
/// # Errors
/// /proc cannot be read.
pub fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Memory that a process has in use, in bytes.
///
/// # Errors
/// /proc cannot be read.
pub fn resident(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most memory that a process has had in use, in bytes.
///
/// # Errors
/// /proc cannot be read.
pub fn peak(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, which: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes = kilobytes.context("unreadable /proc/pid/status")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}
