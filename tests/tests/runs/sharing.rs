//! Private stacks: commands share one, and a run that a command left waits until it is asked for.

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
    let mut first = user.start("optimize things/task.toml --simulated --out first")?;
    first.until_it_says("level 1/3")?;
    // It needs no agent but the learner, and it must not take over the run that the first one watches.
    let second = user.start("eval things/task.toml --simulated --json --split all")?;
    let listed = user.well("runs list --simulated --json")?.json()?;
    assert_eq!(listed["runs"].as_array().map_or(0, |runs| runs.iter().filter(|run| run["left"] == true).count()), 0);
    let down = user.sipdo("down")?;
    assert!(down.code == Some(6) && down.err.contains("running command"), "{down}");
    // The first one leaves at once; the other's stack stays, and the run of the first is paused there.
    first.signal("TERM")?;
    let first = first.done()?;
    assert_eq!(first.code, Some(130), "{first}");
    assert!(first.err.contains("is paused, since other commands use its stack"), "{first}");
    let second = second.done()?;
    assert_eq!(second.code, Some(0), "{second}");
    user.nothing_runs()?;
    user.set("SIPDO_SIM_LATENCY_MS", "0");
    let paused = user.well("runs list --simulated")?;
    assert!(paused.out.contains("paused"), "{paused}");
    let run = listed["runs"].as_array().into_iter().flatten().find(|run| run["strategy"] == "sipdo");
    let run = run.and_then(|run| run["run"].as_str()).context("the first run")?;
    user.well(&format!("runs resume {run}"))?;
    assert!(user.read("first/prompt.txt")?.len() > 30, "written where the run was begun");
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
    let run = user.well("runs list --json")?.json()?["runs"][1]["run"].as_str().context("run")?.to_owned();
    let show = |line: &str| user.well(&format!("{line} {run} --json"))?.json();
    let left = show("runs show")?;
    assert_eq!(left["summary"]["left"], true, "an eval is no reason to go on with it");
    let watched = user.sipdo(&format!("runs watch {run}"))?;
    assert!(watched.code == Some(6) && watched.err.contains("runs resume"), "{watched}");
    // More budget alone does not start it.
    user.well(&format!("runs budget {run} --budget-calls 2999"))?;
    assert_eq!(show("runs show")?["summary"]["left"], true);

    user.write("elsewhere/empty", "")?;
    let resumed = user.shell(&format!("cd elsewhere && sipdo runs resume {run} --json"))?;
    assert_eq!(resumed.code, Some(0), "{resumed}");
    assert!(user.read("found/prompt.txt")?.len() > 30, "its operator's file and its folder are known");
    let shown = show("runs show")?;
    assert_eq!((&shown["summary"]["state"], &shown["summary"]["left"]), (&"STATE_FINISHED".into(), &false.into()));
    assert_eq!(shown["summary"]["budget"]["calls"], 2999, "what was asked meanwhile holds");
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
    assert_eq!(newest(&user)?, ("STATE_RUNNING".to_owned(), true), "nor does a stack that stays take it up");
    user.well("down")?;
    user.well("up --simulated --with-leftovers")?;
    let done = user.well("runs watch latest")?;
    assert!(done.err.contains("run finished"), "{done}");
    user.well("down")?;
    user.nothing_runs()
}
