//! What it costs that nothing acknowledged can be lost: the same work against one server and three, each flushed now and then or
//! before every acknowledgement.

use crate::{
    cluster::{Cluster, Setup, task::drawn, three_node_cluster::ThreeNodeCluster},
    measure::bench::{figure, run},
};
use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use sipdo_bus::{
    Bus, BusSettings, JobId, Journal, NewMessage, Role, RunId,
    local::{NatsServer, NatsServerOptions},
};
use std::time::{Duration, Instant};

/// Decisions appended one after the other, results created with so many on their way, and jobs of a whole run.
const APPENDS: usize = 400;
const RESULTS: usize = 4_000;
const AT_ONCE: usize = 64;
const JOBS: usize = 1_000;
/// Bytes of each message.
const BYTES: usize = 1_024;
/// How long three servers may take to find each other.
const START: Duration = Duration::from_secs(60);

/// The servers of one setting.
enum Servers {
    One(Box<NatsServer>),
    Three(ThreeNodeCluster),
}

impl Servers {
    fn urls(&self) -> String {
        match self {
            Servers::One(server) => server.url(),
            Servers::Three(nodes) => nodes.urls(),
        }
    }
}

/// Measures and prints all four.
///
/// # Errors
/// Something does not start or fails.
pub async fn measure() -> Result<()> {
    println!(
        "\nThe price of durability, {BYTES} bytes a message: decisions appended one after the other; results created with {AT_ONCE} on \
         their way; and {JOBS} jobs of a whole run end to end (median of three). `always`: on the disk before it is acknowledged."
    );
    for (name, label, three, always) in [
        ("r1", "one server, flushed every 5 s", false, false),
        ("r1_always", "one server, always", false, true),
        ("r3", "three servers, flushed every 5 s", true, false),
        ("r3_always", "three servers, always", true, true),
    ] {
        let folder = tempfile::tempdir()?;
        let servers = if three {
            Servers::Three(ThreeNodeCluster::start_synced(
                folder.path(),
                if always { "always" } else { "5s" },
            )?)
        } else {
            let options = NatsServerOptions {
                sync_always: always,
                ..NatsServerOptions::new(folder.path())
            };
            Servers::One(Box::new(NatsServer::start(options).await?))
        };
        let (append, messages) = bus_figures(&servers.urls()).await?;
        let jobs = jobs_per_second(&servers.urls()).await?;
        println!(
            "{label}: an append takes {append:.2} ms (median), {messages:.0} messages and {jobs:.0} jobs a second"
        );
        figure(&format!("durability.{name}_append"), format!("{append:.2}"), "ms");
        figure(
            &format!("durability.{name}_messages"),
            format!("{messages:.0}"),
            "messages/s",
        );
        figure(&format!("durability.{name}_jobs"), format!("{jobs:.0}"), "jobs/s");
    }
    Ok(())
}

/// Median milliseconds of an append, and acknowledged messages a second.
async fn bus_figures(urls: &str) -> Result<(f64, f64)> {
    let bus = Bus::connect(BusSettings {
        urls: urls.split(',').map(str::to_owned).collect(),
        connect_within: Some(START),
        ..BusSettings::default()
    })
    .await?;
    bus.ensure_streams().await?;
    let (run, role) = (RunId::new("bench")?, Role::new("learner")?);
    let journal = Journal::open(&bus, &run);
    let message = || NewMessage::new(vec![7; BYTES]);
    let (mut last, mut took) = (0, Vec::new());
    for number in 0..APPENDS {
        let start = Instant::now();
        last = journal.append(message(), &number.to_string(), last).await?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let median = took.get(APPENDS / 2).copied().context("appends were timed")?;
    let (bus, run, role) = (&bus, &run, &role);
    let start = Instant::now();
    futures::stream::iter(0..RESULTS)
        .map(|number| async move {
            let job = JobId::new(format!("job-{number}"))?;
            bus.create_result(run, role, &job, message()).await.map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok((median, RESULTS as f64 / start.elapsed().as_secs_f64()))
}

/// Jobs a second of whole runs on these servers, end to end; the median of three.
async fn jobs_per_second(urls: &str) -> Result<f64> {
    let cluster = Cluster::start(&Setup {
        slots: 128,
        servers: Some(urls.to_owned()),
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let mut speeds = Vec::new();
    for round in 0..4 {
        // Other questions each time: an answer bought before would cost no call.
        let task = drawn("object_counting", 2, JOBS, 2_000 + round, 7);
        let start = Instant::now();
        let ended = run(&client, task, "eval", &serde_json::json!({})).await?;
        let done = ended.summary.map(|summary| summary.jobs_done).unwrap_or_default();
        // The first round only fills the connection pools.
        if round > 0 {
            speeds.push(done as f64 / start.elapsed().as_secs_f64());
        }
    }
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied().context("runs were timed")
}
