//! What happens to one job between its delivery and its result. The order is the point: whatever step a process dies at, nothing that is
//! paid for is lost, and nothing is paid for twice.
//!
//! 1. Create the attempt's record, which is the right to buy. Who finds one buys nothing: the result is there (done), its owner lives
//!    (hand back), or its owner is dead (bring its answer if it lies in the spool of this machine, else report the attempt as lost;
//!    whether to buy again is for the run's leader to say). A model that has become dearer than was reserved buys nothing either.
//! 2. Meanwhile look into the completion store: the same request may have been answered already.
//! 3. Call the model, and write the answer to the spool. Before each request that may repeat one, look again (`answered.rs`).
//! 4. Put it into the completion store and create the result, at the same time: the spool covers both.
//! 5. Forget the spool's file and acknowledge.

use crate::agent::{Agent, AgentError};
use crate::answered::{Answered, Leave};
use crate::bill;
use crate::call::{Called, End, Terms, call, chat_request};
use crate::card::now_ms;
use crate::models::Target;
use crate::observe::{self, Caller};
use crate::program;
use crate::role::{Plan, Request};
use crate::spool::{Kept, Room, Spool};
use prost::Message as _;
use sipdo_bus::subjects::header;
use sipdo_bus::{AgentId, BusError, Delivery, JobId, Liveness, NewMessage, RunId};
use sipdo_domain::{Ask, Measured, NotMeasured, Provenance, Reason};
use sipdo_llm::ChatRequest;
use sipdo_protocol::{JobOutcome, pb};
use sipdo_telemetry::{Trace, metrics, names};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// Schema of a job's message.
const JOB_SCHEMA: &str = "job.v1";
/// Schema of a result's message.
const RESULT_SCHEMA: &str = "result.v1";
/// Schema of the records of attempts.
const ATTEMPT_SCHEMA: &str = "attempt.v1";
/// Schema of the record of a lost attempt.
const LOST_SCHEMA: &str = "lost.v1";

/// A job whose attempt a living process has in hand comes back after this time.
const OWNER_LIVES: Duration = Duration::from_secs(1);
/// A job that is left to others in an outage comes back after this time.
const OUTAGE: Duration = Duration::from_secs(5);
/// How long a process may take to say that it is alive.
const PING: Duration = Duration::from_secs(2);
/// An owner that is connected and says nothing is believed to be dead after so many deliveries.
const SILENT_DELIVERIES: u64 = 4;
/// The first pause before a publish is tried again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of a token of an answer, at most; a longer one is nearly always text that a model does not write.
const TOKEN: u64 = 8;
/// A job is not measured whose price was reserved too low for so many attempts.
const MOST_DEARER: u32 = 10;
/// Room for the headers of a result.
const HEADER_ROOM: usize = 2048;

/// What to tell the queue about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settle {
    /// It is done, or needs nothing.
    Ack,
    /// It comes again after this time, here or elsewhere.
    HandBack(Duration),
    /// Nobody can do it; the reason.
    DeadLetter(String),
}

/// A job, read and checked.
pub(crate) struct Work {
    pub run: RunId,
    pub job: JobId,
    pub wire: pb::Job,
    ask: Ask,
    started_ms: u64,
    /// Since it is in our hands.
    pub clock: Instant,
    /// The span that processes it.
    pub trace: Trace,
}

/// Who has the right to buy an attempt.
enum Right {
    Mine,
    /// Somebody else took it before.
    Taken,
}

impl Agent {
    /// Works on a job up to the point where the queue can be told what became of it.
    pub async fn work(&self, delivery: &Delivery) -> Settle {
        let work = match read(delivery, &self.name) {
            Ok(work) => work,
            Err(reason) => return Settle::DeadLetter(reason),
        };
        let span = tracing::info_span!(
            "job",
            run = %work.run,
            job = %work.job,
        );
        self.carry_out(delivery, work).instrument(span).await
    }

    async fn carry_out(&self, delivery: &Delivery, work: Work) -> Settle {
        match self.role.plan(&work.ask) {
            Ok(Plan::Model(request)) => match self.models.choose(work.run.as_str(), work.wire.model.as_ref()) {
                Ok(target) => self.buy(delivery, work, &target, &request).await,
                Err(why) => self.publish_unbought(&work, Err(why), Provenance::default()).await,
            },
            Ok(Plan::Program(asked)) => {
                let span = observe::invoke(self, &work.wire, work.ask.operation(), None);
                let finding = span.scope(program::check(&self.settings.programs, &asked)).await;
                if let Err(why) = &finding {
                    span.fail(why.reason.name());
                }
                span.end();
                let by = Provenance {
                    endpoint: "program".into(),
                    model: asked.name,
                    ..Provenance::default()
                };
                self.publish_unbought(&work, finding.map(Into::into), by).await
            }
            Err(why) => self.publish_unbought(&work, Err(why), Provenance::default()).await,
        }
    }

