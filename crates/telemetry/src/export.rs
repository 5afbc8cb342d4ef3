//! Providers that send spans, metrics and log lines to a collector by OTLP. Endpoint, headers, time-out and sampler come from the
//! standard `OTEL_*` variables: for metrics, log lines and the sampler the SDK reads them itself. Spans, of which there are far more,
//! go a shorter way (`crate::sender`).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{LogExporter, MetricExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

use crate::post::Post;
use crate::sender::{Sender, Tally};
use crate::{Protocol, Settings, TelemetryError, names};

/// Events that one span may have where the environment sets no other limit: each vote of an iteration is one.
const EVENTS: u32 = 4096;
/// How long a request may take before it is given up, where the environment names no other time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a process comes from.
pub(crate) fn resource(role: &str, settings: &Settings) -> Resource {
    let instance = format!("{role}-{}-{:x}", std::process::id(), started_ns());
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new(names::SERVICE_NAMESPACE, "sipdo"))
        .with_attribute(KeyValue::new(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(names::SERVICE_INSTANCE_ID, instance));
    if !settings.names_service {
        resource = resource.with_service_name(format!("sipdo-{role}"));
    }
    resource.build()
}

fn started_ns() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

/// Makes exporters of one protocol.
pub(crate) struct Exporters {
    http: Option<Arc<dyn HttpClient>>,
}

impl Exporters {
    pub fn new(settings: &Settings) -> Result<Self, TelemetryError> {
        let runtime = Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
        let http: Option<Arc<dyn HttpClient>> = match settings.protocol {
            Protocol::Grpc => None,
            Protocol::HttpProtobuf => Some(Arc::new(OnRuntime::new(runtime)?)),
        };
        Ok(Self { http })
    }

    pub fn traces(
        resource: &Resource,
        settings: &Settings,
        tally: &Arc<Tally>,
    ) -> Result<(SdkTracerProvider, Sender), TelemetryError> {
        let post = Post::new(&settings.traces_to, settings.protocol)?;
        let (sender, processor) = Sender::start(post, resource.clone(), Arc::clone(tally));
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(processor);
        if !settings.limits_events {
            provider = provider.with_max_events_per_span(EVENTS);
        }
        Ok((provider.build(), sender))
    }

    pub fn metrics(&self) -> Result<MetricExporter, TelemetryError> {
        let exporter = match &self.http {
            None => MetricExporter::builder().with_tonic().build(),
            Some(http) => MetricExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(http))
                .build(),
        };
        exporter.map_err(unusable)
    }

    pub fn logs(&self, resource: &Resource) -> Result<SdkLoggerProvider, TelemetryError> {
        let exporter = match &self.http {
            None => LogExporter::builder().with_tonic().build(),
            Some(http) => LogExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(http))
                .build(),
        };
        let exporter = exporter.map_err(unusable)?;
        Ok(SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_batch_exporter(exporter)
            .build())
    }
}

fn unusable(error: impl std::fmt::Display) -> TelemetryError {
    TelemetryError::Exporter(error.to_string())
}

/// The project's HTTP client, for threads of the SDK that are not part of the runtime.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

impl OnRuntime {
    fn new(runtime: Handle) -> Result<Self, TelemetryError> {
        // An error only says that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(unusable)?;
        Ok(Self { client, runtime })
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for OnRuntime {
    fn send_bytes<'life, 'out>(&'life self, request: Request<Bytes>) -> Sent<'out>
    where
        'life: 'out,
        Self: 'out,
    {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let reply = client.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(reply.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(reply.headers());
            }
            Ok::<_, HttpError>(response.body(reply.bytes().await?)?)
        });
        Box::pin(async move { sent.await? })
    }
}
