//! The bodies that go over the wire: completions, errors, and broken ones.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::draw::Draw;
use crate::request::{ChatMessage, ChatRequest};

/// One completion, before it is written.
pub(crate) struct Completion {
    id: String,
    model: String,
    content: String,
    refusal: Option<String>,
    finish_reason: &'static str,
    prompt_tokens: u64,
    stream: bool,
    fingerprint: Arc<str>,
}

impl Completion {
    /// The completion of this request by this text, cut where it is longer than the request allows.
    pub(crate) fn new(request: &ChatRequest, draw: &Draw, fingerprint: &Arc<str>, content: String) -> Self {
        let characters: usize = request
            .messages
            .iter()
            .map(ChatMessage::text)
            .map(|text| text.chars().count() + 12)
            .sum();
        let mut completion = Self {
            id: format!("chatcmpl-{}", draw.short_hex()),
            model: request.model.clone(),
            content,
            refusal: None,
            finish_reason: "stop",
            prompt_tokens: tokens_of(characters),
            stream: request.stream == Some(true),
            fingerprint: fingerprint.clone(),
        };
        if let Some(limit) = request.token_limit().filter(|limit| completion.tokens().1 > *limit) {
            completion.cut(usize::try_from(limit.saturating_mul(4)).unwrap_or(usize::MAX));
        }
        completion
    }

    /// Tokens of the request and of the answer: one for every four characters begun.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        let said = self.refusal.as_deref().unwrap_or(&self.content);
        (self.prompt_tokens, tokens_of(said.chars().count()))
    }

    /// Cuts the answer to its first half.
    pub(crate) fn truncate(&mut self) {
        self.cut(self.content.chars().count() / 2);
    }

    /// Breaks the content.
    pub(crate) fn malform(&mut self) {
        let half: String = self.content.chars().take(self.content.chars().count() / 2).collect();
        let broken = if self.content.starts_with('{') {
            format!("{half}\\\n, ]")
        } else {
            "%% ?? \u{fffd} %%".to_owned()
        };
        self.set(&broken, "stop");
    }

    /// Lets the model refuse.
    pub(crate) fn refuse(&mut self) {
        self.set("", "content_filter");
        self.refusal = Some("I'm sorry, but I can't help with that.".to_owned());
    }

    /// Sets the content and the reason why it ended.
    pub(crate) fn set(&mut self, content: &str, finish_reason: &'static str) {
        content.clone_into(&mut self.content);
        self.finish_reason = finish_reason;
    }

    fn cut(&mut self, characters: usize) {
        self.content = self.content.chars().take(characters).collect();
        self.finish_reason = "length";
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = self.tokens();
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    fn body(&self) -> (Vec<u8>, &'static str) {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if self.stream {
            let chunk = |delta: Value, reason: Value, usage: Value| {
                json!({"id": self.id, "object": "chat.completion.chunk", "created": created, "model": self.model,
                       "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": usage})
            };
            let first = chunk(
                json!({"role": "assistant", "content": self.content}),
                Value::Null,
                Value::Null,
            );
            let last = chunk(json!({}), json!(self.finish_reason), self.usage());
            return (
                format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n").into_bytes(),
                "text/event-stream",
            );
        }
        let body = json!({
            "id": self.id, "object": "chat.completion", "created": created, "model": self.model,
            "choices": [{"index": 0, "finish_reason": self.finish_reason,
                         "message": {"role": "assistant", "content": self.content, "refusal": self.refusal}}],
            "usage": self.usage(),
            "system_fingerprint": &*self.fingerprint,
        });
        (body.to_string().into_bytes(), "application/json")
    }
}

/// The whole completion.
pub(crate) fn whole(completion: &Completion) -> Response {
    let (body, kind) = completion.body();
    with_type(body.into_response(), kind)
}

/// The completion's first half, then a broken connection.
pub(crate) fn cut_off(completion: &Completion) -> Response {
    let (mut body, kind) = completion.body();
    body.truncate(body.len() / 2);
    let parts = [
        Ok(Bytes::from(body)),
        Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    ];
    // The pause lets the first half reach the caller before the connection breaks.
    let parts = stream::iter(parts).then(async |part| {
        if part.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        part
    });
    with_type(Body::from_stream(parts).into_response(), kind)
}

/// The completion's first half as though it were all.
pub(crate) fn half_body(completion: &Completion) -> Response {
    let (mut body, kind) = completion.body();
    body.truncate(body.len() / 2);
    with_type(body.into_response(), kind)
}

/// The whole completion in twenty drops; says when the last one is sent.
pub(crate) fn drip(completion: &Completion, pause: Duration, sent: impl FnOnce() + Send + 'static) -> Response {
    let (body, kind) = completion.body();
    let drops: Vec<Bytes> = body
        .chunks(body.len().div_ceil(20).max(1))
        .map(Bytes::copy_from_slice)
        .collect();
    let drops = stream::iter(drops).then(move |drop| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>(drop)
    });
    let end = stream::once(async move { sent() }).filter_map(|()| std::future::ready(None));
    with_type(Body::from_stream(drops.chain(end)).into_response(), kind)
}

/// A page as a proxy in trouble would send it.
pub(crate) fn web_page() -> Response {
    let page = "<html><body><h1>It works!</h1></body></html>";
    with_type(page.into_response(), "text/html; charset=utf-8")
}

/// An error in OpenAI's shape.
pub(crate) fn error(status: StatusCode, message: &str, code: &str) -> Response {
    let kind = if status.is_server_error() {
        "server_error"
    } else {
        "invalid_request_error"
    };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    with_type((status, body.to_string()).into_response(), "application/json")
}

fn with_type(mut response: Response, kind: &'static str) -> Response {
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn tokens_of(characters: usize) -> u64 {
    characters.div_ceil(4) as u64
}
