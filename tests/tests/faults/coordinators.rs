//! A coordinator dies, freezes, or is one of several that want the same run.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_bus::Bus;
use sipdo_protocol::pb::{State, control::Kind, event::Event};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{connect, ended},
    oracle::History,
    process::{eventually, eventually_within},
    task::counting,
    watch::{RECOVERY, RUN, claimed, clean, optimize, results, summary, tell},
};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_a_second() -> Result<()> {
    let setup = Setup {
        simulator: latency("150-250"),
        coordinators: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 5).await?;
    let mut took = Vec::new();
    for kill in 0..5 {
        // The leader is the older of the two: the other came after it, and waits.
        let (mut leader, _) = cluster.coordinators.remove(0);
        leader.kill()?;
        let killed = Instant::now();
        claimed(&bus, &run, kill + 1).await?;
        took.push(killed.elapsed());
        cluster.start_coordinator().await?;
        // It has seen whom it may have to replace.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    assert!(median < Duration::from_millis(1_000), "{took:?}");
    ended(&cluster.client().await?, &run, RUN).await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new(), "no agent died");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_appends_nothing_when_it_wakes() -> Result<()> {
    let setup = Setup {
        simulator: latency("150-250"),
        coordinators: 2,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    // The coordinator that was asked to create the run leads it.
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 5).await?;
    let (leader, _) = cluster.coordinators.first().context("a leader")?;
    leader.signal("STOP")?;
    let frozen = Instant::now();
    claimed(&bus, &run, 1).await?;
    let took = frozen.elapsed();
    leader.signal("CONT")?;
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("the old leader to stop", || async {
        Ok(leader
            .output()
            .contains("another coordinator leads this run now")
            .then_some(()))
    })
    .await?;
    let (_, other) = cluster.coordinators.get(1).context("the other")?;
    ended(&connect(*other).await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.takeovers().len(), 1, "nobody takes back what is led");
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

/// Who leads a run, once it is none of these.
async fn leader(bus: &Bus, run: &str, not: &[String]) -> Result<String> {
    eventually_within(RECOVERY, "a leader", || async {
        let history = History::read(bus, run).await?;
        let claimed = history.events().filter_map(|(_, event)| match event {
            Event::Claimed(claimed) => Some(claimed.coordinator.clone()),
            _ => None,
        });
        Ok(claimed.last().filter(|leader| !not.contains(leader)))
    })
    .await
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
            Ok(coordinator.output().contains("runs could not be listed").then_some(()))
        })
        .await?;
    }
    cluster.nats.start_again().await?;
    let mut gone = Vec::new();
    // The first time each of the others wants the run; the second time the one that did not get it has to know that it still goes on.
    for _ in 0..2 {
        let leads = leader(&bus, &run, &gone).await?;
        let mut all = cluster.coordinators.iter();
        let at = all.position(|(process, _)| process.coordinator_id().as_ref() == Some(&leads));
        let (mut process, _) = cluster.coordinators.remove(at.context("one of the three leads")?);
        process.kill()?;
        let killed = Instant::now();
        gone.push(leads);
        leader(&bus, &run, &gone).await?;
        assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_claim_at_the_same_moment_lead_one_after_the_other() -> Result<()> {
    let setup = Setup {
        simulator: latency("30-60"),
        coordinators: 1,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 5).await?;
    for (mut leader, _) in cluster.coordinators.drain(..) {
        leader.kill()?;
    }
    // Nobody leads: whoever comes takes it, all in the same moment and for the same epoch.
    for _ in 0..4 {
        cluster.launch_coordinator().await?;
    }
    claimed(&bus, &run, 1).await?;
    eventually_within(RECOVERY, "an end", || async {
        Ok((History::read(&bus, &run).await?.state() == State::Finished).then_some(()))
    })
    .await?;
    clean(&bus, &run).await?;
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
