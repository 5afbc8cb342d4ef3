//! What the environment asks of telemetry: read in one place, from a function, so that tests need no real environment.

use std::time::Duration;

use crate::TelemetryError;
use crate::destination::{Destination, destination, one_of};

/// The filter in force when nobody asks for another: our own progress, and only trouble from the libraries.
const DEFAULT_FILTER: &str = "info,async_nats=warn,h2=warn,hyper=warn,tower=warn";

/// How often metrics are sent where the environment says nothing that can be read, as the specification has it.
const PUSH_EVERY: Duration = Duration::from_secs(60);

/// How spans wait for their collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Spans that may wait. What does not fit is lost: a run is never held up.
    pub waiting: u64,
    /// Spans sent at a time.
    pub size: usize,
    /// How long a span waits for others.
    pub delay: Duration,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            waiting: 16_384,
            size: 2_048,
            delay: Duration::from_secs(1),
        }
    }
}

impl Batches {
    fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let default = Self::default();
        let waiting = positive(&get, "OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(default.waiting);
        let size = positive(&get, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE").and_then(|size| usize::try_from(size).ok());
        Self {
            waiting,
            size: size.unwrap_or(default.size),
            delay: positive(&get, "OTEL_BSP_SCHEDULE_DELAY").map_or(default.delay, Duration::from_millis),
        }
    }
}

/// A number above zero; none where the variable says nothing that can be read, as the specification has it.
fn positive(get: impl Fn(&str) -> Option<String>, name: &str) -> Option<u64> {
    get(name)?.trim().parse().ok().filter(|number| *number > 0)
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, for machines.
    Json,
    /// Aligned text, for people.
    Pretty,
}

/// What telemetry is to do in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// Where the filter was read; named in an error about it.
    pub filter_variable: &'static str,
    /// How they look.
    pub format: Format,
    /// Whether pretty lines may be coloured.
    pub color: bool,
    /// Where spans are sent, if they are.
    pub traces: Option<Destination>,
    /// Where metrics are sent, if they are; the admin port shows them either way.
    pub metrics: Option<Destination>,
    /// Where log lines are sent besides stderr, if they are.
    pub logs: Option<Destination>,
    /// Whether prompts, examples and answers may stand on spans.
    pub capture_content: bool,
    /// The service's name, where the environment says one by itself.
    pub service_name: Option<String>,
    /// Whether the environment names the service among the attributes of the resource.
    pub resource_names_service: bool,
    /// Whether the environment limits the events of a span itself, so that we do not.
    pub limits_events: bool,
    /// How spans wait for their collector.
    pub batches: Batches,
    /// How often metrics are sent.
    pub push_every: Duration,
    /// Whether spans also carry what Langfuse alone reads.
    pub for_langfuse: bool,
}

impl Settings {
    /// Reads `SIPDO_LOG` (or `RUST_LOG`), `SIPDO_LOG_FORMAT`, `NO_COLOR` and the `OTEL_*` variables through `get`.
    /// `terminal` says whether a person reads stderr: then lines are pretty, else JSON.
    ///
    /// # Errors
    /// A format that does not exist. The filter is only parsed by [`crate::init_with`].
    pub fn from_env(get: impl Fn(&str) -> Option<String>, terminal: bool) -> Result<Self, TelemetryError> {
        // A variable set to nothing counts as unset, as the OpenTelemetry specification wants.
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let (filter, filter_variable) = match (get("SIPDO_LOG"), get("RUST_LOG")) {
            (Some(filter), _) => (filter, "SIPDO_LOG"),
            (None, Some(filter)) => (filter, "RUST_LOG"),
            (None, None) => (DEFAULT_FILTER.to_owned(), "SIPDO_LOG"),
        };
        let format = match get("SIPDO_LOG_FORMAT").as_deref() {
            Some("json") => Format::Json,
            Some("pretty") => Format::Pretty,
            Some(other) => return Err(TelemetryError::Format(other.to_owned())),
            None if terminal => Format::Pretty,
            None => Format::Json,
        };
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let sent = |signal| destination(get, signal).map(|to| to.filter(|_| !disabled));
        let for_langfuse = match get("SIPDO_OTEL_COMPAT").as_deref().map(str::trim) {
            None => false,
            Some("langfuse") => true,
            Some(other) => return Err(TelemetryError::Compat(other.to_owned())),
        };
        check_sampler(get)?;
        let content = get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        let named_by_resource = get("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|list| list.split(',').any(|pair| pair.trim().starts_with("service.name=")));
        Ok(Self {
            filter,
            filter_variable,
            format,
            color: terminal && get("NO_COLOR").is_none(),
            traces: sent("TRACES")?,
            metrics: sent("METRICS")?,
            logs: sent("LOGS")?,
            capture_content: content.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            service_name: get("OTEL_SERVICE_NAME"),
            resource_names_service: named_by_resource,
            limits_events: get("OTEL_SPAN_EVENT_COUNT_LIMIT").is_some(),
            batches: Batches::read(get),
            push_every: positive(get, "OTEL_METRIC_EXPORT_INTERVAL").map_or(PUSH_EVERY, Duration::from_millis),
            for_langfuse,
        })
    }
}

/// The samplers that the SDK knows. An unknown one it would pass over with a warning, and everything would be sent.
const SAMPLERS: [(&str, ()); 6] = [
    ("parentbased_always_on", ()),
    ("parentbased_always_off", ()),
    ("parentbased_traceidratio", ()),
    ("always_on", ()),
    ("always_off", ()),
    ("traceidratio", ()),
];

/// Refuses what the SDK would pass over with a warning.
fn check_sampler(get: impl Fn(&str) -> Option<String>) -> Result<(), TelemetryError> {
    let (name, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    one_of(name, get(name), &SAMPLERS)?;
    let by_share = get(name).is_some_and(|sampler| sampler.ends_with("traceidratio"));
    let is_share = |text: &str| text.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share));
    match get(argument).filter(|text| by_share && !is_share(text)) {
        Some(text) => Err(TelemetryError::Choice {
            variable: argument.to_owned(),
            text,
            choices: "a share from 0 to 1".to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], terminal: bool) -> Result<Settings, TelemetryError> {
        Settings::from_env(
            |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()),
            terminal,
        )
    }

