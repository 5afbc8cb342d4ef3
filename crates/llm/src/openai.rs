//! OpenAI's chat completions, as OpenAI and most other servers speak them, straight over HTTP.
//!
//! The client library used for the other providers speaks it too. This path carries nearly all calls and is our own for
//! the sake of correctness: the library trims answers, reads `-high` or `-max` at the end of a model's name as a setting,
//! wants a key where there is none, and reads a reply of any length. It also costs less: 19 µs of CPU a call against the
//! library's 31 µs, measured with `examples/cost_per_call.rs` on a busy machine of two cores (1 kB of prompt, release).

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::AddressRefused;
use crate::chat::Message;
use crate::completion::{Finish, Usage};
use crate::retry::retry_after;
use crate::text::scrub;
use crate::wire::{Failure, Reply, Shaped};

/// Most bytes of an error's body that are read.
const ERROR_BYTES: usize = 16 * 1024;

/// Sends one request and reads its reply, at most `limit` bytes of it; `begun` becomes true when it begins to come.
pub(crate) async fn call(
    http: &Client,
    url: &Url,
    auth: Option<(HeaderName, HeaderValue)>,
    shaped: &Shaped<'_>,
    (limit, begun): (usize, &AtomicBool),
) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(&Body::new(shaped))
        .map_err(|error| Failure::Forbidden(format!("the request cannot be written as JSON: {error}")))?;
    let mut request = http
        .post(url.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some((name, value)) = auth {
        request = request.header(name, value);
    }
    let response = request.body(body).send().await.map_err(failure)?;
    begun.store(true, Ordering::Relaxed);
    let response = success(response).await?;
    let content_type = content_type(&response);
    let body = read(response, limit).await?;
    parse(&body, &content_type)
}

/// Passes a reply of success on; any other becomes a failure with the beginning of its body.
pub(crate) async fn success(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers(), std::time::SystemTime::now());
    // What cannot be read of an error's body does not change which error it is.
    let body = read_some(response, ERROR_BYTES)
        .await
        .map(|(bytes, _)| bytes)
        .unwrap_or_default();
    Err(Failure::Status {
        status: status.as_u16(),
        retry_after,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The whole body, if it is no longer than `limit` bytes.
pub(crate) async fn read(response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    match read_some(response, limit).await? {
        (bytes, true) => Ok(bytes),
        (_, false) => Err(Failure::TooLong(limit)),
    }
}

/// The first `limit` bytes of the body, and whether that was all.
async fn read_some(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(announced.min(limit));
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if bytes.len() + chunk.len() > limit {
            bytes.extend_from_slice(chunk.get(..limit - bytes.len()).unwrap_or_default());
            return Ok((bytes, false));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, true))
}

fn content_type(response: &Response) -> String {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    crate::text::clip(value, 60)
}

/// What an error of the HTTP client means. Its own words are not used: they hold the URL.
pub(crate) fn failure(error: reqwest::Error) -> Failure {
    let mut innermost: &(dyn std::error::Error + 'static) = &error;
    while let Some(cause) = innermost.source() {
        if let Some(problem) = certificate_problem(cause) {
            return Failure::Forbidden(format!(
                "its TLS certificate is not accepted ({problem}); for a private authority set SSL_CERT_FILE"
            ));
        }
        if let Some(refused) = cause.downcast_ref::<AddressRefused>() {
            return Failure::Forbidden(refused.to_string());
        }
        innermost = cause;
    }
    let cause = if error.source().is_some() {
        scrub(&innermost.to_string(), None)
    } else {
        String::new()
    };
    if error.is_connect() {
        return Failure::Unreachable(format!("cannot connect: {cause}"));
    }
    if error.is_builder() {
        return Failure::Forbidden(format!("the request cannot be built: {cause}"));
    }
    Failure::Lost(format!(
        "the connection was lost before the whole answer had come: {cause}"
    ))
}

/// What is wrong with a peer's certificate, if that is the cause. I/O errors hold it, one inside another, without naming
/// it as their source.
fn certificate_problem(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    while let Some(further) = inner.downcast_ref::<std::io::Error>() {
        inner = further.get_ref()?;
    }
    match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(problem) => Some(problem.to_string()),
        _ => None,
    }
}

/// The request, as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    stream: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a Value,
}

impl<'a> Body<'a> {
    fn new(shaped: &'a Shaped<'a>) -> Self {
        let line = |message: &'a Message| Line {
            role: message.role.as_str(),
            content: &message.text,
        };
        let limit = Some(shaped.sampling.max_tokens);
        let (max_tokens, max_completion_tokens) = if shaped.max_completion_tokens {
            (None, limit)
        } else {
            (limit, None)
        };
        Self {
            model: shaped.model,
            messages: shaped.messages.iter().map(line).collect(),
            temperature: shaped.sampling.temperature,
            top_p: shaped.sampling.top_p,
            max_tokens,
            max_completion_tokens,
            seed: shaped.sampling.seed,
            response_format: shaped.schema.map(|schema| ResponseFormat {
                r#type: "json_schema",
                json_schema: JsonSchema {
                    name: schema.name(),
                    strict: true,
                    schema: schema.strict(),
                },
            }),
            stream: false,
        }
    }
}

