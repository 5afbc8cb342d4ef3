//! Stored answers: reused where that is fair, told in the report, and never compared with those of another model behind the same name.

use anyhow::{Context as _, Result};
use serde_json::Value;
use sipdo_tests::{
    Cluster, Setup,
    process::{Process, eventually},
    runs::{said, sipdo},
    simulator::Ledger,
};
use std::path::Path;

/// Held-out examples that are tried.
const EXAMPLES: usize = 60;
/// A prompt that is as good as the task's own: what differs is the model.
const OTHER: &str = "Please count all of the items.";

/// What `sipdo eval` reports of the example task.
fn eval(cluster: &Cluster, more: &[&str]) -> Result<Value> {
    let task = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/object-counting/task.toml");
    let limit = EXAMPLES.to_string();
    let args = [&["--json", "eval", task, "--limit", &limit], more].concat();
    let output = sipdo(cluster, &args)?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().with_context(|| said(&output))?;
    let told: Value = serde_json::from_str(last).with_context(|| said(&output))?;
    Ok(told["report"].clone())
}

fn reused(report: &Value) -> u64 {
    let stints = report["model_stints"]["learner"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let answers = stints.iter().filter_map(|stint| stint["reused"]["answers"].as_u64());
    answers.sum()
}

fn warnings(report: &Value) -> String {
    report["warnings"].to_string()
}

/// Puts another simulator behind the address of the cluster's own.
async fn replace_model(cluster: &Cluster, arguments: &[&str]) -> Result<Process> {
    let address = cluster.models;
    cluster.simulator.signal("KILL")?;
    let folder = tempfile::tempdir()?.keep();
    let port = address.port().to_string();
    let told = folder.join("port");
    let args = ["--port", &port, "--port-file", &told.display().to_string()];
    let args: Vec<String> = args.iter().chain(arguments).map(|arg| (*arg).to_owned()).collect();
    let process = Process::start("sipdo-simulator", "another-simulator", &args, Path::new(&folder))?;
    eventually("the other simulator", || async { Ok(Ledger::read(address).await.ok()) }).await?;
    Ok(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_replaced_behind_its_name_is_not_compared_with_the_one_before() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let before = eval(&cluster, &[])?;
    assert_eq!(reused(&before), 0, "{before}");
    let seed_before = before["arms"][0]["right"].clone();

    let _other = replace_model(&cluster, &["--seed", "9", "--learner-noise", "0.4"]).await?;
    let compared = eval(&cluster, &["--text", OTHER, "--against-seed"])?;
    let ledger = Ledger::read(cluster.models).await?;
    assert_eq!(
        ledger.whole().len(),
        2 * EXAMPLES,
        "both prompts were asked of the new model"
    );
    let seed = &compared["arms"]
        .as_array()
        .context("arms")?
        .iter()
        .find(|arm| arm["name"] == "seed");
    assert_ne!(seed.context("the seed's arm")?["right"], seed_before, "{compared}");
    assert_eq!(compared["gain"]["pairs"], EXAMPLES, "{compared}");
    let told = format!("{EXAMPLES} stored answers came from another revision of the model");
    assert!(warnings(&compared).contains(&told), "{compared}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_how_many_answers_were_reused_and_fresh_reuses_none() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let first = eval(&cluster, &[])?;
    let bought = cluster.ledger().await?.whole().len();
    let again = eval(&cluster, &[])?;
    assert_eq!(reused(&again), EXAMPLES as u64, "{again}");
    assert_eq!(again["spent"]["calls"], 0, "{again}");
    assert_eq!(again["arms"], first["arms"]);
    assert_eq!(cluster.ledger().await?.whole().len(), bought);

    let fresh = eval(&cluster, &["--fresh"])?;
    assert_eq!(reused(&fresh), 0, "{fresh}");
    assert_eq!(fresh["spent"]["calls"], EXAMPLES, "{fresh}");
    Ok(())
}
