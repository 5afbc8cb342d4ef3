//! Traces, metrics and logs of every sipdo binary: set-up, names, and what other crates record with.
//!
//! What the environment asks for is [`Settings`]; [`names`] has every name; [`span`] and [`metrics`] record;
//! [`propagation`] carries a trace from process to process. [`init`] puts them together once, at the start of `main`;
//! the [`Guard`] that it returns sends what is left at the end. `docs/telemetry.md` is the specification.
//!
//! Logs go to stderr, because stdout belongs to a command's data. Nothing leaves the process unless the environment
//! names a collector; without one a span costs the read of an atomic. Metrics are always counted, for the admin port.

mod attr;
pub mod budget;
mod destination;
mod export;
mod logs;
pub mod metrics;
pub mod names;
pub mod propagation;
mod refused;
mod settings;
pub mod span;
mod spans;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use refused::Refused;
use spans::Tally;

pub use destination::{Destination, Protocol};
pub use settings::{Batches, Format, Settings};
pub use span::{Span, Start, Trace, capturing_content, for_langfuse, recording};

/// How long [`Guard::shutdown`] waits for the collector to take what is left.
const FLUSH: Duration = Duration::from_secs(5);

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
    /// A backend that nothing is done for.
    #[error(
        "SIPDO_OTEL_COMPAT={0:?} is not a backend with attributes of its own here: use `langfuse` or leave it unset"
    )]
    Compat(String),
    /// A user or password where libraries would show it.
    #[error("{0} must not hold a user or password: give them by OTEL_EXPORTER_OTLP_HEADERS")]
    UserInfo(String),
    /// A URL that is none.
    #[error("{0} must begin with http:// or https://")]
    Url(String),
    /// Exporter, protocol or compression of a kind that does not exist here.
    #[error("{variable}={text:?} is not known here: use {choices}")]
    Choice {
        /// The environment variable that holds it.
        variable: String,
        /// What it holds.
        text: String,
        /// What it may hold.
        choices: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY are of use only together")]
    HalfIdentity,
    /// The collector named by the environment cannot be used.
    #[error("the collector of OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}")]
    Exporter(String),
    /// Telemetry is exported from within the tokio runtime.
    #[error("telemetry with a collector has to be set up inside a tokio runtime")]
    NoRuntime,
    /// Another subscriber is there already.
    #[error("telemetry was set up twice in one process")]
    Twice,
}

/// Holds the exporters, if there are any. Keep it until the end of `main` and call [`Guard::shutdown`].
#[must_use = "dropping the guard at once loses the last spans"]
#[derive(Debug)]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    tally: Arc<Tally>,
    metrics: SdkMeterProvider,
    logs: Option<SdkLoggerProvider>,
}

impl Guard {
    /// Sends what still waits, for at most five seconds, stops the exporters, and says how many spans were lost.
    ///
    /// The SDK blocks while it waits for its own threads, so each signal has a thread of its own: inside a runtime with
    /// one thread it would otherwise wait for itself and lose what is left.
    pub async fn shutdown(self) {
        span::record_no_more();
        let traced = self.traces.is_some();
        let traces = blocking(self.traces, |provider| provider.shutdown_with_timeout(FLUSH));
        let metrics = blocking(Some(self.metrics), |provider| provider.shutdown_with_timeout(FLUSH));
        let logs = blocking(self.logs, |provider| provider.shutdown_with_timeout(FLUSH));
        let all = async { tokio::join!(traces, metrics, logs) };
        match tokio::time::timeout(FLUSH + Duration::from_millis(500), all).await {
            Ok((true, true, true)) => {}
            Ok(_) | Err(_) => tracing::warn!("the last telemetry may not have reached the collector"),
        }
        if traced {
            let (lost, ended) = self.tally.unsent();
            let sent = ended - lost;
            if lost > 0 {
                tracing::warn!(sent, lost, "the last spans were sent");
            } else {
                tracing::info!(sent, lost, "the last spans were sent");
            }
        }
    }
}

