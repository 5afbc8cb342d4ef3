//! Hears from the exporter how many spans a collector refused of a batch that it took: the exporter says it in a log line alone.

use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::spans::Tally;

/// Target of the exporter's own lines.
pub(crate) const EXPORTER: &str = "opentelemetry-otlp";

/// A layer that adds what is refused to the counts. To be filtered to [`EXPORTER`].
#[derive(Debug)]
pub(crate) struct Refused(pub Arc<Tally>);

impl<S: Subscriber> Layer<S> for Refused {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut spans = Spans(0);
        event.record(&mut spans);
        if spans.0 > 0 {
            self.0.refuse(spans.0);
        }
    }
}

struct Spans(u64);

impl Visit for Spans {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "rejected_spans" {
            self.0 = u64::try_from(value).unwrap_or(0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
