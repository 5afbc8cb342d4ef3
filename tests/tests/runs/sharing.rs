//! Private stacks: commands share one, a run that a command left waits until it is asked for, and a dry run refuses what a run refuses.

use anyhow::{Context as _, Result};
use serde_json::Value;
use sipdo_tests::User;

use crate::cli::{models_by_url, user};

/// State of the newest run, and whether it is left.
fn newest(user: &User) -> Result<(String, bool)> {
    let run = user.well("runs show latest --json")?.json()?;
    let summary = &run["summary"];
    let state = summary["state"].as_str().context("state")?.to_owned();
    Ok((state, summary["left"] == Value::Bool(true)))
}

#[test]
fn a_second_command_shares_the_stack_and_the_last_one_ends_it() -> Result<()> {
    let mut user = user()?;
    user.set("SIPDO_SIM_LATENCY_MS", "150");
    let mut first = user.start("optimize things/task.toml --simulated --set strategy.levels=30 --out first")?;
    first.until_it_says("level 1/30")?;
    // A short one comes and goes; a long one stays.
    let short = user.well("eval things/task.toml --simulated --limit 2")?;
    assert!(
        short.err.contains("the local stack goes on for 1 other command"),
        "{short}"
    );
    let mut second = user.start("optimize things/task.toml --simulated --seed 3 --out second")?;
    second.until_it_says("level 1/3")?;
    let listed = user.well("runs list --simulated --json")?.json()?;
    assert_eq!(
        listed["runs"]
            .as_array()
            .map_or(0, |runs| runs.iter().filter(|run| run["left"] == true).count()),
        0
    );
    let down = user.sipdo("down")?;
    assert!(down.code == Some(6) && down.err.contains("running command"), "{down}");
    // The first one leaves at once; the other's stack stays, and the run of the first is paused there.
    first.signal("TERM")?;
    let first = first.done()?;
    assert_eq!(first.code, Some(130), "{first}");
    assert!(
        first.err.contains("is paused, since other commands use its stack"),
        "{first}"
    );
    let second = second.done()?;
    assert_eq!(second.code, Some(0), "{second}");
    user.nothing_runs()?;
    user.set("SIPDO_SIM_LATENCY_MS", "0");
    let paused = user.well("runs list --simulated")?;
    assert!(paused.out.contains("paused"), "{paused}");
    let run = listed["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .rfind(|run| run["strategy"] == "sipdo");
    let run = run.and_then(|run| run["run"].as_str()).context("the first run")?;
    user.well(&format!("runs resume {run}"))?;
    assert!(
        user.read("first/prompt.txt")?.len() > 30,
        "written where the run was begun"
    );
    user.nothing_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_run_waits_until_it_is_asked_for_and_is_resumed_from_another_folder() -> Result<()> {
    let user = user()?;
    let models = models_by_url(&user, &["--latency-ms", "100"]).await?;
    let mut run = user.start("optimize things/task.toml --seed 8 --out found")?;
    run.until_it_says("level 1/3")?;
    run.signal("TERM")?;
    assert_eq!(run.done()?.code, Some(130));
    user.nothing_runs()?;
    assert_eq!(newest(&user)?, ("STATE_RUNNING".to_owned(), true));
    let listed = user.well("runs list")?;
    assert!(listed.out.contains(" left "), "{listed}");

    let eval = user.well("eval things/task.toml --limit 3 --json")?;
    assert!(eval.err.contains("is left unfinished; `sipdo runs resume"), "{eval}");
    let run = user.well("runs list --json")?.json()?["runs"][1]["run"]
        .as_str()
        .context("run")?
        .to_owned();
    let show = |line: &str| user.well(&format!("{line} {run} --json"))?.json();
    let left = show("runs show")?;
    assert_eq!(left["summary"]["left"], true, "an eval is no reason to go on with it");
    let watched = user.sipdo(&format!("runs watch {run}"))?;
    assert!(
        watched.code == Some(6) && watched.err.contains("runs resume"),
        "{watched}"
    );
    // More budget alone does not start it.
    user.well(&format!("runs budget {run} --budget-calls 2999"))?;
    assert_eq!(show("runs show")?["summary"]["left"], true);

    user.write("elsewhere/empty", "")?;
    let resumed = user.shell(&format!("cd elsewhere && sipdo runs resume {run} --json"))?;
    assert_eq!(resumed.code, Some(0), "{resumed}");
    assert!(
        user.read("found/prompt.txt")?.len() > 30,
        "its operator's file and its folder are known"
    );
    let shown = show("runs show")?;
    assert_eq!(
        (&shown["summary"]["state"], &shown["summary"]["left"]),
        (&"STATE_FINISHED".into(), &false.into())
    );
    assert_eq!(
        shown["summary"]["budget"]["calls"], 2999,
        "what was asked meanwhile holds"
    );
    drop(models);
    user.nothing_runs()
}

#[test]
fn leftovers_go_on_where_that_is_wanted() -> Result<()> {
    let mut user = user()?;
    user.set("SIPDO_SIM_LATENCY_MS", "150");
    let mut run = user.start("optimize things/task.toml --simulated")?;
    run.until_it_says("level 1/3")?;
    run.signal("TERM")?;
    assert_eq!(run.done()?.code, Some(130));
    user.set("SIPDO_SIM_LATENCY_MS", "0");
    user.well("up --simulated")?;
    assert_eq!(
        newest(&user)?,
        ("STATE_RUNNING".to_owned(), true),
        "nor does a stack that stays take it up"
    );
    user.well("down")?;
    user.well("up --simulated --with-leftovers")?;
    let done = user.well("runs watch latest")?;
    assert!(done.err.contains("run finished"), "{done}");
    user.well("down")?;
    user.nothing_runs()
}

/// What both the run and its dry run say on stderr where they refuse: the last error, with the exit code.
fn both_refuse(user: &User, line: &str, what: &str) -> Result<()> {
    let told = |done: &sipdo_tests::command::Done| {
        let at = done.err.find("error:").unwrap_or(0);
        (done.code, done.err.get(at..).unwrap_or_default().to_owned())
    };
    let (dry, run) = (user.sipdo(&format!("{line} --dry-run"))?, user.sipdo(line)?);
    anyhow::ensure!(told(&dry) == told(&run), "dry: {dry}\nrun: {run}");
    anyhow::ensure!(told(&dry).0 == Some(2) && dry.err.contains(what), "{dry}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_the_stack_that_runs_and_refuses_in_its_words() -> Result<()> {
    let user = user()?;
    let optimize = "optimize things/task.toml";
    let _models = models_by_url(&user, &[]).await?;
    both_refuse(
        &user,
        &format!("{optimize} --budget-usd 1"),
        "unknown for checker own/sim-teacher",
    )?;
    both_refuse(
        &user,
        &format!("{optimize} --model learner=moon/x"),
        "there is no endpoint `moon`",
    )?;
    user.write("full/notes.txt", "mine")?;
    both_refuse(
        &user,
        &format!("{optimize} --out full"),
        "results folder full: it is not empty",
    )?;
    both_refuse(&user, &format!("{optimize} --out full/notes.txt/x"), "is no folder")?;
    assert!(!user.started_anything(), "nothing of this started a stack");
    let task = user.read("things/task.toml")?;
    user.write("things/gated.toml", format!("{task}\n[gates]\nprogram = \"rules\"\n"))?;
    both_refuse(&user, "optimize things/gated.toml", "knows no program `rules`")?;

    // With a stack, its agents are asked, and not the file that lies here now.
    user.well("up")?;
    let file = user.read("sipdo.toml")?;
    user.write("other.toml", file.replace("sim-weak", "sim-strong"))?;
    let dry = user.well(&format!("{optimize} --dry-run --config other.toml"))?;
    assert!(
        dry.out.contains("own/sim-weak") && !dry.out.contains("sim-strong"),
        "{dry}"
    );
    assert!(dry.err.contains("the models in other.toml are not used"), "{dry}");
    both_refuse(
        &user,
        &format!("{optimize} --budget-usd 1"),
        "unknown for checker own/sim-teacher",
    )?;
    both_refuse(&user, &format!("{optimize} --model learner=moon/x"), "moon")?;
    both_refuse(&user, "optimize things/gated.toml", "knows no program `rules`")?;
    let listed = user.well("runs list --json")?.json()?;
    assert_eq!(listed["runs"], serde_json::json!([]), "a dry run creates nothing");
    user.well("down")?;
    user.nothing_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_says_what_it_does_not_know_and_an_eval_how_far_it_is() -> Result<()> {
    let user = user()?;
    user.write(
        "odd.csv",
        "question,answer\nWhat is it?,a\nWhere is it?,b\nWho is it?,c\nWhy is it?,d\n",
    )?;
    let task = user.read("things/task.toml")?;
    let task = task
        .replace("things.csv", "odd.csv")
        .replace("= 20", "= 2")
        .replace("numeric", "exact");
    user.write("things/odd.toml", task)?;
    let odd = user.well("eval things/odd.toml --simulated")?;
    assert!(odd.err.contains("the simulated models do not know this task"), "{odd}");
    let known = user.well("eval things/task.toml --simulated")?;
    assert!(!known.err.contains("do not know"), "{known}");
    let _models = models_by_url(&user, &["--latency-ms", "150"]).await?;
    let file = user.read("sipdo.toml")?;
    user.write("sipdo.toml", format!("{file}concurrency = 4\n"))?;
    let known = user.well("eval things/task.toml --split all")?;
    assert!(
        known.err.contains("answers ") && known.err.contains(" of 40"),
        "{known}"
    );
    // Nothing is overwritten unless that is asked for.
    user.write("archive.sipdo", "mine")?;
    let refused = user.sipdo("runs archive latest archive.sipdo --simulated")?;
    assert!(refused.code == Some(2) && refused.err.contains("--force"), "{refused}");
    assert_eq!(user.read("archive.sipdo")?, "mine");
    user.well("runs archive latest archive.sipdo --simulated --force")?;
    assert_ne!(user.read("archive.sipdo").unwrap_or_default(), "mine");
    user.nothing_runs()
}