    async fn buy(&self, delivery: &Delivery, work: Work, target: &Target, request: &Request) -> Settle {
        let by = provenance(target);
        let chat = match chat_request(target, request, &work.wire) {
            Ok(chat) => chat,
            Err(why) => return self.publish_unbought(&work, Err(why), by).await,
        };
        if target.circuit.leave_to_others() {
            return Settle::HandBack(OUTAGE);
        }
        // Only a job that was delivered or attempted before can have a result; others are spared the question.
        let seen_before = delivery.delivered > 1 || work.wire.attempt > 1;
        if seen_before && self.has_result(&work).await {
            return Settle::Ack;
        }
        if self.intake.is_stuck() {
            return Settle::HandBack(OUTAGE);
        }
        let Some(_hand) = self.take_in_hand(&work) else {
            return Settle::HandBack(OWNER_LIVES);
        };
        let Some(room) = self.take_room(target) else {
            return Settle::HandBack(OUTAGE);
        };
        let key = target
            .model
            .request_key(&chat, u64::from(work.wire.sample), work.wire.seed)
            .to_string();
        let (right, stored) = tokio::join!(self.take_right(&work), self.look_up(&key));
        match (right, stored) {
            (Err(error), _) => {
                tracing::warn!(%error, "the right to buy could not be taken");
                Settle::HandBack(OWNER_LIVES)
            }
            (Ok(_), Some(stored)) => self.publish(&work.answered_before(stored), None, &work.trace).await,
            (Ok(Right::Mine), None) if dearer(target, &work.wire) => self.leave_as_dearer(&work, by).await,
            (Ok(Right::Mine), None) => {
                let span = observe::invoke(self, &work.wire, work.ask.operation(), Some(target));
                let leave = Leave::new(self, &work, &key);
                let called = span.scope(self.call(&work, target, request, &chat, &leave)).await;
                if let End::Found(Err(why)) = &called.0.end {
                    span.fail(why.reason.name());
                }
                span.end();
                let answered = leave.into_answered();
                self.publish_bought(&work, by, called, key, (answered, room)).await
            }
            (Ok(Right::Taken), None) => self.leave_taken(delivery, &work).await,
        }
    }

