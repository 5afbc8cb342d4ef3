//! Asking something of a run while no coordinator lives: the request is laid into the run's stream, where the next coordinator finds
//! it, by way of the NATS that the operator's file names. Every other change goes through a coordinator's API.

use std::{env, time::Duration};

use clap::Parser;
use prost::Message as _;
use sipdo_agent::settings::{AgentFlags, Settings};
use sipdo_bus::{Bus, BusSettings, NewMessage, RunId, RunReader, RunSubject};
use sipdo_protocol::{
    pb::{self, control::Kind},
    schema,
};

use crate::{
    caps::Caps,
    failure::{Exit, Failure, Outcome},
    follow::user,
    global::Global,
    output,
    session::LATEST,
    words::{is_over, state_name},
};

/// How long the NATS of a deployment may take to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// The failure to reach a coordinator that was named, if it does not answer: then a request may be left for the next one.
pub async fn unreachable(global: &Global, run: &str) -> Option<Failure> {
    global.coordinator.as_ref()?;
    let failure = global.running(Some(run)).await.err()?;
    (failure.exit == Exit::Unavailable).then_some(failure)
}

/// Leaves a request for the next coordinator. `unreachable` is why there is none now.
///
/// # Errors
/// No NATS is named, or it does not answer; there is no such run, or it has ended.
pub async fn ask(name: &str, kind: Kind, unreachable: Failure) -> Outcome {
    leave(name, kind, None, unreachable).await
}

/// As [`ask`], for new caps. A run that met its cap may have them too.
///
/// # Errors
/// As [`ask`].
pub async fn set_budget(name: &str, caps: &Caps, unreachable: Failure) -> Outcome {
    leave(name, Kind::SetBudget, Some(caps), unreachable).await
}

async fn leave(name: &str, kind: Kind, caps: Option<&Caps>, unreachable: Failure) -> Outcome {
    let Some(settings) = nats()? else {
        return Err(Failure {
            hint: "a request can be stored for the next coordinator if sipdo knows the deployment's NATS: name it in the operator's \
                   file ([nats] url) or in SIPDO_NATS_URL"
                .into(),
            ..unreachable
        });
    };
    let servers = settings.urls.len();
    let bus = Bus::connect(settings).await.map_err(|error| {
        Failure::unavailable(format!(
            "{unreachable}\nand the NATS server of the operator's file cannot be used: {error}"
        ))
        .hint(format!("[nats] url or SIPDO_NATS_URL names {servers} of its servers"))
    })?;
    let run = named(&bus, name).await?;
    let summary = summary(&bus, &run).await?;
    let state = summary.state();
    let revives = kind == Kind::SetBudget && state == pb::State::BudgetExhausted;
    if is_over(state) && !revives {
        return Err(Failure::new(
            Exit::Failure,
            format!("run {run} has ended ({})", state_name(state)),
        ));
    }
    let budget = match caps {
        // A cap that is not named stays as it is.
        Some(caps) => Some(caps.over(last_asked(&bus, &run, summary).await?.into()).into()),
        None => None,
    };
    let control = pb::Control {
        kind: kind.into(),
        budget,
        by: user(),
        id: uuid::Uuid::now_v7().to_string(),
    };
    bus.control(&run, NewMessage::encode(&control, schema::CONTROL), &control.id)
        .await
        .map_err(unusable)?;
    let when = if revives { "starts" } else { "is back" };
    output::note(&format!(
        "{run}: request stored; no coordinator answers now, so it takes effect when one {when}"
    ));
    Ok(Exit::Ok)
}

/// How to reach the NATS that the operator names for agents, by file or environment; none where nobody names one.
fn nats() -> Result<Option<BusSettings>, Failure> {
    /// What an agent would take from the environment.
    #[derive(Debug, Parser)]
    struct AgentEnvironment {
        #[command(flatten)]
        flags: AgentFlags,
    }
    let flags = AgentEnvironment::try_parse_from(["sipdo"])
        .map_err(|error| Failure::usage(error.to_string()))?
        .flags;
    let found = Settings::find(flags.config.as_deref(), |name| env::var(name).ok());
    let nats = found.map_err(|error| Failure::usage(error.to_string()))?.nats;
    if nats.url.is_none() && flags.nats.nats_url.is_none() {
        return Ok(None);
    }
    let mut settings = BusSettings {
        connect_within: Some(CONNECT),
        ..nats.bus("cli")
    };
    flags.nats.apply(&mut settings).map_err(Failure::usage)?;
    Ok(Some(settings))
}

async fn named(bus: &Bus, name: &str) -> Result<RunId, Failure> {
    if name != LATEST {
        return RunId::new(name).map_err(|error| Failure::usage(error.to_string()));
    }
    let created = |payload: &[u8]| Some(pb::Entry::decode(payload).ok()?.summary?.created_ms);
    let runs = bus.list_runs().await.map_err(unusable)?;
    let newest = runs.into_iter().max_by_key(|(_, last)| created(&last.payload));
    newest
        .map(|(run, _)| run)
        .ok_or_else(|| Failure::new(Exit::NotFound, "there is no run yet"))
}

async fn summary(bus: &Bus, run: &RunId) -> Result<pb::Summary, Failure> {
    let last = bus.last_log(run).await.map_err(unusable)?;
    let last = last.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no run {run}")))?;
    let entry = pb::Entry::decode(last.payload).map_err(|error| {
        Failure::new(
            Exit::Failure,
            format!("the last entry of run {run} cannot be read: {error}"),
        )
    })?;
    Ok(entry.summary.unwrap_or_default())
}

/// The caps that a run will have when all is done that was asked of it.
async fn last_asked(bus: &Bus, run: &RunId, summary: pb::Summary) -> Result<pb::Budget, Failure> {
    let mut caps = summary.budget.unwrap_or_default();
    let mut reader = RunReader::open(bus, run, 0).await.map_err(unusable)?;
    loop {
        let chunk = reader.next_chunk().await.map_err(unusable)?;
        let asked = chunk.messages.into_iter().filter(|it| it.kind == RunSubject::Control);
        let asked = asked.filter_map(|message| pb::Control::decode(message.payload).ok());
        let asked = asked.filter(|control| control.kind() == Kind::SetBudget);
        let asked = asked.map(|control| control.budget.unwrap_or_default());
        caps = asked.last().unwrap_or(caps);
        if chunk.caught_up {
            return Ok(caps);
        }
    }
}

fn unusable(error: sipdo_bus::BusError) -> Failure {
    Failure::unavailable(format!("the request could not be stored: {error}"))
}
