//! Probes: what an operator is told before anything is bought.

use serde_json::json;
use sipdo_llm::{Endpoint, Provider, Spend};

use crate::mock::{Line, Mock, in_time, model, quick};

fn list(names: &[&str]) -> Line {
    let data: Vec<_> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model"}))
        .collect();
    Line::json(200, json!({"object": "list", "data": data}))
}

#[tokio::test]
async fn a_listed_model_costs_nothing_to_find() {
    let mock = Mock::start([list(&["other", "model-x"]), no_messages()]).await;
    let probe = in_time(mock.model().probe(Spend::OneCompletion)).await.unwrap();
    assert_eq!((probe.listed, probe.completion), (Some(true), None));
    let seen = mock.seen();
    assert_eq!(
        (seen.len(), seen[0].method.as_str(), seen[0].path.as_str()),
        (2, "GET", "/v1/models")
    );
    assert_eq!(seen[1].path, "/v1/chat/completions");
    assert!(
        seen[1].body.get("messages").is_none(),
        "nothing to answer, so nothing to pay for"
    );
}

/// What a server says to a request without a message.
fn no_messages() -> Line {
    Line::error(400, "messages: field required")
}

#[tokio::test]
async fn a_key_that_only_completions_refuse_is_found() {
    let mock = Mock::start([list(&["model-x"]), Line::error(401, "bad key")]).await;
    let error = in_time(mock.model().probe(Spend::Nothing)).await.unwrap_err();
    assert_eq!((error.kind(), error.needs_operator()), ("unauthorized", true));
}

#[tokio::test]
async fn a_base_url_without_its_path_is_told_with_the_one_that_works() {
    for listed in [list(&["model-x"]), Line::error(404, "no such path")] {
        let mock = Mock::start([listed, Line::error(404, "Not Found"), no_messages()]).await;
        let endpoint = Endpoint {
            base_url: Some(format!("http://{}", mock.address)),
            ..quick(Provider::Openai)
        };
        let error = in_time(model(endpoint).probe(Spend::Nothing)).await.unwrap_err();
        let advice = format!("base_url = \"http://{}/v1\"", mock.address);
        assert!(error.needs_operator() && error.to_string().contains(&advice), "{error}");
    }
}

#[tokio::test]
async fn a_base_url_where_nothing_is_right_is_refused_too() {
    let mock = Mock::start((0..6).map(|_| Line::error(404, "Not Found"))).await;
    let error = in_time(mock.model().probe(Spend::OneCompletion)).await.unwrap_err();
    assert!(
        error.needs_operator() && error.to_string().contains("chat/completions"),
        "{error}"
    );
}

#[tokio::test]
async fn another_server_that_speaks_anthropics_api_is_asked_for_an_answer() {
    let answer = json!({"content": [{"type": "text", "text": "OK"}], "stop_reason": "end_turn"});
    let at = |mock: &Mock| Endpoint {
        base_url: Some(format!("http://{}/v1", mock.address)),
        ..quick(Provider::Anthropic)
    };
    let other = Mock::start([Line::error(404, "File Not Found"), Line::json(200, answer)]).await;
    let probe = in_time(model(at(&other)).probe(Spend::OneCompletion)).await.unwrap();
    assert_eq!((probe.listed, probe.completion.unwrap().text.as_str()), (None, "OK"));
    let not_found = json!({"type": "error", "error": {"type": "not_found_error", "message": "model: model-x"}});
    let own = Mock::start([Line::json(404, not_found)]).await;
    let probe = in_time(model(at(&own)).probe(Spend::Nothing)).await.unwrap();
    assert_eq!(probe.listed, Some(false));
}

#[tokio::test]
async fn an_unlisted_model_is_asked_if_money_may_be_spent() {
    let mock = Mock::start([
        list(&["other"]),
        no_messages(),
        list(&["other"]),
        Line::finished("O", "length"),
    ])
    .await;
    let free = in_time(mock.model().probe(Spend::Nothing)).await.unwrap();
    assert_eq!((free.listed, free.others), (Some(false), vec!["other".to_owned()]));
    let paid = in_time(mock.model().probe(Spend::OneCompletion)).await.unwrap();
    assert_eq!(
        paid.completion.unwrap().usage.output_tokens,
        Some(7),
        "cut off, and good enough"
    );
    assert_eq!(mock.seen()[3].body["max_tokens"], json!(16));
}

#[tokio::test]
async fn a_wrong_model_name_is_told() {
    let mock = Mock::start([list(&[]), Line::error(404, "The model `model-x` does not exist")]).await;
    let error = in_time(mock.model().probe(Spend::OneCompletion)).await.unwrap_err();
    assert_eq!(error.kind(), "unknown_model");
    assert!(error.to_string().contains("model-x"), "{error}");
}

#[tokio::test]
async fn an_endpoint_without_a_list_is_asked_directly() {
    let mock = Mock::start([Line::error(404, "no such path"), Line::answer("OK")]).await;
    let probe = in_time(mock.model().probe(Spend::OneCompletion)).await.unwrap();
    assert_eq!((probe.listed, probe.completion.unwrap().text.as_str()), (None, "OK"));
}

#[tokio::test]
async fn a_wrong_key_and_an_absent_endpoint_are_told_apart() {
    let mock = Mock::start([Line::error(401, "bad key")]).await;
    assert_eq!(
        in_time(mock.model().probe(Spend::OneCompletion))
            .await
            .unwrap_err()
            .kind(),
        "unauthorized"
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = Endpoint {
        base_url: Some(format!("http://127.0.0.1:{port}/v1")),
        ..quick(Provider::Openai)
    };
    let error = in_time(model(endpoint).probe(Spend::OneCompletion)).await.unwrap_err();
    assert_eq!(error.kind(), "unavailable");
}

#[tokio::test]
async fn anthropic_and_gemini_are_asked_for_the_model_by_name() {
    for (provider, header) in [(Provider::Anthropic, "x-api-key"), (Provider::Gemini, "x-goog-api-key")] {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "secret-key").unwrap();
        let mock = Mock::start([Line::json(200, json!({"id": "model-x"}))]).await;
        let base_url = Some(format!("http://{}/v1", mock.address));
        let endpoint = Endpoint {
            base_url,
            api_key_file: Some(key),
            ..quick(provider)
        };
        let probe = in_time(model(endpoint).probe(Spend::Nothing)).await.unwrap();
        assert_eq!(probe.listed, Some(true));
        let seen = &mock.seen()[0];
        assert_eq!(
            (seen.path.as_str(), seen.headers[header].to_str().unwrap()),
            ("/v1/models/model-x", "secret-key")
        );
    }
}
