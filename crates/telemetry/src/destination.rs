//! Where a signal goes and how, as the `OTEL_EXPORTER_OTLP_*` variables say: those of the signal before those of all.

use std::path::PathBuf;
use std::time::Duration;

use crate::TelemetryError;

/// How telemetry is sent: the two that every collector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC, port 4317 as a rule.
    Grpc,
    /// OTLP over HTTP with protobuf, port 4318 as a rule.
    HttpProtobuf,
}

/// Where a signal goes. Headers and compression the exporter reads from the environment itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The whole URL, with its path where the protocol has one.
    pub url: String,
    /// How it is sent.
    pub protocol: Protocol,
    /// How long a request may take before it is given up.
    pub patience: Duration,
    /// Certificates to trust instead of the system's: a file in PEM.
    pub authority: Option<PathBuf>,
    /// What the collector is shown to know us by: files in PEM, a certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Default for Destination {
    /// A collector on this machine, over gRPC.
    fn default() -> Self {
        Self {
            url: "http://localhost:4317".into(),
            protocol: Protocol::Grpc,
            patience: Duration::from_secs(10),
            authority: None,
            identity: None,
        }
    }
}

/// Where `signal` (`TRACES`, `METRICS` or `LOGS`) goes: nowhere unless an endpoint is named for it or for all, and its
/// exporter is not `none`.
pub(crate) fn destination(
    get: impl Fn(&str) -> Option<String>,
    signal: &str,
) -> Result<Option<Destination>, TelemetryError> {
    let exporter = format!("OTEL_{signal}_EXPORTER");
    let wanted = one_of(&exporter, get(&exporter), &[("otlp", true), ("none", false)])?;
    // A variable and its value.
    let either = |what: &str| {
        let names = [
            format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
            format!("OTEL_EXPORTER_OTLP_{what}"),
        ];
        names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
    };
    let chosen = |what: &str| either(what).map_or_else(|| (String::new(), None), |(name, value)| (name, Some(value)));
    let (name, text) = chosen("PROTOCOL");
    let protocols = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
    let protocol = one_of(&name, text, &protocols)?;
    let (name, text) = chosen("COMPRESSION");
    one_of(&name, text, &[("none", ()), ("gzip", ())])?;
    let insecure = either("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let Some((name, endpoint)) = either("ENDPOINT").filter(|_| wanted) else {
        return Ok(None);
    };
    let of_all = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let mut url = checked(name, endpoint, protocol, insecure)?;
    if of_all && protocol == Protocol::HttpProtobuf {
        url = format!("{}/v1/{}", url.trim_end_matches('/'), signal.to_ascii_lowercase());
    }
    let default = Destination::default();
    let patience = either("TIMEOUT").and_then(|(_, millis)| millis.trim().parse().ok());
    let file = |what: &str| either(what).map(|(_, path)| PathBuf::from(path));
    let identity = match (file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(TelemetryError::HalfIdentity),
    };
    Ok(Some(Destination {
        url,
        protocol,
        patience: patience.map_or(default.patience, Duration::from_millis),
        authority: file("CERTIFICATE"),
        identity,
    }))
}

/// The choice that a variable makes; the first where it is not set.
pub(crate) fn one_of<T: Copy>(
    variable: &str,
    text: Option<String>,
    choices: &[(&str, T)],
) -> Result<T, TelemetryError> {
    let wanted = text.as_deref().map(str::trim);
    let found = choices.iter().find(|(name, _)| wanted.is_none_or(|text| text == *name));
    found.map(|(_, value)| *value).ok_or_else(|| TelemetryError::Choice {
        variable: variable.to_owned(),
        text: text.unwrap_or_default(),
        choices: choices
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" or "),
    })
}

