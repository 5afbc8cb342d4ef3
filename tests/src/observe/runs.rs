//! What tests ask about runs: over the API, and with the command.

use super::watch::RECOVERY;
use crate::cluster::{
    Client, Cluster,
    process::{eventually, eventually_within, program},
};
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, run_update::Update, vote::Voter};
use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

/// A model at an endpoint.
pub fn choice(endpoint: &str, model: &str) -> pb::ModelChoice {
    pb::ModelChoice {
        endpoint: endpoint.into(),
        model: model.into(),
        ..Default::default()
    }
}

/// A run as it is now.
///
/// # Errors
/// The coordinator does not answer.
pub async fn now(client: &Client, run: &str) -> Result<pb::Run> {
    let asked = pb::GetRunRequest { run: run.to_owned() };
    Ok(client.clone().get_run(asked).await?.into_inner())
}

/// Waits until the API says that a run waits for something with these words; the run's summary then.
///
/// # Errors
/// It does not come to it.
pub async fn waits_for(client: &Client, run: &str, words: &str) -> Result<pb::Summary> {
    let summary = || async { now(client, run).await?.summary.context("a summary") };
    let what = format!("run {run} to wait for `{words}`");
    let waits = eventually_within(RECOVERY, &what, || async {
        Ok(Some(summary().await?).filter(|summary| summary.waiting.contains(words)))
    })
    .await;
    match waits {
        Err(error) => Err(error.context(format!("the run is {:?}", summary().await?))),
        waits => waits,
    }
}

/// Waits until a role has this many results in a run.
///
/// # Errors
/// It does not come to it.
pub async fn results_of(client: &Client, run: &str, role: &str, at_least: u64) -> Result<()> {
    eventually(&format!("{at_least} results of the {role}"), || async {
        let run = now(client, run).await?;
        Ok(run.model_use.get(role).filter(|used| used.jobs >= at_least).map(drop))
    })
    .await
}

/// Waits until an agent of this role says that it uses this model.
///
/// # Errors
/// None does.
pub async fn uses(client: &Client, role: &str, model: &str) -> Result<()> {
    eventually(&format!("a {role} that uses {model}"), || async {
        let asked = pb::ListAgentsRequest { wait_ms: 200 };
        let cards = client.clone().list_agents(asked).await?.into_inner().agents;
        let uses = |card: &&pb::AgentStatus| card.role == role && card.model == model;
        Ok(cards.iter().find(uses).map(drop))
    })
    .await
}

/// Models behind the votes of one kind of voter, in the order of the examples.
pub fn voted(run: &pb::Run, voter: Voter) -> Vec<String> {
    let examples = run.outcome.iter().flat_map(|outcome| &outcome.synthetic);
    let votes = examples
        .flat_map(|example| &example.votes)
        .filter(|vote| vote.voter() == voter);
    votes
        .filter_map(|vote| vote.by.as_ref())
        .map(|by| by.model.clone())
        .collect()
}

/// How often each job of a run was issued, from its log.
///
/// # Errors
/// It cannot be watched.
pub async fn issued(client: &Client, run: &str) -> Result<BTreeMap<String, u32>> {
    let watched = pb::WatchRunRequest {
        run: run.to_owned(),
        after_sequence: 0,
    };
    let mut updates = client.clone().watch_run(watched).await?.into_inner();
    let mut issued = BTreeMap::new();
    while let Some(update) = updates.message().await? {
        let Some(Update::Entry(entry)) = update.update else {
            continue;
        };
        for event in entry.events {
            if let Some(pb::log_event::Event::Issued(job)) = event.event {
                *issued.entry(job.job).or_default() += 1;
            }
        }
    }
    Ok(issued)
}

/// Runs `sipdo` against a cluster, as the user `ann`.
///
/// # Errors
/// It cannot be started.
pub fn sipdo(cluster: &Cluster, args: &[&str]) -> Result<Output> {
    let (_, api) = cluster.coordinators.first().context("a coordinator")?;
    let data = cluster.folder.path().join("data");
    let mut command = Command::new(program("sipdo")?);
    command
        .args(["--coordinator", &format!("http://{api}")])
        .args(args)
        .current_dir(cluster.folder.path());
    if let Some(token) = cluster.token_file() {
        command.env("SIPDO_TOKEN_FILE", token);
    }
    Ok(command
        .env("SIPDO_DATA_DIR", data)
        .env("USER", "ann")
        .env("NO_COLOR", "1")
        .output()?)
}

/// All that a command has printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
