//! Three nats-servers as one cluster: one may die or be cut off, whichever it is, and all may come back.

use crate::latency;
use anyhow::Result;
use sipdo_bus::{Bus, BusSettings};
use sipdo_protocol::pb::State;
use sipdo_tests::{
    Cluster, Setup,
    cluster::ROLES,
    leader::leader,
    oracle::bought_again,
    process::{eventually, eventually_within},
    proxy::Mode,
    task::counting,
    three_node_cluster::ThreeNodeCluster,
    watch::{RECOVERY, clean, more_results, optimize, results, summary},
};

/// The streams through which a job in flight passes: the one of results and decisions, and the work queue.
const STREAMS: [&str; 2] = ["SIPDO_RUN", "SIPDO_JOB"];

/// A run under way on three servers, with so many results.
async fn under_way(nodes: &ThreeNodeCluster) -> Result<(Cluster, Bus, String)> {
    let setup = Setup {
        simulator: latency("100-300"),
        slots: 4,
        coordinators: 2,
        servers: Some(nodes.urls()),
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = connect(&nodes.urls()).await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 20).await?;
    Ok((cluster, bus, run))
}

async fn connect(urls: &str) -> Result<Bus> {
    let settings = BusSettings {
        urls: urls.split(',').map(str::to_owned).collect(),
        ..BusSettings::default()
    };
    Ok(Bus::connect(settings).await?)
}

/// As an operator waits after a server has come back: until all three have what each of them has.
async fn whole(nodes: &ThreeNodeCluster) -> Result<()> {
    eventually_within(RECOVERY, "three whole servers", || async {
        Ok(nodes.is_whole(&STREAMS).then_some(()))
    })
    .await
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
    let mut nodes = ThreeNodeCluster::start(folder.path())?;
    let (cluster, bus, run) = under_way(&nodes).await?;
    nodes.kill(0)?;
    more_results(&bus, &run, 5).await?;
    unharmed(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_leads_the_streams_of_runs_and_jobs_may_die() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut nodes = ThreeNodeCluster::start(folder.path())?;
    let (cluster, bus, run) = under_way(&nodes).await?;
    for stream in STREAMS {
        let led = eventually("a leader", || async { Ok(nodes.leader(stream).unwrap_or_default()) }).await?;
        nodes.kill(led)?;
        more_results(&bus, &run, 5).await?;
        nodes.start_again(led)?;
    }
    unharmed(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_killed_at_once_come_back_with_all_that_was_stored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut nodes = ThreeNodeCluster::start(folder.path())?;
    let (cluster, bus, run) = under_way(&nodes).await?;
    nodes.kill_all()?;
    // What is in flight is answered meanwhile, and waits in the spool.
    eventually("every call to be answered", || async {
        Ok((cluster.ledger().await?.totals.open == 0).then_some(()))
    })
    .await?;
    for number in 0..3 {
        nodes.start_again(number)?;
    }
    unharmed(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_servers_under_load_costs_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut nodes = ThreeNodeCluster::start(folder.path())?;
    let (cluster, bus, run) = under_way(&nodes).await?;
    for number in 0..3 {
        more_results(&bus, &run, 1).await?;
        nodes.restart(number)?;
        whole(&nodes).await?;
    }
    unharmed(&cluster, &bus, &run).await
}

/// One server is on the smaller side with half of all programs, the leader of the run among them: they can store nothing, hear nothing
/// from the others, and may read what is no longer so. The other half takes their work, and when both sides meet again there is one
/// story.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_falls_apart_goes_on_with_one_half_and_nothing_finished_is_bought_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes = ThreeNodeCluster::start_linked(folder.path()).await?;
    let setup = Setup {
        simulator: latency("100-300"),
        slots: 4,
        ack_wait: 2,
        servers: Some(nodes.url(0)?),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    cluster.servers = Some(nodes.url(1)?);
    cluster.start_coordinator().await?;
    for role in ROLES {
        cluster.start_agent(role, &[]).await?;
    }
    // Nobody cuts off whoever looks on.
    let bus = connect(&nodes.url(2)?).await?;
    let run = optimize(&cluster, counting(12, 20), 4).await?;
    results(&bus, &run, 10).await?;
    // Each coordinator is at the server of its own number.
    let led = cluster.leader(&bus, &run).await?;
    let lone = cluster.coordinators[led].0.coordinator_id();
    nodes.isolate(led, Mode::Drop);
    leader(&bus, &run, lone.as_slice()).await?;
    more_results(&bus, &run, 10).await?;
    nodes.join(led).await?;
    summary(&bus, &run, "an end", |summary| summary.state() == State::Finished).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    let again = bought_again(&cluster.ledger().await?, &[]);
    assert_eq!(again.finished, Vec::<String>::new());
    cluster.agents_answer(2 * ROLES.len()).await
}
