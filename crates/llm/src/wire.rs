//! What every provider's adapter takes and gives, and how its raw results become ours.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::abilities::{Able, Param};
use crate::chat::{ChatRequest, Message, Output, Paid, Role, Sampling};
use crate::completion::{Completion, Finish, Usage};
use crate::error::ModelError;
use crate::price::Price;
use crate::schema::Schema;
use crate::text::{clip, scrub};
use serde_json::Value;

/// What one sending came to, and when it was sent.
pub(crate) struct Sent {
    pub result: Result<Reply, Failure>,
    pub started: SystemTime,
    pub latency: Duration,
}

/// A request fitted to what its endpoint can do.
pub(crate) struct Shaped<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Cow<'a, [Message]>,
    pub(crate) sampling: Sampling,
    /// To be enforced by the endpoint.
    pub(crate) schema: Option<&'a Schema>,
    pub(crate) max_completion_tokens: bool,
    /// What was left out, by name.
    pub(crate) dropped: Vec<&'static str>,
}

impl<'a> Shaped<'a> {
    pub(crate) fn new(model: &'a str, request: &'a ChatRequest, able: &Able) -> Self {
        let (sampling, mut dropped) = able.fit(&request.sampling);
        let mut messages = Cow::Borrowed(request.messages.as_slice());
        let schema = match &request.output {
            Output::Text => None,
            Output::Json(schema) if able.json_schema => Some(schema.as_ref()),
            Output::Json(schema) => {
                dropped.push("json_schema");
                instruct(messages.to_mut(), schema);
                None
            }
        };
        Self {
            model,
            messages,
            sampling,
            schema,
            max_completion_tokens: able.max_completion_tokens,
            dropped,
        }
    }

    /// The options in this request that an endpoint might not know.
    pub(crate) fn params(&self) -> Vec<Param> {
        let sent = [
            (Param::JsonSchema, self.schema.is_some()),
            (Param::Temperature, self.sampling.temperature.is_some()),
            (Param::TopP, self.sampling.top_p.is_some()),
            (Param::Seed, self.sampling.seed.is_some()),
            (Param::MaxTokens, true),
        ];
        sent.into_iter()
            .filter(|(_, sent)| *sent)
            .map(|(param, _)| param)
            .collect()
    }
}

/// What is said before a schema that the endpoint does not enforce.
pub(crate) const INSTRUCTION: &str =
    "Reply with one JSON value and nothing else: no prose, no code fence. It must satisfy this JSON Schema:\n";

/// Asks for JSON in words, at the end of what the user says.
fn instruct(messages: &mut Vec<Message>, schema: &Schema) {
    let words = format!("{INSTRUCTION}{}", schema.text());
    match messages.last_mut() {
        Some(last) if last.role == Role::User => {
            last.text.push_str("\n\n");
            last.text.push_str(&words);
        }
        _ => messages.push(Message::user(words)),
    }
}

/// A field of a reply that is of use as text only.
pub(crate) fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(clip(&text, 256)),
        _ => None,
    }
}

/// A reply that is not in the shape of the provider's API, with its beginning.
pub(crate) fn not_a_reply(wanted: &str, error: &serde_json::Error, content_type: &str, body: &[u8]) -> Failure {
    let start = String::from_utf8_lossy(body.get(..body.len().min(120)).unwrap_or_default());
    Failure::NotAReply(format!(
        "not {wanted} ({error}; content type \"{content_type}\"): {start}"
    ))
}

/// A reply in a provider's shape, read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// The model's own words of refusal, where the API has a place for them.
    pub(crate) refusal: Option<String>,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
    pub(crate) model_reported: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) system_fingerprint: Option<String>,
}

impl Reply {
    /// A whole answer, or why this is none; what was paid for is in both.
    pub(crate) fn judge(
        self,
        attempt: usize,
        latency: Duration,
        dropped: Vec<&'static str>,
        price: Option<&Price>,
    ) -> Result<Completion, ModelError> {
        let completion = Completion {
            text: without_thinking(self.text),
            finish: self.finish,
            cost_nano_usd: price.and_then(|price| price.cost(&self.usage)),
            usage: self.usage,
            model_reported: self.model_reported,
            response_id: self.response_id,
            system_fingerprint: self.system_fingerprint,
            attempt,
            latency,
            dropped,
        };
        if let Some(words) = self.refusal {
            return Err(ModelError::Refused {
                detail: scrub(&words, None),
                completion: Some(Box::new(completion)),
            });
        }
        match &completion.finish {
            Finish::Refused => {
                let detail = "stopped by a content filter".to_owned();
                Err(ModelError::Refused {
                    detail,
                    completion: Some(Box::new(completion)),
                })
            }
            Finish::Length => Err(ModelError::Truncated {
                completion: Box::new(completion),
            }),
            _ if completion.text.trim().is_empty() => Err(ModelError::Empty {
                completion: Box::new(completion),
            }),
            Finish::Stop => Ok(completion),
            Finish::Missing => Err(unfinished(
                "it gives no finish reason, so it may be cut off",
                completion,
            )),
            Finish::Other(reason) => Err(unfinished(
                &format!("finish reason {}", scrub(reason, None)),
                completion,
            )),
        }
    }
}

fn unfinished(detail: &str, completion: Completion) -> ModelError {
    ModelError::Malformed {
        detail: detail.to_owned(),
        completion: Some(Box::new(completion)),
    }
}

