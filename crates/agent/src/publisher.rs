//! Uploads answers to the bus: as results, as stored completions, and out of the spool; and reports attempts that ended without one.

use crate::cost_meter;
use crate::error::AgentError;
use crate::observe;
use crate::purchase_gate::PurchaseGate;
use crate::settle::Settle;
use crate::spool::{Reservation, Spool, SpooledAnswer};
use crate::work::Work;
use futures::future::{Either, select};
use prost::Message as _;
use sipdo_bus::{AgentId, Bus, BusError, JobId, NewMessage, Role, RunId};
use sipdo_domain::{Measured, NotMeasured, Provenance, Reason};
use sipdo_protocol::{JobOutcome, pb, schema};
use sipdo_telemetry::{Trace, metrics, names, propagation};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

/// The first pause before a publish is tried again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the completion store is waited for once the result is created.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// Room for the headers of a result.
pub(crate) const HEADER_ROOM: usize = 2048;

/// Uploads an agent's answers to the bus.
pub(crate) struct Publisher {
    pub id: AgentId,
    /// The role as the bus names it.
    pub name: Role,
    pub bus: Bus,
    pub spool: Spool,
    pub gate: PurchaseGate,
}

impl Publisher {
    /// Records that an attempt has ended with its owner.
    pub async fn report_lost(&self, work: &Work, owner: &str, unpaid: bool) -> Result<(), BusError> {
        let lost = pb::AttemptLost {
            run: work.run.to_string(),
            job: work.job.to_string(),
            attempt: work.wire.attempt,
            owner: owner.to_owned(),
            noticed_by: self.id.to_string(),
            unpaid,
        };
        let message = NewMessage::encode(&lost, schema::LOST).traced(&work.trace);
        if !unpaid {
            work.trace.event(names::EVENT_LOST, Vec::new());
            metrics::attempt_lost(self.name.as_str());
        }
        let created = self
            .bus
            .create_lost(&work.run, &self.name, &work.job, work.wire.attempt, message);
        let created = created.await;
        self.gate.recorded(&created, self.bus.is_connected());
        created.map(drop)
    }

    pub async fn publish_unbought(
        &self,
        work: &Work,
        finding: Measured<sipdo_domain::Reply>,
        by: Provenance,
    ) -> Settle {
        let outcome = work.outcome(finding, by, cost_meter::nothing(), Duration::ZERO);
        let result = self.fit(outcome);
        self.publish(&result, None, &work.trace).await
    }

    /// The result as a message that the server takes. One that is too large says so, with its cost.
    pub fn fit(&self, mut outcome: JobOutcome) -> pb::JobResult {
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
    pub fn keep(&self, answer: &SpooledAnswer, room: Reservation) -> Option<PathBuf> {
        self.spool
            .keep(answer, room)
            .map_err(|error| tracing::error!(%error, "cannot write an answer to the spool"))
            .ok()
    }

    /// Creates the result and puts the completion into the store, trying again until the bus takes them.
    pub async fn publish(&self, result: &pb::JobResult, key: Option<&str>, parent: &Trace) -> Settle {
        let span = observe::publishing(result, self.name.as_str(), parent);
        let clock = Instant::now();
        let message = NewMessage::encode(result, schema::RESULT).traced(&span.trace());
        let (run, job) = match (RunId::new(&result.run), JobId::new(&result.job)) {
            (Ok(run), Ok(job)) => (run, job),
            (Err(error), _) | (_, Err(error)) => return Settle::DeadLetter(error.to_string()),
        };
        let store = pin!(self.store_completion(key, &message));
        let create = pin!(self.persist("creating a result", || {
            self.bus.create_result(&run, &self.name, &job, message.clone())
        }));
        match select(create, store).await {
            // The result is what the run needs. A store that stays silent costs only the reuse of this answer.
            Either::Left(((), store)) => drop(tokio::time::timeout(STORE_PATIENCE, store).await),
            Either::Right(((), create)) => create.await,
        }
        metrics::result_sent(self.name.as_str(), clock.elapsed());
        Settle::Ack
    }

    /// Puts a completion into the store, trying again until the bus takes it. Nothing waits for it but this answer.
    async fn store_completion(&self, key: Option<&str>, message: &NewMessage) {
        let Some(key) = key else { return };
        let (completions, mut pause) = (self.bus.completions(), FIRST_PAUSE);
        while let Err(error) = completions.put(key, message.payload.clone()).await {
            tracing::warn!(%error, "cannot store a completion; trying again");
            if matches!(error, BusError::TooLarge { .. } | BusError::InvalidName { .. }) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
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
                    tracing::error!(%error, doing, "failed for good");
                    return;
                }
                Err(error) => {
                    if matches!(error, BusError::Full { .. } | BusError::Unsettled { .. }) {
                        waits.get_or_insert_with(|| self.gate.waits(&error.to_string()));
                    }
                    tracing::warn!(%error, doing, "trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Uploads what an earlier process has paid for and could not upload.
    pub async fn upload_spool(&self) -> Result<(), AgentError> {
        let answers = self.spool.all().map_err(|source| AgentError::Spool {
            folder: self.spool.folder().display().to_string(),
            source,
        })?;
        for (file, answer) in answers {
            // The span that processed it has died with its process. The one that published the job has not.
            let parent = propagation::from_text(answer.trace.as_deref());
            self.upload(&file, &answer, &parent).await;
        }
        Ok(())
    }

    pub async fn upload(&self, file: &Path, answer: &SpooledAnswer, parent: &Trace) {
        let SpooledAnswer { key, result, .. } = answer;
        match self.publish(result, key.as_deref(), parent).await {
            Settle::Ack => tracing::info!(run = result.run, job = result.job, "uploaded an answer from the spool"),
            other => tracing::error!(file = %file.display(), ?other, "cannot use an answer of the spool"),
        }
        self.spool.forget(file);
    }
}
