//! OpenAI's chat completions, as OpenAI and most other servers speak them.

use std::sync::atomic::AtomicBool;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::Message;
use crate::completion::{Finish, Usage};
use crate::http::post;
use crate::wire::{Failure, Reply, Shaped, not_a_reply, string};

/// Sends one request and reads its reply, at most `limit` bytes of it; `begun` becomes true when it begins to come.
pub(crate) async fn call(
    http: &Client,
    url: &Url,
    auth: Option<(HeaderName, HeaderValue)>,
    shaped: &Shaped<'_>,
    (limit, begun): (usize, &AtomicBool),
) -> Result<Reply, Failure> {
    let (body, content_type) = post(http, url, auth, &Body::new(shaped), (limit, begun)).await?;
    parse(&body, &content_type)
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
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| not_a_reply("a chat completion", &error, content_type, body))?;
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
    fn odd_usage_does_not_cost_the_answer() {
        let odd = read(
            json!({"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}],
            "usage": {"prompt_tokens": "many", "completion_tokens": -1}}),
        )
        .unwrap();
        assert_eq!((odd.text.as_str(), odd.usage), ("yes", Usage::default()));
    }
}