    #[test]
    fn our_own_filter_wins_over_the_common_one() {
        let settings = read(&[("RUST_LOG", "trace"), ("SIPDO_LOG", "warn")], true).unwrap();
        assert_eq!(
            (settings.filter.as_str(), settings.filter_variable),
            ("warn", "SIPDO_LOG")
        );
        assert_eq!(read(&[("RUST_LOG", "trace")], true).unwrap().filter, "trace");
        assert_eq!(read(&[("SIPDO_LOG", "  ")], true).unwrap().filter, DEFAULT_FILTER);
    }

    #[test]
    fn a_pipe_gets_json_and_a_terminal_gets_text() {
        assert_eq!(read(&[], false).unwrap().format, Format::Json);
        assert_eq!(read(&[], true).unwrap().format, Format::Pretty);
        assert_eq!(
            read(&[("SIPDO_LOG_FORMAT", "pretty")], false).unwrap().format,
            Format::Pretty
        );
        assert!(!read(&[("NO_COLOR", "1")], true).unwrap().color);
        let error = read(&[("SIPDO_LOG_FORMAT", "xml")], true).unwrap_err();
        assert!(error.to_string().contains("\"xml\""), "{error}");
    }

    #[test]
    fn signals_leave_only_when_a_collector_is_named() {
        let sent = |pairs: &[(&str, &str)]| {
            let settings = read(pairs, false).unwrap();
            [settings.traces, settings.metrics, settings.logs].map(|to| to.is_some())
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        assert_eq!(sent(&[]), [false; 3]);
        assert_eq!(sent(&[endpoint]), [true; 3]);
        assert_eq!(sent(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), [false; 3]);
        assert_eq!(
            sent(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]),
            [true, false, true]
        );
        let only_logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost:4317");
        assert_eq!(sent(&[only_logs]), [false, false, true]);
        assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], false).is_err());
        let every = |text| {
            read(&[("OTEL_METRIC_EXPORT_INTERVAL", text)], false)
                .unwrap()
                .push_every
        };
        assert_eq!(
            ["5000", " ", "0", "often"].map(every),
            [5, 60, 60, 60].map(Duration::from_secs)
        );
        let named = [("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x")];
        let named = read(&named, false).unwrap();
        assert_eq!((named.service_name, named.resource_names_service), (None, true));
        let service = read(&[("OTEL_SERVICE_NAME", "mine")], false).unwrap().service_name;
        assert_eq!(service.as_deref(), Some("mine"));
    }

    #[test]
    fn spans_wait_as_the_standard_variables_say() {
        let batches = |pairs: &[(&str, &str)]| read(pairs, false).unwrap().batches;
        let said = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "9"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", " 7 "),
            ("OTEL_BSP_SCHEDULE_DELAY", "5"),
        ];
        let delay = Duration::from_millis(5);
        assert_eq!(
            batches(&said),
            Batches {
                waiting: 9,
                size: 7,
                delay
            }
        );
        assert_eq!(
            batches(&said.map(|(name, _)| (name, "0"))),
            Batches::default(),
            "nothing that can be"
        );
    }

    #[test]
    fn a_sampler_that_nobody_knows_is_refused() {
        let (sampler, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
        let asks = |pairs: &[(&str, &str)]| read(pairs, false).map(|_| ());
        assert!(asks(&[]).is_ok());
        assert!(asks(&[(sampler, "parentbased_always_on")]).is_ok());
        assert!(asks(&[(sampler, "always_off")]).is_ok());
        assert!(asks(&[(sampler, "traceidratio"), (argument, "0.25")]).is_ok());
        let error = asks(&[(sampler, "jaeger_remote")]).unwrap_err().to_string();
        assert!(
            error.contains("\"jaeger_remote\"") && error.contains("`always_off`"),
            "{error}"
        );
        for wrong in ["2", "much"] {
            let error = asks(&[(sampler, "parentbased_traceidratio"), (argument, wrong)]).unwrap_err();
            assert!(error.to_string().contains("from 0 to 1"), "{error}");
        }
        assert!(asks(&[(argument, "unused")]).is_ok());
    }

    #[test]
    fn content_is_chosen_by_the_standard_variable() {
        assert!(!read(&[], false).unwrap().capture_content);
        let on = ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true");
        assert!(read(&[on], false).unwrap().capture_content);
        assert!(!read(&[], false).unwrap().for_langfuse);
        assert!(read(&[("SIPDO_OTEL_COMPAT", "langfuse")], false).unwrap().for_langfuse);
        let error = read(&[("SIPDO_OTEL_COMPAT", "langsmith")], false).unwrap_err();
        assert!(error.to_string().contains("`langfuse`"), "{error}");
    }
}
