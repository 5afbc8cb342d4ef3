//! What the body of an error says: its structure first (status, code, type, the parameter that it names), then its words.
//!
//! Wordings are data: the tables of this file hold them all. What they cannot say is left to the caller.

use std::time::Duration;

use serde_json::Value;

use crate::text::clip;

/// Most bytes of a body in which words are looked for.
const READ_BYTES: usize = 4096;

/// The body of an error, read.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    /// Its code, type and status words, in small letters.
    codes: Vec<String>,
    /// The places that it names as its cause, in small letters: `param`, or pydantic's `loc` joined by dots.
    pub(crate) places: Vec<String>,
    /// What it says to people.
    pub(crate) message: String,
    /// The whole body's beginning in small letters.
    pub(crate) words: String,
    value: Value,
}

impl Complaint {
    /// Reads a body in any of the shapes that providers use; one without a known shape is only words.
    pub(crate) fn read(body: &str) -> Self {
        let value = serde_json::from_str::<Value>(body).unwrap_or_default();
        // Gemini wraps its error in a list.
        let value = value.get(0).cloned().unwrap_or(value);
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
        let codes = ["code", "type", "status"]
            .iter()
            .filter_map(|name| word(error.get(*name)?));
        Self {
            codes: codes.collect(),
            places: places(&value, error),
            message: message(&value).unwrap_or_else(|| body.to_owned()),
            words: clip(body, READ_BYTES).to_lowercase(),
            value,
        }
    }

    /// Whether its code or type is, or ends in, one of these.
    pub(crate) fn has_code(&self, codes: &[&str]) -> bool {
        self.codes
            .iter()
            .any(|code| codes.iter().any(|known| code.ends_with(known)))
    }

    /// Whether one of these stands in it.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.words.contains(word))
    }

    /// Whether it is the refusal of a request that is longer than the model takes.
    pub(crate) fn is_overflow(&self) -> bool {
        self.has_code(OVERFLOW_CODES) || self.says(OVERFLOW_WORDS)
    }

    /// Whether the account is at fault: only money or an operator helps.
    pub(crate) fn is_out_of_credit(&self) -> bool {
        self.has_code(CREDIT_CODES) || self.says(CREDIT_WORDS)
    }

    /// Whether the endpoint could not keep the answer to the schema this time. The next answer may do.
    pub(crate) fn is_failed_grammar(&self) -> bool {
        self.has_code(FAILED_GRAMMAR) || self.says(FAILED_GRAMMAR)
    }

    /// Tokens of the request and tokens that fit, where the body tells both beside its message.
    pub(crate) fn overflow_numbers(&self) -> Option<(u64, u64)> {
        let error = self.value.get("error").unwrap_or(&self.value);
        let count = |name: &str| error.get(name).and_then(Value::as_u64);
        count("n_prompt_tokens").zip(count("n_ctx")).or_else(|| {
            let asked =
                number_after(&self.words, "n_prompt_tokens\\\":").or(number_after(&self.words, "n_prompt_tokens':"))?;
            let fits = number_after(&self.words, "n_ctx\\\":").or(number_after(&self.words, "n_ctx':"))?;
            Some((asked, fits))
        })
    }

    /// The pause that the body asks for, where no header does: Gemini's `retryDelay`, or "try again in 1.5s".
    pub(crate) fn wait(&self) -> Option<Duration> {
        let structured = self
            .value
            .pointer("/error/details")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find_map(|detail| duration(detail.get("retryDelay")?.as_str()?));
        structured.or_else(|| {
            WAIT_WORDS.iter().find_map(|words| {
                let (_, rest) = self.words.split_once(words)?;
                let rest = rest.trim_start();
                duration(rest.split([' ', ',', '"', '\\', ')']).next()?.trim_end_matches('.'))
            })
        })
    }

    /// The status that an error inside a reply of success stands for; `None` if it does not say.
    pub(crate) fn implied_status(&self) -> Option<u16> {
        let number = self.codes.iter().find_map(|code| code.parse::<u16>().ok());
        number.filter(|status| (400..600).contains(status)).or_else(|| {
            let known = |(code, _): &&(&str, u16)| self.has_code(&[code]);
            STATUS_WORDS.iter().find(known).map(|(_, status)| *status)
        })
    }

    /// Whether it is an error in the shape that `Provider::Anthropic` or Gemini give to a name that they do not know.
    pub(crate) fn is_not_found(&self) -> bool {
        self.has_code(&["not_found_error", "not_found"])
    }
}

