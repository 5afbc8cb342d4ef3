//! Three nats-servers as one cluster: one may die, whichever it is, and all may come back.

use crate::latency;
use anyhow::Result;
use sipdo_bus::{Bus, BusSettings};
use sipdo_protocol::pb::State;
use sipdo_tests::{
    Cluster, Setup,
    oracle::History,
    process::eventually,
    task::counting,
    trio::Trio,
    watch::{clean, optimize, results, summary},
};

/// A run under way on three servers, with so many results.
async fn under_way(trio: &Trio) -> Result<(Cluster, Bus, String)> {
    let setup = Setup {
        simulator: latency("50-150"),
        coordinators: 2,
        servers: Some(trio.urls()),
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let settings = BusSettings {
        urls: trio.urls().split(',').map(str::to_owned).collect(),
        ..BusSettings::default()
    };
    let bus = Bus::connect(settings).await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 20).await?;
    Ok((cluster, bus, run))
}

/// The run ends as if nothing had happened: no agent died, so nothing is bought twice.
async fn unharmed(cluster: &Cluster, bus: &Bus, run: &str) -> Result<()> {
    summary(bus, run, "an end", |summary| summary.state() == State::Finished).await?;
    let history = clean(bus, run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_servers_may_die() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut trio = Trio::start(folder.path())?;
    let (cluster, bus, run) = under_way(&trio).await?;
    trio.kill(0)?;
    unharmed(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_leads_the_streams_of_runs_and_jobs_may_die() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut trio = Trio::start(folder.path())?;
    let (cluster, bus, run) = under_way(&trio).await?;
    // A job in flight passes through both: first the one that holds results and decisions, then the one of the work queue.
    for stream in ["SIPDO_RUN", "SIPDO_JOB"] {
        let led = eventually("a leader", || async { Ok(trio.leader(stream).unwrap_or_default()) }).await?;
        let before = eventually("a history", || async { Ok(History::read(&bus, &run).await.ok()) }).await?;
        trio.kill(led)?;
        results(&bus, &run, before.results() + 5).await?;
        trio.start_again(led)?;
    }
    unharmed(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_killed_at_once_come_back_with_all_that_was_stored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut trio = Trio::start(folder.path())?;
    let (cluster, bus, run) = under_way(&trio).await?;
    trio.kill_all()?;
    // What is in flight is answered meanwhile, and waits in the spool.
    eventually("every call to be answered", || async {
        Ok((cluster.ledger().await?.totals.open == 0).then_some(()))
    })
    .await?;
    for number in 0..3 {
        trio.start_again(number)?;
    }
    unharmed(&cluster, &bus, &run).await
}
