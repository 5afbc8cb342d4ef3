//! Starting a run and waiting for what happens to it, read from its stream: so it works without a coordinator too.

use crate::{
    cluster::{
        Client, Cluster, over,
        process::{DEADLINE, eventually_within},
        task::request,
    },
    observe::oracle::History,
};
use anyhow::{Context as _, Result, ensure};
use sipdo_bus::{Bus, NewMessage, RunId};
use sipdo_protocol::{
    pb::{self, State, control::Kind},
    schema,
};
use std::time::Duration;

/// How long a whole run may take on a slow machine.
pub const RUN: Duration = Duration::from_secs(240);
/// A job whose message was lost with a server is published again after two minutes, so a run may stand still for so long.
pub const RECOVERY: Duration = Duration::from_secs(240);

/// Options of the strategy `sipdo` with so many levels.
pub fn levels(levels: u32) -> serde_json::Value {
    serde_json::json!({"levels": levels})
}

/// Creates a run; its id.
///
/// # Errors
/// Where it is refused.
pub async fn create(client: &Client, request: pb::CreateRunRequest) -> Result<String> {
    id(&client.clone().create_run(request).await?.into_inner())
}

/// Name of a run.
///
/// # Errors
/// It has no summary.
pub fn id(run: &pb::Run) -> Result<String> {
    Ok(run.summary.as_ref().context("a run without a summary")?.run.clone())
}

/// Has a cluster optimize a task by the strategy `sipdo` without a cap; the run's id.
///
/// # Errors
/// Where it is refused.
pub async fn optimize(cluster: &Cluster, task: pb::Task, most: u32) -> Result<String> {
    create(&cluster.client().await?, request(task, "sipdo", &levels(most), None)).await
}

/// Follows a run until its history is as wanted.
///
/// # Errors
/// Where it does not become so in time.
pub async fn reached(
    bus: &Bus,
    run: &str,
    within: Duration,
    what: &str,
    wanted: impl Fn(&History) -> bool,
) -> Result<History> {
    let follow = eventually_within(within, what, || async {
        // Servers that elect a leader answer nobody for a moment: that is not the run's failure, so it is asked again.
        Ok(History::follow(bus, run, &wanted).await.ok())
    });
    let followed = tokio::time::timeout(within, follow).await;
    followed.with_context(|| format!("not in {within:?}: {what}"))?
}

/// Waits until the run's summary is as wanted.
///
/// # Errors
/// Where it does not become so in time.
pub async fn summary(bus: &Bus, run: &str, what: &str, wanted: impl Fn(&pb::Summary) -> bool) -> Result<pb::Summary> {
    let history = reached(bus, run, RECOVERY, what, |history| wanted(&history.summary())).await?;
    Ok(history.summary())
}

/// Waits until a run has so many results, in its middle: what is done to it next strikes it.
///
/// # Errors
/// Where they do not come, or the run is over.
pub async fn results(bus: &Bus, run: &str, at_least: usize) -> Result<()> {
    let there = |history: &History| history.results() >= at_least || over(history.state());
    let what = format!("{at_least} results");
    goes_on(&reached(bus, run, DEADLINE, &what, there).await?)
}

/// Waits until a run has so many more results than it has now, as [`results`] does.
///
/// # Errors
/// As [`results`].
pub async fn more_results(bus: &Bus, run: &str, more: usize) -> Result<()> {
    let now = reached(bus, run, DEADLINE, "its history", |_| true).await?;
    results(bus, run, now.results() + more).await
}

/// Fails where a run is over: what was done to it then came too late, and has shown nothing.
///
/// # Errors
/// It is over.
pub fn goes_on(history: &History) -> Result<()> {
    let summary = history.summary();
    ensure!(
        !over(summary.state()),
        "the run was over before it was struck, it has to be longer: {summary:?}"
    );
    Ok(())
}

/// The history of a run that finished with nothing lost and nothing broken.
///
/// # Errors
/// Where the stream cannot be read.
///
/// # Panics
/// Where it is not so.
pub async fn clean(bus: &Bus, run: &str) -> Result<History> {
    let history = History::read(bus, run).await?;
    assert_eq!(history.state(), State::Finished, "{:?}", history.summary());
    let findings = history.check();
    assert_eq!(
        (findings.broken, findings.results_lost, findings.over_cap),
        (Vec::new(), 0, 0)
    );
    Ok(history)
}

/// Asks something of a run as a client does where no coordinator need live: by a message in its stream.
///
/// # Errors
/// Where it cannot be stored.
pub async fn tell(bus: &Bus, run: &str, kind: Kind) -> Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    let control = pb::Control {
        kind: kind.into(),
        id: id.clone(),
        ..Default::default()
    };
    bus.control(&RunId::new(run)?, NewMessage::encode(&control, schema::CONTROL), &id)
        .await?;
    Ok(())
}