const OVERFLOW_CODES: &[&str] = &[
    "context_length_exceeded",
    "exceed_context_size_error",
    "contextwindowexceedederror",
];
const OVERFLOW_WORDS: &[&str] = &[
    "context_length",
    "context length",
    "context window",
    "contextwindow",
    "context size",
    "maximum context",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input too long",
    "too many tokens",
    "too many input tokens",
    "input token count",
    "exceeds the maximum number of tokens",
    "`max_new_tokens` must be <=",
];
const CREDIT_CODES: &[&str] = &[
    "billing_error",
    "insufficient_quota",
    "budget_exceeded",
    "insufficient_balance",
    "arrearage",
];
const CREDIT_WORDS: &[&str] = &[
    "credit balance is too low",
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient_quota",
    "exceeded your current quota",
    "budget has been exceeded",
    "used all available credits",
    "out of credit",
    "spending limit",
    "payment required",
    "check your billing",
];
const FAILED_GRAMMAR: &[&str] = &["json_validate_failed", "failed to generate json", "failed_generation"];
const WAIT_WORDS: &[&str] = &[
    "try again in ",
    "retry in ",
    "retry after ",
    "retry_after\":",
    "retry_after_seconds\":",
];
/// Code words of errors inside a reply of success, and the status that each stands for.
const STATUS_WORDS: &[(&str, u16)] = &[
    ("rate_limit_exceeded", 429),
    ("rate_limit_error", 429),
    ("throttling_error", 429),
    ("rate_limit", 429),
    ("too_many_requests", 429),
    ("resource_exhausted", 429),
    ("insufficient_quota", 402),
    ("billing_error", 402),
    ("overloaded_error", 529),
    ("overloaded", 529),
    ("timeout_error", 504),
    ("timeout", 504),
    ("deadline_exceeded", 504),
    ("authentication_error", 401),
    ("invalid_api_key", 401),
    ("unauthenticated", 401),
    ("permission_error", 403),
    ("permission_denied", 403),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("api_error", 500),
    ("internal_error", 500),
    ("internal_server_error", 500),
    ("server_error", 500),
    ("internal", 500),
    ("service_unavailable", 503),
    ("unavailable", 503),
    ("context_length_exceeded", 400),
    ("invalid_request_error", 400),
    ("bad_request", 400),
    ("invalid_argument", 400),
];

/// A code as a word: gateways write numbers, numbers as text, and words.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(clip(text, 100).to_lowercase()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn places(value: &Value, error: &Value) -> Vec<String> {
    let param = error
        .get("param")
        .and_then(Value::as_str)
        .filter(|param| !param.is_empty());
    let findings = ["detail", "errors"]
        .iter()
        .filter_map(|name| value.get(*name)?.as_array())
        .flatten();
    let loc = findings.filter_map(|finding| {
        let steps = finding.get("loc")?.as_array()?.iter().filter_map(word);
        Some(steps.collect::<Vec<_>>().join("."))
    });
    param.map(str::to_lowercase).into_iter().chain(loc).collect()
}

/// The message inside an error body.
fn message(value: &Value) -> Option<String> {
    let places = [
        "/error/message",
        "/error",
        "/message",
        "/detail",
        "/detail/0/msg",
        "/detail/message",
        "/msg",
    ];
    let found = places
        .iter()
        .find_map(|place| value.pointer(place).and_then(Value::as_str))?;
    // OpenRouter keeps the words of the provider behind it apart.
    let behind = value.pointer("/error/metadata/raw").and_then(Value::as_str);
    Some(match behind {
        Some(raw) => format!("{found}: {raw}"),
        None => found.to_owned(),
    })
}

