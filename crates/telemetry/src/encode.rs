//! Spans as OTLP has them (opentelemetry-proto, `trace/v1/trace.proto` and `common/v1/common.proto`). The fields of a protobuf message
//! may come in any order, so a span is written as it goes. The SDK's way is to record it in memory, to build the messages from that, and
//! to encode those, on another thread than the one that frees them: that was most of what tracing cost.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::Resource;

/// Wire types of protobuf.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The body of one export: `spans`, which [`span`] has written one after the other, with where they come from.
pub(crate) fn request(resource: &Resource, scope: &str, spans: &[u8]) -> Vec<u8> {
    let (mut from, mut by) = (Vec::new(), Vec::new());
    nested(&mut from, 1, |out| {
        for (key, value) in resource.iter() {
            nested(out, 1, |out| pair(out, key.as_str(), value));
        }
    });
    nested(&mut by, 1, |out| text(out, 1, scope));
    let scoped = by.len() + spans.len();
    let mut head = from;
    number(&mut head, 2, BYTES);
    varint(&mut head, scoped as u64);
    head.extend(by);
    let mut body = Vec::with_capacity(head.len() + spans.len() + 16);
    number(&mut body, 1, BYTES);
    varint(&mut body, (head.len() + spans.len()) as u64);
    body.extend(head);
    body.extend_from_slice(spans);
    body
}

/// One more span, as a field of `ScopeSpans`.
pub(crate) fn span(out: &mut Vec<u8>, span: &[u8]) {
    bytes(out, 2, span);
}

/// What is known of a span when it begins.
pub(crate) fn head(
    out: &mut Vec<u8>,
    place: &SpanContext,
    parent: Option<&SpanContext>,
    name: &str,
    kind: &SpanKind,
    start: SystemTime,
) {
    self::place(out, place);
    if let Some(parent) = parent.filter(|parent| parent.span_id() != SpanId::INVALID) {
        bytes(out, 4, &parent.span_id().to_bytes());
    }
    text(out, 5, name);
    let kind = match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    count(out, 6, kind);
    time(out, 7, start);
    flags(out, 16, place, parent.is_some_and(SpanContext::is_remote));
}

/// One more attribute of a span.
pub(crate) fn attribute(out: &mut Vec<u8>, key: &str, value: &Value) {
    nested(out, 9, |out| pair(out, key, value));
}

/// Something that happened in a span.
pub(crate) fn event(out: &mut Vec<u8>, name: &str, at: SystemTime, attributes: &[KeyValue]) {
    nested(out, 11, |out| {
        time(out, 1, at);
        text(out, 2, name);
        for KeyValue { key, value, .. } in attributes {
            nested(out, 3, |out| pair(out, key.as_str(), value));
        }
    });
}

/// A link to another span.
pub(crate) fn link(out: &mut Vec<u8>, to: &SpanContext) {
    nested(out, 13, |out| {
        place(out, to);
        flags(out, 6, to, to.is_remote());
    });
}

/// What is known of a span when it ends.
pub(crate) fn tail(out: &mut Vec<u8>, end: SystemTime, dropped_events: u32, failed: bool) {
    time(out, 8, end);
    count(out, 12, dropped_events);
    if failed {
        nested(out, 15, |out| count(out, 3, 2));
    }
}

/// Trace, span and state, which have the same numbers wherever they stand.
fn place(out: &mut Vec<u8>, context: &SpanContext) {
    bytes(out, 1, &context.trace_id().to_bytes());
    bytes(out, 2, &context.span_id().to_bytes());
    text(out, 3, &context.trace_state().header());
}

fn flags(out: &mut Vec<u8>, field: u32, context: &SpanContext, remote: bool) {
    let flags = u32::from(context.trace_flags().to_u8()) | KNOWS_REMOTE | if remote { IS_REMOTE } else { 0 };
    number(out, field, FIXED32);
    out.extend(flags.to_le_bytes());
}

fn pair(out: &mut Vec<u8>, key: &str, value: &Value) {
    text(out, 1, key);
    nested(out, 2, |out| any(out, value));
}