    async fn call(
        &self,
        work: &Work,
        target: &Target,
        request: &Request,
        chat: &ChatRequest,
        leave: &Leave<'_>,
    ) -> (Called, Duration) {
        let max_calls = match work.wire.max_calls {
            0 => self.max_calls(),
            reserved => reserved.min(self.max_calls()),
        };
        let longest = self.models.longest_call(target.settings()) * f64::from(max_calls);
        let longest = Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX);
        let terms = Terms {
            max_calls,
            longest,
            draining: &self.draining,
            leave,
            caller: Caller {
                run: work.run.as_str(),
                job: work.job.as_str(),
                role: self.settings.role.name(),
            },
        };
        let clock = Instant::now();
        let called = call(target, self.role.as_ref(), &work.ask, request, chat, terms).await;
        (called, clock.elapsed())
    }

    /// Takes the right to buy. A record whose fate was unknown may turn out to be our own.
    async fn take_right(&self, work: &Work) -> Result<Right, BusError> {
        let attempt = pb::Attempt {
            agent: self.id.to_string(),
            at_ms: work.started_ms,
        };
        let mut unsure = false;
        loop {
            let message = NewMessage::encode(&attempt, ATTEMPT_SCHEMA);
            match self
                .bus
                .create_attempt(&work.run, &self.name, &work.job, work.wire.attempt, message)
                .await
            {
                Ok(created) if created.is_new() => return Ok(Right::Mine),
                // The time is this very delivery's: we hold this attempt in hand only once.
                Ok(_) if unsure && self.owner(work).await? == Some(attempt.clone()) => return Ok(Right::Mine),
                Ok(_) => return Ok(Right::Taken),
                Err(BusError::Unsettled { .. }) => unsure = true,
                Err(error) => return Err(error),
            }
        }
    }

    async fn owner(&self, work: &Work) -> Result<Option<pb::Attempt>, BusError> {
        let record = self
            .bus
            .attempt(&work.run, &self.name, &work.job, work.wire.attempt)
            .await?;
        Ok(record.and_then(|record| pb::Attempt::decode(record.payload).ok()))
    }

    /// Somebody else took the right: buys nothing, and finds out whether they will bring the result.
    async fn leave_taken(&self, delivery: &Delivery, work: &Work) -> Settle {
        match self.look_at_owner(delivery, work).await {
            Ok(settle) => settle,
            Err(error) => {
                tracing::warn!(%error, "cannot find out about another agent's attempt");
                Settle::HandBack(OWNER_LIVES)
            }
        }
    }

    async fn look_at_owner(&self, delivery: &Delivery, work: &Work) -> Result<Settle, BusError> {
        let result = || self.bus.result(&work.run, &self.name, &work.job);
        if result().await?.is_some() {
            return Ok(Settle::Ack);
        }
        // A record that cannot be read was left by nobody who could be asked.
        let owner = self.owner(work).await?.map(|attempt| attempt.agent).unwrap_or_default();
        if owner != self.id.as_str() {
            let liveness = match AgentId::new(&owner) {
                Ok(owner) => self.bus.is_alive(&owner, PING).await?,
                Err(_) => Liveness::Dead,
            };
            match liveness {
                Liveness::Alive(_) => return Ok(Settle::HandBack(OWNER_LIVES)),
                Liveness::Silent if delivery.delivered < SILENT_DELIVERIES => {
                    return Ok(Settle::HandBack(self.bus.settings().ack_wait));
                }
                Liveness::Silent | Liveness::Dead => {}
            }
            // Its last words may have come while we asked for it, or lie in the spool of this machine.
            if result().await?.is_some() || self.bring_left_behind(work).await {
                return Ok(Settle::Ack);
            }
        }
        // Ours, and no longer in hand: the work on it has failed in a way that should not happen. Then it is lost as well.
        self.report_lost(work, &owner, false).await?;
        tracing::warn!(job = %work.job, attempt = work.wire.attempt, owner, "reported a lost attempt");
        Ok(Settle::Ack)
    }

    /// Room in the spool for whatever the model may answer; none where there is not so much.
    fn take_room(&self, target: &Target) -> Option<Room> {
        let longest = u64::from(target.settings().max_tokens).saturating_mul(TOKEN) + HEADER_ROOM as u64;
        let longest = longest.min(self.bus.max_message() as u64);
        let taken = self.spool.reserve(longest).map_err(|error| {
            let folder = self.spool.folder().display();
            format!("the spool {folder} cannot keep an answer: {error}; nothing is bought until there is room")
        });
        self.intake.spool(taken.as_ref().err().cloned());
        taken.ok()
    }

    async fn publish_bought(
        &self,
        work: &Work,
        by: Provenance,
        called: (Called, Duration),
        key: String,
        (answered, room): (Option<Answered>, Room),
    ) -> Settle {
        let (Called { end, usage, revision }, model_time) = called;
        let paid = usage.calls > 0;
        let finding = match (end, answered) {
            (End::Found(finding), _) => finding,
            // What this attempt has paid is charged at its worst case with the result of the other.
            (End::Withheld, Some(Answered::InRun) | None) => return Settle::Ack,
            (End::Withheld, Some(Answered::Stored(stored))) => {
                let usage = pb::Usage {
                    from_store: true,
                    ..usage
                };
                let outcome = work.outcome(stored.finding, stored.by, usage, model_time);
                return self.publish(&self.fit(outcome), None, &work.trace).await;
            }
            (End::Left, _) if !paid => return self.leave(work).await,
            (End::Left, _) => Err(NotMeasured::new(
                Reason::Unavailable,
                "the agent ended while the provider was out",
            )),
        };
        // Only a reply is worth finding again; a failure may go better next time.
        let key = finding.is_ok().then_some(key);
        let outcome = work.outcome(finding, Provenance { revision, ..by }, usage, model_time);
        let kept = Kept {
            key,
            result: self.fit(outcome),
        };
        let file = if paid { self.keep(&kept, room) } else { None };
        let settle = self.publish(&kept.result, kept.key.as_deref(), &work.trace).await;
        if let Some(file) = file {
            Spool::forget(&file);
        }
        settle
    }

    /// Gives the attempt up without having bought anything: the leader grants another one, which costs the run nothing.
    async fn leave(&self, work: &Work) -> Settle {
        match self.report_lost(work, self.id.as_str(), true).await {
            Ok(()) => Settle::Ack,
            Err(error) => {
                tracing::warn!(%error, "an attempt could not be given up; it will be found to be lost");
                Settle::HandBack(OWNER_LIVES)
            }
        }
    }

    /// The model costs more than was reserved: gives the attempt up, so that the leader reserves what it costs now. Not at once, since
    /// the leader knows of a new price when it has called the roll.
    async fn leave_as_dearer(&self, work: &Work, by: Provenance) -> Settle {
        if work.wire.attempt > MOST_DEARER {
            let why = "the model costs more than the leader of the run knows: its price is on no agent's card";
            return self
                .publish_unbought(work, Err(NotMeasured::new(Reason::Misconfigured, why)), by)
                .await;
        }
        tracing::info!(job = %work.job, attempt = work.wire.attempt, "the model costs more than was reserved");
        tokio::time::sleep(OWNER_LIVES).await;
        self.leave(work).await
    }

    /// Records that an attempt has ended with its owner.
    async fn report_lost(&self, work: &Work, owner: &str, unpaid: bool) -> Result<(), BusError> {
        let lost = pb::AttemptLost {
            run: work.run.to_string(),
            job: work.job.to_string(),
            attempt: work.wire.attempt,
            owner: owner.to_owned(),
            noticed_by: self.id.to_string(),
            unpaid,
        };
        let message = NewMessage::encode(&lost, LOST_SCHEMA).traced(&work.trace);
        if !unpaid {
            work.trace.event(names::EVENT_LOST, Vec::new());
            metrics::attempt_lost(self.name.as_str());
        }
        let created = self
            .bus
            .create_lost(&work.run, &self.name, &work.job, work.wire.attempt, message);
        created.await.map(drop)
    }

    async fn publish_unbought(&self, work: &Work, finding: Measured<sipdo_domain::Reply>, by: Provenance) -> Settle {
        let outcome = work.outcome(finding, by, bill::nothing(), Duration::ZERO);
        let result = self.fit(outcome);
        self.publish(&result, None, &work.trace).await
    }

    /// The result as a message that the server takes. One that is too large says so, with its cost.
    fn fit(&self, mut outcome: JobOutcome) -> pb::JobResult {
        outcome.by.agent = self.id.to_string();
        let limit = self.bus.max_message().saturating_sub(HEADER_ROOM);
        let result = pb::JobResult::from(outcome);
        let size = result.encoded_len();
        if size <= limit {
            return result;
        }
        let detail = format!("the answer has {size} bytes, and the bus takes {limit}");
        let why = NotMeasured::new(Reason::TooLarge, detail);
        pb::JobResult {
            finding: Some(pb::job_result::Finding::NotMeasured(why.into())),
            ..result
        }
    }

    /// Writes to the spool. Where that fails the answer is still in memory, and goes to the bus without this safety.
    fn keep(&self, kept: &Kept, room: Room) -> Option<PathBuf> {
        self.spool
            .keep(kept, room)
            .map_err(|error| tracing::error!(%error, "an answer cannot be kept in the spool"))
            .ok()
    }

    /// Creates the result and puts the completion into the store, trying again until the bus takes them.
    async fn publish(&self, result: &pb::JobResult, key: Option<&str>, parent: &Trace) -> Settle {
        let span = observe::publishing(result, self.name.as_str(), parent);
        let clock = Instant::now();
        let message = NewMessage::encode(result, RESULT_SCHEMA)
            .with(header::RUN, &result.run)
            .with(header::JOB, &result.job)
            .traced(&span.trace());
        let (run, job) = match (RunId::new(&result.run), JobId::new(&result.job)) {
            (Ok(run), Ok(job)) => (run, job),
            (Err(error), _) | (_, Err(error)) => return Settle::DeadLetter(error.to_string()),
        };
        let store = async {
            if let Some(key) = key {
                let (completions, value) = (self.bus.completions(), message.payload.clone());
                self.persist("storing a completion", || completions.put(key, value.clone()))
                    .await;
            }
        };
        let create = self.persist("creating a result", || {
            self.bus.create_result(&run, &self.name, &job, message.clone())
        });
        tokio::join!(store, create);
        metrics::result_sent(self.name.as_str(), clock.elapsed());
        Settle::Ack
    }

    /// Tries again until the bus has taken it: what is paid for is never given up while this process lives. While there is no room
    /// for it, nothing more is bought.
    async fn persist<T, F: Future<Output = Result<T, BusError>>>(&self, doing: &str, mut action: impl FnMut() -> F) {
        let (mut pause, mut waits) = (FIRST_PAUSE, None);
        loop {
            match action().await {
                Ok(_) => return,
                // Trying again would not make it smaller, and its size was checked before: nobody can be helped.
                Err(error @ (BusError::TooLarge { .. } | BusError::InvalidName { .. })) => {
                    tracing::error!(%error, doing, "given up");
                    return;
                }
                Err(error) => {
                    if matches!(error, BusError::Full { .. } | BusError::Unsettled { .. }) {
                        waits.get_or_insert_with(|| self.intake.waits(&error.to_string()));
                    }
                    tracing::warn!(%error, doing, "trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Brings to the bus what an earlier process has paid for and could not bring.
    pub async fn upload_spool(&self) -> Result<(), AgentError> {
        let kept = self.spool.all().map_err(|source| AgentError::Spool {
            folder: self.settings.spool_dir.display().to_string(),
            source,
        })?;
        for (file, kept) in kept {
            self.bring(&file, &kept, &Trace::none()).await;
        }
        Ok(())
    }

    pub(crate) async fn bring(&self, file: &Path, Kept { key, result }: &Kept, parent: &Trace) {
        match self.publish(result, key.as_deref(), parent).await {
            Settle::Ack => tracing::info!(run = result.run, job = result.job, "brought an answer from the spool"),
            other => tracing::error!(file = %file.display(), ?other, "an answer in the spool is of no use"),
        }
        Spool::forget(file);
    }

    /// Marks the attempt as worked on by this process until the mark is dropped. None where it is already.
    fn take_in_hand(&self, work: &Work) -> Option<InHand<'_>> {
        let place = (format!("{}.{}", work.run, work.job), work.wire.attempt);
        let new = self
            .in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place.clone());
        new.then_some(InHand { agent: self, place })
    }
}

struct InHand<'a> {
    agent: &'a Agent,
    place: (String, u32),
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.agent
            .in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.place);
    }
}

