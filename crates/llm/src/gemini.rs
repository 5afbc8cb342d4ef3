//! Google's Gemini API: `generateContent`.

use std::sync::atomic::AtomicBool;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::chat::{Message, Role};
use crate::completion::{Finish, Usage};
use crate::http::post;
use crate::lenient;
use crate::wire::{Failure, Reply, Shaped, error_in_success, not_a_reply, string};

/// Sends one request below `base` and reads its reply, at most `limit` bytes of it; `begun` becomes true when it begins to come.
pub(crate) async fn call(
    http: &Client,
    base: &Url,
    key: Option<HeaderValue>,
    shaped: &Shaped<'_>,
    bounds: (usize, &AtomicBool),
) -> Result<Reply, Failure> {
    let key = key.map(|key| (HeaderName::from_static("x-goog-api-key"), key));
    let received = post(http, &address(base, shaped.model), key, &body(shaped), bounds).await?;
    let mut reply = parse(&received.body, &received.content_type)?;
    reply.gateway_cost = received.gateway_cost;
    Ok(reply)
}

/// A model stands below `models/`, unless its name says where it stands (`tunedModels/..`).
fn address(base: &Url, model: &str) -> Url {
    let place = match model.contains('/') {
        true => model.to_owned(),
        false => format!("models/{model}"),
    };
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty()
            .extend(format!("{place}:generateContent").split('/'));
    }
    url
}

fn body(shaped: &Shaped<'_>) -> Value {
    let part = |message: &Message| json!({"text": message.text});
    let (system, rest): (Vec<&Message>, Vec<&Message>) =
        shaped.messages.iter().partition(|message| message.role == Role::System);
    let content = |message: &&Message| {
        let role = if message.role == Role::Assistant {
            "model"
        } else {
            "user"
        };
        json!({"role": role, "parts": [part(message)]})
    };
    let sampling = &shaped.sampling;
    let mut config = json!({"maxOutputTokens": sampling.max_tokens});
    let options = [
        ("temperature", sampling.temperature.map(Value::from)),
        ("topP", sampling.top_p.map(Value::from)),
        ("seed", sampling.seed.map(Value::from)),
        (
            "responseMimeType",
            (shaped.schema.is_some() || shaped.json_object).then(|| "application/json".into()),
        ),
        (
            "thinkingConfig",
            shaped.reasoning_effort.map(|effort| json!({"thinkingLevel": effort})),
        ),
        ("responseJsonSchema", shaped.schema.map(|schema| schema.json().clone())),
    ];
    for (name, value) in options {
        if let (Some(value), Some(config)) = (value, config.as_object_mut()) {
            config.insert(name.to_owned(), value);
        }
    }
    let mut body = json!({"contents": rest.iter().map(content).collect::<Vec<_>>(), "generationConfig": config});
    if let (false, Some(body)) = (system.is_empty(), body.as_object_mut()) {
        let parts: Vec<Value> = system.into_iter().map(part).collect();
        body.insert("systemInstruction".to_owned(), json!({"parts": parts}));
    }
    body
}

/// The reply. `Value` where a server's whim in a side matter must not cost the answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    candidates: Option<Vec<Value>>,
    #[serde(default)]
    prompt_feedback: Value,
    #[serde(default)]
    usage_metadata: Value,
    #[serde(default)]
    model_version: Value,
    #[serde(default)]
    response_id: Value,
    #[serde(default)]
    error: Value,
}

fn parse(body: &[u8], content_type: &str) -> Result<Reply, Failure> {
    let answer: Answer =
        lenient::from_slice(body).map_err(|error| not_a_reply("a content reply", &error, content_type, body))?;
    // A prompt that is blocked has no candidates.
    let blocked = answer.prompt_feedback.get("blockReason").and_then(Value::as_str);
    let refusal = blocked.map(|reason| format!("prompt blocked: {}", crate::text::clip(reason, 200)));
    let usage = usage(&answer.usage_metadata);
    if answer.candidates.is_none() && refusal.is_none() && usage == Usage::default() {
        let told = json!({"error": answer.error});
        return Err(error_in_success(&told, "it is not in the shape of the provider's API"));
    }
    let candidate = answer
        .candidates
        .and_then(|all| all.into_iter().next())
        .unwrap_or_default();
    let parts = candidate.pointer("/content/parts").and_then(Value::as_array);
    let is_thought = |part: &&Value| part.get("thought").and_then(Value::as_bool) == Some(true);
    let said = parts.into_iter().flatten().filter(|part| !is_thought(part));
    Ok(Reply {
        text: said
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        refusal,
        gateway_cost: None,
        finish: Finish::read(candidate.get("finishReason").unwrap_or(&Value::Null)),
        usage,
        model_reported: string(answer.model_version),
        response_id: string(answer.response_id),
        system_fingerprint: None,
    })
}

/// Gemini counts thoughts beside `candidatesTokenCount`; ours includes them. Its input includes what was cached.
fn usage(usage: &Value) -> Usage {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let thoughts = count("thoughtsTokenCount");
    Usage {
        input_tokens: count("promptTokenCount"),
        output_tokens: match (count("candidatesTokenCount"), thoughts) {
            (None, None) => None,
            (said, thought) => Some(said.unwrap_or(0) + thought.unwrap_or(0)),
        },
        cached_input_tokens: count("cachedContentTokenCount"),
        cache_write_input_tokens: None,
        reasoning_tokens: thoughts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_includes_the_thoughts() {
        let said = json!({"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 6});
        let read = usage(&said);
        assert_eq!((read.output_tokens, read.reasoning_tokens), (Some(10), Some(6)));
        let all_thought = json!({"promptTokenCount": 9, "thoughtsTokenCount": 6});
        assert_eq!(usage(&all_thought).output_tokens, Some(6));
        assert_eq!(usage(&json!({})), Usage::default());
    }

    #[test]
    fn a_tuned_model_stands_where_its_name_says() {
        let base: Url = "https://host/v1beta/".parse().unwrap();
        assert_eq!(
            address(&base, "gemini-x").path(),
            "/v1beta/models/gemini-x:generateContent"
        );
        assert_eq!(
            address(&base, "tunedModels/mine").path(),
            "/v1beta/tunedModels/mine:generateContent"
        );
    }
}
