//! Leading one run: replay, claim, then fold facts, serve the strategy, append decisions, publish jobs. One task per run.

use crate::{
    admission::conclusion,
    context::{Context, now_ms},
    desk::{Desk, Plan, Publication, event},
    fold::RunState,
    observe::Observer,
    port::{BusAgents, Wish},
    strays::{self, Stray},
};
use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use sipdo_bus::{
    AppendError, BusError, JobId, JobMessage, Journal, NewMessage, Published, Role as BusRole, RunId, RunMessage,
    RunReader, RunSubject,
};
use sipdo_domain::{Amount, Ending, NotMeasured, Outcome, Pool, Provenance, Reason, Role, Task};
use sipdo_protocol::{JobOutcome, pb, pb::State, pb::event::Event, schema};
use sipdo_strategies::Stop;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinHandle},
    time::MissedTickBehavior,
};

/// A job without a result for this long is published again; its agents know whether it is still at work.
const OVERDUE: Duration = Duration::from_secs(120);
/// How long a role may have no agent before the run says that it waits for one: at a start all are late.
const PATIENCE: Duration = Duration::from_secs(2);
/// Thousandths of a cap on time that are kept for the conclusion, as calls and tokens are.
const FOR_CONCLUSION: u64 = 200;
/// How often the leader looks at its agents and at its clock.
const TICK: Duration = Duration::from_millis(250);

/// A run with so many jobs done makes room for others.
const LONG: u64 = 200;

/// How leading a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// The run has ended.
    ToItsEnd,
    /// Another coordinator leads it.
    Fenced,
}

/// Leads a run until it ends or another coordinator takes it.
///
/// # Errors
/// Where the bus fails for good. The run is then anybody's to take.
pub async fn lead(context: &Context, run: &RunId) -> Result<Led> {
    let mut reader = RunReader::open(&context.bus, run, 0).await?;
    let mut strays = Vec::new();
    let state = replay_noting(context, run, &mut reader, &mut strays).await?;
    if state.ended() && !wants_revival(&state) {
        return Ok(Led::ToItsEnd);
    }
    let registry = context.bus.models().watch().await?;
    let mut leader = Leader::new(context, run, reader, state, registry);
    let led = match leader.claim().await? {
        true => {
            strays::bury_new(context, run, &strays).await;
            leader.run().await
        }
        false => Ok(Led::Fenced),
    };
    leader.desk.halt("the coordinator no longer leads this run");
    led
}

/// Reads a run up to where its stream ended when the reader was opened.
///
/// # Errors
/// Where the stream cannot be read.
pub async fn replay(context: &Context, run: &RunId, reader: &mut RunReader) -> Result<RunState> {
    replay_noting(context, run, reader, &mut Vec::new()).await
}

async fn replay_noting(
    context: &Context,
    run: &RunId,
    reader: &mut RunReader,
    strays: &mut Vec<Stray>,
) -> Result<RunState> {
    let mut state = RunState::new(run.as_str());
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if let Fact::Stray(reason) = fold(context, &mut state, &message) {
                strays.push(Stray { message, reason });
            }
        }
        if chunk.caught_up {
            return Ok(state);
        }
    }
}

/// Whether a run that met its cap has been given more.
pub fn wants_revival(state: &RunState) -> bool {
    state.state() == State::BudgetExhausted
        && state
            .requested
            .iter()
            .any(|control| control.kind() == pb::control::Kind::SetBudget)
}

/// What one message meant.
#[derive(Debug)]
pub enum Fact {
    /// Nothing new.
    Nothing,
    /// An entry of the log that this process had not seen.
    Entry(Box<pb::Entry>),
    /// A job has its result.
    Settled(String),
    /// A job's attempt was lost.
    Lost(String),
    /// It counts for nothing and should not be there; why.
    Stray(String),
}

