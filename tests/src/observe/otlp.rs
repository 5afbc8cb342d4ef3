//! An OTLP receiver in this process: everything that programs of the workspace send to a collector, over gRPC or HTTP.

mod heard;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use futures::StreamExt as _;
use heard::Heard;
use opentelemetry_proto::tonic::collector::{
    logs::v1::logs_service_server::LogsServiceServer, metrics::v1::metrics_service_server::MetricsServiceServer,
    trace::v1::trace_service_server::TraceServiceServer,
};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    codec::CompressionEncoding,
    service::Routes,
    transport::{Certificate, Identity, ServerTlsConfig, server::TcpIncoming},
};

pub use heard::{Line, Metric, Seen};

/// The receiver. Ends when it is dropped.
pub struct Collector {
    grpc: SocketAddr,
    http: SocketAddr,
    heard: Heard,
    tasks: Vec<JoinHandle<()>>,
}

impl Collector {
    /// Starts it on two free ports.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> Result<Self> {
        Self::listen(false).await
    }

    /// One that answers at one port, gRPC and HTTP, over TLS alone and only to those who show a certificate, and that
    /// refuses one span of each export although it takes the rest.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn sealed() -> Result<Self> {
        let heard = Heard {
            refuses: 1,
            ..Heard::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let identity = Identity::from_pem(read("collector.pem")?, read("collector.key")?);
        let tls = ServerTlsConfig::new().identity(identity);
        let tls = tls.client_ca_root(Certificate::from_pem(read("authority.pem")?));
        let services = Routes::from(routes(heard.clone()))
            .add_service(TraceServiceServer::new(heard.clone()).accept_compressed(CompressionEncoding::Gzip))
            .add_service(MetricsServiceServer::new(heard.clone()).accept_compressed(CompressionEncoding::Gzip))
            .add_service(LogsServiceServer::new(heard.clone()).accept_compressed(CompressionEncoding::Gzip));
        let served = tonic::transport::Server::builder()
            .tls_config(tls)?
            .add_routes(services)
            .serve_with_incoming(TcpIncoming::from(listener));
        let tasks = vec![tokio::spawn(async move { drop(served.await) })];
        Ok(Collector {
            grpc: at,
            http: at,
            heard,
            tasks,
        })
    }

    /// The environment that makes a program send everything to a sealed collector, compressed.
    pub fn sealed_environment(&self, protocol: &str) -> Vec<(String, String)> {
        let mut all = environment(&format!("https://{}", self.grpc), protocol);
        let more = [
            ("COMPRESSION", "gzip".into()),
            ("CERTIFICATE", tls("authority.pem")),
            ("CLIENT_CERTIFICATE", tls("collector.pem")),
            ("CLIENT_KEY", tls("collector.key")),
        ];
        all.extend(more.map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), value)));
        all
    }

    /// Turns away the next exports of spans: they are to come again.
    pub fn turn_away(&self, exports: usize) {
        self.heard.lock().turns_away = exports;
    }

    /// How many exports came compressed, and how many did not.
    pub fn compressed(&self) -> (usize, usize) {
        let all = self.heard.lock();
        (all.packed, all.plain)
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
            post(
                |State(heard): State<Heard>, headers: HeaderMap, body: Bytes| async move {
                    match heard.turned_away() {
                        true => Err(StatusCode::SERVICE_UNAVAILABLE),
                        false => heard.posted(headers, body, Heard::traces).await,
                    }
                },
            ),
        )
        .route(
            "/v1/metrics",
            post(|State(heard): State<Heard>, headers: HeaderMap, body: Bytes| {
                heard.posted(headers, body, Heard::metrics)
            }),
        )
        .route(
            "/v1/logs",
            post(|State(heard): State<Heard>, headers: HeaderMap, body: Bytes| {
                heard.posted(headers, body, Heard::logs)
            }),
        )
        .layer(DefaultBodyLimit::disable())
        .with_state(heard)
}

/// A file of the test's certificates.
fn tls(name: &str) -> String {
    format!("{}/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> Result<Vec<u8>> {
    std::fs::read(tls(name)).with_context(|| tls(name))
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
