//! Spans as OTLP has them (opentelemetry-proto, `trace/v1/trace.proto` and `common/v1/common.proto`), written straight from what the
//! SDK recorded. The SDK's own way builds every message in memory first, on another thread than the one that frees it: that was most
//! of what tracing cost.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

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
pub(crate) fn span(out: &mut Vec<u8>, span: &SpanData) {
    nested(out, 2, |out| {
        place(out, &span.span_context);
        if span.parent_span_id != SpanId::INVALID {
            bytes(out, 4, &span.parent_span_id.to_bytes());
        }
        text(out, 5, &span.name);
        let kind = match span.span_kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        };
        count(out, 6, kind);
        time(out, 7, span.start_time);
        time(out, 8, span.end_time);
        pairs(out, 9, &span.attributes);
        count(out, 10, span.dropped_attributes_count);
        for event in span.events.iter() {
            nested(out, 11, |out| happened(out, event));
        }
        count(out, 12, span.events.dropped_count);
        for link in span.links.iter() {
            nested(out, 13, |out| linked(out, link));
        }
        count(out, 14, span.links.dropped_count);
        nested(out, 15, |out| match &span.status {
            Status::Unset => {}
            Status::Ok => count(out, 3, 1),
            Status::Error { description } => {
                text(out, 2, description);
                count(out, 3, 2);
            }
        });
        flags(out, 16, &span.span_context, span.parent_span_is_remote);
    });
}

fn happened(out: &mut Vec<u8>, event: &Event) {
    time(out, 1, event.timestamp);
    text(out, 2, &event.name);
    pairs(out, 3, &event.attributes);
    count(out, 4, event.dropped_attributes_count);
}

fn linked(out: &mut Vec<u8>, link: &Link) {
    place(out, &link.span_context);
    pairs(out, 4, &link.attributes);
    count(out, 5, link.dropped_attributes_count);
    flags(out, 6, &link.span_context, link.span_context.is_remote());
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

fn pairs(out: &mut Vec<u8>, field: u32, pairs: &[KeyValue]) {
    for KeyValue { key, value, .. } in pairs {
        nested(out, field, |out| pair(out, key.as_str(), value));
    }
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
    use opentelemetry::trace::{
        SpanBuilder, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
    };
    use opentelemetry::{Context, StringValue};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
    use prost::Message as _;
    use std::sync::{Arc, Mutex};

    /// Keeps what it gets.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// Spans with something of everything: all kinds of values, long ones too, events, links, an error, a remote parent.
    fn recorded(resource: &Resource) -> Vec<SpanData> {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_simple_exporter(exporter.clone())
            .build();
        let tracer = provider.tracer("sipdo");
        let state = TraceState::from_key_value([("vendor", "a")]).unwrap();
        let far = SpanContext::new(
            TraceId::from(5_u128),
            SpanId::from(6_u64),
            TraceFlags::SAMPLED,
            true,
            state,
        );
        let parent = Context::new().with_remote_span_context(far.clone());
        for (kind, length) in [
            (SpanKind::Internal, 0),
            (SpanKind::Server, 126),
            (SpanKind::Client, 130),
            (SpanKind::Producer, 16_400),
            (SpanKind::Consumer, 3_000_000),
        ] {
            let values = [
                KeyValue::new("text", "é".repeat(length / 2)),
                KeyValue::new("shared", StringValue::from(Arc::<str>::from("s"))),
                KeyValue::new("whole", -7_i64),
                KeyValue::new("zero", 0_i64),
                KeyValue::new("real", 0.25),
                KeyValue::new("not", false),
                KeyValue::new("list", Value::Array(Array::String(vec!["a".into(), "".into()]))),
                KeyValue::new("numbers", Value::Array(Array::I64(vec![1, 300]))),
            ];
            let builder = SpanBuilder::from_name(format!("span {length}"))
                .with_kind(kind)
                .with_attributes(values.clone())
                .with_links(vec![Link::new(far.clone(), values.to_vec(), 3)]);
            let span = Context::new().with_span(tracer.build_with_context(builder, &parent));
            span.span().add_event("happened", values.to_vec());
            span.span().set_status(Status::error("why"));
            let child = tracer.start_with_context("child", &span);
            drop(child);
            span.span().end();
        }
        drop(tracer.start("root"));
        exporter.0.lock().unwrap().clone()
    }

    #[test]
    fn what_is_written_reads_as_what_the_sdk_would_have_sent() {
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "t"), KeyValue::new("n", 1_i64)])
            .build();
        let spans = recorded(&resource);
        assert_eq!(spans.len(), 11);
        let mut written = Vec::new();
        spans.iter().for_each(|recorded| span(&mut written, recorded));
        let ours = ExportTraceServiceRequest::decode(request(&resource, "sipdo", &written).as_slice()).unwrap();
        let theirs = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &ResourceAttributesWithSchema::from(&resource)),
        };
        assert_eq!(ours, theirs);
    }
}
