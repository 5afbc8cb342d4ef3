//! Carrying a trace from one process to the next, in any carrier of text pairs: message headers, a map, gRPC metadata.
//!
//! The carrier is a closure, so that no layer here knows about NATS or HTTP. Where nothing records spans, nothing is
//! injected, and extracting is not tried.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::names::{TRACEPARENT, TRACESTATE};
use crate::span::{Trace, recording};

/// The place in its trace as `(name, value)` pairs handed to `set`; none if nothing is recorded. The SDK's propagator writes the same,
/// at several times the price, and every message of a run carries it.
pub fn inject(trace: &Trace, mut set: impl FnMut(&'static str, String)) {
    let Some(place) = trace.place() else { return };
    set(TRACEPARENT, traceparent(place));
    let state = place.trace_state().header();
    // An empty state says nothing, and would cost a header on every message.
    if !state.is_empty() {
        set(TRACESTATE, state);
    }
}

/// `00-{trace}-{span}-{flags}`, in hexadecimal.
fn traceparent(place: &SpanContext) -> String {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    hex(&mut text, &place.trace_id().to_bytes());
    text.push('-');
    hex(&mut text, &place.span_id().to_bytes());
    text.push_str(if place.is_sampled() { "-01" } else { "-00" });
    text
}

fn hex(text: &mut String, bytes: &[u8]) {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)));
}

/// The place as text, to be kept in a file: `traceparent` of W3C. None if nothing is recorded.
#[must_use]
pub fn kept(trace: &Trace) -> Option<String> {
    let mut parent = None;
    inject(trace, |name, value| {
        if name == TRACEPARENT {
            parent = Some(value);
        }
    });
    parent
}

/// The place that [`kept`] gave.
#[must_use]
pub fn again(kept: Option<&str>) -> Trace {
    extract(|name| kept.filter(|_| name == TRACEPARENT))
}

/// The place in a trace found through `get`; none where there is none, it is not one, or nothing is recorded.
pub fn extract<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Trace {
    if !recording() {
        return Trace::none();
    }
    read(get)
}

fn read<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Trace {
    let Some(traceparent) = get(TRACEPARENT) else {
        return Trace::none();
    };
    let found = Found {
        traceparent,
        tracestate: get(TRACESTATE),
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &found);
    Trace::far(context.span().span_context())
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
    use super::*;
    use std::collections::HashMap;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        for parent in [PARENT, "00-000000000000000000000000000000a1-00000000000000b2-00"] {
            let trace = read(|name| (name == TRACEPARENT).then_some(parent));
            let mut pairs = HashMap::new();
            inject(&trace, |name, value| drop(pairs.insert(name, value)));
            assert_eq!(
                pairs,
                HashMap::from([(TRACEPARENT, parent.to_owned())]),
                "and no empty tracestate"
            );
            assert_eq!(kept(&trace).as_deref(), Some(parent));
        }
    }

    #[test]
    fn garbage_is_no_trace() {
        assert!(read(|name| (name == TRACEPARENT).then_some("00-not-a-trace")).is_none());
        assert!(read(|_| None).is_none());
    }

    #[test]
    fn nothing_is_carried_where_nothing_is_recorded() {
        let trace = extract(|name| (name == TRACEPARENT).then_some(PARENT));
        inject(&trace, |name, value| panic!("{name}: {value}"));
    }
}
