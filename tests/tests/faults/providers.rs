//! The provider refuses the key, or is out.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::State;
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    simulator::{reset, script_faults},
    task::counting,
    watch::{RUN, clean, optimize, results, summary},
};
use std::{fs, time::Duration};

/// Retries that give up soon, so that a test sees what comes after them.
const QUICK: &str = "[endpoints.simulator.retry]\nattempts = 2\nfirst_delay_seconds = 0.05";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_in_mid_run_pauses_it_until_the_key_works() -> Result<()> {
    let keys = tempfile::tempdir()?;
    let key = keys.path().join("key");
    fs::write(&key, "good")?;
    let operator = format!("api_key_file = \"{}\"\n{QUICK}", key.display());
    let mut simulator = latency("50-100");
    simulator.extend(["--api-key".to_owned(), "good".into()]);
    let cluster = Cluster::start(&Setup {
        simulator,
        slots: 4,
        operator,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 12), 3).await?;
    results(&bus, &run, 5).await?;
    fs::write(&key, "revoked")?;
    let waits = summary(&bus, &run, "a reason to wait", |summary| {
        summary.waiting.contains("not authorized")
    })
    .await?;
    assert_eq!(waits.state(), State::Running, "it waits, and has not failed");
    fs::write(&key, "good")?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0, "no job was burned");
    assert_eq!(history.summary().waiting, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_provider_pauses_a_run_and_burns_no_job() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-100"),
        slots: 4,
        operator: QUICK.into(),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 12), 3).await?;
    results(&bus, &run, 5).await?;
    let down = serde_json::json!([{"kind": "server_error", "status": 503, "times": 1_000_000}]);
    script_faults(cluster.models, &down).await?;
    summary(&bus, &run, "a reason to wait", |summary| !summary.waiting.is_empty()).await?;
    // An agent that is told to end meanwhile gives back what it has not bought; another one takes it up.
    let at = cluster
        .agents
        .iter()
        .position(|(role, _)| *role == "learner")
        .context("a learner")?;
    let (_, mut learner) = cluster.agents.remove(at);
    cluster.start_agent("learner", &[]).await?;
    learner.signal("TERM")?;
    assert!(
        learner.wait(Duration::from_secs(20)).await?.success(),
        "{}",
        learner.output()
    );
    reset(cluster.models).await?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0, "no job was burned");
    assert_eq!(
        history.summary().attempts_lost,
        0,
        "what was given back unpaid costs nothing"
    );
    Ok(())
}
