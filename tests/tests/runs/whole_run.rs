//! Whole runs with the real programs and a real nats-server.

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    process::eventually,
    task::{counting, request},
    watch::{RUN, clean, create, results},
};
use std::time::Duration;

fn options() -> serde_json::Value {
    serde_json::json!({"levels": 4})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_improves_its_prompt_and_says_by_how_much() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let client = cluster.client().await?;
    let run = create(&client, request(counting(20, 40), "sipdo", &options(), None)).await?;
    let run = ended(&client, &run, RUN).await?;
    let summary = run.summary.context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", run.failure);
    let outcome = run.outcome.context("outcome")?;
    let right = |name: &str| {
        outcome
            .arms
            .iter()
            .find(|arm| arm.name == name)
            .and_then(|arm| arm.score)
            .map(|score| score.right)
    };
    assert!(right("final") > right("seed"), "{:?}", outcome.arms);
    let gain = outcome.gain.context("gain")?;
    assert!(gain.interval.is_some_and(|interval| interval.low > 0.0), "{gain:?}");
    for example in outcome.synthetic.iter().filter(|example| accepted(example)) {
        assert_eq!(example.votes.len(), 3, "a voter is missing: {example:?}");
        let example = example.example.as_ref().context("example")?;
        let exact = sipdo_simulator::families::exact_answer(&example.input);
        assert_eq!(exact.as_deref(), Some(example.target.as_str()), "{}", example.input);
    }
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.bought_twice(), Vec::new());
    assert_eq!(
        ledger.totals.answered,
        summary.spent.context("spent")?.calls,
        "the ledger knows every call"
    );
    Ok(())
}

fn accepted(example: &pb::SyntheticExample) -> bool {
    example
        .decision
        .as_ref()
        .is_some_and(|decision| decision.kind() == pb::decision::Kind::Accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_killed_in_mid_run_goes_on_and_buys_no_answer_twice() -> Result<()> {
    let setup = Setup {
        simulator: vec!["--latency-ms".into(), "50-100".into()],
        slots: 4,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let undisturbed = request(counting(12, 20), "sipdo", &options(), None);
    let run = create(&cluster.client().await?, undisturbed).await?;
    results(&cluster.bus().await?, &run, 40).await?;
    cluster.kill_all().await?;
    cluster.start_all(&setup).await?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&cluster.bus().await?, &run).await?;
    assert_eq!(history.takeovers().len(), 1, "it was killed in its middle");
    let twice = cluster.ledger().await?.bought_twice();
    let lost = history.summary().attempts_lost as usize;
    assert!(
        twice.len() <= lost,
        "bought twice beyond the {lost} calls that were in flight: {twice:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_takes_over_when_the_first_is_killed() -> Result<()> {
    let setup = Setup {
        simulator: vec!["--latency-ms".into(), "50-100".into()],
        slots: 4,
        coordinators: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 30).await?;
    let killed = cluster.kill_leader(&bus, &run).await?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.takeovers().first().map(|(_, before, _)| before), Some(&killed));
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "agents lived on: nothing may be bought twice"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_started_by_hand_with_another_model_simply_joins() -> Result<()> {
    let mut cluster = Cluster::start(&Setup::default()).await?;
    let client = cluster.client().await?;
    let at = cluster
        .agents
        .iter()
        .position(|(role, _)| *role == "checker")
        .context("a checker")?;
    let (_, mut checker) = cluster.agents.remove(at);
    checker.signal("TERM")?;
    assert!(
        checker.wait(Duration::from_secs(20)).await?.success(),
        "{}",
        checker.output()
    );
    let run = create(
        &client,
        request(counting(8, 8), "sipdo", &serde_json::json!({"levels": 2}), None),
    )
    .await?;
    eventually("the run says what it waits for", || {
        let (mut client, run) = (client.clone(), run.clone());
        async move {
            let run = client.get_run(pb::GetRunRequest { run }).await?.into_inner();
            Ok(run
                .summary
                .filter(|summary| summary.waiting.contains("checker"))
                .map(drop))
        }
    })
    .await?;
    let url = format!("http://{}/v1", cluster.models);
    cluster
        .start_agent("checker", &["--base-url", &url, "--model", "sim-strong"])
        .await?;
    let run = ended(&client, &run, RUN).await?;
    assert_eq!(
        run.summary.context("summary")?.state(),
        State::Finished,
        "{}",
        run.failure
    );
    let models = &run.model_use["checker"].models;
    assert!(models.len() == 1 && models[0].ends_with("/sim-strong"), "{models:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_on_calls_is_never_passed_and_leaves_the_best_so_far() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let cap = 160;
    let run = create(
        &client,
        request(counting(12, 20), "sipdo", &serde_json::json!({"levels": 10}), Some(cap)),
    )
    .await?;
    let run = ended(&client, &run, RUN).await?;
    let summary = run.summary.context("summary")?;
    assert_eq!(summary.state(), State::BudgetExhausted, "{summary:?}");
    let outcome = run.outcome.context("the best so far")?;
    assert!(
        !outcome.arms.is_empty(),
        "the conclusion's part of the budget was kept: {:?}",
        outcome.warnings
    );
    let totals = cluster.ledger().await?.totals;
    assert!(totals.calls <= cap, "{} calls of {cap}", totals.calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_created_once_stopped_early_and_cancelled() -> Result<()> {
    let setup = Setup {
        simulator: vec!["--latency-ms".into(), "100".into()],
        slots: 2,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let (mut client, bus) = (cluster.client().await?, cluster.bus().await?);
    let asked = request(counting(12, 8), "sipdo", &options(), None);
    let run = create(&client, asked.clone()).await?;
    assert_eq!(
        create(&client, asked.clone()).await?,
        run,
        "the same request is the same run"
    );
    let other = pb::CreateRunRequest {
        task: Some(counting(13, 8)),
        ..asked
    };
    let refused = client
        .create_run(other)
        .await
        .expect_err("another task under the same request id");
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);

    results(&bus, &run, 5).await?;
    let stop = pb::Control {
        kind: pb::control::Kind::Stop.into(),
        ..Default::default()
    };
    client
        .control_run(pb::ControlRunRequest {
            run: run.clone(),
            control: Some(stop),
        })
        .await?;
    let stopped = ended(&client, &run, RUN).await?;
    assert_eq!(
        stopped.summary.context("summary")?.state(),
        State::Stopped,
        "{}",
        stopped.failure
    );
    assert!(
        stopped
            .outcome
            .context("outcome")?
            .arms
            .iter()
            .any(|arm| arm.name == "seed")
    );

    let second = create(&client, request(counting(12, 8), "sipdo", &options(), None)).await?;
    results(&bus, &second, 3).await?;
    client.cancel_run(pb::CancelRunRequest { run: second.clone() }).await?;
    let cancelled = ended(&client, &second, RUN).await?;
    assert_eq!(cancelled.summary.context("summary")?.state(), State::Cancelled);
    let runs = client
        .list_runs(pb::ListRunsRequest {
            page_size: 1,
            ..Default::default()
        })
        .await?
        .into_inner();
    assert_eq!(
        runs.runs.iter().map(|run| run.run.as_str()).collect::<Vec<_>>(),
        [second.as_str()],
        "newest first"
    );
    assert!(!runs.next_page_token.is_empty(), "and there is one more page");
    let prompt = client
        .get_prompt(pb::GetPromptRequest { run, version: Some(0) })
        .await?
        .into_inner();
    assert_eq!(prompt.text, "Answer the question.");
    Ok(())
}