fn number_after(words: &str, mark: &str) -> Option<u64> {
    let rest = words.split_once(mark)?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A pause as servers write it: `20ms`, `1.5s`, `6m0s`, `2h`, or seconds without a unit. `None` for what is none, and for what is
/// below zero; at most a day.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest.get(..end)?.parse().ok()?;
        let unit_and_rest = rest.get(end..)?;
        let unit_end = unit_and_rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit_and_rest.len());
        seconds += number
            * match unit_and_rest.get(..unit_end)? {
                "" | "s" | "sec" | "seconds" | "second" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = unit_and_rest.get(unit_end..)?;
    }
    seconds
        .is_finite()
        .then(|| Duration::from_secs_f64(seconds.min(86_400.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_message_is_dug_out() {
        let said = |body: &str| Complaint::read(body).message;
        assert_eq!(said(r#"{"error":{"message":"a","type":"b"}}"#), "a");
        assert_eq!(said(r#"{"error":"a"}"#), "a");
        assert_eq!(said(r#"{"detail":"a"}"#), "a");
        assert_eq!(said(r#"{"detail":[{"loc":["body","seed"],"msg":"a"}]}"#), "a");
        assert_eq!(said(r#"[{"error":{"message":"a"}}]"#), "a");
        assert_eq!(said(r#"{"error":{"message":"a","metadata":{"raw":"b"}}}"#), "a: b");
        assert_eq!(said("<html>no</html>"), "<html>no</html>");
    }

    #[test]
    fn durations_are_read_as_servers_write_them() {
        for (text, milliseconds) in [
            ("20ms", 20),
            ("1.5s", 1500),
            ("6m0s", 360_000),
            ("2m59.56s", 179_560),
            ("7", 7000),
            ("1h1m", 3_660_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for nonsense in ["", "soon", "-1", "1x", ".", "s"] {
            assert_eq!(duration(nonsense), None, "{nonsense}");
        }
        assert_eq!(duration("999999d"), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn a_pause_in_the_body_is_read() {
        let wait = |body: &str| Complaint::read(body).wait();
        let gemini =
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"x"},{"retryDelay":"34s"}]}}"#;
        assert_eq!(wait(gemini), Some(Duration::from_secs(34)));
        assert_eq!(
            wait(r#"{"error":{"message":"Please try again in 1.5s. Visit .."}}"#),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(wait("Please retry after 7 seconds"), Some(Duration::from_secs(7)));
        assert_eq!(wait("try again in a while"), None);
    }

    #[test]
    fn an_error_inside_a_success_stands_for_a_status() {
        let status = |body: &str| Complaint::read(body).implied_status();
        assert_eq!(status(r#"{"error":{"code":"429"}}"#), Some(429));
        assert_eq!(status(r#"{"error":{"code":502}}"#), Some(502));
        assert_eq!(status(r#"{"error":{"code":"rate_limit_exceeded"}}"#), Some(429));
        assert_eq!(
            status(r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
            Some(529)
        );
        assert_eq!(status(r#"{"object":"error","code":503,"message":"x"}"#), Some(503));
        assert_eq!(status(r#"{"error":"x"}"#), None);
        assert_eq!(status(r#"{"error":{"code":7}}"#), None);
    }

    #[test]
    fn an_overflow_tells_its_numbers() {
        let llama = r#"{"error":{"code":400,"message":"the request exceeds the available context size",
            "type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":2048}}"#;
        let read = Complaint::read(llama);
        assert!(read.is_overflow());
        assert_eq!(read.overflow_numbers(), Some((5000, 2048)));
        let proxied = r#"{"error":{"message":"litellm.ContextWindowExceededError: {\"n_prompt_tokens\":5000,\"n_ctx\":2048}","type":"invalid_request_error"}}"#;
        let read = Complaint::read(proxied);
        assert!(read.is_overflow());
        assert_eq!(read.overflow_numbers(), Some((5000, 2048)));
        assert!(!Complaint::read("temperature: range: 0..1").is_overflow());
    }
}
