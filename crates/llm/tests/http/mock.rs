//! A provider that says its lines in order and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use sipdo_llm::{
    ChatRequest, Endpoint, EndpointClient, Message, Model, ModelSettings, Provider, RetrySettings, Sampling,
};

/// One reply of the script.
pub enum Line {
    /// This status, headers and body.
    Say {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// No reply at all.
    Hang,
    /// Headers, half a body, and the end of the connection.
    Cut,
    /// A body without end.
    Endless,
    /// An OpenAI-shaped answer in twenty pieces, with this pause before each.
    Drip(&'static str, Duration),
}

impl Line {
    pub fn json(status: u16, body: Value) -> Self {
        Self::Say {
            status,
            headers: vec![("content-type", "application/json".into())],
            body: body.to_string(),
        }
    }

    /// An OpenAI-shaped answer that is whole.
    pub fn answer(text: &str) -> Self {
        Self::finished(text, "stop")
    }

    /// An OpenAI-shaped answer with this finish reason, of 11 tokens in and 7 out.
    pub fn finished(text: &str, reason: &str) -> Self {
        let message = json!({"role": "assistant", "content": text});
        Self::json(
            200,
            json!({"id": "answer-1", "model": "model-2026-01-01", "system_fingerprint": "fp", "object": "chat.completion",
                "choices": [{"index": 0, "finish_reason": reason, "message": message}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}}),
        )
    }

    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, json!({"error": {"message": message}}))
    }

    pub fn with(self, name: &'static str, value: impl ToString) -> Self {
        match self {
            Self::Say {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.to_string()));
                Self::Say { status, headers, body }
            }
            other => other,
        }
    }

    fn into_response(self) -> Response {
        match self {
            Self::Say { status, headers, body } => {
                let mut builder = Response::builder().status(status);
                for (name, value) in headers {
                    builder = builder.header(name, value);
                }
                builder.body(Body::from(body)).unwrap()
            }
            Self::Hang => unreachable!("handled before"),
            Self::Drip(text, pause) => {
                let Self::Say { body, .. } = Self::answer(text) else {
                    unreachable!("an answer is said")
                };
                let pieces: Vec<Vec<u8>> = body
                    .as_bytes()
                    .chunks(body.len().div_ceil(20))
                    .map(<[u8]>::to_vec)
                    .collect();
                let pieces = stream::iter(pieces).then(move |piece| async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, std::io::Error>(piece)
                });
                Response::builder()
                    .header("content-type", "application/json")
                    .body(Body::from_stream(pieces))
                    .unwrap()
            }
            Self::Cut => {
                let parts = [
                    Ok(r#"{"choices": [{"mess"#.to_owned()),
                    Err(std::io::Error::other("cut")),
                ];
                let body = Body::from_stream(stream::iter(parts));
                Response::builder()
                    .header("content-type", "application/json")
                    .body(body)
                    .unwrap()
            }
            Self::Endless => {
                let body = Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(64 * 1024))));
                Response::builder()
                    .header("content-type", "application/json")
                    .body(body)
                    .unwrap()
            }
        }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// The provider; its address and what it has seen.
pub struct Mock {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Mock {
    /// Starts a provider that says `lines`; a request beyond them gets status 418, which no test expects.
    pub async fn start(lines: impl IntoIterator<Item = Line>) -> Self {
        sipdo_llm::install_crypto_provider();
        let lines: Arc<Mutex<VecDeque<Line>>> = Arc::new(Mutex::new(lines.into_iter().collect()));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let memory = Arc::clone(&seen);
        let handler = move |request: Request| {
            let (lines, memory) = (Arc::clone(&lines), Arc::clone(&memory));
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                memory.lock().unwrap().push(Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                });
                let line = lines.lock().unwrap().pop_front();
                match line {
                    Some(Line::Hang) => std::future::pending().await,
                    Some(line) => line.into_response(),
                    None => Line::error(418, "not in the script").into_response(),
                }
            }
        };
        let address = serve(Router::new().fallback(handler)).await;
        Self { address, seen }
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// An OpenAI-compatible endpoint here, quick to retry.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            base_url: Some(format!("http://{}/v1", self.address)),
            ..quick(Provider::Openai)
        }
    }

    /// A model at that endpoint.
    pub fn model(&self) -> Model {
        model(self.endpoint())
    }
}

/// Serves `app` on a free local port and gives its address.
pub async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// An endpoint of `provider` that retries three times within milliseconds.
pub fn quick(provider: Provider) -> Endpoint {
    let retry = RetrySettings {
        attempts: 4,
        total_seconds: 20.0,
        first_delay_seconds: 0.001,
        max_delay_seconds: 0.01,
    };
    Endpoint {
        retry,
        timeout_seconds: 10.0,
        ..Endpoint::new(provider)
    }
}

/// `model-x` at `endpoint`.
pub fn model(endpoint: Endpoint) -> Model {
    sipdo_llm::install_crypto_provider();
    Model::new(
        EndpointClient::new("here", endpoint).unwrap(),
        ModelSettings::new("here", "model-x"),
    )
    .unwrap()
}

/// A plain question.
pub fn question() -> ChatRequest {
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: None,
        max_tokens: 64,
        seed: Some(7),
    };
    ChatRequest::text(vec![Message::system("Be brief."), Message::user("2 + 2?")], sampling)
}

/// Ends a test that hangs.
pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .expect("took longer than 30 s")
}
