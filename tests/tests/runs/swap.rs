//! One agent's model is swapped while a run goes on: by the live registry, and by a restart of that agent alone.

use anyhow::{Context as _, Result, bail};
use sipdo_protocol::pb::{self, State, vote::Voter};
use sipdo_telemetry::names;
use sipdo_tests::{
    Cluster, Collector, Setup,
    cluster::{Client, ended},
    otlp::Seen,
    runs::{issued, now, results_of, said, sipdo, uses, voted},
    task::{counting, request},
    watch::{RUN, create},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const LEVELS: u32 = 8;
const BEFORE: &str = "sim-teacher";
const AFTER: &str = "sim-strong";

fn slow(environment: Vec<(String, String)>) -> Setup {
    Setup {
        simulator: vec!["--latency-ms".into(), "80".into()],
        slots: 4,
        environment,
        ..Setup::default()
    }
}

/// A run that asks the checker on each of its levels, up to the point where its first votes are there.
async fn begun(client: &Client) -> Result<String> {
    let options = serde_json::json!({ "levels": LEVELS });
    let run = create(client, request(counting(12, 20), "sipdo", &options, None)).await?;
    results_of(client, &run, "checker", 2).await?;
    Ok(run)
}

/// The run has levels left, on which the checker will be asked.
async fn goes_on(client: &Client, run: &str) -> Result<()> {
    let summary = now(client, run).await?.summary.context("summary")?;
    assert_eq!(summary.state(), State::Running);
    assert!(summary.level < LEVELS, "{summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkers_model_is_swapped_in_mid_run_and_no_job_is_lost_or_repeated() -> Result<()> {
    let collector = Collector::start().await?;
    let mut cluster = Cluster::start(&slow(collector.environment())).await?;
    let client = cluster.client().await?;
    let run = begun(&client).await?;
    // No model answers now, so the run stands still, with its calls in flight, until the agent has taken up the change.
    cluster.simulator.signal("STOP")?;
    goes_on(&client, &run).await?;
    let model = format!("simulator/{AFTER}");
    let output = sipdo(&cluster, &["models", "set", "checker", &model, "--no-probe"])?;
    assert!(output.status.success(), "{}", said(&output));
    uses(&client, "checker", AFTER).await?;
    cluster.simulator.signal("CONT")?;
    let ended = ended(&client, &run, RUN).await?;
    let summary = ended.summary.clone().context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", ended.failure);

    let voted = voted(&ended, Voter::Checker);
    assert_eq!(voted.first().map(String::as_str), Some(BEFORE), "{voted:?}");
    assert_eq!(voted.last().map(String::as_str), Some(AFTER), "{voted:?}");
    let first_after = stints(&ended)?;
    let issued = issued(&client, &run).await?;
    assert!(issued.values().all(|times| *times == 1), "a job was repeated");
    assert_eq!(issued.len() as u64, summary.jobs_done, "a job was lost");
    assert_eq!((summary.attempts_lost, summary.not_measured), (0, 0));
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.bought_twice(), Vec::new());
    assert_eq!(
        ledger.totals.answered,
        summary.spent.context("spent")?.calls,
        "the ledger knows every call"
    );
    let shown = said(&sipdo(&cluster, &["runs", "show", &run])?);
    let sentence = format!("from job {first_after} on, the checker was {model}");
    assert!(shown.contains(&sentence), "{sentence:?} is not in\n{shown}");
    prompts(&ended)?;

    cluster.drain().await?;
    let spans = collector.spans();
    traced_votes(&spans, &voted)?;
    traced_jobs(&spans, &issued)
}

/// Two models of the checker, one after the other. Gives the number of the first job of the second.
fn stints(run: &pb::Run) -> Result<u64> {
    let used = run.model_use.get("checker").context("use of the checker")?;
    let [before, after] = used.stints.as_slice() else {
        bail!("not two models: {used:?}")
    };
    assert_eq!((before.model.as_str(), after.model.as_str()), (BEFORE, AFTER));
    assert!(
        before.first_job < after.first_job && before.jobs >= 2 && after.jobs >= 1,
        "{used:?}"
    );
    assert_eq!(before.jobs + after.jobs, used.jobs);
    Ok(after.first_job)
}

/// Every prompt that was accepted names the models of its optimizer and of its learner.
fn prompts(run: &pb::Run) -> Result<()> {
    let prompts = &run.outcome.as_ref().context("outcome")?.prompts;
    let accepted = prompts
        .iter()
        .filter(|prompt| prompt.standing() == pb::prompt::Standing::Accepted);
    let model = |by: &Option<pb::Provenance>| by.as_ref().map(|by| by.model.clone()).unwrap_or_default();
    let mut known = 0;
    for prompt in accepted {
        known += 1;
        assert_eq!(
            (model(&prompt.written_by), model(&prompt.tried_by)),
            (BEFORE.into(), "sim-weak".into())
        );
    }
    assert!(known > 0, "the run accepted no prompt");
    Ok(())
}

/// The votes of the checker are events of the trace, in the order of the examples, with the model that gave each.
fn traced_votes(spans: &[Seen], voted: &[String]) -> Result<()> {
    let mut roots: Vec<&Seen> = spans.iter().filter(|span| span.name == names::SPAN_ITERATION).collect();
    roots.sort_by_key(|root| root.start);
    let events = roots.iter().flat_map(|root| &root.events);
    let traced: Vec<&str> = events
        .filter(|(name, _)| name == names::EVENT_EVALUATION)
        .filter(|(_, more)| more.get(names::VOTER).is_some_and(|voter| voter == "checker"))
        .filter_map(|(_, more)| more.get(names::GEN_AI_REQUEST_MODEL).map(String::as_str))
        .collect();
    assert_eq!(traced, voted, "the trace has the votes of the journal");
    // What was asked of the old model was asked before the change, in flight or not; the new one was asked afterwards.
    let mut calls: Vec<&Seen> = spans
        .iter()
        .filter(|span| span.service == "sipdo-checker" && span.name.starts_with("chat "))
        .collect();
    calls.sort_by_key(|call| call.start);
    let mut models: Vec<&str> = calls
        .iter()
        .map(|call| call.get(names::GEN_AI_REQUEST_MODEL))
        .collect::<Result<_>>()?;
    models.dedup();
    assert_eq!(models, [BEFORE, AFTER]);
    Ok(())
}

/// Each job that was issued is in the trace once: published once, processed once, answered once.
fn traced_jobs(spans: &[Seen], issued: &BTreeMap<String, u32>) -> Result<()> {
    for step in ["publish sipdo.v1.job.", "process ", "publish sipdo.v1.result."] {
        let steps = spans.iter().filter(|span| span.name.starts_with(step));
        let jobs: Vec<&str> = steps.map(|span| span.get(names::JOB_ID)).collect::<Result<_>>()?;
        let each: BTreeSet<&str> = jobs.iter().copied().collect();
        assert_eq!(each.len(), jobs.len(), "{step}: a job is there twice");
        assert_eq!(each, issued.keys().map(String::as_str).collect(), "{step}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_is_started_again_with_another_model_by_its_environment() -> Result<()> {
    let mut cluster = Cluster::start(&slow(Vec::new())).await?;
    let client = cluster.client().await?;
    let run = begun(&client).await?;
    let is_checker = |(role, _): &(&str, _)| *role == "checker";
    let at = cluster.agents.iter().position(is_checker).context("a checker")?;
    let (_, mut checker) = cluster.agents.remove(at);
    checker.signal("TERM")?;
    let status = checker.wait(Duration::from_secs(20)).await?;
    assert!(status.success(), "{}", checker.output());
    // Without a checker it waits for one.
    goes_on(&client, &run).await?;
    cluster
        .start_agent_with("checker", &[], &[("SIPDO_MODEL", AFTER)])
        .await?;
    let run = ended(&client, &run, RUN).await?;
    let summary = run.summary.clone().context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", run.failure);
    let voted = voted(&run, Voter::Checker);
    assert_eq!(voted.first().map(String::as_str), Some(BEFORE), "{voted:?}");
    assert_eq!(voted.last().map(String::as_str), Some(AFTER), "{voted:?}");
    assert_eq!(
        (summary.attempts_lost, summary.not_measured),
        (0, 0),
        "a polite restart costs nothing"
    );
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}
