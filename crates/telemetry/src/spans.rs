//! The SDK's span provider, with what the SDK lacks: a bound on the bytes of a request, and counts of what became of every span.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};

use crate::Settings;

/// About the most bytes that are sent at a time: far below the four mebibytes that a gRPC server takes.
const BATCH_BYTES: usize = 1 << 20;
/// Events that one span may have where the environment sets no other limit: each vote of an iteration is one.
const EVENTS: u32 = 4096;

/// What becomes of the spans of one process.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: AtomicU64,
    taken: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    warned: AtomicBool,
}

impl Tally {
    /// Spans that the collector has taken.
    pub fn sent(&self) -> u64 {
        self.taken.load(Relaxed).saturating_sub(self.refused.load(Relaxed))
    }

    /// Spans that found no room, that the collector did not take, or that it refused of a batch that it took.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed) + self.refused.load(Relaxed)
    }

    /// Spans that were not sent, out of how many. At the end of a process these are lost, whether or not they were counted so.
    pub fn unsent(&self) -> (u64, u64) {
        let ended = self.ended.load(Relaxed);
        (ended.saturating_sub(self.sent()), ended)
    }

    fn waiting(&self) -> u64 {
        let gone = self.taken.load(Relaxed) + self.lost.load(Relaxed);
        self.ended.load(Relaxed).saturating_sub(gone)
    }

    /// The collector refused so many of a batch that it took.
    pub fn refuse(&self, spans: u64) {
        self.refused.fetch_add(spans, Relaxed);
        self.warn(spans, "the collector refuses some of them");
    }

    fn lose(&self, spans: u64, why: &str) {
        self.lost.fetch_add(spans, Relaxed);
        self.warn(spans, why);
    }

    /// Says the first loss; the sum is said at the end, and stands among the metrics.
    fn warn(&self, spans: u64, why: &str) {
        if !self.warned.swap(true, Relaxed) {
            tracing::warn!(
                spans,
                why,
                "spans are lost; the metric sipdo.telemetry.spans counts them"
            );
        }
    }
}

/// A provider that hands spans to `exporter`. Sampler and limits are the SDK's, as the environment sets them.
pub(crate) fn provider(
    exporter: impl SpanExporter + 'static,
    settings: &Settings,
    resource: Resource,
    tally: &Arc<Tally>,
) -> SdkTracerProvider {
    let batches = settings.batches;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(usize::try_from(batches.waiting).unwrap_or(usize::MAX))
        .with_max_export_batch_size(batches.size)
        .with_scheduled_delay(batches.delay)
        .build();
    let counted = Counted(exporter, Arc::clone(tally));
    let processor = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(Bounded(processor, Arc::clone(tally), batches.waiting));
    if !settings.limits_events {
        provider = provider.with_max_events_per_span(EVENTS);
    }
    provider.build()
}

/// Counts what an exporter takes, and sends at most a mebibyte at a time.
#[derive(Debug)]
struct Counted<E>(E, Arc<Tally>);

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        let mut result = Ok(());
        while !batch.is_empty() {
            let rest = batch.split_off(fitting(&batch));
            let spans = batch.len() as u64;
            let sent = self.0.export(std::mem::replace(&mut batch, rest)).await;
            match &sent {
                Ok(()) => drop(self.1.taken.fetch_add(spans, Relaxed)),
                // The words of an error are not shown: libraries write URLs into them.
                Err(_) => self.1.lose(spans, "the collector does not take them"),
            }
            result = result.and(sent);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// An attribute set again replaces the one before: the SDK would send both, and readers differ on which of them counts.
fn keep_last(attributes: &mut Vec<KeyValue>) {
    let mut at = 0;
    while let Some((pair, later)) = attributes.get(at..).and_then(<[_]>::split_first) {
        if later.iter().any(|other| other.key == pair.key) {
            attributes.remove(at);
        } else {
            at += 1;
        }
    }
}

/// How many spans go into one request: at least one.
fn fitting(batch: &[SpanData]) -> usize {
    let mut bytes = 0;
    let over = batch.iter().position(|span| {
        bytes += size(span);
        bytes > BATCH_BYTES
    });
    over.unwrap_or(batch.len()).max(1)
}

/// About the bytes of a span in a request.
fn size(span: &SpanData) -> usize {
    let attributes = |pairs: &[KeyValue]| -> usize {
        pairs
            .iter()
            .map(|pair| pair.key.as_str().len() + length(&pair.value) + 8)
            .sum()
    };
    let events = span.events.iter();
    let events: usize = events
        .map(|event| event.name.len() + 24 + attributes(&event.attributes))
        .sum();
    128 + span.name.len() + attributes(&span.attributes) + events + 64 * span.links.len()
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::String(texts)) => texts.iter().map(|text| text.as_str().len() + 4).sum(),
        _ => 8,
    }
}

