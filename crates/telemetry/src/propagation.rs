//! Carrying a trace from one process to the next, in any carrier of text pairs: message headers, a map, gRPC metadata.
//!
//! The carrier is a closure, so that no layer here knows about NATS or HTTP; what is written and read is the SDK's, W3C trace context.
//! Where nothing records spans, nothing is injected, and extracting is not tried.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::names::{TRACEPARENT, TRACESTATE};
use crate::span::{Trace, recording};

/// The place in its trace as `(name, value)` pairs handed to `set`; none if nothing is recorded.
pub fn inject(trace: &Trace, set: impl FnMut(&'static str, String)) {
    if let Some(context) = trace.context() {
        TraceContextPropagator::new().inject_context(context, &mut Writer(set));
    }
}

struct Writer<F>(F);

impl<F: FnMut(&'static str, String)> Injector for Writer<F> {
    fn set(&mut self, key: &str, value: String) {
        // An empty state says nothing, and would cost a header on every message.
        match key {
            TRACEPARENT => (self.0)(TRACEPARENT, value),
            TRACESTATE if !value.is_empty() => (self.0)(TRACESTATE, value),
            _ => {}
        }
    }
}

/// The place as text, to be kept in a file: `traceparent` of W3C. None if nothing is recorded.
#[must_use]
pub fn to_text(trace: &Trace) -> Option<String> {
    let mut parent = None;
    inject(trace, |name, value| {
        if name == TRACEPARENT {
            parent = Some(value);
        }
    });
    parent
}

/// The place that [`to_text`] gave.
#[must_use]
pub fn from_text(text: Option<&str>) -> Trace {
    extract(|name| text.filter(|_| name == TRACEPARENT))
}

/// The place in a trace found through `get`; none where there is none, it is not one, or nothing is recorded.
pub fn extract<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Trace {
    if recording() { read(get) } else { Trace::none() }
}

fn read<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Trace {
    let found = Reader {
        parent: get(TRACEPARENT),
        state: get(TRACESTATE),
    };
    if found.parent.is_none() {
        return Trace::none();
    }
    Trace::of(TraceContextPropagator::new().extract_with_context(&Context::new(), &found))
}

struct Reader<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.parent,
            TRACESTATE => self.state,
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

    fn written(trace: &Trace) -> HashMap<&'static str, String> {
        let mut pairs = HashMap::new();
        inject(trace, |name, value| drop(pairs.insert(name, value)));
        pairs
    }

    #[test]
    fn what_is_read_is_written_again() {
        for parent in [PARENT, "00-000000000000000000000000000000a1-00000000000000b2-00"] {
            let trace = read(|name| (name == TRACEPARENT).then_some(parent));
            let expected = HashMap::from([(TRACEPARENT, parent.to_owned())]);
            assert_eq!(written(&trace), expected, "and no empty tracestate");
            assert_eq!(to_text(&trace).as_deref(), Some(parent));
        }
        let with_state = read(|name| {
            Some(if name == TRACEPARENT {
                PARENT
            } else {
                "vendor=a,other=b"
            })
        });
        assert_eq!(
            written(&with_state).get(TRACESTATE).map(String::as_str),
            Some("vendor=a,other=b")
        );
    }

    #[test]
    fn what_is_no_place_is_none_and_a_bad_state_loses_no_trace() {
        let changed = |from: usize, to: usize, by: &str| format!("{}{by}{}", &PARENT[..from], &PARENT[to..]);
        let none = [
            String::new(),
            "00-not".into(),
            changed(0, 2, "ff"),
            changed(0, 2, "0g"),
            changed(3, 35, "4BF92F3577B34DA6A3CE929D0E0E4736"),
            changed(3, 35, &"0".repeat(32)),
            changed(36, 52, &"0".repeat(16)),
        ];
        for parent in &none {
            assert!(
                read(|name| (name == TRACEPARENT).then_some(parent)).is_none(),
                "{parent}"
            );
        }
        let later = changed(0, 2, "fe");
        assert!(
            !read(|name| (name == TRACEPARENT).then_some(&*later)).is_none(),
            "a version to come"
        );
        let stateless = read(|name| Some(if name == TRACEPARENT { PARENT } else { "no state" }));
        assert_eq!(written(&stateless), HashMap::from([(TRACEPARENT, PARENT.to_owned())]));
        assert!(read(|_| None).is_none());
    }

    #[test]
    fn nothing_is_carried_where_nothing_is_recorded() {
        let trace = extract(|name| (name == TRACEPARENT).then_some(PARENT));
        inject(&trace, |name, value| panic!("{name}: {value}"));
    }
}
