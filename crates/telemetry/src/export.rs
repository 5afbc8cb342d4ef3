//! The exporters of the three signals. They read headers, compression and time-out from the standard `OTEL_*` variables themselves;
//! where they go and whom they trust is given to them, since they do not read certificates and take a wrong protocol for another.

use std::path::Path;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;

use crate::destination::{Destination, Protocol};
use crate::{Settings, TelemetryError, names};

/// Where a process comes from.
pub(crate) fn resource(role: &str, settings: &Settings) -> Resource {
    let instance = format!("{role}-{}-{:x}", std::process::id(), started_ns());
    let resource = Resource::builder()
        .with_attribute(KeyValue::new(names::SERVICE_NAMESPACE, "sipdo"))
        .with_attribute(KeyValue::new(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(names::SERVICE_INSTANCE_ID, instance));
    let named = match (&settings.service_name, settings.resource_names_service) {
        // The SDK would let the name among the attributes win.
        (Some(name), _) => resource.with_service_name(name.clone()),
        (None, true) => resource,
        (None, false) => resource.with_service_name(format!("sipdo-{role}")),
    };
    named.build()
}

fn started_ns() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

/// A batch is sent again for about three seconds: by default the libraries give up within one.
fn retries() -> RetryPolicy {
    RetryPolicy::recommended()
        .with_max_retries(5)
        .with_initial_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_millis(800))
}

macro_rules! exporter {
    ($(#[$doc:meta])* $name:ident, $exporter:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(to: &Destination) -> Result<$exporter, TelemetryError> {
            let built = match to.protocol {
                Protocol::Grpc => {
                    let builder = $exporter::builder().with_tonic().with_endpoint(&to.url);
                    let builder = builder.with_timeout(to.patience).with_retry_policy(retries());
                    match tls(to)? {
                        Some(tls) => builder.with_tls_config(tls).build(),
                        None => builder.build(),
                    }
                }
                Protocol::HttpProtobuf => $exporter::builder()
                    .with_http()
                    .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                    .with_endpoint(&to.url)
                    .with_timeout(to.patience)
                    .with_retry_policy(retries())
                    .with_http_client(http_client(to)?)
                    .build(),
            };
            built.map_err(|error: ExporterBuildError| unusable(error))
        }
    };
}

exporter!(
    /// Of spans.
    spans,
    SpanExporter
);
exporter!(
    /// Of metrics.
    metrics,
    MetricExporter
);
exporter!(
    /// Of log lines.
    logs,
    LogExporter
);

fn unusable(error: impl std::fmt::Display) -> TelemetryError {
    TelemetryError::Exporter(error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, TelemetryError> {
    std::fs::read(path).map_err(|error| unusable(format_args!("{}: {error}", path.display())))
}

/// Whom a gRPC connection trusts: by `https://` alone the library trusts nobody.
fn tls(to: &Destination) -> Result<Option<ClientTlsConfig>, TelemetryError> {
    if !to.url.starts_with("https://") {
        return Ok(None);
    }
    let mut tls = match &to.authority {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    if let Some((certificate, key)) = &to.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(Some(tls))
}

/// A client for the SDK's threads. It blocks, and may not be made where a runtime would be blocked.
fn http_client(to: &Destination) -> Result<reqwest::blocking::Client, TelemetryError> {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let _: reqwest::Url = to.url.parse().map_err(unusable)?;
    let authority = to.authority.as_deref().map(read).transpose()?;
    let identity = match &to.identity {
        Some((certificate, key)) => Some([read(certificate)?, read(key)?].concat()),
        None => None,
    };
    // The exporter's own time-out only ends its tries: a request has the client's.
    let patience = to.patience;
    let made = std::thread::spawn(move || {
        let mut client = reqwest::blocking::Client::builder().timeout(patience);
        if let Some(pem) = authority {
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        if let Some(pem) = identity {
            client = client.identity(reqwest::Identity::from_pem(&pem)?);
        }
        client.build()
    });
    match made.join() {
        Ok(client) => client.map_err(unusable),
        Err(_) => Err(unusable("no HTTP client can be made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::{Tally, provider};
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use std::sync::Arc;
    use std::time::Instant;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_never_answers_is_given_up_in_time() {
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let to = Destination {
                url: format!("http://{}", hangs.local_addr().unwrap()),
                protocol,
                patience: Duration::from_millis(300),
                ..Destination::default()
            };
            let settings = Settings::from_env(|_| None, false).unwrap();
            let tally = Arc::new(Tally::default());
            let resource = Resource::builder_empty().build();
            let provider = provider(spans(&to).unwrap(), &settings, resource, &tally);
            drop(provider.tracer("test").start("a span nobody takes"));
            let start = Instant::now();
            let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(Duration::from_secs(20)));
            drop(ended.await.unwrap());
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{protocol:?}: {:?}",
                start.elapsed()
            );
            assert_eq!(tally.lost(), 1, "{protocol:?}");
        }
    }
}
