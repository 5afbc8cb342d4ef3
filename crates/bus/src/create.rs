//! Messages created once, for ever: results, lost attempts, and rights to buy.
//!
//! They carry no `Nats-Msg-Id`: the expected sequence 0 is the guarantee, and a deduplicating answer would hide from
//! two processes which of them was first. A nonce of the call tells that even after an unanswered publish.

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{NewMessage, Stored};
use crate::place::{CasOutcome, Target};
use crate::subjects::{self, ATTEMPT_STREAM, JobId, RUN_STREAM, Role, RunId, header};

/// The outcome of creating a message once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// This call created it, at this sequence of its stream.
    Created(u64),
    /// It was there before, or another process was quicker.
    Exists,
}

impl Created {
    /// Whether this very call created the message.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::Created(_))
    }
}

impl Bus {
    /// Creates the result of a job. The first one counts, whoever brings it.
    ///
    /// # Errors
    /// Too large; refused; outcome unknown after [`crate::BusSettings::settle_within`].
    pub async fn create_result(
        &self,
        run: &RunId,
        role: &Role,
        job: &JobId,
        message: NewMessage,
    ) -> Result<Created, BusError> {
        let subject = subjects::run_result(run, role, job);
        self.create_once(
            Target {
                stream: RUN_STREAM,
                subject: &subject,
                what: "result of a job",
            },
            message,
        )
        .await
    }

    /// Records that attempt `n` of a job ended with its agent.
    ///
    /// # Errors
    /// As [`Bus::create_result`].
    pub async fn create_lost(
        &self,
        run: &RunId,
        role: &Role,
        job: &JobId,
        n: u32,
        message: NewMessage,
    ) -> Result<Created, BusError> {
        let subject = subjects::run_lost(run, role, job, n);
        self.create_once(
            Target {
                stream: RUN_STREAM,
                subject: &subject,
                what: "record of a lost attempt",
            },
            message,
        )
        .await
    }

    /// Takes the right to buy attempt `n` of a job. Only [`Created::Created`] is the right.
    ///
    /// # Errors
    /// As [`Bus::create_result`].
    pub async fn create_attempt(
        &self,
        run: &RunId,
        role: &Role,
        job: &JobId,
        n: u32,
        message: NewMessage,
    ) -> Result<Created, BusError> {
        let subject = subjects::attempt(run, role, job, n);
        self.create_once(
            Target {
                stream: ATTEMPT_STREAM,
                subject: &subject,
                what: "record of an attempt",
            },
            message,
        )
        .await
    }

    /// The result of a job, if there is one. In a cluster a result that is only just there may not be seen yet; the
    /// record of the attempt guards against buying again.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn result(&self, run: &RunId, role: &Role, job: &JobId) -> Result<Option<Stored>, BusError> {
        self.last_from_anyone(RUN_STREAM, &subjects::run_result(run, role, job))
            .await
    }

    /// The result of a job as the leader of its stream knows it: what is stored is seen, also in a cluster.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn result_for_certain(&self, run: &RunId, role: &Role, job: &JobId) -> Result<Option<Stored>, BusError> {
        self.last_from_leader(RUN_STREAM, &subjects::run_result(run, role, job))
            .await
    }

    /// Who took the right to buy attempt `n` of a job, if anybody did.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn attempt(&self, run: &RunId, role: &Role, job: &JobId, n: u32) -> Result<Option<Stored>, BusError> {
        self.last_from_leader(ATTEMPT_STREAM, &subjects::attempt(run, role, job, n))
            .await
    }

    /// Every right to buy that was ever taken in a run, as job and attempt, in no order.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn attempts(&self, run: &RunId) -> Result<Vec<(JobId, u32)>, BusError> {
        let taken = self
            .last_of_each(ATTEMPT_STREAM, &subjects::attempts_of_run(run))
            .await?;
        Ok(taken
            .iter()
            .filter_map(|stored| subjects::attempt_place(&stored.subject))
            .collect())
    }

    async fn create_once(&self, target: Target<'_>, message: NewMessage) -> Result<Created, BusError> {
        let message = message.with(header::NONCE, self.unique());
        Ok(match self.publish_if(target, message, 0, header::NONCE).await? {
            CasOutcome::Stored(seq) => Created::Created(seq),
            CasOutcome::Taken(_) | CasOutcome::Repeated(_) => Created::Exists,
        })
    }
}