/// Whether `close` went well, on a thread of its own.
async fn blocking<P: Send + 'static>(
    provider: Option<P>,
    close: impl FnOnce(P) -> opentelemetry_sdk::error::OTelSdkResult + Send + 'static,
) -> bool {
    match provider {
        Some(provider) => matches!(tokio::task::spawn_blocking(move || close(provider)).await, Ok(Ok(()))),
        None => true,
    }
}

/// Sets up logging, metrics and, if the environment names a collector, the export of all signals, for the process of
/// `role` (`coordinator`, `learner`, `cli`, ...). The service is called `sipdo-<role>` unless `OTEL_SERVICE_NAME` says
/// otherwise.
///
/// # Errors
/// A filter, format, protocol or collector that cannot be used; a second call in the same process.
pub fn init(role: &str) -> Result<Guard, TelemetryError> {
    let settings = Settings::from_env(|name| std::env::var(name).ok(), std::io::stderr().is_terminal())?;
    init_with(role, &settings)
}

/// As [`init`], with settings that the caller has read or made.
///
/// # Errors
/// As [`init`].
pub fn init_with(role: &str, settings: &Settings) -> Result<Guard, TelemetryError> {
    let collected = settings.traces.is_some() || settings.metrics.is_some() || settings.logs.is_some();
    if collected && tokio::runtime::Handle::try_current().is_err() {
        return Err(TelemetryError::NoRuntime);
    }
    let resource = export::resource(role, settings);
    let lines = log_layer(settings)?;
    let tally = Arc::new(Tally::default());
    let exporter = settings.traces.as_ref().map(export::spans).transpose()?;
    let traces = exporter.map(|exporter| spans::provider(exporter, settings, resource.clone(), &tally));
    let exporter = settings.logs.as_ref().map(export::logs).transpose()?;
    let logs = exporter.map(|exporter| {
        let provider = SdkLoggerProvider::builder().with_resource(resource.clone());
        provider.with_batch_exporter(exporter).build()
    });
    let pushed = settings.metrics.as_ref().map(export::metrics).transpose()?;
    let pushed = pushed.map(|exporter| (exporter, settings.push_every));
    let bridge = logs.as_ref().map(|provider| {
        // Only our own lines: the exporter itself speaks HTTP, and would otherwise report about its reports.
        // By targets and not by a function: a function tells no highest level, and then every trace line of every library is
        // asked about, also of those that write a thousand for each job.
        let own = Targets::new().with_target("sipdo", LevelFilter::INFO);
        OpenTelemetryTracingBridge::new(provider).with_filter(own)
    });
    let refused = traces.as_ref().map(|_| {
        let exporter = Targets::new().with_target(refused::EXPORTER, LevelFilter::WARN);
        Refused(Arc::clone(&tally)).with_filter(exporter)
    });
    let subscriber = tracing_subscriber::registry().with(lines).with(bridge).with(refused);
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    let counted = traces.as_ref().map(|_| Arc::clone(&tally));
    let metrics = metrics::start(resource, pushed, counted)?;
    if let Some(provider) = &traces {
        span::record_with(provider.tracer("sipdo"), settings);
    }
    Ok(Guard {
        traces,
        tally,
        metrics,
        logs,
    })
}

fn log_layer(settings: &Settings) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    // Of each batch that fails the libraries write two lines: the first loss is said in our own words. Who names them sees theirs.
    let quiet = if settings.filter.contains("opentelemetry") {
        settings.filter.clone()
    } else {
        format!("{},opentelemetry=off", settings.filter)
    };
    let filter = EnvFilter::builder()
        .parse(&quiet)
        .map_err(|error| TelemetryError::Filter {
            variable: settings.filter_variable,
            text: settings.filter.clone(),
            reason: error.to_string(),
        })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(match settings.format {
        Format::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(logs::JsonLines)
            .with_filter(filter)
            .boxed(),
        Format::Pretty => layer
            .with_ansi(settings.color)
            .with_target(false)
            .with_filter(filter)
            .boxed(),
    })
}
