//! The `sipdo` command as its users run it: every command, every way a run can end, and what is left behind.

use anyhow::{Context as _, Result};
use serde_json::Value;
use sipdo_tests::{
    User,
    cluster::ROLES,
    command::{Done, Models, questions, signal},
    process::eventually,
    simulator::Ledger,
};
use std::{net::SocketAddr, path::Path};

/// A user with a task folder `things` of 40 questions.
pub fn user() -> Result<User> {
    let user = User::new()?;
    user.write("things.csv", questions(40))?;
    user.write(
        "things/task.toml",
        "[task]\ndescription = \"Count things.\"\nprompt = \"Answer the question.\"\n\n[data]\nfile = \"../things.csv\"\n\
         input = \"question\"\ntarget = \"answer\"\ntrain = 20\ntest = 20\n\n[metric]\nkind = \"numeric\"\n\n\
         [budget]\ncalls = 3000\n\n[strategy]\nlevels = 3\nseed = 7\n",
    )?;
    Ok(user)
}

/// Models, and an operator's file in the user's folder that names them by their URL.
pub async fn models_by_url(user: &User, more: &[&str]) -> Result<Models> {
    let models = Models::start(more).await?;
    user.write("sipdo.toml", operator_file(models.at))?;
    Ok(models)
}

fn operator_file(models: SocketAddr) -> String {
    format!(
        "[endpoints.own]\nprovider = \"openai\"\nbase_url = \"http://{models}/v1\"\n\n\
         [models.default]\nendpoint = \"own\"\nmodel = \"sim-teacher\"\n\n[models.learner]\nmodel = \"sim-weak\"\n"
    )
}

/// The report at the end of NDJSON output.
fn report(done: &Done) -> Result<Value> {
    let last = done.json_lines()?.pop().context("no line")?;
    Ok(last["report"].clone())
}

fn run_named(done: &Done) -> Result<String> {
    Ok(report(done)?["run"].as_str().context("a run's name")?.to_owned())
}

#[test]
fn from_a_csv_file_to_a_better_prompt() -> Result<()> {
    let user = User::new()?;
    user.write("things.csv", questions(60))?;
    user.well("init things --data things.csv --description Count.")?;
    assert!(!user.started_anything(), "init starts nothing");
    let again = user.sipdo("init things --data things.csv --description Count.")?;
    assert_eq!(again.code, Some(2), "{again}");

    let dry = user
        .well("optimize things/task.toml --simulated --dry-run --json")?
        .json()?;
    assert!(dry["expected_calls"].as_u64() > dry["least_calls"].as_u64(), "{dry}");
    assert!(!user.started_anything(), "a dry run starts nothing");
    let without = user.sipdo("optimize things/task.toml --dry-run")?;
    let run = user.sipdo("optimize things/task.toml")?;
    assert!(without.code == Some(2) && without.err.contains("no model"), "{without}");
    assert_eq!(
        (run.code, run.err),
        (without.code, without.err),
        "the run refuses in the same words"
    );
    assert!(
        without.out.contains("expected calls"),
        "an estimate needs no model: {}",
        without.out
    );

    let done = user.well("optimize things/task.toml --simulated --json --out found")?;
    let report = report(&done)?;
    assert_eq!(report["state"], "finished");
    assert!(report["gain"]["interval"][0].as_f64() > Some(0.0), "{report}");
    assert_eq!(report["simulated"], true);
    let updates = done.json_lines()?;
    assert!(
        updates.len() > 20 && updates.iter().rev().skip(1).all(|line| line["sequence"].is_u64()),
        "{done}"
    );
    assert_eq!(
        user.read("found/prompt.txt")?,
        report["prompt"].as_str().unwrap_or_default()
    );
    let written: Value = serde_json::from_str(&user.read("found/report.json")?)?;
    assert_eq!(written, report);
    assert!(user.read("found/report.md")?.contains("held-out test"));
    for file in ["found/synthetic.jsonl", "found/corrections.jsonl"] {
        let text = user.read(file)?;
        assert!(
            !text.is_empty() && text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "{file}"
        );
    }
    user.nothing_runs()?;

    let run = report["run"].as_str().context("run")?;
    let best = user.well("prompt latest")?;
    assert_eq!(best.out, user.read("found/prompt.txt")?, "verbatim");
    assert_eq!(
        user.well(&format!("prompt {run} --version 0"))?.out,
        "Answer the question."
    );
    let diff = user.well("diff latest")?;
    assert!(
        diff.out.contains("-Answer the question.") && diff.out.contains("\n+"),
        "{diff}"
    );
    let runs = user.well("runs list --json")?.json()?;
    assert_eq!(runs["runs"][0]["run"], run);
    let shown = user.well("runs show latest")?;
    assert!(shown.out.contains("gain +") && shown.out.contains("v1 "), "{shown}");
    user.well("runs export latest --out again")?;
    assert_eq!(user.read("again/prompt.txt")?, best.out);
    let eval = user.well("eval things/task.toml --simulated --prompt found/prompt.txt --against-seed --json")?;
    let eval = self::report(&eval)?;
    assert!(eval["gain"]["difference"].as_f64() > Some(0.5), "{eval}");
    let still = user.well("prompt latest --quiet")?;
    assert_eq!(still.out, best.out, "an eval has no prompt to give");
    assert!(still.err.contains("simulated models"), "{still}");
    assert_eq!(user.well("prompt latest --quiet --simulated")?.err, "");
    user.well("runs export latest --out third")?;
    assert!(user.well("diff latest")?.out.contains("-Answer the question."));
    let shown = user.well("runs show latest")?;
    assert!(
        shown.out.contains("prompt ") && !shown.out.contains("No better prompt"),
        "{shown}"
    );

    let over = user.sipdo(&format!("runs cancel {run}"))?;
    assert!(
        over.code == Some(2) && over.err.contains("has ended (finished)"),
        "{over}"
    );
    let unwritten = user.sipdo("runs archive latest nowhere/run.sipdo")?;
    assert!(unwritten.err.contains("cannot write nowhere/run.sipdo"), "{unwritten}");
    for (line, what) in [
        ("runs show r0", "run `r0`"),
        ("prompt latest --version 99", "no prompt `v99 of run"),
        ("diff r0", "r0"),
    ] {
        let done = user.sipdo(line)?;
        assert!(done.code == Some(4) && done.err.contains(what), "{line}: {done}");
    }
    user.nothing_runs()
}

