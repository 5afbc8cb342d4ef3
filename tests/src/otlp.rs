//! An OTLP receiver in this process: everything that programs of the workspace send to a collector, over gRPC or HTTP.

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use futures::StreamExt as _;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// The receiver. Ends when it is dropped.
pub struct Collector {
    grpc: SocketAddr,
    http: SocketAddr,
    heard: Heard,
    tasks: Vec<JoinHandle<()>>,
}

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

#[derive(Clone, Default)]
struct Heard {
    all: Arc<Mutex<Everything>>,
}

#[derive(Default)]
struct Everything {
    spans: Vec<Seen>,
    metrics: Vec<Metric>,
    lines: Vec<Line>,
    bytes: Vec<u8>,
}

impl Collector {
    /// Starts it on two free ports.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> Result<Self> {
        Self::listen(false).await
    }

    /// As [`Collector::start`], but what comes by HTTP is thrown away unread: for timing those who send.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn deaf() -> Result<Self> {
        Self::listen(true).await
    }

    async fn listen(deaf: bool) -> Result<Self> {
        let heard = Heard::default();
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await?;
        let http_listener = TcpListener::bind("127.0.0.1:0").await?;
        let (grpc, http) = (grpc_listener.local_addr()?, http_listener.local_addr()?);
        let served = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(heard.clone()).max_decoding_message_size(64 << 20))
            .add_service(MetricsServiceServer::new(heard.clone()).max_decoding_message_size(64 << 20))
            .add_service(LogsServiceServer::new(heard.clone()).max_decoding_message_size(64 << 20))
            .serve_with_incoming(TcpIncoming::from(grpc_listener));
        let router = if deaf {
            Router::new().fallback(unread)
        } else {
            routes(heard.clone())
        };
        let tasks = vec![
            tokio::spawn(async move { drop(served.await) }),
            tokio::spawn(async move { drop(axum::serve(http_listener, router).await) }),
        ];
        Ok(Collector {
            grpc,
            http,
            heard,
            tasks,
        })
    }

    /// The environment that makes a program send everything here by gRPC.
    pub fn environment(&self) -> Vec<(String, String)> {
        environment(&format!("http://{}", self.grpc), "grpc")
    }

    /// The environment that makes a program send everything here by HTTP.
    pub fn http_environment(&self) -> Vec<(String, String)> {
        environment(&format!("http://{}", self.http), "http/protobuf")
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.heard.lock().spans.clone()
    }

    /// The metrics so far, each once.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.heard.lock().metrics.clone();
        metrics.sort();
        metrics.dedup();
        metrics
    }

    /// The log lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.heard.lock().lines.clone()
    }

    /// Every byte so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.heard.lock().bytes.clone()
    }
}

/// Takes what is posted, piece by piece, and keeps nothing.
async fn unread(body: Body) -> StatusCode {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(_)) = pieces.next().await {}
    StatusCode::OK
}

fn routes(heard: Heard) -> Router {
    Router::new()
        .route(
            "/v1/traces",
            post(|State(heard): State<Heard>, body: Bytes| heard.posted(body, Heard::traces)),
        )
        .route(
            "/v1/metrics",
            post(|State(heard): State<Heard>, body: Bytes| heard.posted(body, Heard::metrics)),
        )
        .route(
            "/v1/logs",
            post(|State(heard): State<Heard>, body: Bytes| heard.posted(body, Heard::logs)),
        )
        .layer(DefaultBodyLimit::disable())
        .with_state(heard)
}

impl Drop for Collector {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn environment(endpoint: &str, protocol: &str) -> Vec<(String, String)> {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
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
    fn lock(&self) -> MutexGuard<'_, Everything> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn posted<M: Message + Default>(self, body: Bytes, take: fn(&Heard, M)) -> StatusCode {
        match M::decode(body) {
            Ok(message) => take(&self, message),
            Err(_) => return StatusCode::BAD_REQUEST,
        }
        StatusCode::OK
    }

    fn traces(&self, request: ExportTraceServiceRequest) {
        let mut all = self.lock();
        all.bytes.extend(request.encode_to_vec());
        for from in request.resource_spans {
            let service = service(from.resource.as_ref().map(|resource| &*resource.attributes));
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.spans.extend(spans.map(|span| seen(&service, span)));
        }
    }

    fn metrics(&self, request: ExportMetricsServiceRequest) {
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
    }

    fn logs(&self, request: ExportLogsServiceRequest) {
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
    }
}

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Heard {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Heard {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs(request.into_inner());
        Ok(Response::new(Default::default()))
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
