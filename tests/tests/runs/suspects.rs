//! A job that kills its agent, among healthy neighbours: it takes them along once, and never again.

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State, job_result::Finding};
use sipdo_simulator::FaultKind;
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    oracle::{Fact, History},
    process::eventually,
    simulator::script_faults,
    task::counting,
    watch::{RUN, clean, optimize},
};
use std::collections::BTreeMap;

/// Deaths after which a job is given up.
const DEATHS: usize = 4;

/// Calls of learners that are open at this moment, by the hash of their request.
async fn open_calls(cluster: &Cluster) -> Result<Vec<String>> {
    let calls = cluster.ledger().await?.calls.into_iter();
    let open = calls.filter(|call| call.role == "learner" && call.outcome == "open");
    Ok(open.map(|call| call.request).collect())
}

/// Kills the learner and starts another one, as an orchestrator does.
async fn kill_learner(cluster: &mut Cluster) -> Result<()> {
    let at = cluster.agents.iter().position(|(role, _)| *role == "learner");
    let (_, mut learner) = cluster.agents.remove(at.context("a learner")?);
    learner.kill()?;
    cluster.start_agent("learner", &[]).await
}

/// Attempts that ended with their agents, by job.
fn lost(history: &History) -> BTreeMap<String, usize> {
    let mut lost = BTreeMap::new();
    for fact in &history.facts {
        if let Fact::Lost(attempt) = fact {
            *lost.entry(attempt.job.clone()).or_default() += 1;
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_agent_takes_each_neighbour_along_at_most_once() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        simulator: vec!["--latency-ms".into(), "100-200".into()],
        slots: 6,
        ack_wait: 1,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    // The first question never comes to an answer, whoever asks it; its neighbours' answers take long, the first time.
    let first = serde_json::json!([
        {"kind": "hang", "role": "learner", "times": 1, "delay_ms": 600_000},
        {"kind": "delay", "role": "learner", "times": 5, "delay_ms": 20_000},
    ]);
    script_faults(cluster.models, &first).await?;
    let run = optimize(&cluster, counting(12, 12), 1).await?;
    let killer = eventually("the killer among its neighbours", || async {
        let calls = cluster.ledger().await?.calls;
        let struck = calls.into_iter().find(|call| call.fault == Some(FaultKind::Hang));
        let neighbours = open_calls(&cluster).await?.len() > 3;
        Ok(struck.map(|call| call.request).filter(|_| neighbours))
    })
    .await?;
    let again = serde_json::json!([{"kind": "hang", "request": killer, "times": DEATHS, "delay_ms": 600_000}]);
    script_faults(cluster.models, &again).await?;
    let mut deaths = 0;
    while deaths < DEATHS {
        eventually("the killer in an agent", || async {
            let open = open_calls(&cluster).await?;
            let there = open.contains(&killer);
            if there && deaths > 0 {
                assert_eq!(open.len(), 1, "a suspect is worked on alone: {open:?}");
            }
            Ok(there.then_some(()))
        })
        .await?;
        kill_learner(&mut cluster).await?;
        // The simulator sees that the caller is gone before the next one comes.
        eventually("the call to be broken off", || async {
            Ok((!open_calls(&cluster).await?.contains(&killer)).then_some(()))
        })
        .await?;
        deaths += 1;
    }
    let ended = ended(&cluster.client().await?, &run, RUN).await?;
    assert_eq!(
        ended.summary.context("a summary")?.state(),
        State::Finished,
        "{}",
        ended.failure
    );
    let history = clean(&bus, &run).await?;
    let mut lost: Vec<usize> = lost(&history).into_values().collect();
    lost.sort_unstable();
    assert_eq!(lost.pop(), Some(DEATHS), "the killer");
    assert!(
        lost.len() >= 3 && lost.iter().all(|attempts| *attempts == 1),
        "its neighbours: {lost:?}"
    );
    let given_up: Vec<&pb::NotMeasured> = history.facts.iter().filter_map(not_measured).collect();
    let [why] = given_up.as_slice() else {
        anyhow::bail!("one job is given up, and not {given_up:?}");
    };
    assert!(
        why.detail.contains("4 attempts ended with the death of their agent"),
        "{why:?}"
    );
    assert!(history.results() > 12, "the run went on");
    Ok(())
}

fn not_measured(fact: &Fact) -> Option<&pb::NotMeasured> {
    match fact {
        Fact::Result(result) => match &result.finding {
            Some(Finding::NotMeasured(why)) => Some(why),
            _ => None,
        },
        _ => None,
    }
}
