//! Sends spans that have ended: kept as the bytes that they are written in, and posted by one task, over gRPC or HTTP.
//!
//! What becomes of them is counted: sent, or lost. A lost one is said, never silently gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::encode;
use crate::post::Post;

/// Spans that wait for the collector. What does not fit is lost: a run is never held up.
const QUEUE: u64 = 16_384;
/// Spans sent at a time, and about the most bytes: far below the four mebibytes that a gRPC server takes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);

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
    batches: Mutex<VecDeque<Batch>>,
    /// A batch is full, or the process ends.
    look: Notify,
    ending: AtomicBool,
}

/// Spans that are sent together.
#[derive(Debug)]
struct Batch {
    spans: usize,
    bytes: Vec<u8>,
}

impl Batch {
    /// With room for most batches: one that grows is copied again and again.
    fn new() -> Self {
        Self {
            spans: 0,
            bytes: Vec::with_capacity(BATCH_BYTES),
        }
    }

    fn is_full(&self) -> bool {
        self.spans >= BATCH || self.bytes.len() >= BATCH_BYTES
    }
}

impl Queue {
    /// One more span has ended.
    pub fn put(&self, span: &[u8]) {
        let full = self.tally.waiting() >= QUEUE;
        self.tally.ended.fetch_add(1, Ordering::Relaxed);
        if full {
            return self.tally.lose(1, "the collector takes them too slowly");
        }
        let mut batches = self.lock();
        if batches.back().is_none_or(Batch::is_full) {
            batches.push_back(Batch::new());
        }
        if let Some(batch) = batches.back_mut() {
            encode::span(&mut batch.bytes, span);
            batch.spans += 1;
            if batch.is_full() {
                self.look.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch: a full one, or with `all` whatever there is.
    fn take(&self, all: bool) -> Option<Batch> {
        let mut batches = self.lock();
        let ready = batches.front().is_some_and(|batch| all || batch.is_full());
        ready.then(|| batches.pop_front()).flatten()
    }

    /// All that waits.
    #[cfg(test)]
    pub fn all(&self) -> Vec<u8> {
        std::iter::from_fn(|| self.take(true))
            .flat_map(|batch| batch.bytes)
            .collect()
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
    pub fn start(post: Post, resource: Resource, tally: Arc<Tally>) -> Self {
        let queue = Arc::new(Queue {
            tally,
            ..Queue::default()
        });
        let task = tokio::spawn(send(Arc::clone(&queue), post, resource));
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
async fn send(queue: Arc<Queue>, post: Post, resource: Resource) {
    let mut last = Instant::now();
    loop {
        let ending = queue.ending.load(Ordering::Relaxed);
        let due = ending || last.elapsed() >= DELAY;
        while let Some(batch) = queue.take(due) {
            let spans = batch.spans as u64;
            let body = encode::request(&resource, "sipdo", &batch.bytes);
            drop(batch);
            // The words of an error are not shown: libraries write URLs into them.
            match post.send(body).await {
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
        let _ = timeout(DELAY.saturating_sub(last.elapsed()), queue.look.notified()).await;
    }
}
