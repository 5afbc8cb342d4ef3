//! Models: tried before they are set, different on purpose, refused where judges must be independent, and compared.

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State, vote::Voter};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    process::eventually,
    runs::{choice, said, sipdo, waits_for},
    simulator::{reset, script_faults},
    task::{counting, request},
    watch::{RUN, create, id},
};

/// A task to try.
fn example() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/object-counting/task.toml").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_tried_before_it_is_set_and_every_change_is_remembered() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let mut client = cluster.client().await?;
    let refused = |args: &[&str], code: i32, words: &str| -> Result<()> {
        let output = sipdo(&cluster, args)?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {words:?} is not in\n{said}");
        Ok(())
    };
    refused(
        &["models", "set", "checker", "nowhere/sim-strong"],
        2,
        "they know simulator",
    )?;
    refused(
        &["models", "set", "checker", "nowhere/sim-strong", "--no-probe"],
        2,
        "they know simulator",
    )?;
    refused(
        &["models", "set", "checker", "simulator/no-such-model"],
        2,
        "no-such-model",
    )?;
    refused(&["models", "set", "checker_x", "simulator/sim-strong"], 6, "--pool x")?;
    refused(
        &["models", "set", "checker", "nowhere/sim-strong"],
        2,
        "error: no checker knows `nowhere`",
    )?;
    refused(
        &["models", "set", "checker", "simulator/sim-strong", "--run", "r0"],
        4,
        "no run `r0`",
    )?;
    refused(
        &["models", "set", "checker", "--temperature", "3", "--no-probe"],
        2,
        "--temperature <0..2>",
    )?;
    assert!(
        client
            .list_models(pb::ListModelsRequest {})
            .await?
            .into_inner()
            .models
            .is_empty(),
        "nothing was set"
    );

    for args in [
        ["models", "set", "checker", "simulator/no-such-model", "--no-probe"].as_slice(),
        &["models", "set", "checker", "simulator/sim-strong"],
        &["models", "set", "checker", "--temperature", "0.2"],
    ] {
        let output = sipdo(&cluster, args)?;
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    }
    let shown = said(&sipdo(&cluster, &["models", "show", "checker"])?);
    assert!(
        shown.contains("simulator/sim-strong, temperature 0.2") && shown.contains("the registry"),
        "{shown}"
    );
    eventually("the agent's card shows the model", || {
        let mut client = client.clone();
        async move {
            let cards = client
                .list_agents(pb::ListAgentsRequest { wait_ms: 200 })
                .await?
                .into_inner()
                .agents;
            Ok(cards
                .iter()
                .find(|card| card.role == "checker" && card.model == "sim-strong")
                .map(drop))
        }
    })
    .await?;
    for words in ["is removed", "the registry has no such entry"] {
        let output = sipdo(&cluster, &["models", "unset", "checker"])?;
        assert!(
            output.status.success() && said(&output).contains(words),
            "{}",
            said(&output)
        );
    }

    let asked = pb::ListModelHistoryRequest {
        role: "checker".into(),
        run: String::new(),
    };
    let changes = client.list_model_history(asked).await?.into_inner().changes;
    let model =
        |choice: &Option<pb::ModelChoice>| choice.as_ref().map(|choice| choice.model.clone()).unwrap_or_default();
    let told: Vec<_> = changes
        .iter()
        .map(|change| (model(&change.old), model(&change.new)))
        .collect();
    let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
    let expected = [
        pair("", "no-such-model"),
        pair("no-such-model", "sim-strong"),
        pair("sim-strong", "sim-strong"),
        pair("sim-strong", ""),
    ];
    assert_eq!(told, expected);
    assert!(
        changes
            .iter()
            .all(|change| change.by.starts_with("ann on ") && change.at_ms > 0),
        "{changes:?}"
    );
    let shown = said(&sipdo(&cluster, &["models", "history"])?);
    assert!(
        shown.contains("ann on ") && shown.contains("simulator/sim-strong, temperature 0.2"),
        "{shown}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_own_model_is_tried_and_one_that_does_not_work_is_what_the_run_waits_for() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let client = cluster.client().await?;
    let task = example();
    let order = ["optimize", &task, "--detach", "--set", "strategy.levels=1"];
    let with = |more: &[&str]| sipdo(&cluster, &[&order, more].concat());
    let output = with(&["--model", "checker=simulator/none"])?;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("checker cannot use simulator/none"),
        "{}",
        said(&output)
    );
    assert_eq!(cluster.ledger().await?.totals.calls, 0, "nothing was bought");

    let output = with(&["--model", "checker=simulator/none", "--no-probe"])?;
    assert!(output.status.success(), "{}", said(&output));
    let run = String::from_utf8(output.stdout)?.trim().to_owned();
    let why = "checker (simulator/none): unknown model";
    let waiting = waits_for(&client, &run, why).await?.waiting;
    assert!(waiting.starts_with(why), "{waiting}");
    let agents = said(&sipdo(&cluster, &["agents"])?);
    assert!(agents.contains("simulator/none: unknown model"), "{agents}");
    let output = sipdo(&cluster, &["models", "set", "checker", "sim-strong", "--run", &run])?;
    assert!(output.status.success(), "{}", said(&output));
    let run = ended(&client, &run, RUN).await?;
    let summary = run.summary.context("summary")?;
    assert_eq!(
        (summary.state(), summary.not_measured),
        (State::Finished, 0),
        "{}",
        run.failure
    );
    let output = sipdo(
        &cluster,
        &["models", "set", "checker", "sim-weak", "--run", &summary.run],
    )?;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("has ended"), "{}", said(&output));
    let list = || sipdo(&cluster, &["models", "list"]).map(|output| said(&output));
    assert!(list()?.contains(&summary.run));
    let output = sipdo(&cluster, &["runs", "delete", &summary.run, "--yes"])?;
    assert!(output.status.success(), "{}", said(&output));
    assert!(!list()?.contains(&summary.run), "it goes with its run");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_of_checkers_vote_with_models_of_their_own() -> Result<()> {
    let mut cluster = Cluster::start(&Setup::default()).await?;
    let client = cluster.client().await?;
    let options = serde_json::json!({"levels": 2, "checker_pools": ["a", "b"]});
    let run = create(&client, request(counting(8, 8), "sipdo", &options, None)).await?;
    waits_for(&client, &run, "sipdo-checker --pool a").await?;
    for (pool, model) in [("a", "sim-strong"), ("b", "sim-teacher")] {
        let spool = cluster.folder.path().join(pool).display().to_string();
        cluster
            .start_agent("checker", &["--pool", pool, "--model", model, "--spool-dir", &spool])
            .await?;
    }
    let run = ended(&client, &run, RUN).await?;
    assert_eq!(
        run.summary.context("summary")?.state(),
        State::Finished,
        "{}",
        run.failure
    );
    let shared = "generator, checker_b and verifier vote with the same model, simulator/sim-teacher";
    let said = run.warnings.iter().filter(|warning| warning.contains("checker"));
    let said: Vec<&String> = said.collect();
    assert!(
        said.len() == 1 && said[0].starts_with(shared),
        "the pool is named: {said:?}"
    );
    let examples = run.outcome.context("outcome")?.synthetic;
    let mut voted_on = 0;
    for example in examples.iter().filter(|example| example.votes.len() > 1) {
        voted_on += 1;
        let checkers = example.votes.iter().filter(|vote| vote.voter() == Voter::Checker);
        let models: Vec<_> = checkers
            .filter_map(|vote| Some((vote.checker, vote.by.as_ref()?.model.as_str())))
            .collect();
        assert!(
            models.starts_with(&[(0, "sim-strong"), (1, "sim-teacher")]),
            "{models:?}"
        );
    }
    assert!(voted_on > 0, "nothing was voted on");
    let cards = client
        .clone()
        .list_agents(pb::ListAgentsRequest { wait_ms: 300 })
        .await?
        .into_inner()
        .agents;
    let done = |pool: &str| {
        cards
            .iter()
            .filter(|card| card.role == "checker" && card.pool == pool)
            .map(|card| card.done)
            .sum::<u64>()
    };
    assert_eq!(done(""), 0, "whoever belongs to no pool was not asked");
    assert!(done("a") >= 2 && done("a") == done("b"), "{cards:?}");
    pools_are_told_apart(&cluster)
}