/// `AnyValue`: a member of a `oneof` is written also where it is zero or empty.
fn any(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(value) => bytes(out, 1, value.as_str().as_bytes()),
        Value::Bool(value) => {
            number(out, 2, VARINT);
            varint(out, u64::from(*value));
        }
        Value::I64(value) => {
            number(out, 3, VARINT);
            varint(out, value.cast_unsigned());
        }
        Value::F64(value) => {
            number(out, 4, FIXED64);
            out.extend(value.to_le_bytes());
        }
        Value::Array(list) => nested(out, 5, |out| array(out, list)),
        // The SDK has no other kind; one that it gets later is at least readable.
        other => bytes(out, 1, other.as_str().as_bytes()),
    }
}

fn array(out: &mut Vec<u8>, list: &Array) {
    let mut each = |value: Value| nested(out, 1, |out| any(out, &value));
    match list {
        Array::Bool(list) => list.iter().for_each(|value| each((*value).into())),
        Array::I64(list) => list.iter().for_each(|value| each((*value).into())),
        Array::F64(list) => list.iter().for_each(|value| each((*value).into())),
        Array::String(list) => list.iter().for_each(|value| each(value.clone().into())),
        other => each(other.to_string().into()),
    }
}

/// A message within a message. Its length stands before it and is known only afterwards: one byte is kept for it, and what is longer
/// is moved.
fn nested(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    number(out, field, BYTES);
    let place = out.len();
    out.push(0);
    content(out);
    let mut length = (out.len() - place - 1) as u64;
    let mut at = place;
    while length >= 0x80 {
        let low = (length & 0x7f) as u8 | 0x80;
        match out.get_mut(at) {
            Some(byte) if at == place => *byte = low,
            _ => out.insert(at, low),
        }
        length >>= 7;
        at += 1;
    }
    match out.get_mut(at) {
        Some(byte) if at == place => *byte = length as u8,
        _ => out.insert(at, length as u8),
    }
}

