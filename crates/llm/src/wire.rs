//! What every provider's adapter takes and gives, and how its raw results become ours.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::abilities::{Able, Param};
use crate::chat::{ChatRequest, Message, Output, Paid, Role, Sampling};
use crate::complaint::Complaint;
use crate::completion::{Completion, Finish, Usage};
use crate::endpoint::Effort;
use crate::error::ModelError;
use crate::in_words::{instruct, without_system};
use crate::price::Price;
use crate::retry::Asked;
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
    /// Any JSON object is to be enforced; the messages hold the schema.
    pub(crate) json_object: bool,
    pub(crate) reasoning_effort: Option<Effort>,
    pub(crate) max_completion_tokens: bool,
    /// What was left out, by name.
    pub(crate) dropped: Vec<&'static str>,
}

impl<'a> Shaped<'a> {
    pub(crate) fn new(model: &'a str, request: &'a ChatRequest, able: &Able, effort: Option<Effort>) -> Self {
        let (sampling, mut dropped) = able.fit(&request.sampling);
        let mut messages = Cow::Borrowed(request.messages.as_slice());
        let (mut enforced, mut json_object) = (None, false);
        match &request.output {
            Output::Text => {}
            Output::Json(schema) if able.json_schema => enforced = Some(schema.as_ref()),
            Output::Json(schema) => {
                dropped.push("json_schema");
                instruct(messages.to_mut(), schema);
                json_object = able.json_object && schema.is_object();
            }
        }
        let has_system = messages.iter().any(|message| message.role == Role::System);
        if has_system && !able.system_role {
            dropped.push("system_role");
            without_system(messages.to_mut());
        }
        let reasoning_effort = effort.filter(|_| able.reasoning_effort);
        if effort.is_some() && reasoning_effort.is_none() {
            dropped.push("reasoning_effort");
        }
        Self {
            model,
            messages,
            sampling,
            schema: enforced,
            json_object,
            reasoning_effort,
            max_completion_tokens: able.max_completion_tokens,
            dropped,
        }
    }

    /// The options in this request that an endpoint might not know.
    pub(crate) fn params(&self) -> Vec<Param> {
        let has_system = self.messages.iter().any(|message| message.role == Role::System);
        let sent = [
            (Param::JsonSchema, self.schema.is_some()),
            (Param::JsonObject, self.json_object),
            (Param::SystemRole, has_system),
            (Param::Temperature, self.sampling.temperature.is_some()),
            (Param::TopP, self.sampling.top_p.is_some()),
            (Param::Seed, self.sampling.seed.is_some()),
            (Param::MaxTokens, true),
            (Param::ReasoningEffort, self.reasoning_effort.is_some()),
        ];
        sent.into_iter()
            .filter(|(_, sent)| *sent)
            .map(|(param, _)| param)
            .collect()
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

/// Gateways report a failure upstream inside a reply of success: it is treated as the status that it stands for. `nothing` is said where
/// the reply names no failure.
pub(crate) fn error_in_success(value: &Value, nothing: &str) -> Failure {
    let body = value.to_string();
    let complaint = Complaint::read(&body);
    match complaint.implied_status() {
        Some(status) => Failure::Status {
            status,
            asked: Asked::default(),
            body,
        },
        None => {
            let names = |key: &str| value.get(key).is_some_and(|told| !told.is_null());
            let said = match names("error") || names("message") {
                true => complaint.message,
                false => nothing.to_owned(),
            };
            Failure::NotAReply(format!("a reply without an answer: {said}"))
        }
    }
}

/// A reply in a provider's shape, read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// The model's own words of refusal, where the API has a place for them.
    pub(crate) refusal: Option<String>,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
    /// What a gateway says that it cost, in 10⁻⁹ USD.
    pub(crate) gateway_cost: Option<u64>,
    pub(crate) model_reported: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) system_fingerprint: Option<String>,
}

/// What is known of a request before its reply comes.
pub(crate) struct Terms<'a> {
    /// Its number within the call.
    pub(crate) attempt: usize,
    pub(crate) latency: Duration,
    pub(crate) dropped: Vec<&'static str>,
    /// The operator's price.
    pub(crate) price: Option<&'a Price>,
    pub(crate) max_tokens: u32,
}

