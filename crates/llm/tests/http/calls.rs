//! OpenAI-compatible calls: what is sent, what comes of each reply, and what is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use serde_json::{Value, json};
use sipdo_llm::{
    Abilities, ChatModel, ChatRequest, Endpoint, Finish, ModelError, ModelSettings, Outcome, Paid, Price, Provider,
    RetrySettings, Schema, Usage, structured,
};

use crate::mock::{Line, Mock, in_time, model, question, quick, serve};

async fn ask(lines: impl IntoIterator<Item = Line>) -> (Outcome, Mock) {
    let mock = Mock::start(lines).await;
    let outcome = in_time(mock.model().complete(&question())).await;
    (outcome, mock)
}

fn kinds(outcome: &Outcome) -> Vec<&'static str> {
    outcome.attempts.iter().map(|attempt| attempt.kind).collect()
}

#[tokio::test]
async fn an_answer_comes_with_all_that_is_known_about_it() {
    let (outcome, mock) = ask([Line::answer(" 4\n")]).await;
    let completion = outcome.result.unwrap();
    assert_eq!(completion.text, " 4\n", "verbatim");
    assert_eq!(completion.finish, Finish::Stop);
    assert_eq!(
        completion.usage,
        Usage {
            input_tokens: Some(11),
            output_tokens: Some(7),
            ..Usage::default()
        }
    );
    assert_eq!(completion.cost_nano_usd, None, "no price is not a price of zero");
    assert_eq!(completion.model_reported.as_deref(), Some("model-2026-01-01"));
    assert_eq!(completion.response_id.as_deref(), Some("answer-1"));
    assert_eq!(completion.system_fingerprint.as_deref(), Some("fp"));
    assert!(completion.dropped.is_empty());
    assert_eq!((outcome.attempts.len(), outcome.attempts[0].paid), (1, Paid::Yes));

    let seen = &mock.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert!(seen.headers.get("authorization").is_none(), "no key, no header");
    assert_eq!(
        seen.body,
        json!({"model": "model-x", "temperature": 0.5, "max_tokens": 64, "seed": 7, "stream": false, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]})
    );
}