#[test]
fn a_stack_that_stays_is_steered_and_taken_down() -> Result<()> {
    let mut user = user()?;
    // Slow, so that the run goes on while one command after the other is started.
    user.set("SIPDO_SIM_LATENCY_MS", "400");
    assert_eq!(user.sipdo("status")?.code, Some(6));
    assert_eq!(user.sipdo("agents")?.code, Some(6));
    user.well("up --simulated --agents learner=2")?;
    let status = user.well("status --json")?.json()?;
    assert_eq!(status["processes"].as_array().map(Vec::len), Some(9), "{status}");
    for process in status["processes"].as_array().into_iter().flatten() {
        assert!(process["state"] == "ready" || process["state"] == "runs", "{process}");
        let log = process["log"].as_str().context("log")?;
        assert!(Path::new(log).is_file(), "there is no {log}");
    }
    let agents = user.well("agents --json")?.json()?;
    let of = |role: &str| {
        agents["agents"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|a| a["role"] == role).count())
    };
    assert_eq!(ROLES.map(of), [1, 1, 1, 2, 1]);
    let doctor = user.well("doctor --simulated --json")?.json()?;
    assert_eq!(doctor["ok"], true, "{doctor}");
    let looks = user.well("runs top --json")?.json_lines()?;
    assert_eq!(looks.len(), 1, "into a pipe it looks once");

    let create = "optimize things/task.toml --simulated --detach --json";
    let detached =
        |line: &str| Ok::<_, anyhow::Error>(user.well(line)?.json()?["run"].as_str().context("run")?.to_owned());
    let run = detached(&format!("{create} --request-id 6f2c1a50-52a8-4d0e-9a51-54d52f2e3b11"))?;
    assert_eq!(
        detached(&format!("{create} --request-id 6f2c1a50-52a8-4d0e-9a51-54d52f2e3b11"))?,
        run,
        "idempotent"
    );
    let other = "--request-id 6f2c1a50-52a8-4d0e-9a51-54d52f2e3b11 --set strategy.levels=9";
    let other = user.sipdo(&format!("{create} {other}"))?;
    assert!(other.code == Some(2) && other.err.contains("use a new id"), "{other}");
    let state_of = |run: &str| -> Result<String> {
        let run = user.well(&format!("runs show {run} --json"))?.json()?;
        Ok(run["summary"]["state"].as_str().unwrap_or_default().to_owned())
    };
    let until = |run: &str, wanted: &str| -> Result<()> {
        let start = std::time::Instant::now();
        while state_of(run)? != wanted {
            anyhow::ensure!(
                start.elapsed() < sipdo_tests::process::DEADLINE,
                "{run} is not {wanted} but {}",
                state_of(run)?
            );
        }
        Ok(())
    };
    user.well(&format!("runs pause {run}"))?;
    until(&run, "STATE_PAUSED")?;
    let paused = user.well(&format!("runs show {run}"))?;
    assert!(paused.out.contains("waiting: paused"), "{paused}");
    user.well(&format!("runs budget {run} --budget-calls 2500"))?;
    user.well(&format!("runs resume {run} --detach"))?;
    until(&run, "STATE_RUNNING")?;
    // A run that is paused concludes all the same when it is stopped.
    user.well(&format!("runs pause {run}"))?;
    until(&run, "STATE_PAUSED")?;
    user.well(&format!("runs stop {run}"))?;
    until(&run, "STATE_STOPPED")?;
    let watched = user.sipdo(&format!("runs watch {run} --json"))?;
    assert!(matches!(watched.code, Some(0 | 3)), "{watched}");
    assert_eq!(report(&watched)?["state"], "stopped early");

    let second = detached(create)?;
    user.well(&format!("runs cancel {second}"))?;
    until(&second, "STATE_CANCELLED")?;
    user.well(&format!("runs export {second} --out cancelled"))?;
    assert_eq!(
        user.read("cancelled/prompt.txt")?,
        "Answer the question.",
        "the seed prompt, for want of another"
    );
    let done = user.sipdo(&format!("runs watch {second}"))?;
    assert!(done.code == Some(1) && done.out.contains("cancelled"), "{done}");

    user.well("models set checker simulator/sim-strong")?;
    assert!(user.well("models list --json")?.out.contains("sim-strong"));
    let wrong = user.sipdo("models set checker moon/sim-strong")?;
    assert!(
        wrong.code == Some(2) && wrong.err.contains("they know simulator"),
        "{wrong}"
    );
    user.well("models unset checker")?;
    assert_eq!(
        user.well("runs list --limit 1 --json")?.json()?["runs"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    user.well("down")?;
    user.nothing_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn own_models_by_url_and_an_agent_exchanged_by_hand() -> Result<()> {
    let user = user()?;
    let models = models_by_url(&user, &[]).await?;
    let dry = user.well("optimize things/task.toml --dry-run")?;
    assert!(
        dry.out.contains("own/sim-weak") && dry.out.contains("unknown price"),
        "{dry}"
    );
    user.well("doctor")?;
    user.well("up")?;
    let status = user.well("status --json")?.json()?;
    let checker = status["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|process| process["name"] == "checker");
    let pid = checker
        .and_then(|process| process["pid"].as_u64())
        .context("the checker's process")?;
    signal(u32::try_from(pid)?, "TERM")?;
    eventually("the checker is gone", || async {
        Ok((!user.well("agents --json")?.out.contains("\"checker\"")).then_some(()))
    })
    .await?;
    let nats = status["nats"].as_str().context("nats")?;
    let by_hand = user.start_program(
        "sipdo-checker",
        &format!(
            "--nats-url {nats} --base-url http://{}/v1/ --model sim-strong --spool-dir by-hand",
            models.at
        ),
    )?;
    let done = user.well("optimize things/task.toml --json")?;
    let report = report(&done)?;
    assert!(
        report["models"]["checker"][0]
            .as_str()
            .is_some_and(|model| model.ends_with("/sim-strong")),
        "{report}"
    );
    assert_eq!(report["spent"]["usd"], Value::Null, "no price is known");
    let calls = Ledger::read(models.at).await?.totals.calls;
    assert_eq!(
        report["spent"]["calls"].as_u64(),
        Some(calls),
        "the simulator knows every call"
    );
    by_hand.signal("TERM")?;
    assert_eq!(by_hand.done()?.code, Some(0), "an agent drains on SIGTERM");
    user.well("down")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_interrupt_concludes_and_two_leave_the_run_to_be_resumed() -> Result<()> {
    let user = user()?;
    let models = models_by_url(&user, &["--latency-ms", "150"]).await?;
    let mut run = user.start("optimize things/task.toml --set strategy.levels=30 --out early")?;
    run.until_it_says("level 1/30")?;
    run.signal("INT")?;
    let done = run.done()?;
    assert_eq!(done.code, Some(0), "{done}");
    assert!(
        done.err.contains("stopping early") && done.out.contains("stopped early after"),
        "{done}"
    );
    assert!(done.out.contains("final prompt"), "the best was tested: {done}");
    assert!(user.read("early/prompt.txt")?.len() > 30);
    user.nothing_runs()?;

    // A cap on time keeps some of it for the test.
    let timed = user.sipdo("optimize things/task.toml --set strategy.levels=60 --seed 9 --budget-seconds 8 --json")?;
    assert_eq!(timed.code, Some(7), "{timed}");
    assert!(report(&timed)?["gain"]["pairs"].as_u64() > Some(0), "{timed}");

    // Nobody waits without being told for what.
    user.write("sipdo.toml", operator_file("127.0.0.1:1".parse()?))?;
    let mut run = user.start("eval things/task.toml --no-probe --quiet")?;
    run.until_it_says("waiting: learner (own/sim-weak)")?;
    run.signal("TERM")?;
    assert_eq!(run.done()?.code, Some(130));
    user.well("runs cancel latest")?;
    user.write("sipdo.toml", operator_file(models.at))?;

    let earlier = Ledger::read(models.at).await?;
    let before = earlier.totals.calls;
    let mut run = user.start("optimize things/task.toml --seed 8")?;
    run.until_it_says("level 1/3")?;
    // No model answers, so that the conclusion cannot end before the second interrupt.
    models.signal("STOP")?;
    run.signal("INT")?;
    run.until_it_says("stopping early")?;
    run.signal("INT")?;
    run.until_it_says("runs resume")?;
    models.signal("CONT")?;
    let done = run.done()?;
    assert_eq!(done.code, Some(130), "{done}");
    assert!(done.err.contains("runs resume") && done.out.is_empty(), "{done}");
    user.nothing_runs()?;
    let resumed = user.well("runs resume latest --json --out resumed")?;
    let report = report(&resumed)?;
    assert_eq!(report["state"], "finished", "who resumes takes the stop back");
    let mut ledger = Ledger::read(models.at).await?;
    // Another run may ask the optimizer the same and buys its own answer; within this one nothing is bought again that is not lost.
    ledger.calls.drain(..earlier.calls.len());
    let lost = report["attempts_lost"].as_u64().unwrap_or_default();
    assert!(
        ledger.bought_twice().len() as u64 <= lost,
        "{:?}",
        ledger.bought_twice()
    );
    assert!(
        report["spent"]["calls"].as_u64() <= Some(ledger.totals.calls - before + lost * 3),
        "{report}"
    );
    user.nothing_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_with_a_token_lets_in_who_has_it() -> Result<()> {
    let mut user = user()?;
    user.write("token", "s3cret-of-this-test\n")?;
    user.write("wrong", "s3cret-of-another\n")?;
    let _models = models_by_url(&user, &[]).await?;
    // The stack takes its token from the environment of whoever starts it.
    user.set("SIPDO_TOKEN_FILE", user.folder().join("token").display().to_string());
    user.well("up")?;
    let status = user.well("status --json")?.json()?;
    let url = status["coordinator"].as_str().context("coordinator")?.to_owned();
    user.unset("SIPDO_TOKEN_FILE");
    let with = |token: &str| user.sipdo(&format!("runs list --json --coordinator {url} {token}"));
    assert_eq!(with("--token-file token")?.json()?["runs"], serde_json::json!([]));
    for token in ["", "--token-file wrong"] {
        let done = with(token)?;
        assert!(
            done.code == Some(5) && done.err.contains("--token-file"),
            "{token}: {done}"
        );
        assert!(!done.err.contains("s3cret"), "a token is never shown: {done}");
    }
    let done = user.sipdo(&format!(
        "optimize things/task.toml --coordinator {url} --token-file token --json"
    ))?;
    assert_eq!(done.code, Some(0), "{done}");
    user.well("down --token-file token")?;
    user.nothing_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_it_ended() -> Result<()> {
    let user = user()?;
    for (line, code, what) in [
        (
            "runs list --coordinator http://127.0.0.1:1",
            6,
            "no coordinator answers",
        ),
        ("runs list --coordinator 127.0.0.1:1", 2, "http://"),
        ("runs list", 6, "there is no run in"),
        ("runs lits", 2, "lits"),
        ("runs read nowhere.sipdo", 2, "nowhere.sipdo: "),
        (
            "optimize things/task.toml --simulated --coordinator http://127.0.0.1:1",
            2,
            "omit one",
        ),
        ("optimize things/task.toml --simulated --detach", 2, "sipdo up"),
    ] {
        let done = user.sipdo(line)?;
        assert!(done.code == Some(code) && done.err.contains(what), "{line}: {done}");
    }
    // A model that knows all skills: no prompt does better than the seed.
    let known =
        user.sipdo("optimize things/task.toml --simulated --model learner=simulator/sim-strong --out nothing")?;
    assert!(
        known.code == Some(3) && known.out.contains("seed prompt") && known.out.contains("is kept"),
        "{known}"
    );
    assert_eq!(user.read("nothing/prompt.txt")?, "Answer the question.");
    let capped = user.sipdo("optimize things/task.toml --simulated --budget-calls 150 --json")?;
    assert_eq!(capped.code, Some(7), "{capped}");
    let report = report(&capped)?;
    assert!(
        report["spent"]["calls"].as_u64() <= Some(150) && !report["arms"].as_array().context("arms")?.is_empty(),
        "{report}"
    );
    let more = user.well("runs budget latest --simulated --budget-calls 3000")?;
    assert!(more.err.contains("new caps"), "{more}");
    let run = run_named(&capped)?;
    let gone_on = user.sipdo(&format!("runs resume {run} --json"))?;
    assert_eq!(gone_on.code, Some(0), "{gone_on}");
    assert_eq!(self::report(&gone_on)?["state"], "finished");
    user.nothing_runs()
}
