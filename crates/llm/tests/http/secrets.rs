//! Keys: sent where they belong, rotated without a restart, and shown nowhere.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sipdo_llm::{ChatModel, Endpoint, Model, Outcome, Provider, Spend};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::mock::{Line, Mock, in_time, model, question, quick};

const CANARY: &str = "canary-7f3a9c1e5b";

fn with_key(mock: &Mock, provider: Provider, path: &Path) -> Model {
    let base_url = Some(format!("http://{}/v1", mock.address));
    model(Endpoint {
        base_url,
        api_key_file: Some(path.to_owned()),
        ..quick(provider)
    })
}

#[tokio::test]
async fn a_key_rotated_in_its_file_is_used_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "old").unwrap();
    let mock = Mock::start([Line::answer("1"), Line::answer("2")]).await;
    let model = with_key(&mock, Provider::Openai, &path);
    assert!(model.complete(&question()).await.result.is_ok());
    std::fs::write(&path, "newer").unwrap();
    assert!(model.complete(&question()).await.result.is_ok());
    let seen = mock.seen();
    assert_eq!(seen[0].headers["authorization"], "Bearer old");
    assert_eq!(seen[1].headers["authorization"], "Bearer newer");
}

#[tokio::test]
async fn the_key_is_in_no_error_debug_or_log_whatever_the_provider_echoes() {
    let log = Log::default();
    // For the whole process: what other tests log is listened to as well, and holds no canary.
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, CANARY).unwrap();
    let echo = json!({"error": {"message": format!("wrong key {CANARY}; Authorization: Bearer {CANARY}")}});
    let mut shown = String::new();
    for provider in [Provider::Openai, Provider::Anthropic, Provider::Gemini] {
        let lines = [
            Line::json(401, echo.clone()),
            Line::json(400, echo.clone()),
            Line::json(200, echo.clone()),
            Line::json(500, echo.clone()),
            Line::Cut,
            Line::Say {
                status: 500,
                headers: vec![],
                body: format!("<b>{CANARY}</b>"),
            },
            Line::Say {
                status: 503,
                headers: vec![],
                body: CANARY.repeat(9_999),
            },
            Line::json(403, echo.clone()),
        ];
        let mock = Mock::start(lines).await;
        let model = with_key(&mock, provider, &path);
        shown += &format!(
            "{model:?} {:?} {:?} {}",
            model.endpoint(),
            model.settings(),
            model.endpoint().identity()
        );
        for _ in 0..4 {
            let Outcome { result, attempts } = in_time(model.complete(&question())).await;
            let error = result.unwrap_err();
            shown += &format!("{error} {error:?} {attempts:?}");
        }
        shown += &format!("{:?}", in_time(model.probe(Spend::OneCompletion)).await.unwrap_err());
        // Nothing listens here any more: errors of the connection.
        let gone = Endpoint {
            base_url: Some("http://127.0.0.1:1/v1?x=1".into()),
            ..quick(Provider::Openai)
        };
        shown += &format!("{:?}", in_time(crate::mock::model(gone).complete(&question())).await);
    }
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.contains("model call failed"), "the log was listened to");
    assert!(shown.contains("wrong key [redacted]"), "{shown}");
    assert!(!shown.contains(CANARY), "{shown}");
    // The libraries' own trace of raw replies is theirs to print at TRACE; what this crate logs is clean.
    assert!(!logged.contains(CANARY), "{logged}");
}

/// Collects every event of this crate at every level, and of the libraries from DEBUG up.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sipdo") || *metadata.level() <= tracing::Level::DEBUG
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
