//! Agents that are believed to be dead and live.

use crate::latency;
use anyhow::{Context as _, Result};
use serde_json::json;
use sipdo_simulator::FaultKind;
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    oracle::bought_again,
    process::eventually,
    proxy::Mode,
    simulator::script_faults,
    task::counting,
    watch::{RUN, clean, optimize},
};

const SLOTS: u32 = 8;

/// Calls that hang, or have hung, and how they ended.
async fn hanging(cluster: &Cluster, outcome: &str) -> Result<Vec<String>> {
    let calls = cluster.ledger().await?.calls;
    let hangs = calls
        .into_iter()
        .filter(|call| call.fault == Some(FaultKind::Hang) && call.outcome == outcome);
    Ok(hangs.map(|call| call.request).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_cut_off_repeats_no_request_that_another_has_answered() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-100"),
        slots: SLOTS,
        ack_wait: 2,
        operator: "timeout_seconds = 12\n[endpoints.simulator.retry]\nattempts = 5\nfirst_delay_seconds = 0.1".into(),
        proxied: true,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    // The first thing that a run asks is an answer to each of its seed examples, all at once: more than the slots of one learner.
    script_faults(
        cluster.models,
        &json!([{"kind": "hang", "role": "learner", "times": SLOTS, "delay_ms": 60_000}]),
    )
    .await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    eventually("a learner with all calls hanging", || async {
        Ok((hanging(&cluster, "open").await?.len() >= SLOTS as usize).then_some(()))
    })
    .await?;
    let learner = cluster.agents.iter().position(|(role, _)| *role == "learner");
    let (_, cut_off) = cluster.agents.get(learner.context("a learner")?).context("a learner")?;
    let pid = cut_off.pid();
    cluster.set_link(pid, Mode::Cut)?;
    cluster.start_agent("learner", &[]).await?;
    let asked = hanging(&cluster, "open").await?;
    eventually("the other to buy what the first hangs on", || async {
        let ledger = cluster.ledger().await?;
        let whole = ledger.whole();
        Ok(asked
            .iter()
            .all(|request| whole.contains(request.as_str()))
            .then_some(()))
    })
    .await?;
    assert_eq!(
        hanging(&cluster, "abandoned").await?,
        Vec::<String>::new(),
        "the first is still at it"
    );
    // Now its calls time out, and it would ask again; but nobody tells it what has become of its jobs.
    eventually("it to wait for the bus", || async {
        let agents = cluster.agents.iter();
        let waits = |output: String| output.matches("its next request waits").count() >= SLOTS as usize;
        Ok(agents
            .map(|(_, agent)| agent)
            .any(|agent| agent.pid() == pid && waits(agent.output()))
            .then_some(()))
    })
    .await?;
    cluster.set_link(pid, Mode::Open)?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.bought_twice(), Vec::new());
    assert_eq!(bought_again(&ledger, &[]).finished, Vec::<String>::new());
    assert_eq!(history.check().granted_again, SLOTS as usize);
    Ok(())
}
