//! What is counted and timed. Always on: the admin port shows it to Prometheus, and a collector gets it where one is
//! named. Labels are of low cardinality: never a run, a job or a user's text.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use prometheus::{Registry, TextEncoder};

use crate::spans::Tally;
use crate::{TelemetryError, names};

const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const MODEL_SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Those of the conventions, and longer ones: a job waits for a model.
const MESSAGE_SECONDS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0,
];
const LONG_SECONDS: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
const SHARES: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
static PAGE: OnceLock<Registry> = OnceLock::new();

struct Instruments {
    tokens: Histogram<u64>,
    model: Histogram<f64>,
    messaging: Histogram<f64>,
    process: Histogram<f64>,
    sent: Counter<u64>,
    consumed: Counter<u64>,
    rpc: Histogram<f64>,
    iteration: Histogram<f64>,
    candidates: Counter<u64>,
    examples: Counter<u64>,
    jobs: Counter<u64>,
    wait: Histogram<f64>,
    cost: Counter<f64>,
    runs: Counter<u64>,
    leading: UpDownCounter<i64>,
    busy: UpDownCounter<i64>,
    lost: Counter<u64>,
    score: Histogram<f64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name, what: &'static str, bounds: &[f64]| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(what)
                .with_boundaries(bounds.to_vec())
                .build()
        };
        let count =
            |name, unit, what: &'static str| meter.u64_counter(name).with_unit(unit).with_description(what).build();
        let level = |name, unit, what: &'static str| {
            meter
                .i64_up_down_counter(name)
                .with_unit(unit)
                .with_description(what)
                .build()
        };
        Self {
            tokens: meter
                .u64_histogram(names::METRIC_TOKENS)
                .with_unit("{token}")
                .with_description("Tokens of a completion, as the provider counts them")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            model: seconds(names::METRIC_MODEL_DURATION, "One request to a model", &MODEL_SECONDS),
            messaging: seconds(
                names::METRIC_MESSAGING_DURATION,
                "From sending to the server's word",
                &MESSAGE_SECONDS,
            ),
            process: seconds(names::METRIC_PROCESS_DURATION, "One job in an agent", &MESSAGE_SECONDS),
            sent: count(names::METRIC_SENT, "{message}", "Jobs and results published"),
            consumed: count(names::METRIC_CONSUMED, "{message}", "Jobs taken"),
            rpc: seconds(names::METRIC_RPC_DURATION, "One call of the API", &MESSAGE_SECONDS),
            iteration: seconds(names::METRIC_ITERATION, "One iteration", &LONG_SECONDS),
            candidates: count(names::METRIC_CANDIDATES, "{candidate}", "Candidate prompts by verdict"),
            examples: count(names::METRIC_EXAMPLES, "{example}", "Synthetic examples by verdict"),
            jobs: count(names::METRIC_JOBS, "{job}", "Jobs by role and outcome"),
            wait: seconds(
                names::METRIC_QUEUE_WAIT,
                "How long a job lay in the queue",
                &MESSAGE_SECONDS,
            ),
            cost: meter
                .f64_counter(names::METRIC_COST)
                .with_unit("USD")
                .with_description("Price of completions; those without a known price are not in it")
                .build(),
            runs: count(names::METRIC_RUNS, "{run}", "Runs that have ended by state"),
            leading: level(names::METRIC_LEADING, "{run}", "Runs that this process leads"),
            busy: level(names::METRIC_BUSY, "{job}", "Jobs in hand"),
            lost: count(names::METRIC_LOST, "{attempt}", "Attempts lost with their agent"),
            score: meter
                .f64_histogram(names::METRIC_SCORE)
                .with_unit("1")
                .with_description("Share of right answers among those measured")
                .with_boundaries(SHARES.to_vec())
                .build(),
        }
    }
}

/// Begins to count. What is pushed goes to the exporter, every so often.
pub(crate) fn start(
    resource: Resource,
    pushed: Option<(MetricExporter, Duration)>,
    spans: Option<Arc<Tally>>,
) -> Result<SdkMeterProvider, TelemetryError> {
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .without_target_info();
    let reader = reader
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
    if let Some((exporter, every)) = pushed {
        let pusher = PeriodicReader::builder(Reported(exporter, AtomicBool::new(false)));
        provider = provider.with_reader(pusher.with_interval(every).build());
    }
    let provider = provider.build();
    let meter = provider.meter("sipdo");
    drop(INSTRUMENTS.set(Instruments::new(&meter)));
    crate::budget::show(&meter);
    if let Some(spans) = spans {
        count_spans(&meter, spans);
    }
    drop(PAGE.set(registry));
    Ok(provider)
}

/// Says once that metrics are not taken: the SDK's own lines are many, and hold URLs.
struct Reported(MetricExporter, AtomicBool);

impl PushMetricExporter for Reported {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = self.0.export(metrics).await;
        if sent.is_err() && !self.1.swap(true, Ordering::Relaxed) {
            tracing::warn!("the collector does not take the metrics; they are sent again with the next");
        }
        sent
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}

/// Spans are counted where they are sent; whoever looks reads the counts.
fn count_spans(meter: &Meter, spans: Arc<Tally>) {
    meter
        .u64_observable_counter(names::METRIC_SPANS)
        .with_unit("{span}")
        .with_description("Spans that the collector has taken, and those that were lost")
        .with_callback(move |counter| {
            counter.observe(spans.sent(), &[KeyValue::new(names::OUTCOME, "sent")]);
            counter.observe(spans.lost(), &[KeyValue::new(names::OUTCOME, "lost")]);
        })
        .build();
}