impl Work {
    fn outcome(
        &self,
        finding: Measured<sipdo_domain::Reply>,
        by: Provenance,
        usage: pb::Usage,
        model_time: Duration,
    ) -> JobOutcome {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        JobOutcome {
            run: self.run.to_string(),
            job: self.job.to_string(),
            attempt: self.wire.attempt,
            finding,
            by,
            usage,
            timing: pb::Timing {
                started_ms: self.started_ms,
                took_ms: ms(self.clock.elapsed()),
                model_ms: ms(model_time),
            },
        }
    }

    /// The result from an answer that was bought before. Bought by this very attempt, whose process then died, it is still to be
    /// paid for by the run: its cost was told to nobody. Otherwise it has cost nothing.
    fn answered_before(&self, stored: JobOutcome) -> pb::JobResult {
        let own =
            stored.run == self.run.as_str() && stored.job == self.job.as_str() && stored.attempt == self.wire.attempt;
        let usage = if own {
            stored.usage
        } else {
            pb::Usage {
                from_store: true,
                ..bill::nothing()
            }
        };
        self.outcome(stored.finding, stored.by, usage, Duration::ZERO).into()
    }
}

/// Whether the model costs more than was reserved. An unknown price is told to whoever reads the run's cost.
fn dearer(target: &Target, job: &pb::Job) -> bool {
    target.model.price().zip(job.at_most).is_some_and(|(price, at_most)| {
        price.input_per_million.0 > at_most.input || price.output_per_million.0 > at_most.output
    })
}