#[tokio::test]
async fn a_known_price_gives_a_cost() {
    let mock = Mock::start([Line::answer("4")]).await;
    let price: Price = serde_json::from_value(json!({"input_per_million": 1, "output_per_million": "2.5"})).unwrap();
    let endpoint = Endpoint {
        prices: [("model-x".to_owned(), price)].into(),
        ..mock.endpoint()
    };
    let completion = model(endpoint).complete(&question()).await.result.unwrap();
    // 11 × 1 + 7 × 2.5 USD per million tokens
    assert_eq!(completion.cost_nano_usd, Some(28_500));
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for_whether_seconds_or_date() {
    for header in [|| "1".to_owned(), || date_in(2)] {
        let (header, start) = (header(), Instant::now());
        let (outcome, mock) = ask([
            Line::error(429, "slow down").with("retry-after", &header),
            Line::answer("4"),
        ])
        .await;
        assert_eq!(outcome.result.as_ref().unwrap().text, "4");
        assert_eq!((kinds(&outcome), mock.seen().len()), (vec!["rate_limited", "ok"], 2));
        assert!(outcome.attempts[0].retry_after.is_some());
        assert_eq!(
            (outcome.attempts[0].status, outcome.attempts[0].paid),
            (Some(429), Paid::No)
        );
        // A date has whole seconds only, so that two may be little more than one.
        assert!(
            start.elapsed() >= Duration::from_millis(900),
            "{header}: {:?}",
            start.elapsed()
        );
    }
}

/// An HTTP date some seconds ahead.
fn date_in(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_limit_ends_the_call_at_once() {
    let start = Instant::now();
    let (outcome, _) = ask([Line::error(429, "come back tomorrow").with("retry-after", 3_600)]).await;
    let Err(ModelError::RateLimited { retry_after, .. }) = outcome.result else {
        panic!("{outcome:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(3_600)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for line in [408, 409, 429, 500, 502, 503, 529].map(|status| Line::error(status, "not now")) {
        let (outcome, mock) = ask([line, Line::answer("4")]).await;
        assert_eq!(outcome.result.as_ref().unwrap().text, "4");
        assert_eq!(mock.seen().len(), 2);
    }
}

#[tokio::test]
async fn retries_end_with_the_attempts() {
    let (outcome, mock) = ask((0..9).map(|_| Line::error(500, "broken"))).await;
    assert_eq!(outcome.result.unwrap_err().kind(), "unavailable");
    assert_eq!((outcome.attempts.len(), mock.seen().len()), (4, 4));
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let cases = [
        (400, "bad_request"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "unknown_model"),
        (413, "too_large"),
    ];
    for (status, kind) in cases {
        let (outcome, mock) = ask([Line::error(status, "no"), Line::answer("never asked for")]).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.retryable(), mock.seen().len()),
            (kind, false, 1),
            "{status}"
        );
        assert!(error.paid().is_none());
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Mock::start([Line::answer("stolen")]).await;
    let to = format!("http://{}/v1/chat/completions", elsewhere.address);
    let (outcome, _) = ask([Line::error(307, "").with("location", to)]).await;
    assert_eq!(outcome.result.unwrap_err().kind(), "misconfigured");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn silence_ends_in_a_timeout_and_the_next_attempt_may_do_better() {
    let mock = Mock::start([Line::Hang, Line::answer("4")]).await;
    let model = model(Endpoint {
        timeout_seconds: 1.0,
        ..mock.endpoint()
    });
    let outcome = in_time(model.complete(&question())).await;
    assert_eq!(outcome.result.as_ref().unwrap().text, "4");
    assert_eq!(kinds(&outcome), ["timeout", "ok"]);
    assert_eq!(
        outcome.attempts[0].paid,
        Paid::Unknown,
        "the provider may have answered too late"
    );
}

#[tokio::test]
async fn a_roles_own_timeout_is_the_one_that_counts() {
    let mock = Mock::start([Line::Hang]).await;
    let retry = RetrySettings {
        attempts: 1,
        ..RetrySettings::default()
    };
    let client = sipdo_llm::EndpointClient::new(
        "here",
        Endpoint {
            retry,
            ..mock.endpoint()
        },
    )
    .unwrap();
    let settings = ModelSettings {
        timeout_seconds: Some(0.1),
        ..ModelSettings::new("here", "m")
    };
    let outcome = in_time(sipdo_llm::Model::new(client, settings).unwrap().complete(&question())).await;
    assert_eq!(
        outcome.result.unwrap_err(),
        ModelError::Timeout {
            after: Duration::from_millis(100)
        }
    );
}

#[tokio::test]
async fn a_connection_cut_in_the_body_is_tried_again_as_perhaps_paid() {
    let (outcome, _) = ask([Line::Cut, Line::answer("4")]).await;
    assert_eq!(outcome.result.as_ref().unwrap().text, "4");
    assert_eq!(
        (outcome.attempts[0].kind, outcome.attempts[0].paid),
        ("unavailable", Paid::Unknown)
    );
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unavailable() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = Endpoint {
        base_url: Some(format!("http://127.0.0.1:{port}/v1")),
        ..quick(Provider::Openai)
    };
    let outcome = in_time(model(endpoint).complete(&question())).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind(), "unavailable");
    assert!(error.to_string().contains("cannot connect"), "{error}");
    assert_eq!((outcome.attempts.len(), outcome.attempts[0].paid), (4, Paid::No));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_by_its_size() {
    let mock = Mock::start([Line::Endless]).await;
    let outcome = in_time(
        model(Endpoint {
            max_response_bytes: 100_000,
            ..mock.endpoint()
        })
        .complete(&question()),
    )
    .await;
    assert_eq!(outcome.result.unwrap_err().kind(), "too_large");
    assert_eq!(outcome.attempts[0].paid, Paid::Unknown);
}

#[tokio::test]
async fn what_is_no_chat_completion_is_malformed() {
    let html = |text: &str| Line::Say {
        status: 200,
        headers: vec![("content-type", "text/html".into())],
        body: text.into(),
    };
    for line in [
        html("<html>Please log in</html>"),
        Line::json(200, json!([])),
        Line::json(200, json!({"ok": true})),
    ] {
        let (outcome, mock) = ask([line]).await;
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind(), mock.seen().len()), ("malformed", 1), "{error}");
    }
}

#[tokio::test]
async fn useless_answers_are_errors_that_say_what_they_cost() {
    let refusal = json!({"choices": [{"finish_reason": "stop", "message": {"content": null, "refusal": "I will not."}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7}});
    let cases = [
        (Line::finished("2 + 2 is", "length"), "truncated"),
        (Line::finished("", "length"), "truncated"),
        (Line::finished("", "stop"), "empty"),
        (Line::finished(" \n", "stop"), "empty"),
        (Line::finished("", "content_filter"), "refused"),
        (Line::json(200, refusal), "refused"),
        (Line::finished("4", "error"), "malformed"),
    ];
    for (line, kind) in cases {
        let (outcome, mock) = ask([line]).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(
            (error.kind(), mock.seen().len()),
            (kind, 1),
            "paid for, so not asked again"
        );
        let usage = error.paid().expect("it was paid for").usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(11), Some(7)), "{kind}");
        assert_eq!((outcome.attempts[0].paid, outcome.attempts[0].kind), (Paid::Yes, kind));
    }
}

