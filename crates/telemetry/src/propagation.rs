//! Carrying a trace from one process to the next, in any carrier of text pairs: message headers, a map, gRPC metadata.
//!
//! The carrier is a closure, so that no layer here knows about NATS or HTTP. Where nothing records spans, nothing is
//! injected, and extracting is not tried.

use std::str::FromStr as _;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

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
    let place = || {
        let (trace, span, flags) = parts(get(TRACEPARENT)?)?;
        // A state that cannot be read is no reason to lose the trace.
        let state = get(TRACESTATE).and_then(|state| TraceState::from_str(state).ok());
        Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default()))
    };
    place().map_or_else(Trace::none, |place| Trace::far(&place))
}

/// `{version}-{trace}-{span}-{flags}`, and what versions to come append to it. As with [`inject`], the SDK's takes several times as long.
fn parts(traceparent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = traceparent.trim().split('-');
    let mut hex = |digits: usize| {
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(lower))
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let sampled = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some((TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, sampled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Context;
    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use std::collections::{BTreeSet, HashMap};

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

    /// What the SDK's own reader makes of it.
    fn read_by_sdk(pairs: &HashMap<String, String>) -> SpanContext {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), pairs);
        context.span().span_context().clone()
    }

    /// The SDK takes more: numbers of any length, where W3C has fixed ones.
    #[test]
    fn what_is_read_the_sdk_reads_alike() {
        let changed = |from: usize, to: usize, by: &str| format!("{}{by}{}", &PARENT[..from], &PARENT[to..]);
        let mut all = vec![
            PARENT.to_owned(),
            format!(" {PARENT} "),
            format!("{PARENT}-"),
            String::new(),
            "00-not".into(),
        ];
        all.extend(["01", "ff", "fe", "0", "0g", "000"].map(|version| changed(0, 2, version)));
        all.extend(["00", "02", "03", "ff", "fg", "1"].map(|flags| changed(53, 55, flags)));
        all.extend(
            [
                "4BF92F3577B34DA6A3CE929D0E0E4736",
                "4bf9",
                &"0".repeat(32),
                "+bf92f3577b34da6a3ce929d0e0e4736",
            ]
            .map(|trace| changed(3, 35, trace)),
        );
        all.extend(["00F067AA0BA902B7", "00f0", &"0".repeat(16), "é0f067aa0ba902b"].map(|span| changed(36, 52, span)));
        all.extend((0..PARENT.len()).map(|at| changed(at, at + 1, "")));
        let mut taken = BTreeSet::new();
        for parent in all {
            for state in [None, Some("vendor=a,other=b"), Some("no state")] {
                let mut pairs = HashMap::from([(TRACEPARENT.to_owned(), parent.clone())]);
                pairs.extend(state.map(|state| (TRACESTATE.to_owned(), state.to_owned())));
                let ours = read(|name| pairs.get(name).map(String::as_str));
                let ours = ours.place().cloned().unwrap_or(SpanContext::NONE);
                if ours.is_valid() {
                    assert_eq!(ours, read_by_sdk(&pairs), "{pairs:?}");
                    taken.insert(parent.clone());
                }
            }
        }
        let good = ["01", "fe"].map(|version| changed(0, 2, version));
        let good = good
            .into_iter()
            .chain(["00", "02", "03", "ff"].map(|flags| changed(53, 55, flags)));
        let good = good.chain([PARENT.to_owned(), format!(" {PARENT} ")]);
        assert_eq!(taken, good.collect());
        assert!(read(|_| None).is_none());
    }

    #[test]
    fn nothing_is_carried_where_nothing_is_recorded() {
        let trace = extract(|name| (name == TRACEPARENT).then_some(PARENT));
        inject(&trace, |name, value| panic!("{name}: {value}"));
    }
}
