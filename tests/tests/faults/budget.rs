//! A cap is met, and many runs share the agents.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State, control::Kind};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    oracle::History,
    task::{counting, drawn, request},
    watch::{RUN, clean, create, levels, results, summary},
};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn more_budget_resumes_a_run_that_met_its_cap() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    let run = create(&client, request(counting(12, 20), "sipdo", &levels(6), Some(160))).await?;
    let met = ended(&client, &run, RUN).await?.summary.context("a summary")?;
    assert_eq!(met.state(), State::BudgetExhausted, "{met:?}");
    assert!(cluster.ledger().await?.totals.calls <= 160);
    let control = pb::Control {
        kind: Kind::SetBudget.into(),
        budget: Some(pb::Budget::default()),
        ..Default::default()
    };
    client
        .clone()
        .control_run(pb::ControlRunRequest {
            run: run.clone(),
            control: Some(control),
        })
        .await?;
    summary(&bus, &run, "it to finish", |summary| summary.state() == State::Finished).await?;
    clean(&bus, &run).await?;
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "what was bought before is not bought again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_run_behind_a_large_one_takes_at_most_twice_its_time_alone() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("200-300"),
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    // The strategy `none` asks nothing but the test examples.
    let small = |draw| {
        request(
            drawn("object_counting", 1, 50, draw, draw),
            "none",
            &serde_json::Value::Null,
            None,
        )
    };
    let timed = async |draw| -> Result<Duration> {
        let start = Instant::now();
        let run = create(&client, small(draw)).await?;
        ended(&client, &run, RUN).await?;
        Ok(start.elapsed())
    };
    let alone = timed(100).await?;
    let large = drawn("object_counting", 1, 10_000, 1, 1);
    let large = create(&client, request(large, "none", &serde_json::Value::Null, None)).await?;
    results(&bus, &large, 250).await?;
    let behind = timed(200).await?;
    assert!(behind < alone * 2, "{behind:?} behind, {alone:?} alone");
    let still = History::read(&bus, &large).await?.summary();
    assert_eq!(still.state(), State::Running, "the large run was there all the while");
    client.clone().cancel_run(pb::CancelRunRequest { run: large }).await?;
    Ok(())
}
