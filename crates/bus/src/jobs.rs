//! The leader's side of the work queue: publishing jobs, many at once, and taking back those of a run.

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use futures::StreamExt as _;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::NewMessage;
use crate::place::Refusal;
use crate::subjects::{self, JOB_STREAM, JobId, Role, RunId, header};

const DOING: &str = "publishing a job";

/// A job to be published.
#[derive(Debug, Clone)]
pub struct JobMessage {
    /// Who is to do it.
    pub role: Role,
    /// Whether its last attempt ended with its agent's death: then it is worked on alone.
    pub suspect: bool,
    /// For which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The attempt that this message grants.
    pub attempt: u32,
    /// The epoch of the leader that publishes it.
    pub epoch: u64,
    /// Counts deliberate repetitions of the same attempt in the same epoch, for example of a job that seems to have got
    /// lost; without it the server would take them for accidents and drop them.
    pub repeat: u32,
    /// What is asked, and the trace it belongs to.
    pub message: NewMessage,
}

/// What became of a published job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the queue.
    Queued,
    /// It was in the queue already: the same job, attempt, epoch and repetition, within two minutes.
    Repeated,
    /// As many jobs of this run and role wait as may wait. Publish it again when one is done.
    WindowFull,
}

/// The acknowledgement of a job on its way. Await it with [`JobAck::settled`]; thousands may be on their way at once.
#[derive(Debug)]
#[must_use = "a job is published only if its acknowledgement says so"]
pub struct JobAck(PublishAckFuture);

impl JobAck {
    /// Waits until the server has said what became of the job.
    ///
    /// # Errors
    /// [`BusError::Unsettled`] if the server did not answer: publishing the same job again is safe. Otherwise refused.
    pub async fn settled(self) -> Result<Published, BusError> {
        let start = tokio::time::Instant::now();
        match self.0.await {
            Ok(ack) if ack.duplicate => Ok(Published::Repeated),
            Ok(_) => Ok(Published::Queued),
            Err(error) => match Refusal::of(&error) {
                Refusal::WindowFull => Ok(Published::WindowFull),
                Refusal::Full(reason) => Err(BusError::Full { doing: DOING, reason }),
                Refusal::Unsure(reason) => Err(BusError::Unsettled {
                    doing: DOING,
                    waited: start.elapsed(),
                    reason,
                }),
                Refusal::Refused(_) | Refusal::WrongSequence => Err(BusError::failed(DOING, error)),
            },
        }
    }
}

impl Bus {
    /// Sends a job to the queue of its role and returns at once with its acknowledgement.
    ///
    /// # Errors
    /// Too large, or the connection is closed. What the server says is told by [`JobAck::settled`].
    pub async fn publish_job(&self, job: JobMessage) -> Result<JobAck, BusError> {
        let JobMessage {
            role,
            suspect,
            run,
            job,
            attempt,
            epoch,
            repeat,
            message,
        } = job;
        let id = format!("{run}.{role}.{job}.{attempt}.{epoch}.{repeat}");
        let message = message
            .with(header::JOB, &job)
            .with(header::ATTEMPT, attempt.to_string())
            .with(header::EPOCH, epoch.to_string())
            .with(header::MESSAGE_ID, id);
        self.check_size("job", &message)?;
        let publish = PublishMessage::build()
            .payload(message.payload)
            .headers(message.headers.into_nats());
        let lane = if suspect { subjects::suspects(&role)? } else { role };
        let sent = self
            .jetstream()
            .send_publish(subjects::jobs(&lane, &run), publish)
            .await;
        sent.map(JobAck).map_err(|error| BusError::failed(DOING, error))
    }

    /// Removes the jobs of `run` that nobody has acknowledged, of every role, and returns how many there were.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn purge_jobs(&self, run: &RunId) -> Result<u64, BusError> {
        let doing = "removing the jobs of a run";
        let stream = self.jetstream().get_stream_no_info(JOB_STREAM).await;
        let stream = stream.map_err(|error| BusError::failed(doing, error))?;
        let purged = stream.purge().filter(subjects::jobs_of_run(run)).await;
        purged
            .map(|purged| purged.purged)
            .map_err(|error| BusError::failed(doing, error))
    }

    /// How many jobs of all runs nobody has acknowledged yet. The queues are asked, not the stream: a server that was killed may have
    /// kept messages that it had been told are done, which nobody is given again.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn open_jobs(&self) -> Result<u64, BusError> {
        const DOING: &str = "counting the jobs in the queues";
        let stream = self.jetstream().get_stream_no_info(JOB_STREAM).await;
        let stream = stream.map_err(|error| BusError::failed(DOING, error))?;
        let mut queues = stream.consumers();
        let mut open = 0;
        while let Some(queue) = queues.next().await {
            let queue = queue.map_err(|error| BusError::failed(DOING, error))?;
            open += queue.num_pending + queue.num_ack_pending as u64;
        }
        Ok(open)
    }
}