/// Folds one message of the run's stream. What cannot be read counts for nothing, and is said.
pub fn fold(context: &Context, state: &mut RunState, message: &RunMessage) -> Fact {
    let run = state.summary.run.clone();
    let unreadable = |what: &str, error: prost::DecodeError| {
        context.unreadable(what, &run, &error);
        Fact::Stray(format!("{what} that cannot be decoded: {error}"))
    };
    if let Some(reason) = strays::unknown_schema(message) {
        return Fact::Stray(reason);
    }
    let payload = message.payload.clone();
    match &message.kind {
        RunSubject::Log if message.seq <= state.log_sequence => Fact::Nothing,
        RunSubject::Log => match pb::Entry::decode(payload) {
            Ok(entry) => {
                let trace = message.headers.trace();
                if !trace.is_none() {
                    state.trace = trace;
                }
                state.apply_entry(message.seq, &entry);
                Fact::Entry(Box::new(entry))
            }
            Err(error) => unreadable("an entry of the log", error),
        },
        RunSubject::Result { job, .. } => match pb::JobResult::decode(payload) {
            Ok(result) if result.job != job.as_str() => {
                Fact::Stray(format!("a result of job {:?} in the place of {job}", result.job))
            }
            Ok(result) => {
                let (job, strangers) = (result.job.clone(), state.unknown_results);
                if state.apply_result(result) {
                    Fact::Settled(job)
                } else if state.unknown_results > strangers {
                    Fact::Stray(format!("a result of job {job}, which was never issued"))
                } else {
                    Fact::Nothing
                }
            }
            Err(error) => unreadable("a result", error),
        },
        RunSubject::Lost { .. } => match pb::AttemptLost::decode(payload) {
            Ok(lost) if state.apply_lost(&lost) => Fact::Lost(lost.job),
            Ok(_) => Fact::Nothing,
            Err(error) => unreadable("a lost attempt", error),
        },
        RunSubject::Control => match pb::Control::decode(payload) {
            Ok(control) => {
                state.apply_request(control);
                Fact::Nothing
            }
            Err(error) => unreadable("a control request", error),
        },
        RunSubject::Unknown => Fact::Nothing,
    }
}

/// The registry as the bus tells it.
type Registry = watch::Receiver<BTreeMap<String, sipdo_bus::Entry>>;
type Ack = BoxFuture<'static, (String, Result<Published, BusError>)>;
type Told = oneshot::Sender<Result<(), Stop>>;

/// Why the loop goes no further.
enum Halt {
    Led(Led),
    Failed(anyhow::Error),
    /// A decision does not fit into a message: the run cannot go on, here or elsewhere.
    TooLarge(String),
}

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Failed(error.into())
    }
}

/// Whether a run has jobs in flight, counted among those of this process until it is dropped.
struct Asking {
    all: Arc<AtomicU32>,
    own: bool,
}

