//! Anthropic and Gemini: the requests they get and the replies they give.

use serde_json::{Value, json};
use sipdo_llm::{ChatModel, Endpoint, Finish, Model, Paid, Provider, Schema, structured};
use std::sync::Arc;

use crate::mock::{Line, Mock, in_time, model, question, quick};

fn at(mock: &Mock, provider: Provider, path: &str, folder: &tempfile::TempDir) -> Model {
    let key = folder.path().join("key");
    std::fs::write(&key, "secret-key").unwrap();
    let base_url = Some(format!("http://{}{path}", mock.address));
    model(Endpoint {
        base_url,
        api_key_file: Some(key),
        ..quick(provider)
    })
}

fn anthropic(text: &str, reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-20260101",
        "content": [{"type": "text", "text": text}], "stop_reason": reason, "stop_sequence": null,
        "usage": {"input_tokens": 20, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7,
            "output_tokens": 5}})
}

fn gemini(text: &str, reason: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [
            {"text": "thinking", "thought": true}, {"text": text}]}, "finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 6,
            "totalTokenCount": 19},
        "modelVersion": "gemini-x-001", "responseId": "r1"})
}

#[tokio::test]
async fn anthropic_is_asked_and_read_in_its_shape() {
    let (mock, folder) = (
        Mock::start([Line::json(200, anthropic("4", "end_turn"))]).await,
        tempfile::tempdir().unwrap(),
    );
    let outcome = in_time(at(&mock, Provider::Anthropic, "/v1", &folder).complete(&question())).await;
    let completion = outcome.result.unwrap();
    assert_eq!((completion.text.as_str(), &completion.finish), ("4", &Finish::Stop));
    assert_eq!(
        completion.usage.input_tokens,
        Some(127),
        "with what was read from and written to the cache"
    );
    assert_eq!(
        (completion.usage.cached_input_tokens, completion.usage.output_tokens),
        (Some(100), Some(5))
    );
    assert_eq!(completion.response_id.as_deref(), Some("msg_1"));
    assert_eq!(completion.model_reported.as_deref(), Some("claude-x-20260101"));
    assert_eq!(
        completion.dropped,
        ["seed"],
        "Anthropic knows no seed, and that is said"
    );

    let seen = &mock.seen()[0];
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(seen.headers["x-api-key"], "secret-key");
    assert_eq!(seen.body["system"], "Be brief.");
    assert_eq!(seen.body["messages"], json!([{"role": "user", "content": "2 + 2?"}]));
    assert_eq!(
        (&seen.body["max_tokens"], &seen.body["temperature"]),
        (&json!(64), &json!(0.5))
    );
    assert!(seen.body.get("seed").is_none());
}

#[tokio::test]
async fn gemini_is_asked_and_read_in_its_shape() {
    let (mock, folder) = (
        Mock::start([Line::json(200, gemini("4", "STOP"))]).await,
        tempfile::tempdir().unwrap(),
    );
    let outcome = in_time(at(&mock, Provider::Gemini, "/v1beta", &folder).complete(&question())).await;
    let completion = outcome.result.unwrap();
    assert_eq!(
        (completion.text.as_str(), &completion.finish),
        ("4", &Finish::Stop),
        "thoughts are not the answer"
    );
    assert_eq!(
        (completion.usage.input_tokens, completion.usage.output_tokens),
        (Some(9), Some(10))
    );
    assert_eq!(completion.usage.reasoning_tokens, Some(6));
    assert_eq!(completion.response_id.as_deref(), Some("r1"));
    assert_eq!(completion.model_reported.as_deref(), Some("gemini-x-001"));
    assert!(completion.dropped.is_empty());

    let seen = &mock.seen()[0];
    assert_eq!(seen.path, "/v1beta/models/model-x:generateContent", "no key in the URL");
    assert_eq!(seen.headers["x-goog-api-key"], "secret-key");
    assert_eq!(seen.body["generationConfig"]["seed"], json!(7));
    assert_eq!(seen.body["generationConfig"]["maxOutputTokens"], json!(64));
    assert_eq!(seen.body["systemInstruction"]["parts"][0]["text"], "Be brief.");
}