/// The URL, if it is one that can be used: over gRPC a host and port will do.
fn checked(variable: String, url: String, protocol: Protocol, insecure: bool) -> Result<String, TelemetryError> {
    // Libraries write URLs into their log lines and errors as they are.
    if has_user_info(&url) {
        return Err(TelemetryError::UserInfo(variable));
    }
    let scheme = if insecure { "http" } else { "https" };
    match url.split_once("://") {
        Some(("http" | "https", _)) => Ok(url),
        None if protocol == Protocol::Grpc => Ok(format!("{scheme}://{url}")),
        _ => Err(TelemetryError::Url(variable)),
    }
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

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1/");
    const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");

    fn read(pairs: &[(&str, &str)], signal: &str) -> Result<Option<Destination>, TelemetryError> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        destination(get, signal)
    }

    fn to(pairs: &[(&str, &str)], signal: &str) -> Destination {
        read(pairs, signal).unwrap().unwrap()
    }

    fn refusal(pair: (&str, &str)) -> String {
        read(&[BASE, pair], "LOGS").unwrap_err().to_string()
    }

    #[test]
    fn a_password_in_the_collectors_url_is_refused_and_not_repeated() {
        let url = "http://me:secret@localhost:4317/v1?a=b";
        for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let error = read(&[(variable, url)], "LOGS").unwrap_err().to_string();
            assert!(
                error.contains(variable) && error.contains("OTEL_EXPORTER_OTLP_HEADERS"),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
            assert!(read(&[(variable, "http://localhost/a@b")], "LOGS").is_ok());
        }
    }

    #[test]
    fn a_signal_goes_where_the_standard_variables_say() {
        assert_eq!(to(&[BASE], "TRACES").url, "http://a:1/");
        assert_eq!(to(&[BASE, HTTP], "TRACES").url, "http://a:1/v1/traces");
        assert_eq!(to(&[BASE, HTTP], "LOGS").url, "http://a:1/v1/logs");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b/in");
        assert_eq!(to(&[BASE, HTTP, own], "TRACES").url, "https://b/in");
        assert_eq!(to(&[BASE, HTTP, own], "METRICS").url, "http://a:1/v1/metrics");
        // Over gRPC a host and port will do; plain only where that is asked for.
        let bare = ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317");
        assert_eq!(to(&[bare], "TRACES").url, "https://a:4317");
        let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
        assert_eq!(to(&[bare, insecure], "TRACES").url, "http://a:4317");
        let error = read(&[bare, HTTP], "TRACES").unwrap_err().to_string();
        assert!(error.contains("http://"), "{error}");
    }

    #[test]
    fn the_time_of_the_signal_goes_before_that_of_all() {
        let of_all = ("OTEL_EXPORTER_OTLP_TIMEOUT", "250");
        assert_eq!(to(&[BASE, of_all], "TRACES").patience, Duration::from_millis(250));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "50");
        assert_eq!(to(&[BASE, of_all, own], "TRACES").patience, Duration::from_millis(50));
    }

    #[test]
    fn protocol_compression_and_certificates_may_differ_by_signal() {
        let own = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf");
        assert_eq!(to(&[BASE, own], "LOGS").protocol, Protocol::HttpProtobuf);
        assert_eq!(to(&[BASE, own], "TRACES").protocol, Protocol::Grpc);
        let error = refusal(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"));
        assert!(
            error.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && error.contains("`http/protobuf`"),
            "{error}"
        );
        assert!(read(&[BASE, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], "TRACES").is_ok());
        let error = refusal(("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"));
        assert!(error.contains("`none` or `gzip`"), "{error}");
        let authority = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem");
        let certificate = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "me.pem");
        assert!(matches!(
            read(&[BASE, certificate], "TRACES"),
            Err(TelemetryError::HalfIdentity)
        ));
        let key = ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "me.key");
        let told = to(&[BASE, authority, certificate, key], "TRACES");
        assert_eq!(told.authority, Some("ca.pem".into()));
        assert_eq!(told.identity, Some(("me.pem".into(), "me.key".into())));
    }
}
