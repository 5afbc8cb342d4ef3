//! One agent at work: takes jobs, one for each free slot, settles each, answers for itself, and drains when it is told to stop.

use crate::buy::work_on;
use crate::circuit::Patience;
use crate::context::Context;
use crate::counters::Counters;
use crate::error::AgentError;
use crate::health::Health;
use crate::in_flight::InFlight;
use crate::job_picker::JobPicker;
use crate::models::Models;
use crate::observe::Processing;
use crate::probe::try_model;
use crate::publisher::Publisher;
use crate::purchase_gate::PurchaseGate;
use crate::role::RoleAgent;
use crate::settings::AgentSettings;
use crate::settle::Settle;
use crate::spool::Spool;
use crate::status::status;
use futures::StreamExt as _;
use sipdo_bus::{AgentId, Bus, BusError, Delivery, JobQueue};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the loop shows that it is alive.
const TICK: Duration = Duration::from_secs(1);
/// A pause before something that failed for now is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Cancelled runs that are remembered. Their jobs are purged anyway: this is for those in flight.
const MAX_CANCELLED: usize = 4096;

/// An agent at work.
struct Agent {
    context: Context,
    cancelled: watch::Receiver<BTreeSet<String>>,
    abandon: CancellationToken,
}

/// Plays `role` until `stop` completes: then finishes the jobs in flight, within the grace of the settings, and returns.
///
/// Dropping the future is what `kill -9` is to a process, which is what tests do.
///
/// # Errors
/// A setting that cannot work, found before anything is bound; a health address that is taken; a server that is too old or a stream
/// that is not ours. A server that is not there is waited for.
pub async fn serve(
    settings: AgentSettings,
    role: Box<dyn RoleAgent>,
    patience: Patience,
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let (_, no_registry) = watch::channel(BTreeMap::new());
    let models = Models::new(
        settings.pool.clone(),
        settings.endpoints.clone(),
        settings.model.clone(),
        patience,
        no_registry,
    )
    .map_err(|error| AgentError::Settings(error.to_string()))?;
    let spool = Spool::open(&settings.spool_dir, settings.role).map_err(|source| AgentError::Spool {
        folder: settings.spool_dir.display().to_string(),
        source,
    })?;
    let health = Health::bind(settings.admin_listen, settings.admin_port_file.as_deref()).await?;
    let mut stop = std::pin::pin!(stop);
    let agent = tokio::select! {
        agent = join(settings, role, models, spool) => agent?,
        () = &mut stop => return Ok(()),
    };
    run(agent, health, stop).await
}

/// Joins the bus, waiting for a server as long as it takes, and uploads what an earlier process has left in the spool.
async fn join(
    settings: AgentSettings,
    role: Box<dyn RoleAgent>,
    mut models: Models,
    spool: Spool,
) -> Result<(Agent, watch::Sender<bool>), AgentError> {
    let bus = Bus::connect(settings.bus.clone()).await?;
    ensure_streams(&bus).await?;
    models.follow(until_done("following the model registry", || async { bus.models().watch().await }).await);
    let cancelled = follow_cancellations(&bus).await?;
    let (drain, draining) = watch::channel(false);
    let id = uuid::Uuid::new_v4().simple().to_string();
    let id = AgentId::new(format!("{}-{}", settings.role, id.get(..12).unwrap_or(&id)))?;
    let name = sipdo_bus::Role::new(settings.role.name())?;
    let agent = Agent {
        context: Context {
            overhead: role.overhead(),
            role,
            settings,
            models,
            publisher: Publisher {
                id,
                name,
                bus,
                spool,
                gate: PurchaseGate::default(),
            },
            counters: Counters::new(),
            in_flight: InFlight::default(),
            draining,
        },
        cancelled,
        abandon: CancellationToken::new(),
    };
    agent.context.publisher.upload_spool().await?;
    Ok((agent, drain))
}

