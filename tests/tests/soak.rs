//! Many runs, one after the other: what they leave behind does not grow with them.

#![cfg(target_os = "linux")]

use anyhow::{Context as _, Result};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{ROLES, ended},
    oracle::{History, Left},
    process::eventually,
    task::{drawn, request},
    three_node_cluster::ask,
    usage::{open_files, processes, resident},
    watch::{RUN, create, levels},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// Runs of a wave, all at once.
const RUNS: u64 = 4;
const WAVES: u64 = 6;
/// From this wave on all tables and pools are taken to have found their size.
const WARM: u64 = 3;
/// Files that a process may have open more than when it was warm: connections that are kept for a while.
const FILES: usize = 16;
/// Bytes that it may have more in use.
const BYTES: u64 = 6 << 20;

/// The consumers of each stream.
fn consumers(server: SocketAddr) -> Result<BTreeMap<&'static str, u64>> {
    let streams = [
        "SIPDO_RUN",
        "SIPDO_JOB",
        "SIPDO_ATTEMPT",
        "KV_sipdo_models",
        "KV_sipdo_completions",
    ];
    let count = |stream| {
        let info: serde_json::Value = serde_json::from_str(&ask(server, &format!("$JS.API.STREAM.INFO.{stream}"))?)?;
        let count = info
            .pointer("/state/consumer_count")
            .and_then(serde_json::Value::as_u64);
        Ok((stream, count.context("a stream")?))
    };
    streams.into_iter().map(count).collect()
}

/// Open files and memory of each process.
fn used(cluster: &Cluster) -> Result<BTreeMap<u32, (&'static str, usize, u64)>> {
    let used = |(name, pid)| Ok((pid, (name, open_files(pid)?, resident(pid)?)));
    processes(cluster).into_iter().map(used).collect()
}

async fn wave(cluster: &Cluster, number: u64) -> Result<Vec<History>> {
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    let mut runs = Vec::new();
    for draw in number * RUNS..(number + 1) * RUNS {
        let task = drawn("object_counting", 8, 8, draw + 1, draw);
        runs.push(create(&client, request(task, "sipdo", &levels(1), None)).await?);
    }
    let mut histories = Vec::new();
    for run in &runs {
        ended(&client, run, RUN).await?;
        histories.push(History::read(&bus, run).await?);
    }
    Ok(histories)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_leave_no_consumer_file_or_memory_behind() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        coordinators: 2,
        ..Setup::default()
    })
    .await?;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.nats.port()));
    let (mut warm, mut histories) = (BTreeMap::new(), Vec::new());
    for number in 0..WAVES {
        histories.extend(wave(&cluster, number).await?);
        if number == WARM {
            warm = used(&cluster)?;
        }
    }
    // A run is followed through a consumer that the server forgets a while after nobody asks for more.
    let kept = BTreeMap::from([
        ("SIPDO_RUN", 0),
        ("SIPDO_JOB", 2 * ROLES.len() as u64),
        ("SIPDO_ATTEMPT", 0),
        ("KV_sipdo_models", ROLES.len() as u64),
        ("KV_sipdo_completions", 0),
    ]);
    eventually("no consumers but those that stay", || async {
        let found = consumers(server)?;
        Ok((found == kept).then_some(()))
    })
    .await?;
    assert_eq!(Left::read(&cluster.bus().await?, &histories).await?, Left::default());
    for (pid, (name, files, bytes)) in used(&cluster)? {
        let (_, files_then, bytes_then) = warm.get(&pid).context("the same processes")?;
        println!("{name}: {files_then} files, then {files}; {bytes_then} bytes, then {bytes}");
        assert!(
            files <= files_then + FILES,
            "{name} had {files_then} files open and has {files}"
        );
        // The simulator keeps a ledger of all calls, and the server what it may forget when it must.
        if !["simulator", "nats-server"].contains(&name) {
            assert!(
                bytes <= bytes_then + BYTES,
                "{name} had {bytes_then} bytes in use and has {bytes}"
            );
        }
    }
    Ok(())
}
