//! What a collector hears: the three services of OTLP, and what was sent in a form that tests read.

use anyhow::{Context as _, Result};
use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_server::LogsService},
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics_service_server::MetricsService,
        },
        trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::TraceService,
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tonic::{Request, Response, Status};

/// A span as it was received.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `service.name` of its process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// In hexadecimal.
    pub trace: String,
    /// In hexadecimal.
    pub id: String,
    /// In hexadecimal; empty for a root.
    pub parent: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// Its attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Its events: name and attributes.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// Whether its status is an error.
    pub failed: bool,
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
}

/// A metric as it was received: its name and the attribute names of its points, by service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// `service.name` of its process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
}

/// A log line as it was received.
#[derive(Debug, Clone)]
pub struct Line {
    /// `service.name` of its process.
    pub service: String,
    /// In hexadecimal; empty outside a span.
    pub trace: String,
    /// Its words.
    pub body: String,
}

/// What was heard, shared by the services.
#[derive(Clone, Default)]
pub(super) struct Heard {
    pub all: Arc<Mutex<Everything>>,
    /// Spans of each export that are said to be refused.
    pub refuses: i64,
}

#[derive(Default)]
pub(super) struct Everything {
    pub spans: Vec<Seen>,
    pub metrics: Vec<Metric>,
    pub lines: Vec<Line>,
    pub bytes: Vec<u8>,
    /// Exports that came compressed, and those that did not.
    pub packed: usize,
    pub plain: usize,
    /// Exports of spans to turn away for now.
    pub turns_away: usize,
}

impl Seen {
    /// The value of an attribute.
    ///
    /// # Errors
    /// It has none of that name.
    pub fn get(&self, name: &str) -> Result<&str> {
        let value = self.attributes.get(name).map(String::as_str);
        value.with_context(|| format!("{} of {} has no {name}: {:?}", self.name, self.service, self.attributes))
    }
}

impl Heard {
    pub fn lock(&self) -> MutexGuard<'_, Everything> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this export of spans is to come again.
    pub fn turned_away(&self) -> bool {
        let turns_away = &mut self.lock().turns_away;
        let turned = *turns_away > 0;
        *turns_away = turns_away.saturating_sub(1);
        turned
    }

    /// One export over HTTP.
    pub async fn posted<M, R>(
        self,
        headers: HeaderMap,
        body: Bytes,
        take: fn(&Heard, M) -> R,
    ) -> Result<Vec<u8>, StatusCode>
    where
        M: Message + Default,
        R: Message,
    {
        let packed = self.came(&headers);
        let mut plain = Vec::new();
        match packed {
            true => GzDecoder::new(&*body).read_to_end(&mut plain),
            false => (&*body).read_to_end(&mut plain),
        }
        .map_err(|_| StatusCode::BAD_REQUEST)?;
        let message = M::decode(&*plain).map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(take(&self, message).encode_to_vec())
    }

    /// Counts an export as compressed or not.
    fn came(&self, headers: &HeaderMap) -> bool {
        let encodings = ["content-encoding", "grpc-encoding"].map(|name| headers.get(name));
        let packed = encodings.into_iter().flatten().any(|value| value == "gzip");
        let mut all = self.lock();
        *(if packed { &mut all.packed } else { &mut all.plain }) += 1;
        packed
    }

    pub fn traces(&self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
        let mut all = self.lock();
        all.bytes.extend(request.encode_to_vec());
        for from in request.resource_spans {
            let service = service(from.resource.as_ref().map(|resource| &*resource.attributes));
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.spans.extend(spans.map(|span| seen(&service, span)));
        }
        let partial = ExportTracePartialSuccess {
            rejected_spans: self.refuses,
            error_message: "one too many".into(),
        };
        ExportTraceServiceResponse {
            partial_success: (self.refuses > 0).then_some(partial),
        }
    }

    pub fn metrics(&self, request: ExportMetricsServiceRequest) -> ExportMetricsServiceResponse {
        let mut all = self.lock();
        all.bytes.extend(request.encode_to_vec());
        for from in request.resource_metrics {
            let service = service(from.resource.as_ref().map(|resource| &*resource.attributes));
            let metrics = from.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            all.metrics.extend(metrics.map(|metric| Metric {
                service: service.clone(),
                name: metric.name,
                unit: metric.unit,
            }));
        }
        Default::default()
    }

    pub fn logs(&self, request: ExportLogsServiceRequest) -> ExportLogsServiceResponse {
        let mut all = self.lock();
        all.bytes.extend(request.encode_to_vec());
        for from in request.resource_logs {
            let service = service(from.resource.as_ref().map(|resource| &*resource.attributes));
            let lines = from.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            all.lines.extend(lines.map(|line| Line {
                service: service.clone(),
                trace: hex(&line.trace_id),
                body: line.body.map(text).unwrap_or_default(),
            }));
        }
        Default::default()
    }
}

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.turned_away() {
            return Err(Status::unavailable("for now"));
        }
        self.came(&request.metadata().clone().into_headers());
        Ok(Response::new(self.traces(request.into_inner())))
    }
}

#[tonic::async_trait]
impl MetricsService for Heard {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.came(&request.metadata().clone().into_headers());
        Ok(Response::new(self.metrics(request.into_inner())))
    }
}

#[tonic::async_trait]
impl LogsService for Heard {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.came(&request.metadata().clone().into_headers());
        Ok(Response::new(self.logs(request.into_inner())))
    }
}

fn seen(service: &str, span: Span) -> Seen {
    Seen {
        service: service.to_owned(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span
            .links
            .iter()
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: pairs(span.attributes),
        events: span
            .events
            .into_iter()
            .map(|event| (event.name, pairs(event.attributes)))
            .collect(),
        name: span.name,
    }
}

fn service(attributes: Option<&[KeyValue]>) -> String {
    let all = pairs(attributes.unwrap_or_default().to_vec());
    all.get("service.name").cloned().unwrap_or_default()
}

fn pairs(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes
        .into_iter()
        .map(|pair| (pair.key, pair.value.map(text).unwrap_or_default()))
        .collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::ArrayValue(list)) => list.values.into_iter().map(text).collect::<Vec<_>>().join(","),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
