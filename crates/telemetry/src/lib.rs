//! Set-up of tracing for every sipdo binary, and the names and helpers of trace propagation.
//!
//! Three parts, each in its own file: what the environment asks for ([`Settings`]), the names of spans and attributes
//! ([`names`]), and carrying a trace from process to process ([`propagation`]). [`init`] puts them together once, at
//! the start of `main`; the [`Guard`] that it returns sends what is left at the end.
//!
//! Logs go to stderr, because stdout belongs to a command's data. Traces leave the process only if the environment
//! names a collector; without one, a span costs what a log filter costs.

pub mod names;
pub mod propagation;
mod settings;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

pub use settings::{Format, Settings};

/// How long [`Guard::shutdown`] waits for the collector to take the last spans.
const FLUSH: Duration = Duration::from_secs(2);

/// Why telemetry could not be set up. All of these are mistakes in the environment, so a binary should stop with them.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("{variable}={text:?} is not a log filter: {reason}; write for example `info` or `info,sipdo_bus=debug`")]
    Filter {
        /// The environment variable that holds it.
        variable: &'static str,
        /// What it holds.
        text: String,
        /// The parser's complaint.
        reason: String,
    },
    /// The log format is not one that exists.
    #[error("SIPDO_LOG_FORMAT={0:?} is not a log format: use `json`, `pretty` or leave it unset")]
    Format(String),
    /// The collector named by the environment cannot be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}")]
    Exporter(String),
    /// Spans are exported over gRPC, which needs the tokio runtime.
    #[error("telemetry with a collector has to be set up inside a tokio runtime")]
    NoRuntime,
    /// Another subscriber is there already.
    #[error("telemetry was set up twice in one process")]
    Twice,
}

/// Holds the exporter of spans, if there is one. Keep it until the end of `main` and call [`Guard::shutdown`].
#[must_use = "dropping the guard at once loses the last spans"]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends the spans still waiting, for at most two seconds, and stops the exporter.
    ///
    /// The SDK blocks while it waits for its own tasks, so this runs on a thread of its own: inside a runtime with one
    /// thread it would otherwise wait for itself and lose the spans.
    pub async fn shutdown(mut self) {
        let Some(provider) = self.provider.take() else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        match tokio::time::timeout(FLUSH + Duration::from_millis(500), flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans may not have reached the collector"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans did not reach the collector in time"),
        }
    }
}

/// Sets up logging and, if the environment names a collector, the export of traces, for the process of `role`
/// (`coordinator`, `learner`, `cli`, ...). The service is called `sipdo-<role>` unless `OTEL_SERVICE_NAME` says otherwise.
///
/// # Errors
/// A filter, format or collector that cannot be used; a second call in the same process.
pub fn init(role: &str) -> Result<Guard, TelemetryError> {
    let settings = Settings::from_env(|name| std::env::var(name).ok(), std::io::stderr().is_terminal())?;
    init_with(role, &settings)
}

/// As [`init`], with settings that the caller has read or made.
///
/// # Errors
/// As [`init`].
pub fn init_with(role: &str, settings: &Settings) -> Result<Guard, TelemetryError> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = if settings.export_traces {
        Some(exporting_provider(role, settings)?)
    } else {
        None
    };
    let traces = provider.as_ref().map(|provider| {
        // Only our own spans: the exporter itself speaks HTTP/2, and would otherwise report about its reports.
        let own =
            filter_fn(|metadata| metadata.target().starts_with("sipdo") && *metadata.level() <= LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("sipdo"))
            .with_filter(own)
    });
    let subscriber = tracing_subscriber::registry().with(log_layer(settings)?).with(traces);
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Guard { provider })
}

fn log_layer(settings: &Settings) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|error| TelemetryError::Filter {
            variable: settings.filter_variable,
            text: settings.filter.clone(),
            reason: error.to_string(),
        })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(match settings.format {
        Format::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        Format::Pretty => layer
            .with_ansi(settings.color)
            .with_target(false)
            .with_filter(filter)
            .boxed(),
    })
}

fn exporting_provider(role: &str, settings: &Settings) -> Result<SdkTracerProvider, TelemetryError> {
    tokio::runtime::Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new(names::SERVICE_NAMESPACE, "sipdo"))
        .with_attribute(KeyValue::new(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")));
    if !settings.names_service {
        resource = resource.with_service_name(format!("sipdo-{role}"));
    }
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build())
}
