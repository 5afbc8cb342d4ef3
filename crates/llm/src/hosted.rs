//! Anthropic and Gemini, through the client library genai, with what it leaves undone done here.
//!
//! It takes explicit targets only (by itself it would guess the provider by the model's name). Usage is read from the
//! raw reply, because the library turns unknown counts into zeros. Its error for an unreadable reply holds the whole
//! request and is therefore never shown. One habit of it remains: `-low`, `-high`, `-max` and the like at the end of a
//! model's name are read as its reasoning effort.

use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, ChatResponse, JsonSpec};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, Error, ModelIden, ServiceTarget, webc};
use reqwest::Url;
use serde_json::Value;

use crate::chat::{Message, Role};
use crate::completion::{Finish, Usage};
use crate::retry::retry_after;
use crate::wire::{Failure, Reply, Shaped};

/// The library's client on top of ours.
pub(crate) fn client(http: reqwest::Client) -> Result<Client, String> {
    Client::builder()
        .with_reqwest(http)
        .build()
        .map_err(|error| error.to_string())
}

/// Sends one request and reads its reply. The text and reasoning of a reply longer than `limit` bytes are refused, but
/// only once it has been read: the library has no such limit, so that here only the time limit holds back a flood.
pub(crate) async fn call(
    client: &Client,
    kind: AdapterKind,
    base: &Url,
    key: Option<&str>,
    shaped: &Shaped<'_>,
    limit: usize,
) -> Result<Reply, Failure> {
    let target = ServiceTarget {
        endpoint: Endpoint::from_owned(base.as_str()),
        auth: AuthData::from_single(key.unwrap_or_default()),
        model: ModelIden::new(kind, shaped.model),
    };
    let request = ChatRequest::new(shaped.messages.iter().map(message).collect());
    let reply = match client.exec_chat(target, request, Some(&options(shaped))).await {
        Ok(response) => read(kind, response),
        // What the library cannot read may still be a refusal, and its usage is due all the same.
        Err(Error::ChatResponseGeneration { response_body, .. }) => read_raw(kind, &response_body)?,
        Err(error) => return Err(failure(error)),
    };
    if reply.text.len() > limit {
        Err(Failure::TooLong(limit))
    } else {
        Ok(reply)
    }
}

fn message(message: &Message) -> ChatMessage {
    match message.role {
        Role::System => ChatMessage::system(message.text.as_str()),
        Role::User => ChatMessage::user(message.text.as_str()),
        Role::Assistant => ChatMessage::assistant(message.text.as_str()),
    }
}

fn options(shaped: &Shaped<'_>) -> ChatOptions {
    let mut options = ChatOptions::default()
        .with_max_tokens(shaped.sampling.max_tokens)
        .with_capture_raw_body(true);
    options.temperature = shaped.sampling.temperature;
    options.top_p = shaped.sampling.top_p;
    options.seed = shaped.sampling.seed;
    match shaped.schema {
        Some(schema) => options.with_response_format(JsonSpec::new(schema.name(), schema.json().clone())),
        None => options,
    }
}

fn read(kind: AdapterKind, response: ChatResponse) -> Reply {
    let finish = Finish::parse(response.stop_reason.as_ref().map(|reason| reason.raw()));
    let raw = response.captured_raw_body.unwrap_or_default();
    Reply {
        text: response.content.into_texts().concat(),
        finish,
        ..side_matters(kind, &raw)
    }
}

/// Reads what the library could not: Gemini's blocked prompt, above all.
fn read_raw(kind: AdapterKind, raw: &Value) -> Result<Reply, Failure> {
    let reply = side_matters(kind, raw);
    if reply.refusal.is_some() || reply.usage != Usage::default() {
        return Ok(reply);
    }
    let said = raw
        .pointer("/error/message")
        .and_then(Value::as_str)
        .unwrap_or("not in the shape of the provider's API");
    Err(Failure::NotAReply(said.to_owned()))
}

