//! A coordinator dies, freezes, or is one of several that want the same run.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_bus::{Bus, BusSettings};
use sipdo_protocol::pb::{CancelRunRequest, State, control::Kind};
use sipdo_tests::{
    Cluster, Process, Setup,
    chaos::now_ms,
    cluster::{connect, ended},
    leader::leader,
    oracle::History,
    process::eventually,
    task::{counting, drawn, request},
    three_node_cluster::ThreeNodeCluster,
    usage::crowding,
    watch::{RECOVERY, RUN, clean, create, levels, optimize, reached, results, summary, tell},
};
use std::time::Duration;

/// Waits until every coordinator has been told of the run, and by which of them it is led.
async fn all_know_leader(cluster: &Cluster, run: &str) -> Result<()> {
    for (coordinator, _) in &cluster.coordinators {
        eventually("a coordinator to know who leads", || async {
            let told = coordinator.output();
            let mut lines = told.lines().filter(|line| line.contains(run));
            let knows = |line: &str| line.contains("standing by") || line.contains("leading the run");
            Ok(lines.any(knows).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// This time, or so many times as long as the machine has work for.
fn within(seconds: u64) -> Duration {
    Duration::from_secs(seconds).mul_f64(crowding())
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_a_second() -> Result<()> {
    let setup = Setup {
        simulator: latency("300-500"),
        slots: 8,
        coordinators: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 5).await?;
    let mut took = Vec::new();
    for _ in 0..5 {
        all_know_leader(&cluster, &run).await?;
        let since_ms = now_ms();
        let killed = cluster.kill_leader(&bus, &run).await?;
        took.extend(replaced(&bus, &[&run], &killed, since_ms).await?);
        cluster.start_coordinator().await?;
    }
    assert_eq!(took.len(), 5, "each was replaced: {took:?}");
    assert!(median(&mut took) < within(1), "{took:?}");
    ended(&cluster.client().await?, &run, RUN).await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new(), "no agent died");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_appends_nothing_when_it_wakes() -> Result<()> {
    let setup = Setup {
        simulator: latency("200-300"),
        coordinators: 2,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    all_know_leader(&cluster, &run).await?;
    results(&bus, &run, 5).await?;
    let frozen = cluster.leader(&bus, &run).await?;
    let (leader, _) = cluster.coordinators.get(frozen).context("a leader")?;
    let (_, other) = cluster.coordinators.get(1 - frozen).context("the other")?;
    let since_ms = now_ms();
    leader.signal("STOP")?;
    let id = leader.coordinator_id().context("its id")?;
    let took = replaced(&bus, &[&run], &id, since_ms).await?;
    leader.signal("CONT")?;
    assert!(took.first().is_some_and(|took| *took < within(4)), "{took:?}");
    eventually("the old leader to stop", || async {
        Ok(leader
            .output()
            .contains("another coordinator leads this run now")
            .then_some(()))
    })
    .await?;
    ended(&connect(*other).await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.takeovers().len(), 1, "nobody takes back what is led");
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_could_not_list_the_runs_know_them_as_soon_as_the_server_is_back() -> Result<()> {
    let setup = Setup {
        simulator: latency("300-400"),
        coordinators: 3,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 3).await?;
    cluster.nats.kill().await?;
    for (coordinator, _) in &cluster.coordinators {
        eventually("a list that fails", || async {
            Ok(coordinator.output().contains("cannot list the runs").then_some(()))
        })
        .await?;
    }
    cluster.nats.start_again().await?;
    // The first time each of the others wants the run; the second time the one that did not get it has to know that it still goes on.
    for _ in 0..2 {
        let since_ms = now_ms();
        let killed = cluster.kill_leader(&bus, &run).await?;
        let took = replaced(&bus, &[&run], &killed, since_ms).await?;
        assert!(took.first().is_some_and(|took| *took < within(5)), "{took:?}");
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_claim_at_the_same_moment_lead_one_after_the_other() -> Result<()> {
    let setup = Setup {
        simulator: latency("100-200"),
        coordinators: 1,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 5).await?;
    let killed = cluster.kill_leader(&bus, &run).await?;
    // Nobody leads: whoever comes takes it, all in the same moment and for the same epoch.
    for _ in 0..4 {
        cluster.launch_coordinator().await?;
    }
    leader(&bus, &run, &[killed]).await?;
    summary(&bus, &run, "an end", |summary| summary.state() == State::Finished).await?;
    clean(&bus, &run).await?;
    let took = |(process, _): &&(Process, _)| process.output().contains("nobody leads the run: taking it");
    assert!(
        cluster.coordinators.iter().filter(took).count() > 1,
        "only one wanted it"
    );
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_wants_while_no_coordinator_lives_is_done_by_the_next() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        simulator: latency("100-200"),
        slots: 2,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 12), 3).await?;
    results(&bus, &run, 3).await?;
    for (kind, state) in [
        (Kind::Pause, State::Paused),
        (Kind::Resume, State::Running),
        (Kind::Cancel, State::Cancelled),
    ] {
        for (mut coordinator, _) in cluster.coordinators.drain(..) {
            coordinator.kill()?;
        }
        tell(&bus, &run, kind).await?;
        cluster.start_coordinator().await?;
        summary(&bus, &run, state.as_str_name(), |summary| summary.state() == state).await?;
    }
    let findings = History::read(&bus, &run).await?.check();
    assert_eq!(findings.broken, Vec::<String>::new());
    Ok(())
}

/// How long it took until each run that this coordinator led was led by another.
async fn replaced(bus: &Bus, runs: &[impl AsRef<str>], leader: &str, since_ms: u64) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for run in runs {
        let other = |history: &History| history.leader() != Some(leader);
        let history = reached(bus, run.as_ref(), RECOVERY, "another leader", other).await?;
        let takeovers = history.takeovers().into_iter();
        let own = takeovers.filter(|(at_ms, before, _)| before == leader && *at_ms >= since_ms);
        took.extend(own.map(|(at_ms, ..)| Duration::from_millis(at_ms - since_ms)));
    }
    took.sort();
    Ok(took)
}

/// The leader of many of twenty runs is killed, then the next one, and the one that has all of them then is frozen.
#[tokio::test(flavor = "multi_thread")]
async fn all_runs_of_a_dead_leader_are_taken_within_a_second_and_of_a_frozen_one_within_four() -> Result<()> {
    let setup = Setup {
        simulator: latency("1000"),
        slots: 4,
        coordinators: 3,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let mut runs = Vec::new();
    for number in 0..20 {
        let (_, api) = cluster.coordinators.get(number % 2).context("a coordinator")?;
        let task = drawn("object_counting", 12, 20, 7, number as u64);
        runs.push(create(&connect(*api).await?, request(task, "sipdo", &levels(3), None)).await?);
    }
    for run in &runs {
        all_know_leader(&cluster, run).await?;
    }
    let mut killed = Vec::new();
    let first = runs.first().context("a run")?;
    for _ in 0..2 {
        let since_ms = now_ms();
        let id = cluster.kill_leader(&bus, first).await?;
        killed.extend(replaced(&bus, &runs, &id, since_ms).await?);
    }
    assert!(killed.len() >= 10, "{killed:?}");
    assert!(median(&mut killed) < within(1), "{killed:?}");
    assert!(killed.last() < Some(&within(4)), "{killed:?}");

    cluster.start_coordinator().await?;
    for run in &runs {
        all_know_leader(&cluster, run).await?;
    }
    let (id, since_ms) = (leader(&bus, first, &[]).await?, now_ms());
    let (frozen, _) = cluster.coordinators.first().context("the leader")?;
    frozen.signal("STOP")?;
    let frozen_for = replaced(&bus, &runs, &id, since_ms).await?;
    frozen.signal("CONT")?;
    assert_eq!(frozen_for.len(), runs.len());
    assert!(frozen_for.last() < Some(&within(4)), "{frozen_for:?}");
    let (_, api) = cluster.coordinators.last().context("the other")?;
    let mut client = connect(*api).await?;
    for run in &runs {
        client.cancel_run(CancelRunRequest { run: run.clone() }).await?;
    }
    for run in &runs {
        summary(&bus, run, "its end", |summary| summary.state() == State::Cancelled).await?;
        assert_eq!(History::read(&bus, run).await?.check().broken, Vec::<String>::new());
    }
    Ok(())
}

/// No coordinator can hear that it is asked for, so each takes the others for dead, and the run for its own, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_are_each_sure_to_be_alone_lead_in_turn_and_break_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let users = "no_auth_user: anybody\nauthorization { users: [\n  { user: anybody, password: x }\n  { user: deaf, password: x, \
                 permissions: { subscribe: { deny: [\"sipdo.v1.agent.*.ping\"] } } }\n] }";
    let nodes = ThreeNodeCluster::start_with(folder.path(), users)?;
    let mut cluster = Cluster::start(&Setup {
        simulator: latency("100-200"),
        coordinators: 0,
        servers: Some(nodes.urls()),
        ..Setup::default()
    })
    .await?;
    cluster.servers = Some(nodes.urls_of("deaf:x@"));
    for _ in 0..3 {
        cluster.start_coordinator().await?;
    }
    let bus = Bus::connect(BusSettings::new(nodes.url(0)?)).await?;
    let run = optimize(&cluster, counting(12, 20), 6).await?;
    summary(&bus, &run, "an end", |summary| summary.state() == State::Finished).await?;
    let history = clean(&bus, &run).await?;
    assert!(history.takeovers().len() >= 5, "{:?}", history.takeovers());
    assert_eq!(history.not_measured(), 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}
