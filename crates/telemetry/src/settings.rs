//! What the environment asks of telemetry: read in one place, from a function, so that tests need no real environment.

use std::fmt;
use std::time::Duration;

use crate::TelemetryError;

/// The filter in force when nobody asks for another: our own progress, and only trouble from the libraries.
const DEFAULT_FILTER: &str = "info,async_nats=warn,h2=warn,hyper=warn,tower=warn,opentelemetry=warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, for machines.
    Json,
    /// Aligned text, for people.
    Pretty,
}

/// How telemetry is sent: the two that every collector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC, port 4317 as a rule.
    Grpc,
    /// OTLP over HTTP with protobuf, port 4318 as a rule.
    HttpProtobuf,
}

/// Where a signal goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The whole URL, with its path where the protocol has one.
    pub url: String,
    /// Headers to send along. Their values are secrets.
    pub headers: Vec<(String, String)>,
    /// How long a request may take before it is given up.
    pub patience: Duration,
}

impl Default for Destination {
    /// A collector on this machine, over gRPC.
    fn default() -> Self {
        Self {
            url: "http://localhost:4317".into(),
            headers: Vec::new(),
            patience: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Destination")
            .field("url", &self.url)
            .field("headers", &names)
            .field("patience", &self.patience)
            .finish()
    }
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
    /// Whether spans are sent to a collector.
    pub export_traces: bool,
    /// Whether metrics are sent to a collector.
    pub export_metrics: bool,
    /// Whether log lines are sent to a collector, besides stderr.
    pub export_logs: bool,
    /// Where spans are sent.
    pub traces_to: Destination,
    /// How they are sent.
    pub protocol: Protocol,
    /// Whether prompts, examples and answers may stand on spans.
    pub capture_content: bool,
    /// Whether the environment names the service itself, so that we do not.
    pub names_service: bool,
    /// Whether the environment limits the events of a span itself, so that we do not.
    pub limits_events: bool,
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
        // A signal leaves if an endpoint is named for it or for all, and its exporter is not `none`.
        let exports = |signal: &str| -> Result<bool, TelemetryError> {
            let variable = format!("OTEL_{signal}_EXPORTER");
            let wanted = match get(&variable).as_deref() {
                None | Some("otlp") => true,
                Some("none") => false,
                Some(other) => {
                    return Err(TelemetryError::Kind {
                        variable,
                        text: other.to_owned(),
                    });
                }
            };
            let of_signal = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            let mut named = false;
            for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", of_signal.as_str()] {
                let Some(url) = get(variable) else { continue };
                // Libraries write URLs into their log lines and errors as they are.
                if has_user_info(&url) {
                    return Err(TelemetryError::UserInfo(variable.to_owned()));
                }
                named = true;
            }
            Ok(!disabled && wanted && named)
        };
        let protocol = match get("OTEL_EXPORTER_OTLP_PROTOCOL").as_deref() {
            None | Some("grpc") => Protocol::Grpc,
            Some("http/protobuf") => Protocol::HttpProtobuf,
            Some(other) => return Err(TelemetryError::Protocol(other.to_owned())),
        };
        let for_langfuse = match get("SIPDO_OTEL_COMPAT").as_deref().map(str::trim) {
            None => false,
            Some("langfuse") => true,
            Some(other) => return Err(TelemetryError::Compat(other.to_owned())),
        };
        let content = get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        let named_by_resource = get("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|list| list.split(',').any(|pair| pair.trim().starts_with("service.name=")));
        Ok(Self {
            filter,
            filter_variable,
            format,
            color: terminal && get("NO_COLOR").is_none(),
            export_traces: exports("TRACES")?,
            export_metrics: exports("METRICS")?,
            export_logs: exports("LOGS")?,
            traces_to: traces_to(get, protocol),
            protocol,
            capture_content: content.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            names_service: named_by_resource || get("OTEL_SERVICE_NAME").is_some(),
            limits_events: get("OTEL_SPAN_EVENT_COUNT_LIMIT").is_some(),
            for_langfuse,
        })
    }
}

