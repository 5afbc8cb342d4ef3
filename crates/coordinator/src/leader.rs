//! Leading one run: replay, claim, then apply messages, serve the strategy, append decisions, publish jobs. One task per run.

mod active;
mod cached_answer;
mod decide;
mod end;
mod send;

use crate::{
    admission::conclusion,
    context::Context,
    dead_letters,
    leadership::Leadership,
    observe::Observer,
    port::{BusAgents, Command},
    replay::{self, Applied, Unexpected, apply},
    run_state::{RunState, options},
    scheduler::{Scheduler, plan::event},
    storage::SILENT,
};
use active::ActiveRunGuard;
use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use sipdo_bus::{BusError, Journal, Published, RunId, RunMessage, RunReader};
use sipdo_domain::{Amount, Outcome, Pool, Task};
use sipdo_protocol::{pb, pb::State, pb::log_event::Event};
use sipdo_strategies::Stop;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};

/// A job without a result for this long is published again, in case its message was lost; its agents know whether it is at work.
const OVERDUE: Duration = Duration::from_secs(120);
/// Each time it may take twice as long, so many times: in an outage of hours copies would fill the queue that nobody can do.
const MOST_DOUBLED: u32 = 5;
/// How often the leader looks at its agents and at its clock.
const TICK: Duration = Duration::from_millis(250);

/// How leading a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderExit {
    /// The run has ended.
    ToItsEnd,
    /// Another coordinator leads it.
    Fenced,
}

/// Leads a run until it ends or another coordinator takes it.
///
/// # Errors
/// Where the bus fails for good. The run is then anybody's to take.
pub async fn lead(context: &Context, run: &RunId) -> Result<LeaderExit> {
    let mut reader = RunReader::open(&context.bus, run, 0).await?;
    let (state, unexpected) = replay::read(run, &mut reader).await?;
    if state.ended() && !wants_revival(&state) {
        return Ok(LeaderExit::ToItsEnd);
    }
    let registry = context.bus.models().watch().await?;
    let mut leader = Leader::new(context, run, reader, state, registry);
    let exit = match leader.claim().await? {
        true => {
            dead_letters::keep_new(context, run, &unexpected).await;
            leader.run().await
        }
        false => Ok(LeaderExit::Fenced),
    };
    leader.scheduler.halt("the coordinator no longer leads this run");
    exit
}

/// Whether a run that met its cap has been given more.
pub fn wants_revival(state: &RunState) -> bool {
    state.state() == State::BudgetExhausted
        && state
            .requested
            .iter()
            .any(|control| control.kind() == pb::control::Kind::SetBudget)
}

/// The registry as the bus tells it.
type Registry = watch::Receiver<BTreeMap<String, sipdo_bus::Entry>>;
/// An answer that is read again from the stream.
type ReadingAnswer = BoxFuture<'static, Result<()>>;
type Ack = BoxFuture<'static, (String, Result<Published, BusError>)>;
type Recorded = oneshot::Sender<Result<(), Stop>>;

/// A job's last sending.
struct Sent {
    at: Instant,
    /// How often it was sent before, for whatever reason: the server tells sendings apart by it.
    repeat: u32,
    /// How often it was sent again because it was overdue.
    overdue: u32,
}

/// Why the loop goes no further.
enum Halt {
    LeaderExit(LeaderExit),
    Failed(anyhow::Error),
    /// A decision does not fit into a message: the run cannot go on, here or elsewhere.
    TooLarge(String),
}

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Failed(error.into())
    }
}

struct Leader<'a> {
    context: &'a Context,
    run: RunId,
    reader: RunReader,
    journal: Journal,
    state: RunState,
    scheduler: Scheduler,
    models: BTreeMap<String, pb::ModelChoice>,
    registry: Registry,
    seed: u64,
    leadership: Leadership,
    asking: ActiveRunGuard,
    published: HashMap<String, Sent>,
    unpublished: Vec<String>,
    acks: FuturesUnordered<Ack>,
    cached_answers: FuturesUnordered<ReadingAnswer>,
    recorded: Vec<Recorded>,
    missing: BTreeMap<Pool, Instant>,
    /// Jobs that were given up because nobody could do them when the run was to end.
    left_open: BTreeSet<String>,
    /// What is to be reserved for the conclusion, until it is: its price is known only when a learner has answered.
    hold: Option<Amount>,
    observer: Observer,
}

