//! OpenAI's chat completions, as OpenAI and most other servers speak them.

use std::sync::atomic::AtomicBool;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::Message;
use crate::completion::{Finish, Usage};
use crate::endpoint::Effort;
use crate::http::post;
use crate::lenient;
use crate::price::usd_to_nano;
use crate::stream;
use crate::wire::{Failure, Reply, Shaped, error_in_success, not_a_reply, string};

/// What a reply lacks that holds neither an answer nor an error.
const NO_CHOICES: &str = "no choices in it";

/// Sends one request and reads its reply, at most `limit` bytes of it; `begun` becomes true when it begins to come.
pub(crate) async fn call(
    http: &Client,
    url: &Url,
    auth: Option<(HeaderName, HeaderValue)>,
    shaped: &Shaped<'_>,
    (limit, begun): (usize, &AtomicBool),
) -> Result<Reply, Failure> {
    let received = post(http, url, auth, &Body::new(shaped), (limit, begun)).await?;
    let mut reply = parse(&received.body, &received.content_type)?;
    reply.gateway_cost = received.gateway_cost.or(reply.gateway_cost);
    Ok(reply)
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Effort>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<JsonSchema<'a>>,
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
            response_format: response_format(shaped),
            reasoning_effort: shaped.reasoning_effort,
            stream: false,
        }
    }
}

fn response_format<'a>(shaped: &Shaped<'a>) -> Option<ResponseFormat<'a>> {
    let by_schema = shaped.schema.map(|schema| ResponseFormat {
        r#type: "json_schema",
        json_schema: Some(JsonSchema {
            name: schema.name(),
            strict: true,
            schema: schema.strict(),
        }),
    });
    by_schema.or_else(|| {
        shaped.json_object.then_some(ResponseFormat {
            r#type: "json_object",
            json_schema: None,
        })
    })
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
    choices: Option<Vec<Value>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Value,
    #[serde(default)]
    error: Value,
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
    let unread = |error| not_a_reply("a chat completion", &error, content_type, body);
    let value: Value = match stream::is_stream(content_type, body) {
        true => stream::joined(body).ok_or_else(|| {
            Failure::NotAReply("an event stream, which was not asked for, without a whole chat completion".to_owned())
        })?,
        false => lenient::from_slice(body).map_err(unread)?,
    };
    let answer: Answer = serde_json::from_value(value.clone()).map_err(unread)?;
    let choice = answer.choices.and_then(|all| all.into_iter().next());
    let choice = choice
        .map(serde_json::from_value::<Choice>)
        .transpose()
        .map_err(unread)?;
    let usage = read_usage(&answer.usage);
    let failed = choice
        .as_ref()
        .map(|choice| &choice.error)
        .filter(|error| !error.is_null());
    // Where tokens were written, they are paid for: then this is an answer, if a useless one.
    if usage.output_tokens.unwrap_or(0) == 0 {
        if let Some(error) = failed {
            return Err(error_in_success(&serde_json::json!({ "error": error }), NO_CHOICES));
        }
        if choice.is_none() {
            return Err(error_in_success(&value, NO_CHOICES));
        }
    }
    let (mut finish, said) = choice.map_or((Finish::Missing, None), |choice| {
        let failed = !choice.error.is_null();
        let finish = match failed {
            true => Finish::Failed("error".to_owned()),
            false => Finish::read(&choice.finish_reason),
        };
        (finish, choice.message)
    });
    if !answer.error.is_null() {
        finish = Finish::Failed("error".to_owned());
    }
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
        usage,
        gateway_cost: answer.usage.get("cost").and_then(Value::as_f64).and_then(usd_to_nano),
        model_reported: string(answer.model),
        response_id: string(answer.id),
        system_fingerprint: string(answer.system_fingerprint),
    })
}

/// Input includes cached tokens and output includes reasoning, as OpenAI counts. DeepSeek has its own word for cached; xAI counts
/// reasoning beside `completion_tokens`, which its total shows.
fn read_usage(usage: &Value) -> Usage {
    let count = |place: &str| usage.pointer(place).and_then(Value::as_u64);
    let (input, written) = (count("/prompt_tokens"), count("/completion_tokens"));
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    let beside = || {
        Some((
            input?.checked_add(written?)?.checked_add(reasoning?)?,
            count("/total_tokens")?,
        ))
    };
    let is_beside = reasoning != Some(0) && beside().is_some_and(|(sum, total)| sum == total);
    Usage {
        input_tokens: input,
        output_tokens: match is_beside {
            true => written.zip(reasoning).map(|(written, reasoning)| written + reasoning),
            false => written,
        },
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens")
            .or_else(|| count("/prompt_cache_hit_tokens")),
        cache_write_input_tokens: count("/prompt_tokens_details/cache_write_tokens"),
        reasoning_tokens: reasoning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complaint::Complaint;
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
    fn every_place_of_an_error_in_a_success_is_read() {
        let status = |value: Value| match read(value) {
            Err(Failure::Status { status, body, .. }) => (status, Complaint::read(&body).message),
            other => panic!("{other:?}"),
        };
        let said = |number| (number, "slow down".to_owned());
        assert_eq!(
            status(json!({"error": {"code": "429", "message": "slow down"}})),
            said(429)
        );
        assert_eq!(
            status(json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}, "choices": []})),
            said(429)
        );
        assert_eq!(
            status(json!({"choices": [{"finish_reason": "error", "error": {"code": 503, "message": "slow down"}}]})),
            said(503)
        );
        assert_eq!(
            status(json!({"object": "error", "code": 503, "message": "slow down"})),
            said(503)
        );
        let words = read(json!({"error": "the cat is on the cable", "choices": []})).unwrap_err();
        assert!(
            matches!(&words, Failure::NotAReply(said) if said.contains("cable")),
            "{words:?}"
        );
        // Tokens were written, so somebody pays for them.
        let paid = read(
            json!({"choices": [{"error": {"code": 502}, "message": {"content": "half"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
        )
        .unwrap();
        assert_eq!(paid.finish, Finish::Failed("error".into()));
    }

    #[test]
    fn an_event_stream_and_odd_values_are_read() {
        let body = b"data: {\"choices\": [{\"delta\": {\"content\": \"yes\"}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n";
        assert_eq!(parse(body, "text/event-stream").unwrap().text, "yes");
        let odd = b"\xef\xbb\xbf{\"choices\": [{\"logprobs\": NaN, \"finish_reason\": null, \"message\": {\"content\": \"yes \\ud83d\"}}]}";
        let reply = parse(odd, "application/json").unwrap();
        assert_eq!((reply.text.as_str(), reply.finish), ("yes \u{fffd}", Finish::Missing));
    }

    #[test]
    fn a_gateways_cost_and_reasoning_beside_the_output_are_counted() {
        let reply = read(
            json!({"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 15, "cost": 0.000_02,
                "completion_tokens_details": {"reasoning_tokens": 10}}}),
        )
        .unwrap();
        assert_eq!(
            (reply.usage.output_tokens, reply.usage.reasoning_tokens),
            (Some(12), Some(10))
        );
        assert_eq!(reply.gateway_cost, Some(20_000));
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
