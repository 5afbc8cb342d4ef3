//! Which job an agent takes next. Jobs as there are free slots; but a suspect, whose last attempt ended with its agent's death, alone:
//! nothing else is in flight while it is worked on, so that no other job is lost if it kills its agent again.

use sipdo_bus::{BusError, Delivery, JobQueue};
use std::time::Duration;
use tokio::time::Instant;

/// Where one suspect comes more may follow: for so long after the last one nothing else is begun, or each would wait for all slots
/// to become free again.
const LINGER: Duration = Duration::from_millis(100);

/// The jobs of one agent before they are begun.
#[derive(Debug)]
pub(crate) struct JobPicker {
    jobs: JobQueue,
    suspects: JobQueue,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Whatever comes is taken.
    Open,
    /// This suspect waits until nothing else is in flight.
    Waiting(Delivery),
    /// A suspect is worked on.
    Alone,
    /// None is, but another one may follow.
    Lingering(Instant),
}

impl JobPicker {
    pub fn new(jobs: JobQueue, suspects: JobQueue) -> Self {
        Self {
            jobs,
            suspects,
            stage: Stage::Open,
        }
    }

    /// The next job to begin, while so many are in flight; `None` once the queues are drained. Safe to cancel: call it again whenever
    /// the number has changed.
    pub async fn next(&mut self, in_flight: usize) -> Option<Delivery> {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Open) {
                Stage::Waiting(suspect) if in_flight == 0 => {
                    tracing::info!(run = %suspect.run, "working on a suspect alone");
                    self.stage = Stage::Alone;
                    return Some(suspect);
                }
                Stage::Alone if in_flight == 0 => Stage::Lingering(Instant::now() + LINGER),
                busy @ (Stage::Waiting(_) | Stage::Alone) => {
                    self.stage = busy;
                    return std::future::pending().await;
                }
                Stage::Lingering(until) => {
                    self.stage = Stage::Lingering(until);
                    tokio::select! {
                        biased;
                        suspect = self.suspects.next() => Stage::Waiting(suspect?),
                        () = tokio::time::sleep_until(until) => Stage::Open,
                    }
                }
                Stage::Open => tokio::select! {
                    biased;
                    suspect = self.suspects.next() => Stage::Waiting(suspect?),
                    job = self.jobs.next() => return job,
                },
            };
        }
    }

    /// Stops asking for jobs, and hands back those that were not begun.
    ///
    /// # Errors
    /// One could not be handed back; it comes again by itself.
    pub async fn drain(&mut self) -> Result<(), BusError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Open);
        self.jobs.drain().await;
        self.suspects.drain().await;
        match stage {
            Stage::Waiting(suspect) => suspect.hand_back(Duration::ZERO).await,
            _ => Ok(()),
        }
    }
}