/// Lets no more spans wait than there is room for, and counts those that find none: the processor drops them without a count.
#[derive(Debug)]
struct Bounded(BatchSpanProcessor, Arc<Tally>, u64);

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        keep_last(&mut span.attributes);
        self.1.ended.fetch_add(1, Relaxed);
        if self.1.waiting() > self.2 {
            self.1.lose(1, "the collector takes them too slowly");
        } else {
            self.0.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Batches;
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use std::sync::Mutex;

    /// Takes or refuses every request, and keeps how many spans were in each, and the attributes of each span.
    #[derive(Debug, Clone, Default)]
    struct Collector {
        requests: Arc<Mutex<Vec<usize>>>,
        attributes: Arc<Mutex<Vec<Vec<KeyValue>>>>,
        refuses: bool,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.requests.lock().unwrap().push(batch.len());
            let attributes = batch.into_iter().map(|span| span.attributes);
            self.attributes.lock().unwrap().extend(attributes);
            match self.refuses {
                true => Err(OTelSdkError::InternalFailure("away".into())),
                false => Ok(()),
            }
        }
    }

    fn exported(collector: Collector, waiting: u64, spans: usize, text: usize) -> (Vec<usize>, Arc<Tally>) {
        let mut settings = Settings::from_env(|_| None, false).unwrap();
        settings.batches = Batches {
            waiting,
            delay: Duration::from_secs(60),
            ..Batches::default()
        };
        let tally = Arc::default();
        let provider = provider(collector.clone(), &settings, Resource::builder_empty().build(), &tally);
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            let mut span = tracer.start("span");
            span.set_attribute(KeyValue::new("text", "x".repeat(text)));
        }
        drop(provider.shutdown_with_timeout(Duration::from_secs(5)));
        let requests = collector.requests.lock().unwrap().clone();
        (requests, tally)
    }

    #[test]
    fn no_request_is_larger_than_a_server_takes() {
        let (requests, tally) = exported(Collector::default(), 1000, 300, 10_000);
        assert!(
            requests.iter().all(|spans| spans * 10_000 <= BATCH_BYTES + 10_000),
            "{requests:?}"
        );
        assert_eq!(requests.iter().sum::<usize>(), 300);
        assert_eq!((tally.sent(), tally.lost()), (300, 0));
        let (requests, _) = exported(Collector::default(), 10, 2, 2 * BATCH_BYTES);
        assert_eq!(requests, [1, 1], "one that is larger than all goes alone");
    }

    #[test]
    fn an_attribute_set_again_replaces_the_one_before() {
        let collector = Collector::default();
        let settings = Settings::from_env(|_| None, false).unwrap();
        let resource = Resource::builder_empty().build();
        let provider = provider(collector.clone(), &settings, resource, &Arc::default());
        let mut span = provider.tracer("test").start("span");
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5)] {
            span.set_attribute(KeyValue::new(key, value));
        }
        drop(span);
        provider.shutdown_with_timeout(Duration::from_secs(5)).unwrap();
        let expected = [("b", 2), ("c", 4), ("a", 5)].map(|(key, value)| KeyValue::new(key, value));
        assert_eq!(*collector.attributes.lock().unwrap(), [expected.to_vec()]);
    }

    #[test]
    fn every_span_is_counted_as_sent_or_lost() {
        let refusing = Collector {
            refuses: true,
            ..Collector::default()
        };
        let (_, tally) = exported(refusing, 100, 7, 1);
        assert_eq!((tally.sent(), tally.lost(), tally.unsent()), (0, 7, (7, 7)));
        tally.refuse(3);
        assert_eq!(tally.lost(), 10);
        let (requests, tally) = exported(Collector::default(), 5, 50, 1);
        let sent: usize = requests.iter().sum();
        assert_eq!(
            (tally.sent() as usize, tally.sent() + tally.lost()),
            (sent, 50),
            "what finds no room is lost"
        );
        assert!(tally.lost() > 0);
    }
}