impl<'a> Leader<'a> {
    fn new(context: &'a Context, run: &RunId, reader: RunReader, state: RunState, registry: Registry) -> Self {
        let leadership = Leadership::after(&state, uuid::Uuid::new_v4().simple().to_string());
        let epoch = leadership.epoch();
        let models = state
            .created
            .as_ref()
            .map(|created| created.models.clone())
            .unwrap_or_default();
        Leader {
            context,
            run: run.clone(),
            reader,
            journal: Journal::open(&context.bus, run),
            leadership,
            state,
            scheduler: Scheduler::new(context.window),
            models,
            registry,
            seed: 0,
            asking: ActiveRunGuard::among(&context.asking),
            published: HashMap::new(),
            unpublished: Vec::new(),
            acks: FuturesUnordered::new(),
            cached_answers: FuturesUnordered::new(),
            recorded: Vec::new(),
            missing: BTreeMap::new(),
            left_open: BTreeSet::new(),
            hold: None,
            observer: Observer::new(run.as_str(), epoch),
        }
    }

    /// Takes the run by an append that nobody else can make. False where somebody else was quicker.
    async fn claim(&mut self) -> Result<bool> {
        let claimed = pb::Claimed {
            coordinator: self.context.id.as_str().to_owned(),
        };
        match self.append(vec![event(Event::Claimed(claimed))]).await {
            Ok(()) => {
                tracing::info!(run = %self.run, epoch = self.leadership.epoch(), "leading the run");
                Ok(true)
            }
            Err(Halt::LeaderExit(_)) => Ok(false),
            Err(Halt::TooLarge(detail)) => Err(anyhow!(detail)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn run(&mut self) -> Result<LeaderExit> {
        let ended = match self.run_strategy().await {
            Ok(ended) => ended,
            Err(Halt::LeaderExit(exit)) => return Ok(exit),
            Err(Halt::TooLarge(detail)) => failed(detail),
            Err(Halt::Failed(error)) => return Err(error),
        };
        match self.append(vec![event(Event::Ended(ended))]).await {
            Ok(()) => {
                tracing::info!(run = %self.run, state = self.state.state().as_str_name(), "the run has ended");
                Ok(LeaderExit::ToItsEnd)
            }
            Err(Halt::LeaderExit(exit)) => Ok(exit),
            Err(Halt::TooLarge(detail)) => Err(anyhow!(detail)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Runs the strategy to its end. What the run itself does wrong is an end with a reason; what the bus does is an error.
    async fn run_strategy(&mut self) -> Result<pb::Ended, Halt> {
        // Requests that came while nobody led are taken up before the strategy asks anything.
        self.decide().await?;
        if self.state.cancelled {
            return Ok(self.cancelled().await);
        }
        let task = match self.task().await {
            Ok(task) => task,
            // A server that cannot be asked now can be asked later: then the run is taken up again.
            Err(error) if error.is::<BusError>() && !matches!(error.downcast_ref(), Some(BusError::Corrupt { .. })) => {
                return Err(error.into());
            }
            Err(error) => return Ok(failed(format!("{error:#}"))),
        };
        let created = self.state.created.clone().unwrap_or_default();
        let options = options(&created);
        self.seed = task.seed;
        let forecast = sipdo_strategies::forecast(&task, &created.strategy, &options).unwrap_or_default();
        self.hold = Some(conclusion(&task, &forecast));
        let (agents, mut commands) = BusAgents::new(self.run.as_str());
        let mut strategy: Strategy =
            tokio::spawn(async move { sipdo_strategies::run(&created.strategy, &options, &task, &agents).await });
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut roster = self.context.roster_changes();
        let ended = loop {
            tokio::select! {
                biased;
                chunk = self.reader.next_chunk() => {
                    let taken = match chunk {
                        Ok(chunk) => self.take_messages(chunk.messages).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(halt) = taken {
                        break Err(halt);
                    }
                }
                Some(command) = commands.recv() => {
                    self.take_command(command);
                    while let Ok(command) = commands.try_recv() {
                        self.take_command(command);
                    }
                }
                joined = &mut strategy => break Ok(self.ending(joined)),
                Some((job, published)) = self.acks.next(), if !self.acks.is_empty() => self.take_ack(job, published),
                Some(cached) = self.cached_answers.next(), if !self.cached_answers.is_empty() => {
                    if let Err(error) = cached {
                        break Err(Halt::Failed(error));
                    }
                }
                _ = roster.changed() => {}
                _ = tick.tick() => self.republish(),
            }
            if let Err(halt) = self.decide().await {
                break Err(halt);
            }
            if self.state.cancelled {
                break Ok(self.cancelled().await);
            }
        };
        strategy.abort();
        ended
    }

    async fn task(&mut self) -> Result<Task> {
        let hash = self
            .state
            .created
            .as_ref()
            .map(|created| created.task_hash.as_str())
            .unwrap_or_default();
        let bytes = self
            .context
            .bus
            .task(hash)
            .await?
            .ok_or_else(|| anyhow!("the task {hash} is not in the store"))?;
        let task = pb::Task::decode(bytes).context("the stored task cannot be decoded")?;
        Ok(Task::try_from(task)?)
    }

    async fn take_messages(&mut self, messages: Vec<RunMessage>) -> Result<(), Halt> {
        for message in messages {
            let applied = apply(&mut self.state, &message);
            if self.leadership.is_ended_by(&applied) {
                // Here, before it appends or publishes anything more.
                let epoch = self.leadership.epoch();
                tracing::warn!(run = %self.run, epoch, "another coordinator leads this run now");
                return Err(Halt::LeaderExit(LeaderExit::Fenced));
            }
            match applied {
                Applied::Settled(result) => {
                    self.published.remove(&result.job);
                    self.scheduler.settled(*result);
                }
                Applied::Lost(job) => {
                    self.published.remove(&job);
                    self.observer.lost(&job);
                    self.scheduler.attempt_lost(&job);
                    // Its owner is gone, or has another price than was known.
                    self.context.look_for_agents();
                }
                Applied::Entry(_) | Applied::Nothing => {}
                Applied::Unexpected(reason) => {
                    dead_letters::keep(self.context, &self.run, &Unexpected { message, reason }).await
                }
            }
        }
        for job in self.unpublished.drain(..) {
            self.scheduler.publish_again(&job);
        }
        Ok(())
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Ask(request) => self.scheduler.ask(request, &self.state),
            Command::Emit(run_event, recorded) => {
                self.scheduler.emit(run_event);
                self.recorded.push(recorded);
            }
            Command::Conclude(done) => {
                self.hold = None;
                self.scheduler.conclude(&mut self.state);
                self.recorded.push(done);
            }
        }
    }

    fn take_ack(&mut self, job: String, published: Result<Published, BusError>) {
        match published {
            Ok(Published::Queued | Published::Repeated) => self.context.storage.taken(&self.run),
            Ok(Published::WindowFull) => self.unpublished.push(job),
            Err(error) => {
                tracing::warn!(run = %self.run, job, %error, "cannot publish a job now; it will be tried again");
                match &error {
                    BusError::Full { .. } => self.context.storage.refused(&self.run, error.to_string()),
                    BusError::Unsettled { .. } if self.context.bus.is_connected() => {
                        self.context.storage.refused(&self.run, format!("{error}; {SILENT}"));
                    }
                    _ => {}
                }
                self.unpublished.push(job);
            }
        }
    }

    /// Publishes again what could not be published, and what has had no result for too long.
    fn republish(&mut self) {
        for job in self.unpublished.drain(..) {
            self.scheduler.publish_again(&job);
        }
        for (job, sent) in &mut self.published {
            if sent.at.elapsed() > overdue(sent.overdue) {
                sent.overdue += 1;
                self.scheduler.publish_again(job);
            }
        }
    }
}

/// When a job is overdue that was so many times before.
fn overdue(times: u32) -> Duration {
    OVERDUE * (1 << times.min(MOST_DOUBLED))
}

fn failed(reason: String) -> pb::Ended {
    pb::Ended {
        state: State::Failed.into(),
        outcome: None,
        reason,
    }
}

type Strategy = JoinHandle<Result<Outcome, Stop>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a job is published again that waits for so long.
    fn copies(outage: Duration) -> usize {
        let times = (0..).scan(Duration::ZERO, |at, times| {
            *at += overdue(times);
            Some(*at)
        });
        times.take_while(|at| *at < outage).count()
    }

    #[test]
    fn an_outage_of_hours_does_not_fill_the_queue_with_copies() {
        assert_eq!(
            copies(Duration::from_mins(3)),
            1,
            "a message that was lost is soon replaced"
        );
        assert_eq!(copies(Duration::from_hours(1)), 4);
        assert!(
            copies(Duration::from_hours(24)) < 30,
            "{}",
            copies(Duration::from_hours(24))
        );
    }
}