/// Where spans go: the variables of the signal before those of all.
fn traces_to(get: impl Fn(&str) -> Option<String>, protocol: Protocol) -> Destination {
    let default = Destination::default();
    let url = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
        let base = get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(match protocol {
            Protocol::Grpc => base,
            Protocol::HttpProtobuf => format!("{}/v1/traces", base.trim_end_matches('/')),
        })
    });
    let of_both = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];
    let lists: Vec<String> = of_both.into_iter().filter_map(&get).collect();
    let pairs = lists.iter().flat_map(|list| list.split(','));
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())))
    };
    let patience = get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| get("OTEL_EXPORTER_OTLP_TIMEOUT"));
    let patience = patience.and_then(|millis| millis.trim().parse().ok());
    Destination {
        url: url.unwrap_or(default.url),
        headers: pairs.filter_map(header).collect(),
        patience: patience.map_or(default.patience, Duration::from_millis),
    }
}

/// `%41` as `A`; what is not encoded stays as it is.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a user or password stands before the host.
fn has_user_info(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
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
    fn spans_leave_only_when_a_collector_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        assert!(!read(&[], false).unwrap().export_traces);
        assert!(read(&[endpoint], false).unwrap().export_traces);
        assert!(
            !read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")], false)
                .unwrap()
                .export_traces
        );
        let settings = read(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")], false).unwrap();
        assert!(settings.export_traces && settings.export_logs && !settings.export_metrics);
        let only_logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost:4317");
        let settings = read(&[only_logs], false).unwrap();
        assert!(settings.export_logs && !settings.export_traces);
        assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], false).is_err());
        assert!(
            read(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x")], false)
                .unwrap()
                .names_service
        );
    }

    #[test]
    fn a_password_in_the_collectors_url_is_refused_and_not_repeated() {
        let url = "http://me:secret@localhost:4317/v1?a=b";
        for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let error = read(&[(variable, url)], false).unwrap_err().to_string();
            assert!(
                error.contains(variable) && error.contains("OTEL_EXPORTER_OTLP_HEADERS"),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
            assert!(read(&[(variable, "http://localhost/a@b")], false).is_ok());
        }
    }

    #[test]
    fn spans_go_where_the_standard_variables_say() {
        let to = |pairs: &[(&str, &str)]| read(pairs, false).unwrap().traces_to;
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1/");
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(to(&[base]).url, "http://a:1/");
        assert_eq!(to(&[base, http]).url, "http://a:1/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b/in");
        assert_eq!(to(&[base, http, own]).url, "https://b/in");
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20c2VjcmV0, x = 1%");
        let told = to(&[headers, ("OTEL_EXPORTER_OTLP_TIMEOUT", "250")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(told.headers, [pair("Authorization", "Basic c2VjcmV0"), pair("x", "1%")]);
        assert_eq!(told.patience, Duration::from_millis(250));
        assert!(!format!("{told:?}").contains("c2VjcmV0"), "{told:?}");
    }

    #[test]
    fn content_and_protocol_are_chosen_by_the_standard_variables() {
        assert!(!read(&[], false).unwrap().capture_content);
        let on = ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true");
        assert!(read(&[on], false).unwrap().capture_content);
        assert_eq!(read(&[], false).unwrap().protocol, Protocol::Grpc);
        assert!(!read(&[], false).unwrap().for_langfuse);
        assert!(read(&[("SIPDO_OTEL_COMPAT", "langfuse")], false).unwrap().for_langfuse);
        let error = read(&[("SIPDO_OTEL_COMPAT", "langsmith")], false).unwrap_err();
        assert!(error.to_string().contains("`langfuse`"), "{error}");
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(read(&[http], false).unwrap().protocol, Protocol::HttpProtobuf);
        let error = read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], false).unwrap_err();
        assert!(error.to_string().contains("http/protobuf"), "{error}");
    }
}