/// The reply. `Value` where a server's whim in a side matter must not cost the answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    system_fingerprint: Value,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    message: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Text, or typed parts of which some are text (Mistral's reasoning models).
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
}

fn parse(body: &[u8], content_type: &str) -> Result<Reply, Failure> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        let start = String::from_utf8_lossy(body.get(..body.len().min(120)).unwrap_or_default());
        Failure::NotAReply(format!(
            "not a chat completion ({error}; content type \"{content_type}\"): {start}"
        ))
    })?;
    let Some(choices) = answer.choices else {
        return Err(error_in_success(&answer.error));
    };
    let (finish, said) = match choices.into_iter().next() {
        Some(choice) => (Finish::parse(choice.finish_reason.as_deref()), choice.message),
        None => (Finish::Missing, None),
    };
    let (content, refusal) = said.map_or((None, None), |said| (said.content, said.refusal));
    let text = match content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        None => String::new(),
    };
    Ok(Reply {
        text,
        refusal: refusal.filter(|words| !words.trim().is_empty()),
        finish,
        usage: usage(&answer.usage),
        model_reported: string(answer.model),
        response_id: string(answer.id),
        system_fingerprint: string(answer.system_fingerprint),
    })
}

/// Gateways such as OpenRouter report a failure upstream inside a reply of success.
fn error_in_success(error: &Value) -> Failure {
    let said = error
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("no choices in it");
    match error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok())
    {
        Some(status @ 400..600) => Failure::Status {
            status,
            retry_after: None,
            body: said.to_owned(),
        },
        _ => Failure::NotAReply(format!("a reply without an answer: {said}")),
    }
}

/// Input includes cached tokens and output includes reasoning, as OpenAI counts. DeepSeek has its own word for cached.
fn usage(usage: &Value) -> Usage {
    let count = |place: &str| usage.pointer(place).and_then(Value::as_u64);
    Usage {
        input_tokens: count("/prompt_tokens"),
        output_tokens: count("/completion_tokens"),
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens")
            .or_else(|| count("/prompt_cache_hit_tokens")),
        cache_write_input_tokens: count("/prompt_tokens_details/cache_write_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(crate::text::clip(&text, 256)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Reply, Failure> {
        parse(value.to_string().as_bytes(), "application/json")
    }

    #[test]
    fn the_shapes_of_many_servers_are_read() {
        // vLLM: nulls everywhere. Mistral: typed parts. Text generation inference: its own finish reason.
        let vllm = read(
            json!({"id": "x", "choices": [{"finish_reason": "stop", "stop_reason": null,
            "message": {"role": "assistant", "content": " yes ", "refusal": null, "tool_calls": []}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": null}}),
        )
        .unwrap();
        assert_eq!(
            (vllm.text.as_str(), vllm.finish, vllm.refusal),
            (" yes ", Finish::Stop, None)
        );
        assert_eq!(
            vllm.usage,
            Usage {
                input_tokens: Some(3),
                output_tokens: Some(2),
                ..Usage::default()
            }
        );

        let mistral = read(json!({"choices": [{"finish_reason": "stop", "message": {"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]}}]}))
        .unwrap();
        assert_eq!((mistral.text.as_str(), mistral.usage), ("yes", Usage::default()));

        let tgi =
            read(json!({"choices": [{"finish_reason": "eos_token", "message": {"content": "yes"}}], "id": 7})).unwrap();
        assert_eq!((tgi.finish, tgi.response_id), (Finish::Stop, None));
    }

    #[test]
    fn an_error_inside_a_success_is_an_error() {
        let upstream = read(json!({"error": {"code": 502, "message": "upstream"}})).unwrap_err();
        assert!(matches!(upstream, Failure::Status { status: 502, .. }));
        assert!(matches!(
            read(json!({"error": "x"})).unwrap_err(),
            Failure::NotAReply(_)
        ));
        assert!(matches!(read(json!({})).unwrap_err(), Failure::NotAReply(_)));
    }

    #[test]
    fn a_certificate_problem_is_found_however_deep() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, bad));
        assert_eq!(certificate_problem(&wrapped).as_deref(), Some("Expired"));
        assert_eq!(certificate_problem(&std::io::Error::other("else")), None);
    }

    #[test]
    fn odd_usage_does_not_cost_the_answer() {
        let odd = read(
            json!({"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}],
            "usage": {"prompt_tokens": "many", "completion_tokens": -1}}),
        )
        .unwrap();
        assert_eq!((odd.text.as_str(), odd.usage), ("yes", Usage::default()));
    }
}
