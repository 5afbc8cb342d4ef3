//! What becomes of spans once they have ended: sent, or lost. A lost one is counted and said, never silently gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// Counts of one process.
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

    /// Spans that found no room in the queue, or that the collector did not take.
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

/// A processor behind which spans wait for the collector, at most `room` of them.
#[derive(Debug)]
pub(crate) struct Counting<P> {
    next: P,
    room: u64,
    tally: Arc<Tally>,
}

impl<P> Counting<P> {
    pub fn new(next: P, room: u64, tally: Arc<Tally>) -> Self {
        Self { next, room, tally }
    }
}

impl<P: SpanProcessor> SpanProcessor for Counting<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let full = self.tally.waiting() >= self.room;
        self.tally.ended.fetch_add(1, Ordering::Relaxed);
        if full {
            self.tally.lose(1, "the collector takes them too slowly");
        } else {
            self.next.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// An exporter that says what became of each batch. The words of its errors are not shown: they may hold the collector's URL.
#[derive(Debug)]
pub(crate) struct Telling<E> {
    next: E,
    tally: Arc<Tally>,
}

impl<E> Telling<E> {
    pub fn new(next: E, tally: Arc<Tally>) -> Self {
        Self { next, tally }
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let exported = self.next.export(batch).await;
        match &exported {
            Ok(()) => drop(self.tally.sent.fetch_add(spans, Ordering::Relaxed)),
            Err(_) => self.tally.lose(spans, "the collector does not take them"),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::sync::Mutex;

    /// Keeps what it gets until it is told to export.
    #[derive(Debug, Default)]
    struct Held(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Held {
        fn on_start(&self, _: &mut Span, _: &Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// Takes every other batch.
    #[derive(Debug, Default)]
    struct Fickle(AtomicBool);

    impl SpanExporter for Fickle {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.fetch_not(Ordering::Relaxed) {
                false => Ok(()),
                true => Err(OTelSdkError::InternalFailure("http://me:secret@host".into())),
            }
        }
    }

    #[tokio::test]
    async fn each_span_is_sent_or_counted_as_lost() {
        let (tally, held) = (Arc::new(Tally::default()), Held::default());
        let waiting = Arc::clone(&held.0);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Counting::new(held, 3, Arc::clone(&tally)))
            .build();
        let tracer = provider.tracer("test");
        let exporter = Telling::new(Fickle::default(), Arc::clone(&tally));
        let spans = |count: usize| (0..count).for_each(|_| drop(tracer.start("span")));
        let batch = || waiting.lock().unwrap().split_off(0);

        spans(5);
        assert_eq!(
            (waiting.lock().unwrap().len(), tally.lost()),
            (3, 2),
            "there is room for three"
        );
        exporter.export(batch()).await.unwrap();
        spans(2);
        assert_eq!((tally.sent(), tally.lost(), tally.unsent()), (3, 2, (4, 7)));
        exporter.export(batch()).await.unwrap_err();
        assert_eq!((tally.sent(), tally.lost(), tally.unsent()), (3, 4, (4, 7)));
        spans(3);
        assert_eq!(
            (waiting.lock().unwrap().len(), tally.lost()),
            (3, 4),
            "there is room again"
        );
    }
}