#[tokio::test]
async fn a_partial_text_is_kept_but_is_no_answer() {
    let (outcome, _) = ask([Line::finished("the first half", "length")]).await;
    let Err(ModelError::Truncated { completion, .. }) = outcome.result else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (completion.text.as_str(), &completion.finish),
        ("the first half", &Finish::Length)
    );
}

#[tokio::test]
async fn an_option_the_endpoint_rejects_is_left_out_from_then_on_and_named() {
    let mock = Mock::start([
        Line::error(400, "Unsupported parameter: 'seed'"),
        Line::error(
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        ),
        Line::answer("4"),
        Line::answer("5"),
    ])
    .await;
    let model = mock.model();
    let first = model.complete(&question()).await;
    assert_eq!(first.result.as_ref().unwrap().dropped, ["seed"]);
    assert_eq!(kinds(&first), ["corrected", "corrected", "ok"]);
    let second = model.complete(&question()).await;
    assert_eq!(
        (second.attempts.len(), second.result.unwrap().dropped),
        (1, vec!["seed"]),
        "remembered"
    );
    let last = &mock.seen()[3].body;
    assert_eq!(
        (&last["max_completion_tokens"], &last["max_tokens"], &last["seed"]),
        (&json!(64), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn an_endpoint_that_rejects_an_option_whatever_is_done_is_not_asked_for_ever() {
    let neither = "max_tokens and max_completion_tokens are not supported";
    let (outcome, mock) = ask((0..9).map(|_| Line::error(400, neither))).await;
    assert_eq!(outcome.result.unwrap_err().kind(), "bad_request");
    assert_eq!(mock.seen().len(), 2);
}

#[tokio::test]
async fn an_encrypted_endpoint_that_is_not_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = Endpoint {
        base_url: Some(format!("https://localhost:{port}/v1")),
        ..quick(Provider::Openai)
    };
    let error = in_time(model(endpoint).complete(&question())).await.result.unwrap_err();
    assert_eq!(error.kind(), "unavailable", "{error}");
}

fn number() -> Arc<Schema> {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    Arc::new(Schema::new("number", schema).unwrap())
}

#[tokio::test]
async fn a_schema_is_enforced_where_it_can_be_and_instructed_elsewhere() {
    let mock = Mock::start([Line::answer(r#"{"n": 4}"#), Line::answer("```json\n{\"n\": 4,}\n```")]).await;
    let able = structured(&mock.model(), question(), &number(), 2).await;
    assert_eq!(able.result.unwrap(), json!({"n": 4}));
    let abilities = Abilities {
        json_schema: Some(false),
        json_object: Some(false),
        ..Abilities::default()
    };
    let unable = model(Endpoint {
        abilities,
        ..mock.endpoint()
    });
    let instructed = structured(&unable, question(), &number(), 2).await;
    assert_eq!(instructed.result.unwrap(), json!({"n": 4}));
    assert_eq!(instructed.completions[0].dropped, ["json_schema"]);

    let seen = mock.seen();
    let format = &seen[0].body["response_format"];
    assert_eq!(
        (&format["type"], &format["json_schema"]["name"]),
        (&json!("json_schema"), &json!("number"))
    );
    assert_eq!(format["json_schema"]["schema"]["additionalProperties"], json!(false));
    assert!(seen[1].body.get("response_format").is_none());
    assert!(
        seen[1].body["messages"][1]["content"]
            .as_str()
            .unwrap()
            .contains(r#""required":["n"]"#)
    );
}

#[tokio::test]
async fn malformed_json_is_repaired_and_each_repair_counted() {
    let mock = Mock::start([
        Line::answer("four"),
        Line::error(500, "hiccup"),
        Line::answer(r#"{"n": 4}"#),
    ])
    .await;
    let done = structured(&mock.model(), question(), &number(), 1).await;
    assert_eq!(done.result.unwrap(), json!({"n": 4}));
    assert_eq!((done.repairs, done.completions.len(), done.attempts.len()), (1, 2, 3));
    assert_eq!(
        mock.seen()[2].body["messages"][2],
        json!({"role": "assistant", "content": "four"})
    );
}

#[tokio::test]
async fn azure_gets_its_query_and_its_header() {
    let mock = Mock::start([Line::answer("4")]).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "azure-key").unwrap();
    let endpoint = Endpoint {
        base_url: Some(format!(
            "http://{}/openai/deployments/mine?api-version=2026-01-01",
            mock.address
        )),
        api_key_header: Some("api-key".into()),
        api_key_file: Some(key),
        ..mock.endpoint()
    };
    assert!(model(endpoint).complete(&question()).await.result.is_ok());
    let seen = &mock.seen()[0];
    assert_eq!(
        seen.path,
        "/openai/deployments/mine/chat/completions?api-version=2026-01-01"
    );
    assert_eq!(seen.headers["api-key"], "azure-key");
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn ollama_is_spoken_to_in_openais_words() {
    let mock = Mock::start([Line::answer(r#"{"n": 4}"#)]).await;
    let endpoint = Endpoint {
        base_url: Some(format!("http://{}", mock.address)),
        ..quick(Provider::Ollama)
    };
    let done = structured(&model(endpoint), question(), &number(), 0).await;
    assert!(done.result.is_ok());
    let seen = &mock.seen()[0];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.body["response_format"]["type"], "json_schema");
}

/// A provider that turns down more than `most` requests at a time, and counts what it sees.
async fn crowded(most: usize) -> (String, Arc<AtomicUsize>) {
    let (now, rejected) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&rejected);
    let handler = move || {
        let (now, rejected) = (Arc::clone(&now), Arc::clone(&counter));
        async move {
            let (status, body) = if now.fetch_add(1, Ordering::SeqCst) >= most {
                rejected.fetch_add(1, Ordering::SeqCst);
                (429, json!({"error": {"message": "too many"}}))
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                (
                    200,
                    json!({"choices": [{"finish_reason": "stop", "message": {"content": "4"}}]}),
                )
            };
            now.fetch_sub(1, Ordering::SeqCst);
            (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(body))
        }
    };
    (serve(Router::new().fallback(handler)).await, rejected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_adapt_to_what_the_endpoint_takes() {
    let (address, rejected) = crowded(4).await;
    let retry = RetrySettings {
        attempts: 20,
        first_delay_seconds: 0.005,
        max_delay_seconds: 0.05,
        ..Default::default()
    };
    let endpoint = Endpoint {
        base_url: Some(format!("http://{address}/v1")),
        concurrency: 64,
        retry,
        ..quick(Provider::Openai)
    };
    let model = model(endpoint);
    let calls: Vec<_> = (0..400)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { model.complete(&question()).await.result.is_ok() })
        })
        .collect();
    for call in calls {
        assert!(in_time(call).await.unwrap());
    }
    // Without adapting, nearly every wave of 64 would bring 60 rejections, thousands in all.
    let rejected = rejected.load(Ordering::SeqCst);
    assert!(rejected < 400, "{rejected} rejections for 400 calls");
    assert!(
        model.endpoint().concurrency_now() < 32,
        "{}",
        model.endpoint().concurrency_now()
    );
}

#[tokio::test]
async fn a_system_message_alone_or_a_long_text_is_sent_verbatim() {
    let mock = Mock::start([Line::answer("4")]).await;
    let text = "line\n\"quoted\" \u{1F600} \u{0} ".repeat(2_000);
    let request = ChatRequest {
        messages: vec![sipdo_llm::Message::user(text.as_str())],
        ..question()
    };
    assert!(mock.model().complete(&request).await.result.is_ok());
    assert_eq!(mock.seen()[0].body["messages"][0]["content"], json!(text));
}
