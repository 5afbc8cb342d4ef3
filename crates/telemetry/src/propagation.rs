//! Carrying a trace from one process to the next, in any carrier of text pairs: message headers, a map, gRPC metadata.
//!
//! The carrier is a closure, so that no layer here knows about NATS or HTTP. Where nothing records spans, nothing is
//! injected, and extracting costs two look-ups.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::names::{TRACEPARENT, TRACESTATE};

/// The trace context of `span` as `(name, value)` pairs handed to `set`; none if the span is not recorded.
pub fn inject(span: &Span, set: impl FnMut(&'static str, String)) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Pairs(set));
    }
}

/// As [`inject`], of the current span, into a map.
#[must_use]
pub fn current() -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    inject(&Span::current(), |name, value| {
        pairs.insert(name.to_owned(), value);
    });
    pairs
}

/// Makes the trace context found through `get` the parent of `span`. Without one, or where spans are not recorded, the
/// span stays as it is. Must be called before the span is first entered.
pub fn set_parent<'a>(span: &Span, get: impl Fn(&'static str) -> Option<&'a str>) {
    if let Some(context) = extract(get) {
        // Fails only where no layer records spans, which is the case that needs no parent.
        let _ = span.set_parent(context);
    }
}

/// Links `span` to the trace context found through `get`, besides whatever parent it has.
pub fn link<'a>(span: &Span, get: impl Fn(&'static str) -> Option<&'a str>) {
    if let Some(context) = extract(get) {
        span.add_link(context.span().span_context().clone());
    }
}

fn extract<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Option<Context> {
    let found = Found {
        traceparent: get(TRACEPARENT)?,
        tracestate: get(TRACESTATE),
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &found);
    context.span().span_context().is_valid().then_some(context)
}

struct Pairs<F>(F);

impl<F: FnMut(&'static str, String)> Injector for Pairs<F> {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => (self.0)(TRACEPARENT, value),
            // An empty state says nothing, and would cost a header on every message.
            TRACESTATE if !value.is_empty() => (self.0)(TRACESTATE, value),
            _ => {}
        }
    }
}

struct Found<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Found<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.traceparent),
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn recording() -> (SdkTracerProvider, impl tracing::Subscriber) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        (provider, tracing_subscriber::registry().with(layer))
    }

    #[test]
    fn a_trace_goes_on_in_the_next_process() {
        let (_provider, subscriber) = recording();
        tracing::subscriber::with_default(subscriber, || {
            let sent = tracing::info_span!("sent").in_scope(current);
            assert_eq!(sent.len(), 1, "no empty tracestate: {sent:?}");
            let received = tracing::info_span!("received");
            set_parent(&received, |name| sent.get(name).map(String::as_str));
            let context = received.context();
            let trace = context.span().span_context().trace_id().to_string();
            assert!(sent[TRACEPARENT].contains(&trace), "{sent:?} should name trace {trace}");
        });
    }

    #[test]
    fn garbage_in_the_headers_starts_a_trace_of_its_own() {
        let (_provider, subscriber) = recording();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("received");
            set_parent(&span, |name| (name == TRACEPARENT).then_some("00-not-a-trace"));
            assert!(span.context().span().span_context().is_valid());
        });
    }

    #[test]
    fn nothing_is_injected_where_nothing_is_recorded() {
        assert!(tracing::info_span!("unheard").in_scope(current).is_empty());
    }
}
