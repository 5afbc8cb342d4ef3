//! The server over real HTTP: OpenAI's shapes, determinism, limits, faults and the ledger.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use sipdo_simulator::{Fault, FaultKind, Limit, Secret, Settings};
use support::{Server, learner, structured};

const QUESTION: &str = "I have a flute, a piano, and two violins. How many musical instruments do I have?";

#[tokio::test]
async fn models_health_and_errors_have_openais_shape() {
    let settings = Settings {
        api_key: Some(Secret::new("right")),
        models: vec!["mine".into()],
        ..Settings::default()
    };
    let server = Server::start(settings).await;
    let base = server.running.base_url();
    let health = server.client.get(base.replace("/v1", "/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let models: Value = server
        .client
        .get(format!("{base}/models"))
        .bearer_auth("right")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["sim-weak", "sim-teacher", "sim-strong", "mine"]);
    let post = |body: String, key: &str| {
        server
            .client
            .post(format!("{base}/chat/completions"))
            .bearer_auth(key)
            .body(body)
            .send()
    };
    let unknown = learner("", "").to_string().replace("sim-weak", "gpt-9");
    let cases = [
        (learner("", QUESTION).to_string(), "wrong", 401, "invalid_api_key"),
        ("{\"model\":".to_owned(), "right", 400, "invalid_request_error"),
        (
            json!({"model": "sim-weak"}).to_string(),
            "right",
            400,
            "invalid_request_error",
        ),
        (
            json!({"model": "sim-weak", "messages": []}).to_string(),
            "right",
            400,
            "invalid_request_error",
        ),
        (unknown, "right", 404, "model_not_found"),
    ];
    for (body, key, status, code) in cases {
        let response = post(body, key).await.unwrap();
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], code);
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
    assert!(
        server.running.ledger().calls(0, 9).is_empty(),
        "refused requests are no calls"
    );
    assert_eq!(
        post(learner("", QUESTION).to_string(), "right").await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn the_same_request_has_the_same_answer_and_seeds_differ() {
    let server = Server::start(Settings::default()).await;
    let other = Server::start(Settings {
        seed: 2,
        ..Settings::default()
    })
    .await;
    let mut forms = HashSet::new();
    let mut differ = 0;
    for count in 2..30 {
        let question = format!(
            "I have {} plums, and a lamp. How many objects do I have?",
            ["two", "three", "four"][count % 3]
        );
        let body = learner(&format!("Answer, please ({count})."), &question);
        let answer = server.content(&body).await;
        assert_eq!(answer, server.content(&body).await);
        differ += usize::from(answer != other.content(&body).await);
        forms.insert(answer.replace(|c: char| c.is_ascii_digit(), "#"));
    }
    assert!(
        differ > 10,
        "another seed words only {differ} of 28 answers differently"
    );
    assert!(forms.len() >= 5, "answers vary in form: {forms:?}");
}

#[tokio::test]
async fn the_asked_form_is_kept_and_a_strong_model_knows_all() {
    let server = Server::start(Settings::default()).await;
    let cases = [
        ("Give only the answer, nothing else.", "3"),
        ("Reply as JSON: {\"answer\": ...}", "{\"answer\":\"3\"}"),
        ("Put it in <answer> tags.", "<answer>3</answer>"),
    ];
    for (prompt, expected) in cases {
        assert_eq!(server.answer(prompt, QUESTION).await, expected);
    }
    for number in 0..10 {
        let said = server
            .answer(&format!("End with a line `Answer: N`. ({number})"), QUESTION)
            .await;
        assert!(said.ends_with("Answer: 3"), "{said}");
    }
    let mut strong = learner("Give only the answer, nothing else.", QUESTION);
    strong["model"] = json!("sim-strong");
    assert_eq!(server.content(&strong).await, "4");
    let inside = json!({"model": "sim-weak", "messages": [{"role": "user",
        "content": format!("Only the answer. Sum the quantities of the things.\n\n{QUESTION}\n")}]});
    assert_eq!(server.content(&inside).await, "4", "question and prompt in one message");
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    let mut shaped = learner("Answer.", QUESTION);
    shaped["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}});
    assert_eq!(server.content(&shaped).await, "{\"answer\":\"3\"}");
}

#[tokio::test]
async fn long_answers_are_cut_at_the_limit_and_usage_is_counted() {
    let server = Server::start(Settings::default()).await;
    let words = "Sort the following words alphabetically: List: pear apple quince orange banana cherry";
    let mut body = learner(
        "Give only the answer, nothing else. Join the words by a single space.",
        words,
    );
    let whole = server.reply(&body).await;
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole["usage"]["completion_tokens"], 10);
    let usage = &whole["usage"];
    assert_eq!(usage["total_tokens"], usage["prompt_tokens"].as_u64().unwrap() + 10);
    body["max_tokens"] = json!(3);
    let cut = server.reply(&body).await;
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["choices"][0]["message"]["content"], "apple banana");
    body["stream"] = json!(true);
    let events = server.send(&body).await.unwrap().text().await.unwrap();
    assert!(
        events.starts_with("data: {") && events.ends_with("data: [DONE]\n\n"),
        "{events}"
    );
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let server = Server::start(Settings {
        drip_ms: 2,
        ..Settings::default()
    })
    .await;
    let body = structured(
        "grade",
        &["correct", "reason"],
        &[("Reference answer", "5"), ("Answer", "5")],
        1,
    );
    let strike = async |kind: FaultKind| {
        server.running.add_faults(vec![Fault {
            retry_after: Some("7".into()),
            ..Fault::of(kind)
        }]);
        server.send(&body).await
    };
    for (kind, status) in [
        (FaultKind::RateLimited, 429),
        (FaultKind::ServerError, 500),
        (FaultKind::Overloaded, 529),
    ] {
        let response = strike(kind).await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["retry-after"].to_str().unwrap()
            ),
            (status, "7")
        );
        assert!(response.json::<Value>().await.unwrap()["error"]["message"].is_string());
    }
    assert!(strike(FaultKind::Reset).await.is_err());
    assert!(strike(FaultKind::CutOff).await.unwrap().bytes().await.is_err());
    assert!(
        strike(FaultKind::MalformedBody)
            .await
            .unwrap()
            .json::<Value>()
            .await
            .is_err()
    );
    let page = strike(FaultKind::WrongContentType).await.unwrap();
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let choice = async |kind| strike(kind).await.unwrap().json::<Value>().await.unwrap()["choices"][0].clone();
    let truncated = choice(FaultKind::Truncated).await;
    assert_eq!(truncated["finish_reason"], "length");
    let broken =
        |choice: &Value| serde_json::from_str::<Value>(choice["message"]["content"].as_str().unwrap()).is_err();
    assert!(broken(&truncated) && broken(&choice(FaultKind::MalformedContent).await));
    assert_eq!(choice(FaultKind::Empty).await["message"]["content"], "");
    let refusal = choice(FaultKind::Refusal).await;
    assert_eq!(refusal["finish_reason"], "content_filter");
    assert!(refusal["message"]["refusal"].is_string());
    assert!(
        !broken(&choice(FaultKind::SlowDrip).await),
        "a dripping answer is whole"
    );
    server.running.add_faults(vec![Fault::of(FaultKind::Hang)]);
    let hung = tokio::time::timeout(Duration::from_millis(100), server.send(&body)).await;
    assert!(hung.is_err(), "a hanging call does not answer");
    assert!(
        !broken(&server.reply(&body).await["choices"][0]),
        "the script is used up"
    );
}

