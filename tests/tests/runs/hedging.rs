//! A whole run over a provider that leaves some requests hanging, with the option to ask a second time.

use anyhow::{Context as _, Result};
use sipdo_tests::{
    Cluster, Ledger, Setup,
    cluster::ended,
    simulator::script_faults,
    task::{counting, request},
    watch::{RUN, clean, create, levels},
};
use std::time::{Duration, Instant};

/// Requests that never get an answer.
const HANG: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_wait_for_requests_that_hang_and_pays_for_them_within_its_cap() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: vec!["--latency-ms".into(), "20-40".into()],
        operator: "timeout_seconds = 300\nhedge_after_seconds = 3.0".into(),
        ..Setup::default()
    })
    .await?;
    let (bus, client) = (cluster.bus().await?, cluster.client().await?);
    let hang = serde_json::json!([{"kind": "hang", "times": HANG}]);
    script_faults(cluster.models, &hang).await?;
    let clock = Instant::now();
    let run = create(&client, request(counting(12, 12), "sipdo", &levels(1), Some(2_000))).await?;
    let ended = ended(&client, &run, RUN).await?;
    assert!(
        clock.elapsed() < Duration::from_secs(150),
        "it has waited for an answer that never came"
    );
    clean(&bus, &run).await?;
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.bought_twice(), Vec::new());
    let abandoned = ledger.calls.iter().filter(|call| call.outcome == "abandoned").count();
    assert!(abandoned >= HANG, "{abandoned} of {HANG}");
    let whole = ledger.calls.iter().filter(|call| Ledger::is_whole(call)).count();
    let spent = ended.summary.and_then(|summary| summary.spent).context("spent")?;
    assert_eq!(
        spent.calls,
        (whole + abandoned) as u64,
        "each is on the bill, answered or not"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_one_call_for_each_answer_suffices_though_a_second_one_is_reserved_while_there_is_room() -> Result<()>
{
    const ANSWERS: usize = 12;
    let cluster = Cluster::start(&Setup {
        operator: "timeout_seconds = 300\nhedge_after_seconds = 100.0".into(),
        ..Setup::default()
    })
    .await?;
    let (bus, client) = (cluster.bus().await?, cluster.client().await?);
    let none = serde_json::Value::Null;
    let tight = request(counting(2, ANSWERS), "eval", &none, Some(ANSWERS as u64));
    let run = create(&client, tight).await?;
    let ended = ended(&client, &run, RUN).await?;
    clean(&bus, &run).await?;
    let score = ended
        .outcome
        .and_then(|outcome| outcome.arms.first()?.score)
        .context("a score")?;
    assert_eq!(
        (score.right + score.wrong) as usize,
        ANSWERS,
        "every question is answered"
    );
    assert_eq!(cluster.ledger().await?.totals.calls as usize, ANSWERS);
    Ok(())
}