/// Reads a job. The error is the reason of a dead letter.
fn read(delivery: &Delivery, role: &sipdo_bus::Role) -> Result<Work, String> {
    let schema = delivery.headers.get(header::SCHEMA).unwrap_or(JOB_SCHEMA);
    if schema != JOB_SCHEMA {
        return Err(format!(
            "the schema {schema:?} is unknown to this version, which reads {JOB_SCHEMA:?}"
        ));
    }
    let mut wire =
        pb::Job::decode(delivery.payload.clone()).map_err(|error| format!("the job cannot be decoded: {error}"))?;
    if wire.run != delivery.run.as_str() {
        return Err(format!(
            "the job is of run {:?}, but came in the queue of {}",
            wire.run, delivery.run
        ));
    }
    let job = JobId::new(&wire.job).map_err(|error| error.to_string())?;
    let ask = wire.ask.take().ok_or("Job.ask is missing")?;
    let ask = Ask::try_from(ask).map_err(|error| error.to_string())?;
    if ask.role().name() != role.as_str() {
        return Err(format!(
            "the job is for a {}, but came in the queue of a {role}",
            ask.role()
        ));
    }
    let (run, started_ms, clock) = (delivery.run.clone(), now_ms(), Instant::now());
    Ok(Work {
        run,
        job,
        wire,
        ask,
        started_ms,
        clock,
        trace: Trace::current(),
    })
}

fn provenance(target: &Target) -> Provenance {
    let settings = target.settings();
    Provenance {
        endpoint: settings.endpoint.clone(),
        model: settings.model.clone(),
        ..Provenance::default()
    }
}
