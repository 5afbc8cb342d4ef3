//! What the benchmarks share: tasks from the public data, one run each, figures as one line each.

use crate::cluster::families::Family;
use crate::cluster::{Client, ended};
use anyhow::{Context as _, Result};
use sipdo_datasets::{LoadOptions, load_with};
use sipdo_protocol::pb::{self, State};
use std::{fs, path::Path, time::Duration};

/// Longest run of a benchmark.
pub const RUN: Duration = Duration::from_secs(900);

/// Reads a family's task from the public file: a one-line seed prompt, 30 seed examples, 150 held out.
///
/// # Errors
/// The file is not there or does not read as the task says.
pub fn task(family: &Family, data: &Path, folder: &Path, seed: u64) -> Result<pb::Task> {
    let path = folder.join(format!("{}.toml", family.name));
    let text = format!(
        "[task]\nname = \"{}\"\ndescription = \"{}\"\nprompt = \"Answer the question.\"\nanswer_format = \"{}\"\n\n\
         [data]\nfile = \"bbh/{}.json\"\npointer = \"/examples\"\ninput = \"{{{{ input }}}}\"\ntarget = \"{{{{ target }}}}\"\n\
         train = 30\ntest = 150\n\n[metric]\nkind = \"{}\"\n\n[strategy]\nname = \"sipdo\"\nseed = {seed}\n",
        family.name.replace('_', "-"),
        family.description,
        family.answer_format,
        family.file,
        family.metric
    );
    fs::write(&path, text)?;
    let loaded = load_with(
        &path,
        &LoadOptions {
            data_dir: Some(data.to_owned()),
        },
    )?;
    Ok(loaded.task.try_into()?)
}

/// Runs a task to its end.
///
/// # Errors
/// It does not end well.
pub async fn run(client: &Client, task: pb::Task, strategy: &str, options: &serde_json::Value) -> Result<pb::Run> {
    let request = crate::cluster::task::request(task, strategy, options, None);
    let created = client.clone().create_run(request).await?.into_inner();
    let name = created.summary.context("a run without a summary")?.run;
    let run = ended(client, &name, RUN).await?;
    let state = run.summary.as_ref().map(pb::Summary::state).unwrap_or_default();
    anyhow::ensure!(
        state == State::Finished,
        "run {name}: {} {}",
        state.as_str_name(),
        run.failure
    );
    Ok(run)
}

/// Accuracy of an arm in percent.
pub fn accuracy(run: &pb::Run, arm: &str) -> Option<f64> {
    let score = run
        .outcome
        .as_ref()?
        .arms
        .iter()
        .find(|known| known.name == arm)?
        .score?;
    let measured = score.right + score.wrong;
    (measured > 0).then(|| 100.0 * f64::from(score.right) / f64::from(measured))
}

/// The machine, in words.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown processor");
    format!("{cores} cores,{}", model.trim_start().trim_start_matches(':'))
}

/// Prints one figure.
pub fn figure(name: &str, value: impl std::fmt::Display, unit: &str) {
    println!("figure {name} {value} {unit}");
}

/// What to print where the public data is absent.
pub fn no_data(benchmark: &str) {
    println!(
        "{benchmark}: skipped, the public benchmark files are not here (SIPDO_SHARED names the folder that holds data/bbh)"
    );
}
