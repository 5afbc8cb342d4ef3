//! Endpoints as they really are: what they refuse, how they say it, and what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sipdo_llm::{
    Abilities, ChatModel, Effort, Endpoint, EndpointClient, Model, ModelError, ModelSettings, Paid, Price, Schema,
    structured,
};

use crate::mock::{Line, Mock, in_time, model, question};

fn number() -> Arc<Schema> {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    Arc::new(Schema::new("number", schema).unwrap())
}

/// The form of each request, in order.
fn forms(mock: &Mock) -> Vec<String> {
    let form = |body: &Value| match body.pointer("/response_format/type") {
        Some(form) => form.as_str().unwrap().to_owned(),
        None => "words".to_owned(),
    };
    mock.seen().iter().map(|seen| form(&seen.body)).collect()
}

#[tokio::test]
async fn a_schema_falls_back_once_and_is_remembered_whatever_the_words_of_the_refusal() {
    let enumerated = json!({"detail": [{"loc": ["body", "response_format", "type"], "msg": "value is not one of the allowed values"}]});
    let refusals = [
        Line::error(400, "This response_format type is unavailable now"),
        Line::json(422, enumerated),
        Line::error(400, "failed to parse grammar"),
        Line::error(400, "das geht hier nicht"),
    ];
    for refusal in refusals {
        let lines = [refusal, Line::answer(r#"{"n": 4}"#), Line::answer(r#"{"n": 5}"#)];
        let mock = Mock::start(lines).await;
        let model = mock.model();
        for n in [4, 5] {
            let done = in_time(structured(&model, question(), &number(), 0)).await;
            assert_eq!(done.result.unwrap(), json!({"n": n}));
        }
        assert_eq!(forms(&mock), ["json_schema", "json_object", "json_object"]);
        let asked = &mock.seen()[1].body["messages"][1]["content"];
        assert!(asked.as_str().unwrap().contains(r#""required":["n"]"#), "{asked}");
        assert_eq!(
            model.lacks(),
            ["no json_schema: json_object is asked for, with the schema in the prompt"]
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_knows_no_form_at_all_is_asked_in_words() {
    let refusal = || Line::error(400, "response_format is not supported");
    let mock = Mock::start([
        refusal(),
        refusal(),
        Line::answer(r#"{"n": 4}"#),
        Line::answer(r#"{"n": 5}"#),
    ])
    .await;
    let model = mock.model();
    for _ in 0..2 {
        assert!(
            in_time(structured(&model, question(), &number(), 0))
                .await
                .result
                .is_ok()
        );
    }
    assert_eq!(forms(&mock), ["json_schema", "json_object", "words", "words"]);
}

#[tokio::test]
async fn a_request_that_is_wrong_in_itself_teaches_nothing() {
    let mock = Mock::start((0..6).map(|_| Line::error(400, "messages: too odd"))).await;
    let model = mock.model();
    let done = in_time(structured(&model, question(), &number(), 0)).await;
    assert_eq!(done.result.unwrap_err().kind(), "bad_request");
    assert_eq!(forms(&mock), ["json_schema", "json_object", "words"]);
    assert!(model.lacks().is_empty());
}

#[tokio::test]
async fn one_temperature_only_and_no_system_role_are_learned() {
    let mock = Mock::start([
        Line::error(400, "invalid temperature: only 1 is allowed for this model"),
        Line::error(400, "System role not supported"),
        Line::answer("4"),
        Line::answer("5"),
    ])
    .await;
    let model = mock.model();
    let first = in_time(model.complete(&question())).await;
    assert_eq!(first.result.unwrap().dropped, ["temperature", "system_role"]);
    assert!(in_time(model.complete(&question())).await.result.is_ok());
    let last = &mock.seen()[3].body;
    assert_eq!(
        last["messages"],
        json!([{"role": "user", "content": "Be brief.\n\n2 + 2?"}])
    );
    assert!(last.get("temperature").is_none());
    assert_eq!(
        model.lacks(),
        [
            "no system role: its text stands before the user's",
            "temperature is left out"
        ]
    );
}

#[tokio::test]
async fn the_operator_can_say_what_a_model_lacks() {
    let mock = Mock::start([Line::answer("4")]).await;
    let abilities = Abilities {
        system_role: Some(false),
        temperature: Some(false),
        ..Abilities::default()
    };
    let endpoint = Endpoint {
        abilities,
        ..mock.endpoint()
    };
    assert!(in_time(model(endpoint).complete(&question())).await.result.is_ok());
    assert_eq!(mock.seen()[0].body["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reasoning_effort_is_sent_until_it_is_refused() {
    let mock = Mock::start([
        Line::answer("4"),
        Line::error(400, "Unrecognized request argument supplied: reasoning_effort"),
        Line::answer("4"),
    ])
    .await;
    let settings = ModelSettings {
        reasoning_effort: Some(Effort::Low),
        ..ModelSettings::new("here", "model-x")
    };
    let client = EndpointClient::new("here", mock.endpoint()).unwrap();
    let model = Model::new(client.clone(), settings).unwrap();
    assert!(in_time(model.complete(&question())).await.result.is_ok());
    let second = in_time(model.complete(&question())).await;
    assert_eq!(second.result.unwrap().dropped, ["reasoning_effort"]);
    let seen = mock.seen();
    assert_eq!(seen[0].body["reasoning_effort"], json!("low"));
    assert!(seen[2].body.get("reasoning_effort").is_none());
    let plain = Model::new(client, ModelSettings::new("here", "model-x")).unwrap();
    assert_ne!(
        model.request_key(&question(), 0, None),
        plain.request_key(&question(), 0, None),
        "another effort, another answer"
    );
}

#[tokio::test]
async fn a_pause_is_kept_under_the_name_that_a_proxy_gives_it() {
    let headers = [
        ("llm_provider-retry-after", "1"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-reset", "1"),
    ];
    for (name, value) in headers {
        let mock = Mock::start([Line::error(429, "slow down").with(name, value), Line::answer("4")]).await;
        let start = Instant::now();
        let outcome = in_time(mock.model().complete(&question())).await;
        assert!(outcome.result.is_ok());
        assert_eq!(outcome.attempts[0].retry_after, Some(Duration::from_secs(1)), "{name}");
        assert!(start.elapsed() >= Duration::from_millis(900), "{name}");
    }
}

#[tokio::test]
async fn refusals_for_the_rate_are_tried_more_often_than_failures() {
    let refusals = (0..9).map(|_| Line::error(429, "too many"));
    let mock = Mock::start(refusals.chain([Line::answer("4")])).await;
    let outcome = in_time(mock.model().complete(&question())).await;
    assert_eq!(
        (outcome.result.unwrap().text.as_str(), outcome.attempts.len()),
        ("4", 10)
    );
    let endless = Mock::start((0..40).map(|_| Line::error(429, "too many"))).await;
    let outcome = in_time(endless.model().complete(&question())).await;
    assert_eq!(
        (outcome.result.unwrap_err().kind(), outcome.attempts.len()),
        ("rate_limited", 13)
    );
}

#[tokio::test]
async fn an_endpoint_that_says_whether_to_try_again_is_believed() {
    let mock = Mock::start([
        Line::error(500, "no").with("x-should-retry", "false"),
        Line::answer("never"),
    ])
    .await;
    assert!(in_time(mock.model().complete(&question())).await.result.is_err());
    assert_eq!(mock.seen().len(), 1);
    let mock = Mock::start([
        Line::error(400, "odd").with("x-should-retry", "true"),
        Line::answer("4"),
    ])
    .await;
    assert!(in_time(mock.model().complete(&question())).await.result.is_ok());
}

#[tokio::test]
async fn an_error_inside_a_success_is_tried_again_as_its_status() {
    let errors = [
        json!({"error": {"code": "429", "message": "slow down"}}),
        json!({"choices": [], "error": {"code": "overloaded", "message": "slow down"}}),
        json!({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "slow down"}}]}),
    ];
    for error in errors {
        let mock = Mock::start([Line::json(200, error.clone()), Line::answer("4")]).await;
        let outcome = in_time(mock.model().complete(&question())).await;
        assert_eq!(outcome.result.unwrap().text, "4", "{error}");
    }
    let wrong_key = json!({"error": {"code": 401, "message": "who are you?"}});
    let mock = Mock::start([Line::json(200, wrong_key)]).await;
    let error = in_time(mock.model().complete(&question())).await.result.unwrap_err();
    assert!(
        error.kind() == "unauthorized" && error.to_string().contains("who are you?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_whole_reply_is_taken_whatever_its_finish_reason() {
    for reason in [json!(null), json!("end"), json!("Stop"), json!(1), json!("")] {
        let reply = json!({"choices": [{"finish_reason": reason, "message": {"content": "4"}}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7}});
        let mock = Mock::start([Line::json(200, reply)]).await;
        assert_eq!(
            in_time(mock.model().complete(&question())).await.result.unwrap().text,
            "4",
            "{reason}"
        );
    }
    // Without a reason the count of tokens says that it is cut.
    let cut =
        json!({"choices": [{"message": {"content": "4"}}], "usage": {"prompt_tokens": 11, "completion_tokens": 64}});
    let mock = Mock::start([Line::json(200, cut)]).await;
    let error = in_time(mock.model().complete(&question())).await.result.unwrap_err();
    assert_eq!(error.kind(), "truncated");
    assert!(error.to_string().contains("raise max_tokens"), "{error}");
}

#[tokio::test]
async fn an_answer_that_the_context_cuts_names_the_context() {
    let mock = Mock::start([Line::finished("2 + 2 is", "length")]).await;
    let error = in_time(mock.model().complete(&question())).await.result.unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("context") && words.contains('7') && !words.contains("raise max_tokens"),
        "{words}"
    );
}

#[tokio::test]
async fn a_grammar_that_failed_this_time_is_tried_again_and_perhaps_paid() {
    let failed = || json!({"error": {"code": "json_validate_failed", "message": "Failed to generate JSON", "failed_generation": "{"}});
    let mock = Mock::start([Line::json(400, failed()), Line::answer(r#"{"n": 4}"#)]).await;
    let done = in_time(structured(&mock.model(), question(), &number(), 0)).await;
    assert_eq!(done.result.unwrap(), json!({"n": 4}));
    assert_eq!(
        (done.attempts[0].kind, done.attempts[0].paid),
        ("malformed", Paid::Unknown)
    );
    assert_eq!(forms(&mock), ["json_schema", "json_schema"]);
}

#[tokio::test]
async fn out_of_credit_and_too_large_are_known_by_the_words_of_any_server() {
    let cases = [
        (
            json!({"error": {"message": "Your credit balance is too low to access the API"}}),
            "out_of_credit",
        ),
        (
            json!({"error": {"type": "exceed_context_size_error", "message": "too long", "n_prompt_tokens": 5000, "n_ctx": 2048}}),
            "too_large",
        ),
        (
            json!({"error": {"type": "invalid_request_error", "code": "400",
            "message": "litellm.ContextWindowExceededError: request (5000 tokens) exceeds the available context size (2048 tokens)"}}),
            "too_large",
        ),
    ];
    for (body, kind) in cases {
        let mock = Mock::start([Line::json(400, body)]).await;
        let done = in_time(structured(&mock.model(), question(), &number(), 0)).await;
        let error = done.result.unwrap_err();
        assert_eq!((error.kind(), mock.seen().len()), (kind, 1), "{error}");
        if kind == "too_large" {
            assert!(
                error.to_string().contains("5000") && error.to_string().contains("2048"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_gateways_cost_stands_where_the_operator_sets_no_price() {
    let answer = || Line::answer("4").with("x-litellm-response-cost", "0.00002");
    let mock = Mock::start([answer(), answer()]).await;
    let told = in_time(mock.model().complete(&question())).await.result.unwrap();
    assert_eq!((told.cost_nano_usd, told.cost_by_gateway), (Some(20_000), true));
    let price: Price = serde_json::from_value(json!({"input_per_million": 1, "output_per_million": "2.5"})).unwrap();
    let priced = Endpoint {
        prices: [("model-x".to_owned(), price)].into(),
        ..mock.endpoint()
    };
    let own = in_time(model(priced).complete(&question())).await.result.unwrap();
    assert_eq!((own.cost_nano_usd, own.cost_by_gateway), (Some(28_500), false));
}

#[tokio::test]
async fn an_event_stream_that_was_not_asked_for_is_read() {
    let events =
        "data: {\"choices\": [{\"delta\": {\"content\": \"4\"}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n";
    let stream = |body: &str| Line::Say {
        status: 200,
        headers: vec![("content-type", "text/event-stream".into())],
        body: body.into(),
    };
    let mock = Mock::start([
        stream(events),
        stream("data: {\"choices\": [{\"delta\": {\"content\": \"4\"}}]}\n\n"),
    ])
    .await;
    assert_eq!(
        in_time(mock.model().complete(&question())).await.result.unwrap().text,
        "4"
    );
    let error = in_time(mock.model().complete(&question())).await.result.unwrap_err();
    assert!(
        matches!(&error, ModelError::Malformed { detail, .. } if detail.contains("event stream")),
        "{error}"
    );
}

#[tokio::test]
async fn a_model_that_is_asked_once_tries_nothing_again() {
    let mock = Mock::start([Line::error(500, "broken"), Line::answer("never")]).await;
    assert!(in_time(mock.model().once().complete(&question())).await.result.is_err());
    assert_eq!(mock.seen().len(), 1);
}
