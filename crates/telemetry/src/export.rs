//! Providers that send metrics and log lines to a collector by OTLP. The SDK reads headers, time-out and compression itself from the
//! standard `OTEL_*` variables. Spans, of which there are far more, go a shorter way (`crate::record` and `crate::sender`).

use std::pin::Pin;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{LogExporter, MetricExporter, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tokio::runtime::Handle;

use crate::logs::Placed;
use crate::post::Way;
use crate::{Destination, Settings, TelemetryError, names};

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

pub(crate) fn metrics(to: &Destination) -> Result<MetricExporter, TelemetryError> {
    let exporter = match Way::new(to)? {
        Way::Grpc(channel) => MetricExporter::builder().with_tonic().with_channel(channel).build(),
        Way::Http(client) => MetricExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::new(OnRuntime::new(client)?))
            .build(),
    };
    exporter.map_err(unusable)
}

pub(crate) fn logs(to: &Destination, resource: &Resource) -> Result<SdkLoggerProvider, TelemetryError> {
    let exporter = match Way::new(to)? {
        Way::Grpc(channel) => LogExporter::builder().with_tonic().with_channel(channel).build(),
        Way::Http(client) => LogExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::new(OnRuntime::new(client)?))
            .build(),
    };
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_log_processor(Placed)
        .with_batch_exporter(exporter.map_err(unusable)?)
        .build())
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
    fn new(client: reqwest::Client) -> Result<Self, TelemetryError> {
        let runtime = Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
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