impl Reply {
    /// A whole answer, or why this is none; what was paid for is in both.
    pub(crate) fn judge(self, terms: Terms<'_>) -> Result<Completion, ModelError> {
        let by_price = terms.price.and_then(|price| price.cost(&self.usage));
        let by_gateway = self.gateway_cost.filter(|_| terms.price.is_none());
        let max_tokens = terms.max_tokens;
        let completion = Completion {
            text: without_thinking(self.text),
            finish: self.finish,
            cost_nano_usd: by_price.or(by_gateway),
            cost_by_gateway: by_gateway.is_some(),
            usage: self.usage,
            model_reported: self.model_reported,
            response_id: self.response_id,
            system_fingerprint: self.system_fingerprint,
            attempt: terms.attempt,
            latency: terms.latency,
            dropped: terms.dropped,
        };
        if let Some(words) = self.refusal {
            return Err(ModelError::Refused {
                detail: scrub(&words, None),
                completion: Some(Box::new(completion)),
            });
        }
        // Where no reason is told, only the count of tokens can say that the text is cut.
        let full = completion.usage.output_tokens >= Some(u64::from(max_tokens));
        match &completion.finish {
            Finish::Refused => {
                let detail = "stopped by a content filter".to_owned();
                Err(ModelError::Refused {
                    detail,
                    completion: Some(Box::new(completion)),
                })
            }
            Finish::Length => Err(cut(max_tokens, completion)),
            Finish::Missing | Finish::Other(_) if full => Err(cut(max_tokens, completion)),
            Finish::Failed(reason) => Err(ModelError::Malformed {
                detail: format!(
                    "the endpoint says that the answer failed on the way: finish reason {}",
                    scrub(reason, None)
                ),
                completion: Some(Box::new(completion)),
            }),
            _ if completion.text.trim().is_empty() => Err(ModelError::Empty {
                completion: Box::new(completion),
            }),
            Finish::Stop | Finish::Missing | Finish::Other(_) => Ok(completion),
        }
    }
}

fn cut(max_tokens: u32, completion: Completion) -> ModelError {
    ModelError::Truncated {
        max_tokens,
        completion: Box::new(completion),
    }
}

/// The text after a leading `<think>…</think>`, in which local reasoning models think aloud. Other marks stay: whoever reads the answer
/// drops them by the rules of its run.
fn without_thinking(text: String) -> String {
    sipdo_domain::reasoning::leading_block(&text).map_or_else(|| text.clone(), str::to_owned)
}