#[tokio::test]
async fn the_admin_takes_scripts_and_shows_the_ledger() {
    let server = Server::start(Settings::default()).await;
    let admin = server.running.base_url().replace("/v1", "/admin");
    let script = json!([{"kind": "server_error", "status": 503, "role": "learner", "times": 2}]);
    let taken = server
        .client
        .post(format!("{admin}/faults"))
        .json(&script)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), 200);
    let wrong = server
        .client
        .post(format!("{admin}/faults"))
        .json(&json!([{"kind": "flood"}]))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(
        wrong.text().await.unwrap().contains("rate_limited"),
        "the message names the known kinds"
    );
    let grade = structured(
        "grade",
        &["correct", "reason"],
        &[("Reference answer", "5"), ("Answer", "5")],
        1,
    );
    let ask = learner("Answer.", QUESTION);
    let mut statuses = Vec::new();
    for body in [&grade, &ask, &ask, &ask] {
        statuses.push(server.send(body).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    let book: Value = server
        .client
        .get(format!("{admin}/ledger"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let calls = book["calls"].as_array().unwrap();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call["role"].as_str().unwrap(), call["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("judge", "answered"),
            ("learner", "refused"),
            ("learner", "refused"),
            ("learner", "answered")
        ]
    );
    assert_eq!(calls[1]["fault"], "server_error");
    assert_eq!(
        calls[1]["request"], calls[3]["request"],
        "the same ask has the same hash"
    );
    assert_ne!(calls[0]["request"], calls[1]["request"]);
    assert_eq!(
        (&book["totals"]["answered"], &book["totals"]["by_role"]["learner"]),
        (&json!(2), &json!(3))
    );
    let page = server
        .client
        .get(format!("{admin}/ledger?after=3&limit=5"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        page.json::<Value>().await.unwrap()["calls"].as_array().unwrap().len(),
        1
    );
    let reset = server.client.post(format!("{admin}/reset")).send().await.unwrap();
    assert_eq!(reset.status(), 204);
    assert_eq!(server.running.ledger().totals().calls, 0);
}

#[tokio::test]
async fn a_caller_who_goes_away_is_noted() {
    let server = Server::start(Settings::default()).await;
    server.running.add_faults(vec![Fault::of(FaultKind::Hang)]);
    let gone = tokio::time::timeout(Duration::from_millis(50), server.send(&learner("Answer.", QUESTION))).await;
    assert!(gone.is_err());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while server.running.ledger().totals().open > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the call is still open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.running.ledger().calls(0, 1)[0].outcome, "abandoned");
}

#[tokio::test]
async fn requests_over_the_limit_are_refused() {
    for (retry_after, told) in [(true, true), (false, false)] {
        let limit = Limit {
            requests_per_minute: Some(3),
            retry_after,
        };
        let server = Server::start(Settings {
            limit,
            ..Settings::default()
        })
        .await;
        let mut last = None;
        for number in 0..4 {
            last = Some(
                server
                    .send(&learner("Answer.", &format!("{number} {QUESTION}")))
                    .await
                    .unwrap(),
            );
        }
        let refused = last.unwrap();
        assert_eq!(refused.status(), 429);
        let wait = refused
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(wait.is_some(), told);
        assert!(wait.is_none_or(|seconds| (1..=60).contains(&seconds)));
    }
}

#[tokio::test]
async fn chance_faults_strike_at_their_rate_and_spare_the_retry() {
    let server = Server::start(Settings {
        faults: [(FaultKind::ServerError, 0.3)].into(),
        ..Settings::default()
    })
    .await;
    let mut struck = 0;
    for number in 0..100 {
        let body = learner("Answer.", &format!("{number} {QUESTION}"));
        let mut tries = 0;
        while server.send(&body).await.unwrap().status() != 200 {
            tries += 1;
            assert!(tries < 20, "the same request fails for ever");
        }
        struck += usize::from(tries > 0);
    }
    assert!(
        (15..=45).contains(&struck),
        "{struck} of 100 requests failed at rate 0.3"
    );
}
