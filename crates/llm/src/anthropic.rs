//! Anthropic's Messages API.

use std::sync::atomic::AtomicBool;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::chat::{Message, Role};
use crate::completion::{Finish, Usage};
use crate::http::post;
use crate::lenient;
use crate::wire::{Failure, Reply, Shaped, error_in_success, not_a_reply, string};

/// The version of the API that is spoken.
const VERSION: &str = "2023-06-01";

/// Sends one request and reads its reply, at most `limit` bytes of it; `begun` becomes true when it begins to come.
pub(crate) async fn call(
    http: &Client,
    url: &Url,
    key: Option<HeaderValue>,
    shaped: &Shaped<'_>,
    bounds: (usize, &AtomicBool),
) -> Result<Reply, Failure> {
    let version = (
        HeaderName::from_static("anthropic-version"),
        HeaderValue::from_static(VERSION),
    );
    let key = key.map(|key| (HeaderName::from_static("x-api-key"), key));
    let received = post(http, url, [version].into_iter().chain(key), &Body::new(shaped), bounds).await?;
    let mut reply = parse(&received.body, &received.content_type)?;
    reply.gateway_cost = received.gateway_cost;
    Ok(reply)
}

/// The request, as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    messages: Vec<Line<'a>>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

#[derive(Serialize)]
struct Line<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> Body<'a> {
    fn new(shaped: &'a Shaped<'a>) -> Self {
        // The API has one place for what the system says, wherever it was said.
        let system: Vec<&str> = shaped
            .messages
            .iter()
            .filter(|message| message.role == Role::System)
            .map(|message| message.text.as_str())
            .collect();
        let line = |message: &'a Message| Line {
            role: message.role.as_str(),
            content: &message.text,
        };
        Self {
            model: shaped.model,
            system: (!system.is_empty()).then(|| system.join("\n\n")),
            messages: shaped
                .messages
                .iter()
                .filter(|message| message.role != Role::System)
                .map(line)
                .collect(),
            max_tokens: shaped.sampling.max_tokens,
            temperature: shaped.sampling.temperature,
            top_p: shaped.sampling.top_p,
            output_config: output_config(shaped),
        }
    }
}

/// The form of the answer and the effort on it, where they are set.
fn output_config(shaped: &Shaped<'_>) -> Option<Value> {
    let format = shaped
        .schema
        .map(|schema| ("format", json!({"type": "json_schema", "schema": schema.closed()})));
    let effort = shaped.reasoning_effort.map(|effort| ("effort", json!(effort)));
    let config: serde_json::Map<String, Value> = format
        .into_iter()
        .chain(effort)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The reply. `Value` where a server's whim in a side matter must not cost the answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    content: Option<Vec<Value>>,
    #[serde(default)]
    stop_reason: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

fn parse(body: &[u8], content_type: &str) -> Result<Reply, Failure> {
    let answer: Answer =
        lenient::from_slice(body).map_err(|error| not_a_reply("a message", &error, content_type, body))?;
    let Some(content) = answer.content else {
        let told = json!({"error": answer.error});
        return Err(error_in_success(&told, "it is not in the shape of the provider's API"));
    };
    // Of the blocks only text is the answer; others hold the model's thinking.
    let text = |block: &Value| match block.get("type").and_then(Value::as_str) {
        Some("text") => block.get("text").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    Ok(Reply {
        text: content.iter().filter_map(text).collect(),
        refusal: None,
        finish: Finish::read(&answer.stop_reason),
        usage: usage(&answer.usage),
        gateway_cost: None,
        model_reported: string(answer.model),
        response_id: string(answer.id),
        system_fingerprint: None,
    })
}

/// Anthropic counts what it read from and wrote to its cache beside `input_tokens`; ours includes them.
fn usage(usage: &Value) -> Usage {
    let count = |place: &str| usage.pointer(place).and_then(Value::as_u64);
    let cached = count("/cache_read_input_tokens");
    let written = count("/cache_creation_input_tokens");
    Usage {
        input_tokens: count("/input_tokens").map(|plain| plain + cached.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: count("/output_tokens"),
        cached_input_tokens: cached,
        cache_write_input_tokens: written,
        reasoning_tokens: count("/output_tokens_details/thinking_tokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_includes_the_cache() {
        let said = json!({"input_tokens": 20, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7,
            "output_tokens": 5});
        let read = usage(&said);
        assert_eq!((read.input_tokens, read.cached_input_tokens), (Some(127), Some(100)));
        assert_eq!(usage(&json!({})), Usage::default());
    }

    #[test]
    fn thinking_is_not_the_answer() {
        let body = json!({"content": [{"type": "thinking", "thinking": "5?", "signature": "x"}, {"type": "text", "text": "4"}],
            "stop_reason": "end_turn"});
        let reply = parse(body.to_string().as_bytes(), "application/json").unwrap();
        assert_eq!((reply.text.as_str(), reply.finish), ("4", Finish::Stop));
    }
}
