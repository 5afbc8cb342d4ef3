//! Spans as OTLP has them (opentelemetry-proto, `trace/v1/trace.proto` and `common/v1/common.proto`). The fields of a protobuf message
//! may come in any order, so a span is written as it goes. The SDK's way is to record it in memory, to build the messages from that, and
//! to encode those, on another thread than the one that frees them: that was most of what tracing cost.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind};
use opentelemetry_sdk::Resource;

use crate::attr::{Attr, Attribute, pair};
use crate::wire::{BYTES, FIXED32, FIXED64, LONGEST, bytes, count, nested, number, text, varint};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What stands before the spans in each request of a process: where they come from.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    from: Vec<u8>,
    by: Vec<u8>,
}

impl Envelope {
    pub fn new(resource: &Resource, scope: &str) -> Self {
        let (mut from, mut by) = (Vec::new(), Vec::new());
        nested(&mut from, 1, |out| {
            for (key, value) in resource.iter() {
                nested(out, 1, |out| pair(out, key.as_str(), value));
            }
        });
        nested(&mut by, 1, |out| text(out, 1, scope));
        Self { from, by }
    }

    /// Bytes to be left free before the spans.
    pub fn room(&self) -> usize {
        self.from.len() + self.by.len() + 2 * LONGEST
    }

    /// Makes a request of spans that [`span`] has written behind [`Envelope::room`]: what stands before them is written next to
    /// them, so that they need not be moved. Returns where the request begins.
    pub fn close(&self, request: &mut [u8]) -> usize {
        let spans = request.len().saturating_sub(self.room());
        let mut head = self.from.clone();
        number(&mut head, 2, BYTES);
        varint(&mut head, (self.by.len() + spans) as u64);
        head.extend(&self.by);
        let mut before = Vec::with_capacity(self.room());
        number(&mut before, 1, BYTES);
        varint(&mut before, (head.len() + spans) as u64);
        before.extend(head);
        let begin = self.room().saturating_sub(before.len());
        if let Some(free) = request.get_mut(begin..self.room()) {
            free.copy_from_slice(&before);
        }
        begin
    }
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
pub(crate) fn attribute(out: &mut Vec<u8>, key: &str, value: &(impl Attr + ?Sized)) {
    nested(out, 9, |out| pair(out, key, value));
}

/// Something that happened in a span.
pub(crate) fn event(out: &mut Vec<u8>, name: &str, at: SystemTime, attributes: &[Attribute]) {
    nested(out, 11, |out| {
        time(out, 1, at);
        text(out, 2, name);
        for attribute in attributes {
            bytes(out, 3, attribute.pair());
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

fn time(out: &mut Vec<u8>, field: u32, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    number(out, field, FIXED64);
    out.extend(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::record::{Draft, Recorder};
    use crate::sender::Queue;
    use crate::settings::Batches;
    use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
    use opentelemetry::{KeyValue, Value};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue as Pair, any_value};
    use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};
    use prost::Message as _;
    use std::borrow::Cow;
    use std::sync::Arc;
    use std::time::Duration;

    /// What the collector reads of all that `work` ends.
    fn received(work: impl FnOnce(&Recorder)) -> Vec<Span> {
        received_where(|_| None, work)
    }

    /// The same, in this environment.
    fn received_where(environment: impl Fn(&str) -> Option<String>, work: impl FnOnce(&Recorder)) -> Vec<Span> {
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "t"), KeyValue::new("n", 1_i64)])
            .build();
        let queue = Arc::new(Queue::new(Arc::default(), Batches::default(), &resource));
        work(&Recorder::new(
            Arc::clone(&queue),
            &Settings::from_env(environment, false).unwrap(),
        ));
        let all = queue.all().into_iter();
        all.flat_map(|body| {
            let read = ExportTraceServiceRequest::decode(body).unwrap();
            let [from] = <[_; 1]>::try_from(read.resource_spans).unwrap();
            let of = from.resource.unwrap();
            assert_eq!(of.attributes.len(), 2);
            assert!(of.attributes.contains(&pair_of("n", any_value::Value::IntValue(1))));
            let [by] = <[_; 1]>::try_from(from.scope_spans).unwrap();
            assert_eq!(by.scope.unwrap().name, "sipdo");
            by.spans
        })
        .collect()
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
    fn values(length: usize) -> Vec<(Box<dyn Attr>, any_value::Value)> {
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
            (Box::new(text.clone()), Read::StringValue(text)),
            (Box::new("s"), Read::StringValue("s".into())),
            (Box::new(Cow::Borrowed("")), Read::StringValue(String::new())),
            (Box::new(-7_i64), Read::IntValue(-7)),
            (Box::new(0_i64), Read::IntValue(0)),
            (Box::new(0.25), Read::DoubleValue(0.25)),
            (Box::new(false), Read::BoolValue(false)),
            (
                Box::new(["a", ""].as_slice()),
                list(vec![Read::StringValue("a".into()), Read::StringValue(String::new())]),
            ),
            (Box::new(Value::from(2.5)), Read::DoubleValue(2.5)),
            (Box::new(Value::from(true)), Read::BoolValue(true)),
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
                    draft.set("early", &value.as_ref());
                }
                let span = recorder.begin(draft, Some(&far()));
                for (value, _) in values(length) {
                    span.set("late", value.as_ref());
                    span.event("happened", &[Attribute::new("with", &value.as_ref())]);
                }
                span.fail();
                recorder.end(&span, at(9));
                // Ended is ended.
                span.set("too", "late");
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
    fn the_sdks_sampler_and_the_shorter_way_come_to_the_same() {
        // The SDK reads its sampler from the real environment, where none is chosen here: asked, it does as the parent did.
        for asked in [true, false] {
            let environment = |name: &str| (asked && name == "OTEL_TRACES_SAMPLER").then(|| "always_off".to_owned());
            let mut places = Vec::new();
            let spans = received_where(environment, |recorder| {
                let silent = SpanContext::new(
                    5_u128.into(),
                    6_u64.into(),
                    TraceFlags::default(),
                    true,
                    TraceState::NONE,
                );
                for parent in [Some(far()), None, Some(silent)] {
                    let span = recorder.begin(Draft::new("one".into(), SpanKind::Internal), parent.as_ref());
                    places.push(span.place().clone());
                    recorder.end(&span, at(1));
                }
            });
            let sampled: Vec<bool> = places.iter().map(SpanContext::is_sampled).collect();
            assert_eq!(sampled, [true, true, false]);
            assert_eq!(places[0].trace_id(), far().trace_id());
            let [below, root] = <[_; 2]>::try_from(spans).unwrap();
            assert_eq!(
                (below.trace_state.as_str(), below.parent_span_id.len()),
                ("vendor=a", 8)
            );
            assert_eq!((root.trace_state.as_str(), root.parent_span_id.len()), ("", 0));
        }
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
            silent.set("is", "dropped");
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