#[tokio::test]
async fn both_are_given_the_schema_in_their_own_way() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::start([
        Line::json(200, anthropic(r#"{"n": 4}"#, "end_turn")),
        Line::json(200, gemini(r#"{"n": 4}"#, "STOP")),
    ])
    .await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let schema = Arc::new(Schema::new("number", schema).unwrap());
    for (provider, path) in [(Provider::Anthropic, "/v1"), (Provider::Gemini, "/v1beta")] {
        let done = structured(&at(&mock, provider, path, &folder), question(), &schema, 0).await;
        assert_eq!(done.result.unwrap(), json!({"n": 4}));
    }
    let seen = mock.seen();
    assert_eq!(
        seen[0].body.pointer("/output_config/format/type"),
        Some(&json!("json_schema"))
    );
    assert_eq!(
        seen[1].body.pointer("/generationConfig/responseJsonSchema/required"),
        Some(&json!(["n"]))
    );
}

#[tokio::test]
async fn useless_answers_of_both_are_typed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}});
    let silent = json!({"candidates": [{"finishReason": "MAX_TOKENS", "content": {"role": "model"}}],
        "usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 64}});
    let cases = [
        (Provider::Anthropic, anthropic("two and", "max_tokens"), "truncated"),
        (Provider::Anthropic, anthropic("", "refusal"), "refused"),
        (Provider::Anthropic, anthropic("", "end_turn"), "empty"),
        (Provider::Gemini, gemini("two and", "MAX_TOKENS"), "truncated"),
        (Provider::Gemini, gemini("", "SAFETY"), "refused"),
        (Provider::Gemini, silent, "truncated"),
        (Provider::Gemini, blocked, "refused"),
    ];
    for (provider, reply, kind) in cases {
        let mock = Mock::start([Line::json(200, reply)]).await;
        let outcome = in_time(at(&mock, provider, "/v1", &folder).complete(&question())).await;
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind(), mock.seen().len()), (kind, 1), "{provider:?} {error}");
        assert!(
            error.paid().expect("paid for").usage.input_tokens.is_some(),
            "{provider:?} {kind}"
        );
        assert_eq!(outcome.attempts[0].paid, Paid::Yes);
    }
}

#[tokio::test]
async fn failures_of_both_are_retried_or_not_as_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    for (provider, whole) in [
        (Provider::Anthropic, anthropic("4", "end_turn")),
        (Provider::Gemini, gemini("4", "STOP")),
    ] {
        let again = [
            Line::json(529, overloaded.clone()).with("retry-after", 0),
            Line::Cut,
            Line::json(200, whole.clone()),
        ];
        let mock = Mock::start(again).await;
        let outcome = in_time(at(&mock, provider, "/v1", &folder).complete(&question())).await;
        assert_eq!(outcome.result.unwrap().text, "4");
        let kinds: Vec<_> = outcome
            .attempts
            .iter()
            .map(|attempt| (attempt.kind, attempt.status))
            .collect();
        assert_eq!(
            kinds,
            [("unavailable", Some(529)), ("unavailable", None), ("ok", Some(200))]
        );
        assert_eq!(outcome.attempts[0].retry_after, Some(std::time::Duration::ZERO));

        for (status, kind) in [(401, "unauthorized"), (404, "unknown_model"), (400, "bad_request")] {
            let mock = Mock::start([Line::error(status, "no"), Line::json(200, whole.clone())]).await;
            let outcome = in_time(at(&mock, provider, "/v1", &folder).complete(&question())).await;
            assert_eq!((outcome.result.unwrap_err().kind(), mock.seen().len()), (kind, 1));
        }

        let odd = [
            Line::Say {
                status: 200,
                headers: vec![("content-type", "text/html".into())],
                body: "<html>".into(),
            },
            Line::Say {
                status: 200,
                headers: vec![("content-type", "application/json".into())],
                body: "{".into(),
            },
            Line::json(200, json!({"surprise": true})),
        ];
        for line in odd {
            let mock = Mock::start([line]).await;
            let outcome = in_time(at(&mock, provider, "/v1", &folder).complete(&question())).await;
            assert_eq!(outcome.result.unwrap_err().kind(), "malformed", "{provider:?}");
        }
    }
}

#[tokio::test]
async fn an_older_model_without_schemas_is_asked_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::start([
        Line::error(400, "output_config: Extra inputs are not permitted"),
        Line::json(200, anthropic(r#"Here: {"n": 4}"#, "end_turn")),
    ])
    .await;
    let schema = Arc::new(Schema::new("number", json!({"type": "object", "required": ["n"]})).unwrap());
    let done = structured(&at(&mock, Provider::Anthropic, "/v1", &folder), question(), &schema, 0).await;
    assert_eq!(done.result.unwrap(), json!({"n": 4}));
    assert_eq!(done.completions[0].dropped, ["seed", "json_schema"]);
}