/// Everything but text and finish reason.
fn side_matters(kind: AdapterKind, raw: &Value) -> Reply {
    let text = |place: &str| {
        raw.pointer(place)
            .and_then(Value::as_str)
            .map(|text| crate::text::clip(text, 256))
    };
    let (model, id) = match kind {
        AdapterKind::Gemini => ("/modelVersion", "/responseId"),
        _ => ("/model", "/id"),
    };
    Reply {
        text: String::new(),
        refusal: text("/promptFeedback/blockReason").map(|reason| format!("prompt blocked: {reason}")),
        finish: Finish::Missing,
        usage: if kind == AdapterKind::Gemini {
            gemini_usage(raw)
        } else {
            anthropic_usage(raw)
        },
        model_reported: text(model),
        response_id: text(id),
        system_fingerprint: None,
    }
}

/// Anthropic counts what it read from and wrote to its cache beside `input_tokens`; ours includes them.
fn anthropic_usage(raw: &Value) -> Usage {
    let count = |place: &str| raw.pointer(place).and_then(Value::as_u64);
    let cached = count("/usage/cache_read_input_tokens");
    let written = count("/usage/cache_creation_input_tokens");
    Usage {
        input_tokens: count("/usage/input_tokens").map(|plain| plain + cached.unwrap_or(0) + written.unwrap_or(0)),
        output_tokens: count("/usage/output_tokens"),
        cached_input_tokens: cached,
        cache_write_input_tokens: written,
        reasoning_tokens: count("/usage/output_tokens_details/thinking_tokens"),
    }
}

/// Gemini counts thoughts beside `candidatesTokenCount`; ours includes them. Its input includes what was cached.
fn gemini_usage(raw: &Value) -> Usage {
    let count = |place: &str| raw.pointer(place).and_then(Value::as_u64);
    let thoughts = count("/usageMetadata/thoughtsTokenCount");
    Usage {
        input_tokens: count("/usageMetadata/promptTokenCount"),
        output_tokens: match (count("/usageMetadata/candidatesTokenCount"), thoughts) {
            (None, None) => None,
            (said, thought) => Some(said.unwrap_or(0) + thought.unwrap_or(0)),
        },
        cached_input_tokens: count("/usageMetadata/cachedContentTokenCount"),
        cache_write_input_tokens: None,
        reasoning_tokens: thoughts,
    }
}

fn failure(error: Error) -> Failure {
    let cause = match error {
        Error::WebModelCall { webc_error, .. } | Error::WebAdapterCall { webc_error, .. } => webc_error,
        // Its words may hold the request; which error it is says enough.
        _ => return Failure::Forbidden("the client library cannot send this request to this provider".to_owned()),
    };
    match cause {
        webc::Error::ResponseFailedStatus { status, body, headers } => Failure::Status {
            status: status.as_u16(),
            retry_after: retry_after(&headers, std::time::SystemTime::now()),
            body,
        },
        webc::Error::Reqwest(error) => crate::openai::failure(error),
        webc::Error::ResponseFailedNotJson { content_type, body } => Failure::NotAReply(format!(
            "not JSON (content type \"{content_type}\"): {}",
            crate::text::clip(&body, 120)
        )),
        webc::Error::ResponseFailedInvalidJson { cause, .. } => Failure::NotAReply(format!("invalid JSON: {cause}")),
        webc::Error::JsonValueExt(_) => Failure::NotAReply("not in the shape of the provider's API".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn anthropics_input_includes_its_cache() {
        let raw = json!({"usage": {"input_tokens": 20, "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 7, "output_tokens": 5}});
        let usage = anthropic_usage(&raw);
        assert_eq!((usage.input_tokens, usage.cached_input_tokens), (Some(127), Some(100)));
        assert_eq!(anthropic_usage(&json!({})), Usage::default());
    }

    #[test]
    fn geminis_output_includes_its_thoughts() {
        let raw = json!({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 6}});
        let usage = gemini_usage(&raw);
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(10), Some(6)));
        let all_thought = json!({"usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 6}});
        assert_eq!(gemini_usage(&all_thought).output_tokens, Some(6));
        assert_eq!(gemini_usage(&json!({})), Usage::default());
    }
}
