//! What happens to one job between its delivery and its result: the steps of buying (`buy/steps.rs`) over the bus, the spool and the
//! model.

mod steps;
#[cfg(test)]
mod tests;

use crate::call::{Called, End, Terms, call, chat_request};
use crate::context::{Context, MAX_REPEATS};
use crate::cost_meter;
use crate::in_flight::InFlightGuard;
use crate::lookup::{ExistingAnswer, Lookup, SendPermit};
use crate::models::Target;
use crate::observe::{self, Caller};
use crate::program;
use crate::publisher::{HEADER_ROOM, Publisher};
use crate::reuse::run_seed;
use crate::role::{Plan, Request};
use crate::settle::Settle;
use crate::spool::{Reservation, SpooledAnswer};
use crate::work::{Work, provenance, read, reused};
use prost::Message as _;
use sipdo_bus::{AgentId, BusError, Delivery, Liveness, NewMessage};
use sipdo_domain::{NotMeasured, Provenance, Reason};
use sipdo_llm::ChatRequest;
use sipdo_protocol::{JobOutcome, pb, schema};
use sipdo_telemetry::{Trace, propagation};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use steps::{CallOutcome, ClaimResult, OUTAGE, Owner, OwnerLiveness, Port};
use tracing::Instrument as _;

/// A job is not measured after so many attempts for which too little was reserved.
const MAX_TOO_EXPENSIVE: u32 = 10;
/// Pause before an attempt is given up whose price was reserved too low: the time of a roll call.
const PRICE_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a token of an answer, at most; a longer one is nearly always text that a model does not write.
const TOKEN: u64 = 8;
/// How long a process may take to say that it is alive.
const PING: Duration = Duration::from_secs(2);

/// Works on a job up to the point where the queue can be told what became of it.
pub(crate) async fn work_on(context: &Context, delivery: &Delivery) -> Settle {
    let work = match read(delivery, &context.publisher.name) {
        Ok(work) => work,
        Err(reason) => return Settle::DeadLetter(reason),
    };
    let span = tracing::info_span!(
        "job",
        run = %work.run,
        job = %work.job,
    );
    carry_out(context, delivery, work).instrument(span).await
}

async fn carry_out(context: &Context, delivery: &Delivery, work: Work) -> Settle {
    let publisher = &context.publisher;
    match context.role.plan(&work.ask) {
        Ok(Plan::Model(request)) => match context.models.choose(work.run.as_str(), work.wire.model.as_ref()) {
            Ok(target) => buy(context, delivery, work, &target, &request).await,
            Err(why) => publisher.publish_unbought(&work, Err(why), Provenance::default()).await,
        },
        Ok(Plan::Program(asked)) => {
            let span = observe::invoke((&publisher.id, &publisher.name), &work.wire, work.ask.operation(), None);
            let finding = program::check(&context.settings.programs, &asked).await;
            if let Err(why) = &finding {
                span.fail(why.reason.name());
            }
            span.end();
            let by = Provenance {
                endpoint: "program".into(),
                model: asked.name,
                ..Provenance::default()
            };
            publisher.publish_unbought(&work, finding.map(Into::into), by).await
        }
        Err(why) => publisher.publish_unbought(&work, Err(why), Provenance::default()).await,
    }
}

async fn buy(context: &Context, delivery: &Delivery, work: Work, target: &Target, request: &Request) -> Settle {
    if let Err(why) = context.overhead.check(request, work.ask_bytes) {
        let publisher = &context.publisher;
        return publisher.publish_unbought(&work, Err(why), provenance(target)).await;
    }
    let chat = chat_request(target, request, &work.wire);
    if target.circuit.leave_to_others() {
        return Settle::HandBack(OUTAGE);
    }
    let key = target
        .model
        .request_key(&chat, u64::from(work.wire.sample), run_seed(&work, &chat))
        .to_string();
    let attempt = work.wire.attempt;
    let purchase = Purchase {
        context,
        work,
        target,
        request,
        chat,
        key,
    };
    // In a box, or its type would be too deep for the compiler.
    Box::pin(steps::buy(&purchase, delivery.delivered, attempt)).await
}

/// One delivery of a job that a model is to answer.
struct Purchase<'a> {
    context: &'a Context,
    work: Work,
    target: &'a Target,
    request: &'a Request,
    chat: ChatRequest,
    /// The request's place in the completion store.
    key: String,
}

