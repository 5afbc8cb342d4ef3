//! The provider refuses the key, or is out.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State, control::Kind};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    simulator::{reset, script_faults},
    task::{counting, request},
    watch::{RUN, clean, create, levels, optimize, results, summary, waits_for},
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
    let waits = waits_for(&bus, &run, "not authorized").await?;
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

/// A run whose provider answers nobody of `role`, or nobody at all, from some results on.
async fn in_an_outage(role: Option<&str>, budget: pb::Budget) -> Result<(Cluster, String)> {
    let setup = Setup {
        simulator: latency("50-100"),
        operator: QUICK.into(),
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let mut wanted = request(counting(12, 12), "sipdo", &levels(3), None);
    wanted.budget = Some(budget);
    let run = create(&cluster.client().await?, wanted).await?;
    results(&bus, &run, 5).await?;
    let down = serde_json::json!([{"kind": "server_error", "status": 503, "times": 1_000_000, "role": role}]);
    script_faults(cluster.models, &down).await?;
    Ok((cluster, run))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_waits_for_no_provider_that_its_conclusion_does_not_need() -> Result<()> {
    let (cluster, run) = in_an_outage(Some("generator"), pb::Budget::default()).await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    waits_for(&bus, &run, "generator").await?;
    let control = pb::Control {
        kind: Kind::Stop.into(),
        ..Default::default()
    };
    let request = pb::ControlRunRequest {
        run: run.clone(),
        control: Some(control),
    };
    client.clone().control_run(request).await?;
    let stopped = ended(&client, &run, RUN).await?;
    let summary = stopped.summary.context("a summary")?;
    assert_eq!(summary.state(), State::Stopped, "{summary:?}");
    assert!(!summary.stopping, "{summary:?}");
    let arms = stopped.outcome.context("an outcome")?.arms;
    assert!(!arms.is_empty(), "the learner works, so that the prompt is tested");
    assert_eq!(
        summary.not_measured, 3,
        "what waited for the generator is given up: {summary:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_on_time_ends_a_run_whose_provider_is_out() -> Result<()> {
    let budget = pb::Budget {
        seconds: Some(10),
        ..Default::default()
    };
    let (cluster, run) = in_an_outage(None, budget).await?;
    let met = ended(&cluster.client().await?, &run, RUN).await?;
    let summary = met.summary.context("a summary")?;
    assert_eq!(summary.state(), State::BudgetExhausted, "{summary:?}");
    assert!(
        summary.updated_ms - summary.created_ms >= 10_000,
        "not before its time: {summary:?}"
    );
    assert!(
        met.outcome.is_some_and(|outcome| !outcome.prompts.is_empty()),
        "it has its best prompt"
    );
    Ok(())
}