impl Asking {
    fn set(&mut self, asks: bool) {
        match (self.own, asks) {
            (false, true) => drop(self.all.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.all.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.own = asks;
    }

    fn others(&self) -> u32 {
        self.all.load(Ordering::Relaxed).saturating_sub(u32::from(self.own))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.set(false);
    }
}

struct Leader<'a> {
    context: &'a Context,
    run: RunId,
    reader: RunReader,
    journal: Journal,
    state: RunState,
    desk: Desk,
    models: BTreeMap<String, pb::ModelChoice>,
    registry: Registry,
    seed: u64,
    epoch: u64,
    /// Unique to this leadership: part of the id of every entry it appends.
    leadership: String,
    asking: Asking,
    appended: u64,
    published: HashMap<String, (Instant, u32)>,
    full: Vec<String>,
    acks: FuturesUnordered<Ack>,
    told: Vec<Told>,
    missing: BTreeMap<Pool, Instant>,
    /// What is to be held back for the conclusion, until it is: its price is known only when a learner has answered.
    hold: Option<Amount>,
    observer: Observer,
}

impl<'a> Leader<'a> {
    fn new(context: &'a Context, run: &RunId, reader: RunReader, state: RunState, registry: Registry) -> Self {
        let epoch = state.epoch + 1;
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
            epoch,
            state,
            desk: Desk::new(context.window),
            models,
            registry,
            seed: 0,
            asking: Asking {
                all: Arc::clone(&context.asking),
                own: false,
            },
            leadership: uuid::Uuid::new_v4().simple().to_string(),
            appended: 0,
            published: HashMap::new(),
            full: Vec::new(),
            acks: FuturesUnordered::new(),
            told: Vec::new(),
            missing: BTreeMap::new(),
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
                tracing::info!(run = %self.run, epoch = self.epoch, "leading the run");
                Ok(true)
            }
            Err(Halt::Led(_)) => Ok(false),
            Err(Halt::TooLarge(detail)) => Err(anyhow!(detail)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn run(&mut self) -> Result<Led> {
        let ended = match self.go().await {
            Ok(ended) => ended,
            Err(Halt::Led(led)) => return Ok(led),
            Err(Halt::TooLarge(detail)) => failed(detail),
            Err(Halt::Failed(error)) => return Err(error),
        };
        match self.append(vec![event(Event::Ended(ended))]).await {
            Ok(()) => {
                tracing::info!(run = %self.run, state = self.state.state().as_str_name(), "the run has ended");
                Ok(Led::ToItsEnd)
            }
            Err(Halt::Led(led)) => Ok(led),
            Err(Halt::TooLarge(detail)) => Err(anyhow!(detail)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Runs the strategy to its end. What the run itself does wrong is an end with a reason; what the bus does is an error.
    async fn go(&mut self) -> Result<pb::Ended, Halt> {
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
        let options = serde_json::from_str(&created.options_json).unwrap_or_default();
        self.seed = task.seed;
        let forecast = sipdo_strategies::forecast(&task, &created.strategy, &options).unwrap_or_default();
        self.hold = Some(conclusion(&task, &forecast));
        let (agents, mut wishes) = BusAgents::new(self.run.as_str());
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
                        Ok(chunk) => self.take_facts(chunk.messages).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(halt) = taken {
                        break Err(halt);
                    }
                }
                Some(wish) = wishes.recv() => {
                    self.take_wish(wish);
                    while let Ok(wish) = wishes.try_recv() {
                        self.take_wish(wish);
                    }
                }
                joined = &mut strategy => break Ok(self.ending(joined)),
                Some((job, published)) = self.acks.next(), if !self.acks.is_empty() => self.take_ack(job, published),
                _ = roster.changed() => {}
                _ = tick.tick() => self.look(),
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

    async fn take_facts(&mut self, messages: Vec<RunMessage>) -> Result<(), Halt> {
        for message in messages {
            match fold(self.context, &mut self.state, &message) {
                Fact::Settled(job) => {
                    self.published.remove(&job);
                    self.desk.settled(&job, &self.state);
                }
                Fact::Lost(job) => {
                    self.observer.lost(&job);
                    self.desk.attempt_lost(&job);
                }
                // Only another leader can have written it, and its sequence is folded now: an append after it would be taken. So
                // this process stops here, before it appends or publishes anything more.
                Fact::Entry(entry) => {
                    tracing::warn!(run = %self.run, epoch = self.epoch, theirs = entry.epoch, "another coordinator leads this run now");
                    return Err(Halt::Led(Led::Fenced));
                }
                Fact::Stray(reason) => strays::bury(self.context, &self.run, &Stray { message, reason }).await,
                Fact::Nothing => {}
            }
        }
        for job in self.full.drain(..) {
            self.desk.publish_again(&job);
        }
        Ok(())
    }

    fn take_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Ask(request) => self.desk.ask(request, &self.state),
            Wish::Tell(telling, told) => {
                self.desk.tell(telling);
                self.told.push(told);
            }
            Wish::Conclude(done) => {
                self.hold = None;
                self.desk.conclude(&mut self.state);
                self.told.push(done);
            }
        }
    }

    fn take_ack(&mut self, job: String, published: Result<Published, BusError>) {
        match published {
            Ok(Published::Queued | Published::Repeated) => {}
            Ok(Published::WindowFull) => self.full.push(job),
            Err(error) => {
                tracing::warn!(run = %self.run, job, %error, "a job could not be published; it will be tried again");
                self.full.push(job);
            }
        }
    }

    /// Looks at agents, clock, and jobs that take too long.
    fn look(&mut self) {
        for job in self.full.drain(..) {
            self.desk.publish_again(&job);
        }
        let overdue = self
            .published
            .iter()
            .filter(|(_, (at, _))| at.elapsed() > OVERDUE)
            .map(|(job, _)| job.clone());
        for job in overdue.collect::<Vec<_>>() {
            self.desk.publish_again(&job);
        }
    }

    /// Appends what is to be decided now, and then does what follows from it. Never the other way round.
    async fn decide(&mut self) -> Result<(), Halt> {
        let roster = self.context.roster();
        if let Some((price, hold)) = roster.price(&Role::Learner.into()).zip(self.hold) {
            let nano_usd = hold.tokens.saturating_mul(price) / 1_000_000;
            self.state.ledger.hold(Amount { nano_usd, ..hold });
            self.hold = None;
        }
        self.share(&roster);
        let limits = limits(&self.models, &self.registry.borrow(), self.run.as_str());
        let mut plan = self.desk.plan(&mut self.state, &roster, &limits);
        self.plan_time(&mut plan);
        self.plan_waiting(&roster, &mut plan);
        if !plan.events.is_empty() {
            for events in self.fitting_entries(std::mem::take(&mut plan.events)) {
                self.observer.deciding(&events, &self.state);
                self.append(events).await?;
            }
            self.desk.refuse_waiting(&self.state);
        }
        for told in self.told.drain(..) {
            drop(told.send(Ok(())));
        }
        for publication in plan.publish {
            self.publish(publication).await?;
        }
        for (job, role, attempt) in plan.give_up {
            let why = NotMeasured::new(
                Reason::AttemptLost,
                format!("{attempt} attempts died with their agents"),
            );
            self.give_up(&job, role, attempt, why).await?;
        }
        Ok(())
    }

    /// How many jobs of each pool are kept in flight: what its agents can do and half as much again, so that none waits for work.
    /// While other runs ask too, a long run keeps back, so that a short one behind it is soon through.
    fn share(&mut self, roster: &crate::roster::Roster) {
        self.asking
            .set(!self.state.paused && self.desk.in_flight().values().any(|jobs| *jobs > 0));
        let others = self.asking.others() + roster.led_by_others(self.context.id.as_str());
        let gives_way = others > 0 && self.state.summary.jobs_done > LONG;
        let window = |slots: usize| match (slots, gives_way) {
            (0, _) => self.context.window,
            (slots, true) => slots / 2 + slots / 8 + 1,
            (slots, false) => slots + slots / 2 + 4,
        };
        let windows = roster.pools().map(|pool| (pool.clone(), window(roster.slots(pool))));
        self.desk.set_windows(windows.collect());
    }

    /// The cap on time, of which a part is kept for the conclusion.
    fn plan_time(&self, plan: &mut Plan) {
        let phase = usize::from(self.state.concluding());
        let met = self.state.exhausted.get(phase).is_some_and(Option::is_some);
        let Some(seconds) = self.state.ledger.cap().seconds.filter(|_| !met) else {
            return;
        };
        let per_second = if self.state.concluding() {
            1000
        } else {
            1000 - FOR_CONCLUSION
        };
        if now_ms().saturating_sub(self.state.summary.created_ms) > seconds.saturating_mul(per_second) {
            plan.events
                .push(event(Event::Exhausted(pb::Exhausted { cap: "time".into() })));
        }
    }

    /// What the run waits for: an operator, an agent, a provider.
    fn plan_waiting(&mut self, roster: &crate::roster::Roster, plan: &mut Plan) {
        let mut reasons = Vec::new();
        if self.state.paused {
            reasons.push("paused".to_owned());
        }
        for pool in self.desk.at_work() {
            if roster.of(&pool).is_empty() {
                let since = *self.missing.entry(pool.clone()).or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    reasons.push(nobody(&pool));
                }
                self.context.look_for_agents();
                continue;
            }
            self.missing.remove(&pool);
            if let Some(trouble) = roster.trouble(&pool) {
                reasons.push(trouble);
                self.context.look_for_agents();
            }
        }
        let reason = reasons.join("; ");
        if reason != self.state.summary.waiting {
            plan.events.push(event(Event::Waiting(pb::Waiting { reason })));
        }
    }

    /// Decisions in as many entries as their size asks for; one, nearly always.
    fn fitting_entries(&self, events: Vec<pb::Event>) -> Vec<Vec<pb::Event>> {
        let limit = self.context.bus.max_message() / 2;
        let (mut entries, mut size) = (Vec::new(), 0);
        let mut entry = Vec::new();
        for event in events {
            let more = event.encoded_len();
            if !entry.is_empty() && size + more > limit {
                entries.push(std::mem::take(&mut entry));
                size = 0;
            }
            size += more;
            entry.push(event);
        }
        entries.push(entry);
        entries
    }

    async fn append(&mut self, events: Vec<pb::Event>) -> Result<(), Halt> {
        let mut entry = pb::Entry {
            run: self.run.as_str().to_owned(),
            at_ms: now_ms(),
            epoch: self.epoch,
            events,
            summary: None,
        };
        let trace = self.observer.trace();
        if !trace.is_none() {
            self.state.trace = trace.clone();
        }
        // Applied first, because the entry carries the summary that it leads to. If it is refused, this state is thrown away.
        let expected = self.state.log_sequence;
        self.state.apply_entry(expected, &entry);
        entry.summary = Some(self.state.summary.clone());
        self.appended += 1;
        // Two processes may try to claim the same epoch: the id tells them apart, or the loser would take the winner's entry for
        // its own.
        let id = format!("{}-{}-{}", self.leadership, self.epoch, self.appended);
        match self
            .journal
            .append(NewMessage::encode(&entry, schema::ENTRY).traced(&trace), &id, expected)
            .await
        {
            Ok(sequence) => {
                self.state.log_sequence = sequence;
                self.observer.decided(&entry.events);
                Ok(())
            }
            Err(AppendError::Fenced { last, .. }) => {
                tracing::warn!(run = %self.run, epoch = self.epoch, expected, last, "another coordinator leads this run now");
                Err(Halt::Led(Led::Fenced))
            }
            Err(AppendError::Bus(error @ BusError::TooLarge { .. })) => Err(Halt::TooLarge(error.to_string())),
            Err(error) => Err(Halt::Failed(error.into())),
        }
    }

    async fn publish(&mut self, publication: Publication) -> Result<(), Halt> {
        let Publication {
            job,
            pool,
            operation,
            attempt,
            sample,
            max_calls,
            ask,
        } = publication;
        let issued_in = self
            .state
            .open
            .get(&job)
            .map(|open| open.trace.clone())
            .unwrap_or_default();
        let sending = self
            .observer
            .publishing(&job, pool.role, operation, attempt, &issued_in);
        let message = pb::Job {
            run: self.run.as_str().to_owned(),
            job: job.clone(),
            attempt,
            epoch: self.epoch,
            sample,
            seed: self.seed,
            model: self.models.get(&pool.to_string()).cloned(),
            ask: Some(ask),
            max_calls,
            max_tokens: 0,
        };
        let whose = pool.role;
        let repeat = self.published.get(&job).map_or(0, |(_, repeat)| repeat + 1);
        self.published.insert(job.clone(), (Instant::now(), repeat));
        let message = NewMessage::encode(&message, schema::JOB).traced(&sending.trace());
        let sent = async {
            let (role, id) = (BusRole::new(pool.to_string())?, JobId::new(&job)?);
            let job = JobMessage {
                role,
                run: self.run.clone(),
                job: id,
                attempt,
                epoch: self.epoch,
                repeat,
                message,
            };
            self.context.bus.publish_job(job).await
        };
        match sent.await {
            Ok(ack) => self.acks.push(Box::pin(async move {
                let published = ack.settled().await;
                sending.settled(&published);
                (job, published)
            })),
            // Trying again would not make it smaller.
            Err(error @ BusError::TooLarge { .. }) => {
                let why = NotMeasured::new(Reason::TooLarge, error.to_string());
                sending.settled(&Err(error));
                self.give_up(&job, whose, attempt, why).await?;
            }
            Err(error) => {
                let published = Err(error);
                sending.settled(&published);
                self.take_ack(job, published);
            }
        }
        Ok(())
    }

    /// Gives a job up that nobody can do. The leader itself creates the result, so that the journal knows, and whatever comes later
    /// counts for nothing.
    async fn give_up(&mut self, job: &str, role: Role, attempt: u32, why: NotMeasured) -> Result<(), Halt> {
        let outcome = JobOutcome {
            run: self.run.as_str().to_owned(),
            job: job.to_owned(),
            attempt,
            finding: Err(why),
            by: Provenance {
                agent: self.context.id.as_str().to_owned(),
                ..Provenance::default()
            },
            usage: pb::Usage::default(),
            timing: pb::Timing {
                started_ms: now_ms(),
                ..Default::default()
            },
        };
        let message = NewMessage::encode(&pb::JobResult::from(outcome), schema::RESULT).traced(&self.observer.trace());
        self.context
            .bus
            .create_result(&self.run, &BusRole::new(role.name())?, &JobId::new(job)?, message)
            .await?;
        Ok(())
    }

    /// Calls off what is queued and in flight.
    async fn cancelled(&mut self) -> pb::Ended {
        if let Err(error) = self.context.bus.purge_jobs(&self.run).await {
            tracing::warn!(run = %self.run, %error, "queued jobs of the cancelled run could not be removed");
        }
        if let Err(error) = self.context.bus.broadcast_cancel(&self.run).await {
            tracing::warn!(run = %self.run, %error, "agents could not be told that the run is cancelled");
        }
        pb::Ended {
            state: State::Cancelled.into(),
            outcome: None,
            reason: "cancelled".into(),
        }
    }

    fn ending(&self, joined: Result<Result<Outcome, Stop>, JoinError>) -> pb::Ended {
        match joined {
            Ok(Ok(outcome)) => {
                let state = match &outcome.ending {
                    Ending::Finished => State::Finished,
                    Ending::BudgetExhausted(_) => State::BudgetExhausted,
                    Ending::StoppedEarly => State::Stopped,
                };
                let outcome = self.fitting(outcome.into());
                pb::Ended {
                    state: state.into(),
                    outcome: Some(outcome),
                    reason: String::new(),
                }
            }
            Ok(Err(stop)) => failed(stop.to_string()),
            Err(error) => failed(format!("the strategy failed: {error}")),
        }
    }

    /// An outcome that fits into one message. Prompts and examples stand in the tellings too; corrections go first.
    fn fitting(&self, mut outcome: pb::Outcome) -> pb::Outcome {
        let limit = self.context.bus.max_message() * 9 / 10;
        if outcome.encoded_len() > limit {
            outcome.corrections.clear();
            outcome
                .warnings
                .push("the outcome was too large for one message: corrections stand in the journal only".into());
        }
        if outcome.encoded_len() > limit {
            outcome.synthetic.clear();
            outcome
                .warnings
                .push("the outcome was too large for one message: synthetic examples stand in the journal only".into());
        }
        outcome
    }
}

/// The run's own choices with the registry's limits over them: what is reserved must suffice for what the agents will use, also
/// where the longest completion was raised in mid-run.
fn limits(
    own: &BTreeMap<String, pb::ModelChoice>,
    registry: &BTreeMap<String, sipdo_bus::Entry>,
    run: &str,
) -> BTreeMap<String, pb::ModelChoice> {
    let mut limits = own.clone();
    // The deployment's entries first, so that the run's own entry has the last word.
    for of in ["", run] {
        for (key, entry) in registry {
            let (found, pool) = key.rsplit_once('.').unwrap_or(("", key));
            let Ok(choice) = pb::ModelChoice::decode(entry.value.clone()) else {
                continue;
            };
            if found == of && choice.max_tokens.is_some() {
                limits.entry(pool.to_owned()).or_default().max_tokens = choice.max_tokens;
            }
        }
    }
    limits
}

/// Says that jobs wait and nobody takes them.
pub fn nobody(pool: &Pool) -> String {
    let Pool { role, name } = pool;
    match name.as_str() {
        "" => format!("no {role} answers: start one (sipdo-{role})"),
        name => format!("no {role} of the pool {name} answers: start one (sipdo-{role} --pool {name})"),
    }
}

type Strategy = JoinHandle<Result<Outcome, Stop>>;

fn failed(reason: String) -> pb::Ended {
    pb::Ended {
        state: State::Failed.into(),
        outcome: None,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_set_for_the_run_goes_before_one_for_all() {
        let most = |max_tokens| pb::ModelChoice {
            max_tokens: Some(max_tokens),
            ..Default::default()
        };
        let entry = |max_tokens| sipdo_bus::Entry {
            value: most(max_tokens).encode_to_vec().into(),
            revision: 1,
            time: std::time::SystemTime::UNIX_EPOCH,
        };
        let own = BTreeMap::from([("verifier".to_owned(), most(1)), ("learner".to_owned(), most(2))]);
        let registry = [
            ("verifier", 10),
            ("r1.verifier", 20),
            ("r2.verifier", 30),
            ("checker_a", 40),
        ];
        let registry = registry.map(|(key, most)| (key.to_owned(), entry(most))).into();
        let told = limits(&own, &registry, "r1");
        let told: Vec<_> = told
            .iter()
            .map(|(pool, choice)| (pool.as_str(), choice.max_tokens.unwrap_or(0)))
            .collect();
        assert_eq!(told, [("checker_a", 40), ("learner", 2), ("verifier", 20)]);
    }
}
