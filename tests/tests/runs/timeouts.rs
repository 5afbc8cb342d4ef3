//! Whole runs over a provider that leaves requests hanging until they time out: each of them may be paid for, so each is on the bill.

use anyhow::{Context as _, Result};
use sipdo_tests::{
    Cluster, Ledger, Setup,
    cluster::ended,
    simulator::script_faults,
    task::{counting, request},
    watch::{RUN, clean, create, levels},
};

/// A cluster whose requests time out after two seconds.
async fn impatient() -> Result<Cluster> {
    Cluster::start(&Setup {
        operator: "timeout_seconds = 2".into(),
        ..Setup::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_timed_out_and_was_repeated_is_a_call_of_the_run() -> Result<()> {
    const HANG: usize = 10;
    let cluster = impatient().await?;
    let (bus, client) = (cluster.bus().await?, cluster.client().await?);
    // Learners have no format repairs: what is reserved for their repeats is for repeats alone.
    let hang = serde_json::json!([
        {"kind": "hang", "role": "learner", "times": HANG / 2},
        {"kind": "hang", "role": "checker", "times": HANG / 2},
    ]);
    script_faults(cluster.models, &hang).await?;
    let run = create(&client, request(counting(12, 12), "sipdo", &levels(1), Some(2_000))).await?;
    let ended = ended(&client, &run, RUN).await?;
    clean(&bus, &run).await?;
    let ledger = cluster.ledger().await?;
    let abandoned = ledger.calls.iter().filter(|call| call.outcome == "abandoned").count();
    assert_eq!(abandoned, HANG, "requests that hung");
    let answered = ledger.calls.iter().filter(|call| Ledger::is_whole(call)).count();
    assert_eq!(answered + abandoned, ledger.totals.calls as usize);
    let summary = ended.summary.context("a summary")?;
    let spent = summary.spent.context("spent")?;
    assert_eq!(spent.calls, ledger.totals.calls, "requests sent are calls spent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_counts_requests_that_timed_out() -> Result<()> {
    const CAP: u64 = 40;
    let cluster = impatient().await?;
    let client = cluster.client().await?;
    let hang = serde_json::json!([{"kind": "hang", "role": "learner", "times": 8}]);
    script_faults(cluster.models, &hang).await?;
    // The cap would do for all answers if none of them were asked twice.
    let run = create(
        &client,
        request(counting(2, 40), "eval", &serde_json::Value::Null, Some(CAP)),
    )
    .await?;
    let ended = ended(&client, &run, RUN).await?;
    let sent = cluster.ledger().await?.totals.calls;
    let spent = ended.summary.and_then(|summary| summary.spent).context("spent")?;
    assert_eq!((sent, spent.calls), (CAP, CAP), "the cap is used up and not passed");
    Ok(())
}
