//! Sends spans that have ended: kept as the bytes that they are written in, and posted by one task, over gRPC or HTTP.
//!
//! What becomes of them is counted: sent, or lost. A lost one is said, never silently gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_http::Bytes;
use opentelemetry_sdk::Resource;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::encode::{self, Envelope};
use crate::post::Post;
use crate::settings::Batches;

/// About the most bytes that are sent at a time: far below the four mebibytes that a gRPC server takes.
const BATCH_BYTES: usize = 1 << 20;
/// Pieces of memory that are kept for the batches to come: the allocator gives so much back to the system, and asks for it again.
const SPARE: usize = 2;

/// What becomes of the spans of one process.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    warned: AtomicBool,
}

impl Tally {
    /// Spans that the collector has taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Spans that found no room, or that the collector did not take.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Spans that were not sent, out of how many. At the end of a process these are lost, whether or not they were counted so.
    pub fn unsent(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Relaxed);
        (ended.saturating_sub(self.sent()), ended)
    }

    fn waiting(&self) -> u64 {
        self.unsent().0.saturating_sub(self.lost())
    }

    /// The collector took a batch, but for those that it refused.
    fn taken(&self, spans: u64, rejected: u64) {
        self.sent.fetch_add(spans - rejected, Ordering::Relaxed);
        if rejected > 0 {
            self.lose(rejected, "the collector refuses some of them");
        }
    }

    /// Says the first loss; the sum is said at the end, and stands among the metrics.
    fn lose(&self, spans: u64, why: &str) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                spans,
                why,
                "spans are lost; the metric sipdo.telemetry.spans counts them"
            );
        }
    }
}

/// Spans on their way, shared by those who end them and the task that sends them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    tally: Arc<Tally>,
    batches: Batches,
    envelope: Envelope,
    waiting: Mutex<Waiting>,
    /// A batch is full, or the process ends.
    look: Notify,
    ending: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    spare: Vec<Vec<u8>>,
}

/// Spans that are sent together, behind the room for what stands before them.
#[derive(Debug)]
struct Batch {
    spans: usize,
    request: Vec<u8>,
}

impl Queue {
    /// For spans that come from there.
    pub fn new(tally: Arc<Tally>, batches: Batches, resource: &Resource) -> Self {
        Self {
            tally,
            batches,
            envelope: Envelope::new(resource, "sipdo"),
            ..Self::default()
        }
    }

    /// One more span has ended.
    pub fn put(&self, span: &[u8]) {
        let full = self.tally.waiting() >= self.batches.waiting;
        self.tally.ended.fetch_add(1, Ordering::Relaxed);
        if full {
            return self.tally.lose(1, "the collector takes them too slowly");
        }
        let mut waiting = self.lock();
        if waiting.batches.back().is_none_or(|batch| self.is_full(batch)) {
            let mut request = waiting.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_BYTES));
            request.resize(self.envelope.room(), 0);
            waiting.batches.push_back(Batch { spans: 0, request });
        }
        if let Some(batch) = waiting.batches.back_mut() {
            encode::span(&mut batch.request, span);
            batch.spans += 1;
            if self.is_full(batch) {
                self.look.notify_one();
            }
        }
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.spans >= self.batches.size || batch.request.len() >= BATCH_BYTES
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request and its spans: a full one, or with `all` whatever there is. Its memory, to be brought back, and where in it
    /// the request begins.
    fn take(&self, all: bool) -> Option<(u64, Bytes, usize)> {
        let mut waiting = self.lock();
        let ready = waiting.batches.front().is_some_and(|batch| all || self.is_full(batch));
        let Batch { spans, mut request } = ready.then(|| waiting.batches.pop_front()).flatten()?;
        drop(waiting);
        let begin = self.envelope.close(&mut request);
        Some((spans as u64, request.into(), begin))
    }

    /// Keeps the memory of a request for another, unless somebody still reads it.
    fn bring_back(&self, mut memory: Bytes) {
        memory.clear();
        let memory = Vec::from(memory);
        let mut waiting = self.lock();
        if waiting.spare.len() < SPARE && memory.capacity() > 0 {
            waiting.spare.push(memory);
        }
    }

    /// The requests that wait.
    #[cfg(test)]
    pub fn all(&self) -> Vec<Bytes> {
        let requests = std::iter::from_fn(|| self.take(true));
        requests.map(|(_, memory, begin)| memory.slice(begin..)).collect()
    }
}

/// The task that sends.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: Arc<Queue>,
    task: tokio::task::JoinHandle<()>,
}

impl Sender {
    /// Starts the task.
    pub fn start(post: Post, batches: Batches, resource: &Resource, tally: Arc<Tally>) -> Self {
        let queue = Arc::new(Queue::new(tally, batches, resource));
        let task = tokio::spawn(send(Arc::clone(&queue), post));
        Self { queue, task }
    }

    /// Where spans that have ended are to be put.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Sends what still waits, for at most `within`. True where the task came to its end.
    pub async fn finish(self, within: Duration) -> bool {
        self.queue.ending.store(true, Ordering::Relaxed);
        self.queue.look.notify_one();
        timeout(within, self.task).await.is_ok_and(|ended| ended.is_ok())
    }
}

/// Sends full batches at once, and what waits once in a while.
async fn send(queue: Arc<Queue>, post: Post) {
    let (mut last, delay) = (Instant::now(), queue.batches.delay);
    loop {
        let ending = queue.ending.load(Ordering::Relaxed);
        let due = ending || last.elapsed() >= delay;
        while let Some((spans, memory, begin)) = queue.take(due) {
            let sent = post.send(memory.slice(begin..)).await;
            queue.bring_back(memory);
            // The words of an error are not shown: libraries write URLs into them.
            match sent {
                Ok(rejected) => queue.tally.taken(spans, rejected.min(spans)),
                Err(_) => queue.tally.lose(spans, "the collector does not take them"),
            }
        }
        if ending {
            return;
        }
        if due {
            last = Instant::now();
        }
        // Either way there is something to look at, or it is time.
        let _ = timeout(delay.saturating_sub(last.elapsed()), queue.look.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_request_is_used_again_unless_somebody_still_reads_it() {
        let queue = Queue::new(Arc::default(), Batches::default(), &Resource::builder_empty().build());
        let capacity = |queue: &Queue| queue.lock().spare.iter().map(Vec::capacity).collect::<Vec<_>>();
        queue.put(&[7; 1000]);
        let (spans, memory, begin) = queue.take(true).unwrap();
        let held = memory.slice(begin..);
        queue.bring_back(memory);
        assert_eq!((spans, capacity(&queue).len()), (1, 0), "it is read");
        assert!(held.ends_with(&[7; 1000]));
        queue.put(&[8; 1000]);
        let (_, memory, _) = queue.take(true).unwrap();
        queue.bring_back(memory);
        assert_eq!(capacity(&queue), [BATCH_BYTES]);
        queue.put(&[9; 10]);
        assert_eq!(capacity(&queue).len(), 0);
        let (_, memory, begin) = queue.take(true).unwrap();
        assert!(memory.len() - begin < 100, "nothing is left of the spans before");
    }
}
