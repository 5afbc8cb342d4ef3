//! Publishing jobs, and giving up those that nobody can do.

use super::{Halt, Leader, Sent};
use crate::scheduler::plan::JobToPublish;
use sipdo_bus::{BusError, JobId, JobMessage, NewMessage, Role as BusRole, now_ms};
use sipdo_domain::{NotMeasured, Provenance, Reason, Role, ask::ANEW};
use sipdo_protocol::{JobOutcome, pb, schema};
use std::time::Instant;

impl Leader<'_> {
    pub(super) async fn publish(&mut self, to_publish: JobToPublish) -> Result<(), Halt> {
        let JobToPublish {
            job,
            pool,
            operation,
            attempt,
            sample,
            max_calls,
            at_most,
            ask,
            suspect,
        } = to_publish;
        // Agents of an older version know of no such lane.
        let suspect = suspect && self.context.roster().takes_suspects(&pool);
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
            epoch: self.leadership.epoch(),
            sample,
            seed: self.seed,
            model: self.models.get(&pool.to_string()).cloned(),
            ask: Some(ask),
            max_calls,
            at_most,
            reuse: self.reuse_for(sample),
        };
        let role = pool.role;
        let before = self.published.get(&job);
        let (repeat, overdue) = before.map_or((0, 0), |sent| (sent.repeat + 1, sent.overdue));
        let at = Instant::now();
        self.published.insert(job.clone(), Sent { at, repeat, overdue });
        let message = NewMessage::encode(&message, schema::JOB).traced(&sending.trace());
        let sent = async {
            let (role, id) = (BusRole::new(pool.to_string())?, JobId::new(&job)?);
            let job = JobMessage {
                role,
                suspect,
                run: self.run.clone(),
                job: id,
                attempt,
                epoch: self.leadership.epoch(),
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
                self.give_up(&job, role, attempt, why).await?;
            }
            Err(error) => {
                let published = Err(error);
                sending.settled(&published);
                self.take_ack(job, published);
            }
        }
        Ok(())
    }

    /// Which stored answers may take the place of a job's own. What is asked anew takes none from before the run.
    fn reuse_for(&self, sample: u32) -> Option<pb::Reuse> {
        let rule = self.state.created.as_ref()?.reuse?;
        if sample < ANEW {
            return Some(rule);
        }
        let created_ms = self.state.summary.created_ms;
        Some(pb::Reuse {
            not_before_ms: created_ms,
            without_revision_not_before_ms: created_ms,
        })
    }

    /// Gives a job up that nobody can do. The leader itself creates the result, so that the journal knows, and whatever comes later
    /// counts for nothing.
    pub(super) async fn give_up(&mut self, job: &str, role: Role, attempt: u32, why: NotMeasured) -> Result<(), Halt> {
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
        let (role, job) = (BusRole::new(role.name())?, JobId::new(job)?);
        let created = self.context.bus.create_result(&self.run, &role, &job, message);
        created.await?;
        Ok(())
    }
}