fn text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        bytes(out, field, text.as_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    number(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn time(out: &mut Vec<u8>, field: u32, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    number(out, field, FIXED64);
    out.extend(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
}

fn count(out: &mut Vec<u8>, field: u32, count: u32) {
    if count > 0 {
        number(out, field, VARINT);
        varint(out, u64::from(count));
    }
}

fn number(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Draft, Recorder};
    use crate::sender::Queue;
    use opentelemetry::StringValue;
    use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue as Pair, any_value};
    use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};
    use prost::Message as _;
    use std::sync::Arc;
    use std::time::Duration;

    /// What the collector reads of all that `work` ends.
    fn received(work: impl FnOnce(&Recorder)) -> Vec<Span> {
        let queue = Arc::new(Queue::default());
        work(&Recorder::new(Arc::clone(&queue), false));
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "t"), KeyValue::new("n", 1_i64)])
            .build();
        let body = request(&resource, "sipdo", &queue.all());
        let read = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let [from] = <[_; 1]>::try_from(read.resource_spans).unwrap();
        let of = from.resource.unwrap();
        assert_eq!(of.attributes.len(), 2);
        assert!(of.attributes.contains(&pair_of("n", any_value::Value::IntValue(1))));
        let [by] = <[_; 1]>::try_from(from.scope_spans).unwrap();
        assert_eq!(by.scope.unwrap().name, "sipdo");
        by.spans
    }

    fn pair_of(key: &str, value: any_value::Value) -> Pair {
        Pair {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..Pair::default()
        }
    }

    fn far() -> SpanContext {
        let state = TraceState::from_key_value([("vendor", "a")]).unwrap();
        SpanContext::new(
            TraceId::from(5_u128),
            SpanId::from(6_u64),
            TraceFlags::SAMPLED,
            true,
            state,
        )
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Values of every kind, long ones too, and what they are to the collector.
    fn values(length: usize) -> Vec<(Value, any_value::Value)> {
        use any_value::Value as Read;
        let text = "é".repeat(length / 2);
        let list = |values: Vec<Read>| {
            let values = values
                .into_iter()
                .map(|value| AnyValue { value: Some(value) })
                .collect();
            Read::ArrayValue(ArrayValue { values })
        };
        vec![
            (text.clone().into(), Read::StringValue(text)),
            (
                StringValue::from(Arc::<str>::from("s")).into(),
                Read::StringValue("s".into()),
            ),
            ((-7_i64).into(), Read::IntValue(-7)),
            (0_i64.into(), Read::IntValue(0)),
            (0.25.into(), Read::DoubleValue(0.25)),
            (false.into(), Read::BoolValue(false)),
            (
                Value::Array(Array::String(vec!["a".into(), "".into()])),
                list(vec![Read::StringValue("a".into()), Read::StringValue(String::new())]),
            ),
            (
                Value::Array(Array::I64(vec![1, 300])),
                list(vec![Read::IntValue(1), Read::IntValue(300)]),
            ),
        ]
    }

    #[test]
    fn a_collector_reads_what_was_written() {
        let kinds = [
            (SpanKind::Internal, 0, 1),
            (SpanKind::Server, 126, 2),
            (SpanKind::Client, 130, 3),
            (SpanKind::Producer, 16_400, 4),
            (SpanKind::Consumer, 3_000_000, 5),
        ];
        for (kind, length, number) in kinds {
            let mut begun = None;
            let spans = received(|recorder| {
                let mut draft = Draft::new(format!("span {length}").into(), kind);
                draft.begin_at(at(7));
                draft.link(&far());
                for (value, _) in values(length) {
                    draft.set("early", &value);
                }
                let span = recorder.begin(draft, Some(&far()));
                for (value, _) in values(length) {
                    span.set("late", &value);
                    span.event("happened", &[KeyValue::new("with", value)]);
                }
                span.fail();
                recorder.end(&span, at(9));
                // Ended is ended.
                span.set("too", &"late".into());
                recorder.end(&span, at(10));
                begun = Some(span.place().clone());
            });
            let [read] = <[_; 1]>::try_from(spans).unwrap();
            let place = begun.unwrap();
            let pairs = |name| values(length).into_iter().map(move |(_, value)| pair_of(name, value));
            assert_eq!(read.events.len(), values(length).len());
            for (event, pair) in read.events.iter().zip(pairs("with")) {
                assert_eq!((event.name.as_str(), &event.attributes), ("happened", &vec![pair]));
                assert!(event.time_unix_nano > 0);
            }
            let expected = Span {
                trace_id: 5_u128.to_be_bytes().to_vec(),
                span_id: place.span_id().to_bytes().to_vec(),
                parent_span_id: 6_u64.to_be_bytes().to_vec(),
                trace_state: "vendor=a".into(),
                flags: 0x301,
                name: format!("span {length}"),
                kind: number,
                start_time_unix_nano: 7_000_000_000,
                end_time_unix_nano: 9_000_000_000,
                attributes: pairs("early").chain(pairs("late")).collect(),
                events: read.events.clone(),
                links: vec![span::Link {
                    trace_id: 5_u128.to_be_bytes().to_vec(),
                    span_id: 6_u64.to_be_bytes().to_vec(),
                    trace_state: "vendor=a".into(),
                    flags: 0x301,
                    ..span::Link::default()
                }],
                status: Some(Status {
                    code: 2,
                    ..Status::default()
                }),
                ..Span::default()
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_trace_begins_without_a_parent_and_goes_on_below_one() {
        let spans = received(|recorder| {
            let root = recorder.begin(Draft::new("root".into(), SpanKind::Internal), None);
            let child = recorder.begin(Draft::new("child".into(), SpanKind::Internal), Some(root.place()));
            recorder.end(&child, at(2));
            recorder.end(&root, at(3));
        });
        let [child, root] = <[_; 2]>::try_from(spans).unwrap();
        assert_eq!(child.trace_id, root.trace_id);
        assert_eq!(child.parent_span_id, root.span_id);
        assert_eq!((root.parent_span_id.len(), root.flags, child.flags), (0, 0x101, 0x101));
        assert_eq!(root.status, None);
    }

    #[test]
    fn what_is_not_sampled_above_is_not_below_and_events_have_a_limit() {
        let spans = received(|recorder| {
            let far = far();
            let unsampled = SpanContext::new(
                far.trace_id(),
                far.span_id(),
                TraceFlags::default(),
                true,
                TraceState::NONE,
            );
            let silent = recorder.begin(Draft::new("silent".into(), SpanKind::Internal), Some(&unsampled));
            assert!(!silent.place().is_sampled());
            assert_eq!(silent.place().trace_id(), far.trace_id());
            silent.set("is", &"dropped".into());
            recorder.end(&silent, at(1));
            let long = recorder.begin(Draft::new("long".into(), SpanKind::Internal), None);
            (0..4_100).for_each(|_| long.event("vote", &[]));
            recorder.end(&long, at(2));
        });
        let [long] = <[_; 1]>::try_from(spans).unwrap();
        assert_eq!(
            (long.name.as_str(), long.events.len(), long.dropped_events_count),
            ("long", 4_096, 4)
        );
    }
}