/// All metrics of this process as Prometheus reads them (text format 0.0.4); empty before [`crate::init`].
#[must_use]
pub fn page() -> String {
    let mut families = PAGE.get().map(Registry::gather).unwrap_or_default();
    for family in &mut families {
        // The exporter has no suffix for this unit, and a view would rename the metric for collectors too.
        if family.name() == "sipdo_llm_cost_total" {
            family.set_name(COST_IN_USD.to_owned());
        }
    }
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

const COST_IN_USD: &str = "sipdo_llm_cost_USD_total";

/// Content type of [`page`].
pub const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One request to a model.
#[derive(Debug, Clone, Copy)]
pub struct ModelCall<'a> {
    /// The role that asked.
    pub role: &'a str,
    /// The provider's flavour.
    pub provider: &'a str,
    /// Model asked for.
    pub model: &'a str,
    /// Model as reported.
    pub reported: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
    /// What failed, if anything did.
    pub error: Option<&'a str>,
    /// Tokens, where the provider says.
    pub input_tokens: Option<u64>,
    /// Tokens, where the provider says.
    pub output_tokens: Option<u64>,
    /// Price in 10⁻⁹ USD, where known.
    pub nano_usd: Option<u64>,
}

/// Counts one request to a model.
pub fn model_call(call: &ModelCall<'_>) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let mut labels = vec![
        label(names::GEN_AI_OPERATION, "chat"),
        label(names::GEN_AI_PROVIDER, call.provider),
        label(names::GEN_AI_REQUEST_MODEL, call.model),
        label(names::GEN_AI_AGENT_NAME, call.role),
    ];
    labels.extend(call.reported.map(|model| label(names::GEN_AI_RESPONSE_MODEL, model)));
    if let Some(nano) = call.nano_usd {
        let labels = [
            label(names::ROLE, call.role),
            label(names::GEN_AI_REQUEST_MODEL, call.model),
        ];
        instruments.cost.add(nano as f64 / 1e9, &labels);
    }
    for (kind, tokens) in [("input", call.input_tokens), ("output", call.output_tokens)] {
        if let Some(tokens) = tokens {
            labels.push(label(names::GEN_AI_TOKEN_TYPE, kind));
            instruments.tokens.record(tokens, &labels);
            labels.pop();
        }
    }
    labels.extend(call.error.map(|error| label(names::ERROR_TYPE, error)));
    instruments.model.record(call.took.as_secs_f64(), &labels);
}

/// A job was published.
pub fn job_sent(role: &str, took: Duration, error: Option<&str>) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = sending(names::of_role(role).jobs_template, error);
    instruments.sent.add(1, &labels);
    instruments.messaging.record(took.as_secs_f64(), &labels);
}

/// A result was published.
pub fn result_sent(role: &str, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = sending(names::of_role(role).results_template, None);
    instruments.sent.add(1, &labels);
    instruments.messaging.record(took.as_secs_f64(), &labels);
}

fn sending(template: &'static str, error: Option<&str>) -> Vec<KeyValue> {
    let mut labels = vec![
        label(names::MESSAGING_SYSTEM, names::NATS),
        label(names::MESSAGING_OPERATION_NAME, "publish"),
        KeyValue::new(names::MESSAGING_TEMPLATE, template),
    ];
    labels.extend(error.map(|error| label(names::ERROR_TYPE, error)));
    labels
}

/// A job was taken, after it lay in the queue for `waited`.
pub fn job_taken(role: &str, waited: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = consuming(role);
    instruments.consumed.add(1, &labels);
    instruments
        .wait
        .record(waited.as_secs_f64(), &[label(names::ROLE, role)]);
    instruments.busy.add(1, &[label(names::ROLE, role)]);
}

/// A job was let go of, `took` after it was taken.
pub fn job_done(role: &str, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.process.record(took.as_secs_f64(), &consuming(role));
    instruments.busy.add(-1, &[label(names::ROLE, role)]);
}

/// What became of a job: `measured`, `not_measured`, `handed_back` or `dead_letter`.
pub fn job_outcome(role: &str, outcome: &'static str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments
        .jobs
        .add(1, &[label(names::ROLE, role), label(names::OUTCOME, outcome)]);
}

fn consuming(role: &str) -> Vec<KeyValue> {
    vec![
        label(names::MESSAGING_SYSTEM, names::NATS),
        label(names::MESSAGING_OPERATION_NAME, "process"),
        label(names::MESSAGING_CONSUMER_GROUP, role),
        KeyValue::new(names::MESSAGING_TEMPLATE, names::of_role(role).jobs_template),
    ]
}

/// A call of the API was answered.
pub fn rpc(method: &'static str, took: Duration, status: &str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [
        label(names::RPC_SYSTEM, "grpc"),
        label(names::RPC_METHOD, method),
        label(names::RPC_STATUS, status),
    ];
    instruments.rpc.record(took.as_secs_f64(), &labels);
}

/// An iteration ended.
pub fn iteration(phase: &str, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments
        .iteration
        .record(took.as_secs_f64(), &[label(names::PHASE, phase)]);
}

/// A candidate prompt was judged.
pub fn candidate(verdict: &str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.candidates.add(1, &[label(names::VERDICT, verdict)]);
}

/// A synthetic example was judged.
pub fn example(verdict: &str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.examples.add(1, &[label(names::VERDICT, verdict)]);
}

/// A prompt was scored: the share of right answers, on `set`.
pub fn score(set: &str, share: f64) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.score.record(share, &[label(names::SCORED, set)]);
}

/// A run ended.
pub fn run_ended(state: &str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.runs.add(1, &[label(names::STATE, state)]);
}

/// This process leads one run more (1) or less (-1).
pub fn leading(change: i64) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.leading.add(change, &[]);
}

/// An attempt was lost with its agent.
pub fn attempt_lost(role: &str) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.lost.add(1, &[label(names::ROLE, role)]);
}

fn label(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}