/// Why there is no reply.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// A status other than success, or an error inside a reply of success that stands for one, with the body's beginning.
    Status { status: u16, asked: Asked, body: String },
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

    /// How long the endpoint asks to wait, in its headers or else in the body.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { asked, body, status } => asked.wait.or_else(|| {
                matches!(status, 429 | 503 | 529)
                    .then(|| Complaint::read(body).wait())
                    .flatten()
            }),
            _ => None,
        }
    }

    /// Whether the very same request is worth sending again, as the endpoint says itself or as `error` has it.
    pub(crate) fn is_worth_again(&self, error: &ModelError) -> bool {
        match self {
            Self::Status {
                asked: Asked { again: Some(again), .. },
                ..
            } => *again,
            Self::Status {
                status: 400 | 422,
                body,
                ..
            } if Complaint::read(body).is_failed_grammar() => true,
            _ => error.retryable(),
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
            // The model wrote something, and it was thrown away.
            Self::Status {
                status: 400 | 422,
                body,
                ..
            } if Complaint::read(body).is_failed_grammar() => Paid::Unknown,
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
        let retry_after = self.retry_after();
        match self {
            Self::Status { status, body, .. } => by_status(status, retry_after, &body, model, key),
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
    let read = Complaint::read(body);
    let said = scrub(&read.message, key);
    let detail = if said.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {said}")
    };
    let unknown_model = || ModelError::UnknownModel {
        model: model.to_owned(),
        detail: detail.clone(),
    };
    match status {
        300..=399 => ModelError::Misconfigured {
            detail: format!("{detail}: the endpoint redirects, which is not followed; give base_url its final address"),
        },
        402 => ModelError::OutOfCredit { detail },
        // Gemini speaks of a quota where it means that of a minute: who says when to come again means a rate.
        429 if retry_after.is_none() && read.is_out_of_credit() => ModelError::OutOfCredit { detail },
        429 => ModelError::RateLimited { retry_after, detail },
        400 | 403 if read.is_out_of_credit() => ModelError::OutOfCredit { detail },
        401 | 403 => ModelError::Unauthorized { detail },
        404 => unknown_model(),
        413 => ModelError::TooLarge { detail },
        408 | 409 | 425 | 500.. => ModelError::Unavailable { detail },
        _ if read.is_overflow() => ModelError::TooLarge {
            detail: overflow(detail, &read),
        },
        _ if read.says(&["model_not_found", "invalid model", "no such model"]) => unknown_model(),
        // LiteLLM's proxy without a database says "No connected db." to a key that is not its master key.
        _ if read.says(&[
            "api key not valid",
            "api_key_invalid",
            "invalid api key",
            "no connected db",
        ]) =>
        {
            ModelError::Unauthorized { detail }
        }
        _ if read.says(&["content_filter", "content management policy"]) => ModelError::Refused {
            detail,
            completion: None,
        },
        _ if read.is_failed_grammar() => ModelError::Malformed {
            detail: format!("the endpoint could not keep the answer to the schema: {detail}"),
            completion: None,
        },
        _ => ModelError::BadRequest { detail },
    }
}

/// `detail` with both numbers, where it does not tell them itself.
fn overflow(detail: String, read: &Complaint) -> String {
    match read.overflow_numbers() {
        Some((asked, fits)) if !detail.contains(&asked.to_string()) || !detail.contains(&fits.to_string()) => {
            format!("{detail} ({asked} tokens for a context of {fits})")
        }
        _ => detail,
    }
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
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                "out_of_credit",
            ),
            (403, "Your team has used all available credits", "out_of_credit"),
            (
                400,
                r#"{"error":{"message":"Budget has been exceeded!","type":"budget_exceeded"}}"#,
                "out_of_credit",
            ),
            (
                400,
                r#"{"error":{"type":"exceed_context_size_error","message":"request (5000 tokens) exceeds the available context size (2048 tokens)"}}"#,
                "too_large",
            ),
            (
                400,
                r#"{"error":{"message":"litellm.ContextWindowExceededError: x","type":"invalid_request_error"}}"#,
                "too_large",
            ),
            (
                422,
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
                "too_large",
            ),
            (
                400,
                r#"{"error":{"code":"json_validate_failed","message":"Failed to generate JSON"}}"#,
                "malformed",
            ),
            (
                429,
                r#"{"error":{"type":"throttling_error","code":"429","message":"x"}}"#,
                "rate_limited",
            ),
            (
                400,
                r#"{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}"#,
                "unauthorized",
            ),
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
    fn a_quota_that_says_when_to_come_again_is_a_rate() {
        let gemini =
            r#"{"error":{"code":429,"message":"You exceeded your current quota","details":[{"retryDelay":"34s"}]}}"#;
        let failure = Failure::Status {
            status: 429,
            asked: Asked::default(),
            body: gemini.to_owned(),
        };
        let ModelError::RateLimited { retry_after, .. } = failure.into_error("m", None) else {
            panic!("a quota of a minute passes")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(34)));
    }

    #[test]
    fn too_large_tells_both_numbers() {
        let body = r#"{"error":{"type":"exceed_context_size_error","message":"too much","n_prompt_tokens":5000,"n_ctx":2048}}"#;
        let words = by_status(400, None, body, "m", None).to_string();
        assert!(words.contains("5000") && words.contains("2048"), "{words}");
    }

    #[test]
    fn thinking_aloud_is_not_the_answer() {
        assert_eq!(without_thinking("<think>maybe (A)</think>\n\n(B)".into()), "(B)");
        assert_eq!(without_thinking("(B) <think>".into()), "(B) <think>");
        assert_eq!(without_thinking("<think>never ends".into()), "<think>never ends");
    }
}