impl<'a> Purchase<'a> {
    fn publisher(&self) -> &'a Publisher {
        &self.context.publisher
    }

    fn lookup(&self) -> Lookup<'a> {
        Lookup::new(self.publisher())
    }

    fn spooled(&self, key: Option<String>, result: pb::JobResult) -> SpooledAnswer {
        let trace = propagation::to_text(&self.work.published_by);
        SpooledAnswer { key, result, trace }
    }

    /// The record of this very delivery. Its time tells it from others: an attempt is in flight only once in a process.
    fn record(&self) -> pb::Attempt {
        pb::Attempt {
            agent: self.publisher().id.to_string(),
            at_ms: self.work.started_ms,
        }
    }

    /// The completions that are reserved for this attempt.
    fn reserved(&self) -> u32 {
        match self.work.wire.max_calls {
            0 => self.context.max_calls(),
            reserved => reserved.min(self.context.max_calls() + MAX_REPEATS),
        }
    }

    async fn ask_model(&self, permit: &SendPermit<'_>, trace: &Trace) -> (Called, Duration) {
        let (context, work, reserved) = (self.context, &self.work, self.reserved());
        // A request may be sent twice only where so much is reserved.
        let hedge = self.target.model.hedges() && reserved >= 2;
        let completions = if hedge { reserved / 2 } else { reserved };
        let max_calls = completions.min(context.most_completions());
        let longest = context.models.longest_call(self.target.settings()) * f64::from(max_calls);
        let terms = Terms {
            max_calls,
            repair: context.repair_tokens(),
            hedge,
            longest: Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX),
            draining: &context.draining,
            models: &context.models,
            chosen: work.wire.model.as_ref(),
            permit,
            caller: Caller {
                run: work.run.as_str(),
                job: work.job.as_str(),
                role: context.settings.role.name(),
                trace,
            },
        };
        let clock = Instant::now();
        let role = context.role.as_ref();
        let called = call(self.target, role, &work.ask, self.request, &self.chat, terms).await;
        (called, clock.elapsed())
    }

    /// The model costs more than was reserved: nothing is bought, so that the leader reserves what it costs now. Not at once, since
    /// the leader knows of a new price when it has called the roll.
    async fn too_expensive(&self) -> CallOutcome<SpooledAnswer> {
        let (job, attempt) = (&self.work.job, self.work.wire.attempt);
        if attempt > MAX_TOO_EXPENSIVE {
            let why = "the model costs more than the run's leader knows: no agent states its price";
            let why = NotMeasured::new(Reason::Misconfigured, why);
            let outcome = self
                .work
                .outcome(Err(why), provenance(self.target), cost_meter::nothing(), Duration::ZERO);
            let result = self.publisher().fit(outcome);
            return CallOutcome::Answer {
                answer: self.spooled(None, result),
                paid: false,
            };
        }
        tracing::info!(%job, attempt, "the model costs more than was reserved");
        tokio::time::sleep(PRICE_PAUSE).await;
        CallOutcome::GivenUp
    }

    /// The outcome of the purchase, from the result of its call.
    fn outcome_of_call(
        &self,
        called: Called,
        took: Duration,
        answered: Option<ExistingAnswer>,
    ) -> CallOutcome<SpooledAnswer> {
        let Called { end, usage, told } = called;
        let paid = usage.calls > 0;
        let (finding, by, usage) = match (end, answered) {
            (End::Finished(finding), _) => (finding, None, usage),
            // What this attempt has paid is charged at its worst case with the result of the other.
            (End::Withheld, Some(ExistingAnswer::InRun) | None) => return CallOutcome::InRun,
            (End::Withheld, Some(ExistingAnswer::Stored(stored))) => {
                let usage = pb::Usage {
                    from_store: true,
                    ..usage
                };
                (stored.finding, Some(reused(stored.by, &stored.timing)), usage)
            }
            (End::GivenUp, _) if !paid => return CallOutcome::GivenUp,
            (End::GivenUp, _) => {
                let why = "the agent ended, or another model was set, during an outage of the provider";
                (Err(NotMeasured::new(Reason::Unavailable, why)), None, usage)
            }
        };
        // Only a reply of our own is worth finding again; a failure may go better next time.
        let key = (finding.is_ok() && by.is_none()).then(|| self.key.clone());
        let by = by.unwrap_or_else(|| Provenance {
            revision: told.0,
            fingerprint: told.1,
            ..provenance(self.target)
        });
        let outcome = self.work.outcome(finding, by, usage, took);
        let result = self.publisher().fit(outcome);
        CallOutcome::Answer {
            answer: self.spooled(key, result),
            paid,
        }
    }
}

impl<'a> Port for Purchase<'a> {
    type Error = BusError;
    type InFlightGuard = InFlightGuard<'a>;
    type Stored = JobOutcome;
    type Answer = SpooledAnswer;
    type File = PathBuf;
    type Reservation = Reservation;

    async fn has_result(&self) -> bool {
        self.lookup().has_result(&self.work).await
    }