/// A pool has a row, a lane and a history of its own: that pools differ is no change of a model.
fn pools_are_told_apart(cluster: &Cluster) -> Result<()> {
    let printed = |args: &[&str]| sipdo(cluster, args).map(|output| said(&output));
    let shown = printed(&["runs", "show", "latest"])?;
    assert!(!shown.contains("the checker"), "{shown}");
    let traced = printed(&["runs", "trace", "latest"])?;
    let top = printed(&["runs", "top"])?;
    for (pool, model) in [
        ("checker_a", "simulator/sim-strong"),
        ("checker_b", "simulator/sim-teacher"),
    ] {
        for text in [&shown, &traced, &top] {
            let mut lines = text.lines().filter(|line| line.starts_with(pool));
            assert!(
                lines.any(|line| line.contains(model)),
                "{pool} {model} is not in\n{text}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_that_share_a_model_are_named_and_refused_where_independence_is_required() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let client = cluster.client().await?;
    let options = serde_json::json!({"levels": 1});
    let asked = |models: &[(&str, &str)]| pb::CreateRunRequest {
        require_independent: true,
        models: models
            .iter()
            .map(|(role, model)| ((*role).to_owned(), choice("simulator", model)))
            .collect(),
        ..request(counting(8, 8), "sipdo", &options, None)
    };
    let refused = client
        .clone()
        .create_run(asked(&[]))
        .await
        .expect_err("one model for all");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    let pair = "generator, checker and verifier vote with the same model, simulator/sim-teacher";
    assert!(refused.message().starts_with(pair), "{refused}");
    let refused = client
        .clone()
        .create_run(asked(&[("checker", "sim-strong")]))
        .await
        .expect_err("two share one");
    assert!(
        refused
            .message()
            .starts_with("generator and verifier vote with the same model"),
        "{refused}"
    );
    let runs = client
        .clone()
        .list_runs(pb::ListRunsRequest::default())
        .await?
        .into_inner()
        .runs;
    assert!(runs.is_empty(), "no run was made");
    assert_eq!(cluster.ledger().await?.totals.calls, 0, "and nothing was bought");

    let other = pb::CreateRunRequest {
        models: [("checker".to_owned(), choice("nowhere", "m"))].into(),
        ..request(counting(8, 8), "sipdo", &options, None)
    };
    let refused = client.clone().create_run(other).await.expect_err("no such endpoint");
    assert!(refused.message().contains("they know simulator"), "{refused}");

    // No model answers, so that the run cannot have ended when its model is changed.
    cluster.simulator.signal("STOP")?;
    let differing = asked(&[("checker", "sim-strong"), ("verifier", "sim-weak")]);
    let run = client.clone().create_run(differing).await?.into_inner();
    assert_eq!(run.warnings, Vec::<String>::new());
    let set = pb::SetModelRequest {
        role: "checker".into(),
        run: id(&run)?,
        choice: Some(choice("", "sim-weak")),
        by: "a test".into(),
    };
    let warnings = client.clone().set_model(set).await?.into_inner().warnings;
    assert!(
        warnings
            .iter()
            .any(|text| text.starts_with("checker and verifier vote with the same model")),
        "{warnings:?}"
    );
    cluster.simulator.signal("CONT")?;
    let alike = request(counting(8, 8), "sipdo", &options, None);
    let warned = client.clone().create_run(alike).await?.into_inner();
    assert!(
        warned.warnings.iter().any(|text| text.starts_with(pair)),
        "{:?}",
        warned.warnings
    );
    let run = ended(&client, &id(&warned)?, RUN).await?;
    let told = run
        .warnings
        .iter()
        .filter(|text| text.contains("vote with the same model"))
        .count();
    assert_eq!(told, 1, "said once: {:?}", run.warnings);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_prompt_is_compared_across_models() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let task = example();
    let good = cluster.folder.path().join("better.txt");
    std::fs::write(
        &good,
        "Count the items: add up the quantities of the items that belong.",
    )?;
    let good = good.display().to_string();
    let models = "simulator/sim-weak,simulator/sim-strong";
    let args = [
        "eval",
        &task,
        "--prompt",
        &good,
        "--against-seed",
        "--limit",
        "40",
        "--models",
        models,
    ];
    let output = sipdo(&cluster, &[&["--json"], args.as_slice()].concat())?;
    assert!(output.status.success(), "{}", said(&output));
    let last = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    let table: serde_json::Value = serde_json::from_str(&last)?;
    let rows = table["models"].as_array().context("rows")?;
    let names: Vec<_> = rows.iter().filter_map(|row| row["model"].as_str()).collect();
    assert_eq!(names.join(","), models);
    let accuracy = |row: usize, arm: &str| {
        let arms = rows[row]["report"]["arms"].as_array().cloned().unwrap_or_default();
        arms.iter()
            .find(|found| found["name"] == arm)
            .and_then(|arm| arm["accuracy"].as_f64())
    };
    assert!(
        accuracy(1, "seed") > accuracy(0, "seed"),
        "the strong one is better: {table}"
    );
    for row in rows {
        assert_eq!(
            row["report"]["models"]["learner"].as_array().map(Vec::len),
            Some(1),
            "one model answered: {row}"
        );
        assert!(row["report"]["gain"]["interval"].is_array(), "{row}");
    }

    let output = sipdo(
        &cluster,
        &[
            "eval",
            &task,
            "--limit",
            "4",
            "--models",
            "simulator/sim-weak,simulator/none",
        ],
    )?;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let silent = serde_json::json!([{"kind": "empty", "times": 1_000_000, "model": "sim-weak"}]);
    script_faults(cluster.models, &silent).await?;
    let asked = [
        "eval",
        &task,
        "--limit",
        "4",
        "--text",
        "Count well.",
        "--against-text",
        "Count.",
        "--models",
        models,
    ];
    let text = said(&sipdo(&cluster, &asked)?);
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut rows = text.lines().map(cells);
    let unmeasured = ["simulator/sim-weak", "prompt", "-", "-", "0", "0", "4"];
    assert!(rows.any(|row| row == unmeasured), "not measured, and not wrong: {text}");
    assert!(text.contains("simulator/sim-weak: the gain is unknown"), "{text}");
    reset(cluster.models).await?;
    let text = said(&sipdo(&cluster, &["eval", &task, "--limit", "4", "--models", models])?);
    assert!(
        text.contains("95 % interval") && text.contains("simulator/sim-strong"),
        "{text}"
    );
    let set = sipdo(&cluster, &["models", "set", "learner", "simulator/sim-strong"])?;
    assert!(set.status.success(), "{}", said(&set));
    let output = sipdo(&cluster, &["eval", &task, "--limit", "4", "--models", models])?;
    assert!(
        output.status.code() == Some(2) && said(&output).contains("models unset learner"),
        "{}",
        said(&output)
    );
    Ok(())
}