async fn run(
    (agent, drain): (Agent, watch::Sender<bool>),
    health: Health,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<(), AgentError> {
    let agent = Arc::new(agent);
    let Publisher { id, bus, .. } = &agent.context.publisher;
    let (id, bus, slots) = (id.clone(), bus.clone(), agent.context.settings.slots as usize);
    let _presence = {
        let agent = Arc::clone(&agent);
        bus.announce(&id, move || status(&agent.context)).await?
    };
    let _probes = {
        let agent = Arc::clone(&agent);
        bus.answer_probes(&id, move |asked| {
            let agent = Arc::clone(&agent);
            async move { try_model(&agent.context, asked).await }
        })
        .await?
    };
    let pool = sipdo_bus::Role::new(agent.context.settings.pool.to_string())?;
    let jobs = until_done("joining the queue", || JobQueue::join(&bus, &pool, slots)).await;
    let suspects = until_done("joining the queue of suspects", || JobQueue::join_suspects(&bus, &pool)).await;
    let mut picker = JobPicker::new(jobs, suspects);
    health.joined(bus.link());
    let model = &agent.context.settings.model;
    tracing::info!(agent = %id, pool = %pool, endpoint = model.endpoint, model = model.model, slots, "joined");

    let mut tasks = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let in_flight = tasks.len();
        tokio::select! {
            () = &mut stop => break,
            _ = tick.tick() => health.alive(),
            Some(done) = tasks.join_next() => report(done),
            job = picker.next(in_flight) => match job {
                Some(job) => drop(tasks.spawn(handle(Arc::clone(&agent), job))),
                None => break,
            },
        }
    }
    health.draining();
    tracing::info!(in_flight = tasks.len(), "draining");
    drain.send_replace(true);
    if let Err(error) = picker.drain().await {
        tracing::debug!(%error, "cannot hand a suspect back; the queue delivers it again");
    }
    finish(&agent, tasks, &health).await;
    if let Err(error) = bus.flush().await {
        tracing::warn!(%error, "cannot flush the connection; the last messages may be lost");
    }
    Ok(())
}

/// Waits for the jobs in flight until the grace period ends, then hands the rest back.
async fn finish(agent: &Agent, mut tasks: JoinSet<()>, health: &Health) {
    let grace = tokio::time::sleep(agent.context.settings.grace);
    tokio::pin!(grace);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = tasks.join_next() => match done {
                Some(done) => report(done),
                None => return,
            },
            _ = tick.tick() => health.alive(),
            () = &mut grace, if !agent.abandon.is_cancelled() => {
                tracing::warn!(jobs = tasks.len(), "the grace period is over; the agent hands its jobs back");
                agent.abandon.cancel();
            }
        }
    }
}

fn report(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "the task of a job failed; the queue delivers the job again");
    }
}

/// Works on one job and settles it.
async fn handle(agent: Arc<Agent>, delivery: Delivery) {
    let _busy = agent.context.counters.busy();
    let processing = Processing::begin(&delivery);
    let mut cancelled = agent.cancelled.clone();
    let run = delivery.run.as_str().to_owned();
    let settle = tokio::select! {
        settle = processing.scope(work_on(&agent.context, &delivery)) => settle,
        // Closed, it can tell nothing more: then there is no cancellation.
        Ok(_) = cancelled.wait_for(|runs| runs.contains(&run)) => Settle::Ack,
        () = agent.abandon.cancelled() => Settle::HandBack(Duration::ZERO),
    };
    let settling = processing.settling(&settle);
    let settled = match settle {
        Settle::Ack => delivery.ack().await.inspect(|()| agent.context.counters.finished()),
        Settle::HandBack(delay) => delivery.hand_back(delay).await,
        Settle::DeadLetter(reason) => delivery.dead_letter(&reason).await,
    };
    if let Err(error) = settled {
        settling.fail("connection_closed");
        tracing::warn!(%error, "cannot settle a job; the queue delivers it again");
    }
}

async fn ensure_streams(bus: &Bus) -> Result<(), AgentError> {
    loop {
        match bus.ensure_streams().await {
            Ok(()) => return Ok(()),
            Err(error @ (BusError::StreamMismatch { .. } | BusError::NoJetStream { .. } | BusError::TooOld { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "waiting for the streams");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Tries again until it is done.
async fn until_done<T, F: Future<Output = Result<T, BusError>>>(doing: &str, mut action: impl FnMut() -> F) -> T {
    loop {
        match action().await {
            Ok(done) => return done,
            Err(error) => tracing::warn!(%error, doing, "trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The runs cancelled from now on. The task that follows them ends with its receivers.
async fn follow_cancellations(bus: &Bus) -> Result<watch::Receiver<BTreeSet<String>>, AgentError> {
    let mut stream = bus.cancellations().await?;
    let (sender, receiver) = watch::channel(BTreeSet::new());
    tokio::spawn(async move {
        loop {
            let run = tokio::select! {
                () = sender.closed() => return,
                run = stream.next() => run,
            };
            let Some(run) = run else { return };
            sender.send_modify(|runs: &mut BTreeSet<String>| {
                if runs.len() >= MAX_CANCELLED {
                    runs.clear();
                }
                runs.insert(run.as_str().to_owned());
            });
        }
    });
    Ok(receiver)
}