    fn take_in_flight(&self) -> Option<InFlightGuard<'a>> {
        self.context
            .in_flight
            .take(&self.work.run, &self.work.job, self.work.wire.attempt)
    }

    /// Room in the spool for whatever the model may answer.
    fn take_room(&self) -> Option<Reservation> {
        let publisher = self.publisher();
        if publisher.gate.is_stuck() {
            return None;
        }
        let longest = u64::from(self.target.settings().max_tokens).saturating_mul(TOKEN) + HEADER_ROOM as u64;
        let longest = longest.min(publisher.bus.max_message() as u64);
        let taken = publisher.spool.reserve(longest).map_err(|error| {
            let folder = publisher.spool.folder().display();
            format!("the spool {folder} cannot keep an answer: {error}; the agent buys nothing until there is room")
        });
        publisher.gate.spool(taken.as_ref().err().cloned());
        taken.ok()
    }

    async fn create_attempt(&self) -> Result<ClaimResult, BusError> {
        let work = &self.work;
        let message = NewMessage::encode(&self.record(), schema::ATTEMPT);
        let created = self.publisher().bus.create_attempt(
            &work.run,
            &self.publisher().name,
            &work.job,
            work.wire.attempt,
            message,
        );
        let created = created.await;
        self.publisher()
            .gate
            .recorded(&created, self.publisher().bus.is_connected());
        match created {
            Ok(created) if created.is_new() => Ok(ClaimResult::New),
            Ok(_) => Ok(ClaimResult::There),
            Err(BusError::Unsettled { .. }) => Ok(ClaimResult::Unsure),
            Err(error) => Err(error),
        }
    }

    async fn owner(&self) -> Result<Owner, BusError> {
        let work = &self.work;
        let record = self
            .publisher()
            .bus
            .attempt(&work.run, &self.publisher().name, &work.job, work.wire.attempt)
            .await?;
        let record = record.and_then(|record| pb::Attempt::decode(record.payload).ok());
        Ok(match record {
            Some(record) if record == self.record() => Owner::This,
            Some(record) if record.agent == self.publisher().id.as_str() => Owner::Us,
            Some(record) => Owner::Other(record.agent),
            None => Owner::Other(String::new()),
        })
    }

    async fn liveness(&self, owner: &str) -> Result<OwnerLiveness, BusError> {
        let Ok(owner) = AgentId::new(owner) else {
            return Ok(OwnerLiveness::Dead);
        };
        Ok(match self.publisher().bus.is_alive(&owner, PING).await? {
            Liveness::Alive(_) => OwnerLiveness::Alive,
            Liveness::Silent => OwnerLiveness::Silent,
            Liveness::Dead => OwnerLiveness::Dead,
        })
    }

    async fn result(&self) -> Result<bool, BusError> {
        let work = &self.work;
        let result = self
            .publisher()
            .bus
            .result(&work.run, &self.publisher().name, &work.job)
            .await?;
        Ok(result.is_some())
    }

    async fn upload_left_behind(&self) -> bool {
        self.lookup().upload_left_behind(&self.work).await
    }

    async fn look_up(&self) -> Option<JobOutcome> {
        self.lookup().look_up(&self.work, &self.key).await
    }

    async fn publish_stored(&self, stored: JobOutcome) {
        let result = self.work.answered_before(stored);
        self.publisher().publish(&result, None, &self.work.trace).await;
    }

    async fn call(&self) -> CallOutcome<SpooledAnswer> {
        if costs_more(self.target, &self.work.wire) {
            return self.too_expensive().await;
        }
        let span = observe::invoke(
            (&self.publisher().id, &self.publisher().name),
            &self.work.wire,
            self.work.ask.operation(),
            Some(self.target),
        );
        let permit = SendPermit::new(self.lookup(), &self.work, &self.key, self.reserved());
        let (called, took) = self.ask_model(&permit, &span.trace()).await;
        if let End::Finished(Err(why)) = &called.end {
            span.fail(why.reason.name());
        }
        span.end();
        self.outcome_of_call(called, took, permit.into_answered())
    }

    fn keep(&self, answer: &SpooledAnswer, room: Reservation) -> Option<PathBuf> {
        self.publisher().keep(answer, room)
    }

    async fn upload(&self, answer: &SpooledAnswer) {
        self.publisher()
            .publish(&answer.result, answer.key.as_deref(), &self.work.trace)
            .await;
    }

    fn forget(&self, file: PathBuf) {
        self.publisher().spool.forget(&file);
    }

    async fn report_lost(&self, owner: Option<&str>, unpaid: bool) -> Result<(), BusError> {
        let owner = owner.unwrap_or(self.publisher().id.as_str());
        self.publisher().report_lost(&self.work, owner, unpaid).await?;
        if !unpaid {
            tracing::warn!(job = %self.work.job, attempt = self.work.wire.attempt, owner, "reported a lost attempt");
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.publisher().bus.settings().ack_wait
    }
}

/// Whether the model costs more than was reserved, or nobody knows what.
fn costs_more(target: &Target, job: &pb::Job) -> bool {
    job.at_most.is_some_and(|at_most| {
        target
            .model
            .price()
            .is_none_or(|price| price.dearest_input().0 > at_most.input || price.output_per_million.0 > at_most.output)
    })
}
