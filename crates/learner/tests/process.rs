//! The real process `sipdo-learner`, started by hand with nothing but a NATS URL, an endpoint and a model: it joins, answers, and goes.
//! What holds for this process holds for every role's: they differ in their texts alone.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of a test may fail it")]

use axum::routing::post;
use axum::{Json, Router};
use prost::Message as _;
use serde_json::{Value, json};
use sipdo_bus::local::{NatsServer, NatsServerOptions};
use sipdo_bus::{Bus, BusSettings, JobId, JobMessage, NewMessage, Role, RunId};
use sipdo_domain::{AnswerRequest, Ask, Reply};
use sipdo_protocol::{JobOutcome, pb};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const KEY: &str = "canary-5f1e9d";

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut seen: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = seen().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A provider that answers with the model's name and the user's words, and wants the key.
async fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let complete = |headers: axum::http::HeaderMap, Json(asked): Json<Value>| async move {
        assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
        let words = asked["messages"].as_array().unwrap().last().unwrap()["content"]
            .as_str()
            .unwrap();
        let text = format!("{}: {words}", asked["model"].as_str().unwrap());
        Json(json!({
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3},
        }))
    };
    let app = Router::new().route("/v1/chat/completions", post(complete));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

fn learner(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipdo-learner"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("LEARNER_KEY", KEY)
        .env("SIPDO_LOG", "debug")
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn start(folder: &Path, nats: &str, base_url: &str) -> Child {
    let flags = [
        "--nats-url",
        nats,
        "--base-url",
        base_url,
        "--model",
        "tiny:1b",
        "--api-key-env",
        "LEARNER_KEY",
        "--admin-port-file",
        "port",
    ];
    learner(folder, &flags).spawn().unwrap()
}

async fn publish(bus: &Bus, input: &str) -> (RunId, Role, JobId) {
    let ask = pb::Ask::from(Ask::Answer(AnswerRequest {
        prompt: "Say.".into(),
        input: input.into(),
        ..AnswerRequest::default()
    }));
    let id = sipdo_protocol::job_id("r1", &ask, 0);
    let (run, role, job) = (
        RunId::new("r1").unwrap(),
        Role::new("learner").unwrap(),
        JobId::new(&id).unwrap(),
    );
    let wire = pb::Job {
        run: "r1".into(),
        job: id,
        attempt: 1,
        ask: Some(ask),
        max_calls: 1,
        ..pb::Job::default()
    };
    let message = NewMessage::encode(&wire, "job.v1");
    let (attempt, epoch, repeat) = (1, 1, 0);
    let published = JobMessage {
        role: role.clone(),
        suspect: false,
        run: run.clone(),
        job: job.clone(),
        attempt,
        epoch,
        repeat,
        message,
    };
    bus.publish_job(published).await.unwrap().settled().await.unwrap();
    (run, role, job)
}

async fn result(bus: &Bus, (run, role, job): &(RunId, Role, JobId)) -> JobOutcome {
    let stored = eventually("a result", || async { bus.result(run, role, job).await.unwrap() }).await;
    JobOutcome::try_from(pb::JobResult::decode(stored.payload).unwrap()).unwrap()
}

async fn terminate(child: Child) -> Output {
    let id = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .unwrap()
            .success()
    );
    tokio::time::timeout(Duration::from_secs(20), child.wait_with_output())
        .await
        .expect("it ends")
        .unwrap()
}

#[tokio::test]
async fn started_by_hand_it_joins_answers_and_leaves_without_showing_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let nats = NatsServer::start(NatsServerOptions::new(folder.path().join("nats")))
        .await
        .unwrap();
    let bus = Bus::connect(BusSettings::new(nats.url())).await.unwrap();
    let child = start(folder.path(), &nats.url(), &provider().await);
    eventually("its card", || async {
        let cards = bus.roll_call(Duration::from_millis(100)).await.unwrap();
        let card = pb::AgentStatus::decode(cards.into_iter().next()?).unwrap();
        assert_eq!(
            (card.role.as_str(), card.endpoint.as_str(), card.model.as_str()),
            ("learner", "default", "tiny:1b")
        );
        assert_eq!((card.slots, card.max_calls, card.trouble.as_str()), (16, 1, ""));
        Some(())
    })
    .await;
    bus.ensure_streams().await.unwrap();
    let place = publish(&bus, "hello").await;
    match result(&bus, &place).await.finding.unwrap() {
        Reply::Answer(answer) => assert_eq!(answer.text, "tiny:1b: hello"),
        other => panic!("{other:?}"),
    }
    assert!(folder.path().join("port").exists());
    let output = terminate(child).await;
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("joined") && log.contains("draining"), "{log}");
    assert!(!log.contains(KEY), "the key is shown: {log}");
    assert!(output.stdout.is_empty(), "logs go to stderr");
}

#[tokio::test]
async fn started_before_its_server_it_waits_and_stops_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), "nats://127.0.0.1:9", &provider().await);
    eventually("its port", || async {
        folder.path().join("port").exists().then_some(())
    })
    .await;
    assert!(terminate(child).await.status.success());
}

#[tokio::test]
async fn a_bad_setting_ends_it_before_anything_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sipdo.toml"), "[models.learner]\nmodle = \"x\"\n").unwrap();
    let output = learner(folder.path(), &["--admin-port-file", "port"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("sipdo.toml:2") && said.contains("modle"), "{said}");

    std::fs::write(folder.path().join("sipdo.toml"), "").unwrap();
    let output = learner(folder.path(), &["--admin-port-file", "port"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no model for the learner") && said.contains("--model"),
        "{said}"
    );

    let flags = [
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--model",
        "m",
        "--api-key-env",
        "NOT_SET",
        "--admin-port-file",
        "port",
    ];
    let output = learner(folder.path(), &flags).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("NOT_SET"), "{said}");
    assert!(!folder.path().join("port").exists());
}
