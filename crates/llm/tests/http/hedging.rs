//! A request that has no answer for too long is sent a second time, where the operator wants that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::{StreamExt as _, stream};
use serde_json::json;
use sipdo_llm::{ChatModel, Endpoint, EndpointClient, Model, ModelSettings, Outcome, Paid, Provider};

use crate::mock::{Line, Mock, in_time, model, question, quick, serve};

/// Asked a second time after 0.1 s.
fn hedged(endpoint: Endpoint) -> Endpoint {
    hedged_after(0.1, endpoint)
}

fn hedged_after(seconds: f64, endpoint: Endpoint) -> Endpoint {
    Endpoint {
        hedge_after_seconds: Some(seconds),
        ..endpoint
    }
}

fn kinds(outcome: &Outcome) -> Vec<(&'static str, Paid)> {
    outcome.attempts.iter().map(|one| (one.kind, one.paid)).collect()
}

fn text(outcome: &Outcome) -> &str {
    outcome.result.as_ref().map_or("no answer", |answer| &answer.text)
}

#[tokio::test]
async fn a_second_request_answers_where_the_first_hangs_and_both_are_told() {
    let mock = Mock::start([Line::Hang, Line::answer("4")]).await;
    let outcome = in_time(model(hedged(mock.endpoint())).complete(&question())).await;
    assert_eq!(text(&outcome), "4");
    assert_eq!(kinds(&outcome), [("hedged", Paid::Unknown), ("ok", Paid::Yes)]);
    let seen = mock.seen();
    assert_eq!((seen.len(), &seen[0].body), (2, &seen[1].body), "the very same request");
}

#[tokio::test]
async fn an_answer_in_time_is_asked_for_once() {
    let mock = Mock::start([Line::answer("4"), Line::answer("5")]).await;
    let outcome = in_time(model(hedged_after(5.0, mock.endpoint())).complete(&question())).await;
    assert_eq!((text(&outcome), mock.seen().len()), ("4", 1));
}

#[tokio::test]
async fn a_call_sends_a_second_request_once_and_then_tries_again_alone() {
    let mock = Mock::start([Line::Hang, Line::Hang, Line::Hang, Line::answer("4")]).await;
    let endpoint = Endpoint {
        timeout_seconds: 1.0,
        ..hedged(mock.endpoint())
    };
    let outcome = in_time(model(endpoint).complete(&question())).await;
    assert_eq!(text(&outcome), "4");
    let kinds: Vec<_> = outcome.attempts.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["hedged", "timeout", "timeout", "ok"]);
}

/// A provider that answers each request with its number: the first one's headers at once or after the pause, its body after the
/// pause; the others with `status`. It is asked a second time in the middle of the pause.
async fn slow(early_headers: bool, status: StatusCode) -> (Endpoint, Arc<AtomicUsize>) {
    const PAUSE: Duration = Duration::from_secs(2);
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = |number: usize| {
        json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": number.to_string()}}]})
            .to_string()
    };
    let count = Arc::clone(&asked);
    let handler = move || {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            if number > 1 {
                return (status, [("content-type", "application/json")], answer(number)).into_response();
            }
            if !early_headers {
                tokio::time::sleep(PAUSE).await;
            }
            let body = stream::once(async move {
                if early_headers {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok::<_, std::io::Error>(Bytes::from(answer(number)))
            });
            let body = Body::from_stream(body.boxed());
            Response::builder()
                .header("content-type", "application/json")
                .body(body)
                .unwrap()
        }
    };
    let address = serve(Router::new().route("/v1/chat/completions", post(handler))).await;
    let endpoint = Endpoint {
        base_url: Some(format!("http://{address}/v1")),
        ..hedged_after(1.0, quick(Provider::Openai))
    };
    (endpoint, asked)
}

#[tokio::test]
async fn an_answer_that_has_begun_is_waited_for() {
    let (endpoint, asked) = slow(true, StatusCode::OK).await;
    let outcome = in_time(model(endpoint).complete(&question())).await;
    assert_eq!((text(&outcome), asked.load(Ordering::SeqCst)), ("1", 1));
}

#[tokio::test]
async fn a_second_request_that_fails_does_not_spoil_the_first() {
    let (endpoint, asked) = slow(false, StatusCode::INTERNAL_SERVER_ERROR).await;
    let outcome = in_time(model(endpoint).complete(&question())).await;
    assert_eq!((text(&outcome), asked.load(Ordering::SeqCst)), ("1", 2));
    assert_eq!(kinds(&outcome).len(), 2);
}

#[tokio::test]
async fn unhedged_it_waits() {
    let (endpoint, asked) = slow(false, StatusCode::OK).await;
    let outcome = in_time(model(endpoint).unhedged().complete(&question())).await;
    assert_eq!((text(&outcome), asked.load(Ordering::SeqCst)), ("1", 1));
}

#[test]
fn where_it_cannot_be_done_it_is_refused_with_the_reason() {
    let refused = |endpoint: Endpoint| EndpointClient::new("e", hedged(endpoint)).unwrap_err().to_string();
    let alone = Endpoint {
        concurrency: 1,
        ..quick(Provider::Ollama)
    };
    assert!(refused(alone).contains("hedge_after_seconds: needs a concurrency of at least 2"));
    let told = refused(quick(Provider::Anthropic));
    assert!(
        told.contains("only OpenAI-compatible endpoints can be asked twice"),
        "{told}"
    );
    let never = Endpoint {
        hedge_after_seconds: Some(0.0),
        ..quick(Provider::Ollama)
    };
    assert!(
        EndpointClient::new("e", never)
            .unwrap_err()
            .to_string()
            .contains("must be above 0")
    );
    let client = EndpointClient::new("e", hedged(quick(Provider::Ollama))).unwrap();
    let short = ModelSettings {
        timeout_seconds: Some(0.1),
        ..ModelSettings::new("e", "m")
    };
    let told = Model::new(client, short).unwrap_err().to_string();
    assert!(
        told.contains("must be less than the timeout_seconds of the model m"),
        "{told}"
    );
}