/// The text after a leading `<think>…</think>`, in which local reasoning models think aloud.
fn without_thinking(text: String) -> String {
    let after = text
        .trim_start()
        .strip_prefix("<think>")
        .and_then(|rest| rest.split_once("</think>"))
        .map(|(_, answer)| answer.trim_start().to_owned());
    after.unwrap_or(text)
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A status other than success, with the body's beginning.
    Status {
        status: u16,
        retry_after: Option<Duration>,
        body: String,
    },
    /// No connection: nothing was sent.
    Unreachable(String),
    /// Sent, but no whole reply came back.
    Lost(String),
    /// No whole reply in time.
    TimedOut(Duration),
    /// A success by status that is not the API's reply.
    NotAReply(String),
    /// The reply is longer than this many bytes.
    TooLong(usize),
    /// The endpoint may not be used so; nothing was sent.
    Forbidden(String),
}

impl Failure {
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::NotAReply(_) | Self::TooLong(_) => Some(200),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the endpoint asks for less traffic.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 429 | 503 | 529,
                ..
            }
        )
    }

    pub(crate) fn paid(&self) -> Paid {
        match self {
            // A gateway's timeout says nothing about the model behind it.
            Self::Status {
                status: 408 | 502 | 504 | 524,
                ..
            } => Paid::Unknown,
            Self::Status { .. } | Self::Unreachable(_) | Self::Forbidden(_) => Paid::No,
            Self::Lost(_) | Self::TimedOut(_) | Self::NotAReply(_) | Self::TooLong(_) => Paid::Unknown,
        }
    }

    /// The error a caller sees. `key` is taken out of every message.
    pub(crate) fn into_error(self, model: &str, key: Option<&str>) -> ModelError {
        match self {
            Self::Status {
                status,
                retry_after,
                body,
            } => by_status(status, retry_after, &body, model, key),
            Self::Unreachable(detail) | Self::Lost(detail) => ModelError::Unavailable {
                detail: scrub(&detail, key),
            },
            Self::TimedOut(after) => ModelError::Timeout { after },
            Self::NotAReply(detail) => ModelError::Malformed {
                detail: scrub(&detail, key),
                completion: None,
            },
            Self::TooLong(limit) => ModelError::TooLarge {
                detail: format!("the reply is longer than max_response_bytes = {limit}"),
            },
            Self::Forbidden(detail) => ModelError::Misconfigured {
                detail: scrub(&detail, key),
            },
        }
    }
}

fn by_status(status: u16, retry_after: Option<Duration>, body: &str, model: &str, key: Option<&str>) -> ModelError {
    let said = scrub(&message_in(body), key);
    let detail = if said.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {said}")
    };
    let lower = crate::text::clip(body, 4096).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match status {
        300..=399 => ModelError::Misconfigured {
            detail: format!("{detail}: the endpoint redirects, which is not followed; give base_url its final address"),
        },
        401 | 403 => ModelError::Unauthorized { detail },
        402 => ModelError::OutOfCredit { detail },
        404 => ModelError::UnknownModel {
            model: model.to_owned(),
            detail,
        },
        413 => ModelError::TooLarge { detail },
        429 if says(&["insufficient_quota", "exceeded your current quota"]) => ModelError::OutOfCredit { detail },
        429 => ModelError::RateLimited { retry_after, detail },
        408 | 409 | 425 | 500.. => ModelError::Unavailable { detail },
        _ if says(&[
            "context_length",
            "context length",
            "context window",
            "prompt is too long",
            "too many tokens",
        ]) =>
        {
            ModelError::TooLarge { detail }
        }
        _ if says(&["model_not_found", "invalid model", "no such model"]) => ModelError::UnknownModel {
            model: model.to_owned(),
            detail,
        },
        _ if says(&["api key not valid", "api_key_invalid", "invalid api key"]) => ModelError::Unauthorized { detail },
        _ if says(&["content_filter", "content management policy"]) => ModelError::Refused {
            detail,
            completion: None,
        },
        _ => ModelError::BadRequest { detail },
    }
}

/// The message inside an error body, in any of the shapes providers use, else the body itself.
fn message_in(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(body) else {
        return body.to_owned();
    };
    let value = value.get(0).unwrap_or(&value);
    let places = ["/error/message", "/error", "/message", "/detail"];
    let message = places
        .iter()
        .find_map(|place| value.pointer(place).and_then(|found| found.as_str()));
    message.map_or_else(|| body.to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        by_status(status, None, body, "m", None).kind()
    }

    #[test]
    fn statuses_and_bodies_become_kinds() {
        let cases = [
            (401, "", "unauthorized"),
            (403, "", "unauthorized"),
            (402, "", "out_of_credit"),
            (404, "", "unknown_model"),
            (429, "slow down", "rate_limited"),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, "out_of_credit"),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, "too_large"),
            (
                400,
                r#"[{"error":{"message":"API key not valid. Please pass a valid API key."}}]"#,
                "unauthorized",
            ),
            (400, r#"{"error":{"code":"content_filter"}}"#, "refused"),
            (400, "no", "bad_request"),
            (422, "no", "bad_request"),
            (302, "", "misconfigured"),
            (408, "", "unavailable"),
            (500, "", "unavailable"),
            (529, "", "unavailable"),
        ];
        for (status, body, expected) in cases {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_providers_message_is_dug_out() {
        assert_eq!(message_in(r#"{"error":{"message":"a","type":"b"}}"#), "a");
        assert_eq!(message_in(r#"{"error":"a"}"#), "a");
        assert_eq!(message_in(r#"{"detail":"a"}"#), "a");
        assert_eq!(message_in(r#"[{"error":{"message":"a"}}]"#), "a");
        assert_eq!(message_in("<html>no</html>"), "<html>no</html>");
    }

    #[test]
    fn thinking_aloud_is_not_the_answer() {
        assert_eq!(without_thinking("<think>maybe (A)</think>\n\n(B)".into()), "(B)");
        assert_eq!(without_thinking("(B) <think>".into()), "(B) <think>");
        assert_eq!(without_thinking("<think>never ends".into()), "<think>never ends");
    }
}
