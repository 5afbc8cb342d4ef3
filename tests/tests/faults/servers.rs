//! The nats-server dies, or a program cannot reach it.

use crate::latency;
use anyhow::Result;
use sipdo_bus::Bus;
use sipdo_tests::{
    Cluster, Process, Setup,
    cluster::{ROLES, ended},
    oracle::History,
    process::eventually,
    proxy::Mode,
    simulator::script_faults,
    task::counting,
    watch::{RUN, clean, goes_on, more_results, optimize, results},
};
use std::{fs, path::Path, time::Duration};

/// How long a server that was killed is away, and one that nobody waits for any more: six times the queue's patience, and beyond every
/// time limit of a request; `make chaos` has a whole minute of it.
const AWAY: Duration = Duration::from_millis(700);
const LONG_AWAY: Duration = Duration::from_secs(12);
/// How long it hangs: longer than the 2.5 s in which a publish is to be acknowledged.
const HANG: Duration = Duration::from_secs(3);
/// How long it takes one client after the other to find it again.
const COME_BACK: Duration = Duration::from_millis(400);
/// How long a client is cut off, or unheard, or slow.
const CUT_OFF: Duration = Duration::from_secs(2);

/// A run under way, with so many results.
async fn under_way(setup: &Setup, at_least: usize) -> Result<(Cluster, Bus, String)> {
    let cluster = Cluster::start(setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, at_least).await?;
    Ok((cluster, bus, run))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_costs_nothing() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-150"),
        slots: 4,
        coordinators: 2,
        ..Setup::default()
    };
    let (mut cluster, bus, run) = under_way(&setup, 5).await?;
    for before in [5, 25, 45] {
        results(&bus, &run, before).await?;
        cluster.nats.kill().await?;
        tokio::time::sleep(AWAY).await;
        cluster.nats.start_again().await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "no process has died but the server"
    );
    Ok(())
}

/// As one whose disk takes seconds for each write: nobody hears in time whether something was stored, and it mostly was.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_later_than_anybody_waits_costs_nothing() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-150"),
        slots: 4,
        coordinators: 2,
        ..Setup::default()
    };
    let (cluster, bus, run) = under_way(&setup, 5).await?;
    for _ in 0..3 {
        cluster.nats.pause().await?;
        tokio::time::sleep(HANG).await;
        cluster.nats.resume().await?;
        more_results(&bus, &run, 1).await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_away_for_longer_than_every_patience_fails_no_run() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-150"),
        slots: 4,
        coordinators: 2,
        ack_wait: 2,
        ..Setup::default()
    };
    let (mut cluster, bus, run) = under_way(&setup, 20).await?;
    cluster.nats.kill().await?;
    tokio::time::sleep(LONG_AWAY).await;
    cluster.nats.start_again().await?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_and_knows_nobody_makes_no_one_dead() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-150"),
        slots: 4,
        coordinators: 2,
        proxied: true,
        ..Setup::default()
    };
    let (mut cluster, bus, run) = under_way(&setup, 20).await?;
    // The leader and the owners of jobs come back last: whoever asks for them meanwhile hears that there is no such client.
    let leader = cluster.leader(&bus, &run).await?;
    let coordinators = [1 - leader, leader].map(|at| cluster.coordinators[at].0.pid());
    let agents = cluster.agents.iter().map(|(_, agent)| agent.pid());
    let all: Vec<u32> = coordinators.into_iter().chain(agents).collect();
    for pid in &all {
        cluster.set_link(*pid, Mode::Cut)?;
    }
    goes_on(&History::read(&bus, &run).await?)?;
    cluster.nats.kill().await?;
    cluster.nats.start_again().await?;
    for pid in &all {
        tokio::time::sleep(COME_BACK).await;
        cluster.set_link(*pid, Mode::Open)?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(
        (cluster.ledger().await?.bought_twice(), history.check().granted_again),
        (Vec::new(), 0),
        "a takeover does no harm, and no job changes hands"
    );
    Ok(())
}

fn spooled(folder: &Path) -> usize {
    let roles = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("spool-"));
    let files = roles.flat_map(|role| fs::read_dir(role.path()).into_iter().flatten().flatten());
    let files = files.flat_map(|role| fs::read_dir(role.path()).into_iter().flatten().flatten());
    files
        .filter(|file| file.path().extension().is_some_and(|ending| ending == "result"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_came_while_the_server_was_away_outlive_their_agents() -> Result<()> {
    let setup = Setup {
        simulator: latency("200"),
        ack_wait: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    // The first answers take so long that the server is gone before they come.
    let delay = serde_json::json!([{"kind": "delay", "times": 12, "delay_ms": 5_000}]);
    script_faults(cluster.models, &delay).await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    eventually("calls in flight", || async {
        Ok((cluster.ledger().await?.totals.open >= 8).then_some(()))
    })
    .await?;
    cluster.nats.kill().await?;
    let open = cluster.ledger().await?.totals.open;
    eventually("all of them answered and in the spool", || async {
        Ok((cluster.ledger().await?.totals.open == 0 && spooled(cluster.folder.path()) as u64 >= open).then_some(()))
    })
    .await?;
    for (_, agent) in &mut cluster.agents {
        agent.kill()?;
    }
    cluster.agents.clear();
    cluster.nats.start_again().await?;
    for role in ROLES {
        cluster.start_agent(role, &[]).await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert!(open >= 8, "{open} calls were in flight when the server went");
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "the spool brings every answer back"
    );
    assert_eq!(history.check().granted_again, 0);
    assert_eq!(spooled(cluster.folder.path()), 0, "and is empty in the end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_comes_back_and_nothing_is_lost() -> Result<()> {
    let setup = Setup {
        simulator: latency("100-200"),
        slots: 4,
        proxied: true,
        coordinators: 1,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 12), 3).await?;
    let all = || {
        cluster
            .agents
            .iter()
            .map(|(_, agent)| agent)
            .chain(cluster.coordinators.iter().map(|(process, _)| process))
    };
    for (number, mode) in [Mode::Cut, Mode::Drop, Mode::Delay(Duration::from_millis(100))]
        .into_iter()
        .enumerate()
    {
        results(&bus, &run, 5 + 10 * number).await?;
        for pid in all().map(Process::pid).collect::<Vec<_>>() {
            cluster.set_link(pid, mode)?;
        }
        tokio::time::sleep(CUT_OFF).await;
        for pid in all().map(Process::pid).collect::<Vec<_>>() {
            cluster.set_link(pid, Mode::Open)?;
        }
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "within the patience of the queue nothing is bought again"
    );
    Ok(())
}
