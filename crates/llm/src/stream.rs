//! A reply that comes as a stream of events although none was asked for: its pieces, put together into one chat completion.

use serde_json::{Map, Value, json};

use crate::lenient;

/// Whether a reply is a stream of events.
pub(crate) fn is_stream(content_type: &str, body: &[u8]) -> bool {
    content_type.to_ascii_lowercase().starts_with("text/event-stream") || body.trim_ascii_start().starts_with(b"data:")
}

/// The chat completion that the pieces in `body` make. `None` if no event holds JSON, or if the stream ends before its end: without
/// `[DONE]` and without a finish reason nobody knows that the text is whole.
pub(crate) fn joined(body: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(body);
    let (mut whole, mut content, mut refusal) = (Map::new(), String::new(), String::new());
    let (mut finish, mut done, mut any) = (Value::Null, false, false);
    for data in text.lines().filter_map(|line| line.trim_start().strip_prefix("data:")) {
        if data.trim() == "[DONE]" {
            done = true;
            continue;
        }
        let Ok(Value::Object(event)) = lenient::from_slice::<Value>(data.trim().as_bytes()) else {
            continue;
        };
        any = true;
        if let Some(choice) = event.get("choices").and_then(|choices| choices.get(0)) {
            for piece in ["delta", "message"].iter().filter_map(|name| choice.get(*name)) {
                content.push_str(piece.get("content").and_then(Value::as_str).unwrap_or_default());
                refusal.push_str(piece.get("refusal").and_then(Value::as_str).unwrap_or_default());
            }
            if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null()) {
                finish = reason.clone();
            }
        }
        // Later events repeat these or fill them in; usage comes last.
        whole.extend(
            event
                .into_iter()
                .filter(|(name, value)| name != "choices" && !value.is_null()),
        );
    }
    if whole.contains_key("error") {
        return Some(Value::Object(whole));
    }
    if !any || (!done && finish.is_null()) {
        return None;
    }
    let refusal = if refusal.is_empty() {
        Value::Null
    } else {
        Value::String(refusal)
    };
    let message = json!({"content": content, "refusal": refusal});
    whole.insert(
        "choices".to_owned(),
        json!([{"finish_reason": finish, "message": message}]),
    );
    Some(Value::Object(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_a_completion() {
        let body = b": a comment\n\ndata: {\"id\": \"x\", \"choices\": [{\"delta\": {\"content\": \"4\"}}]}\r\n\r\ndata: {\"choices\": [{\"delta\": {\"content\": \"2\"}, \"finish_reason\": \"stop\"}]}\n\ndata: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3}}\n\ndata: [DONE]\n";
        let whole = joined(body).unwrap();
        assert_eq!(whole.pointer("/choices/0/message/content"), Some(&json!("42")));
        assert_eq!(whole.pointer("/choices/0/finish_reason"), Some(&json!("stop")));
        assert_eq!(whole.pointer("/usage/prompt_tokens"), Some(&json!(3)));
        assert!(
            is_stream("text/event-stream; charset=utf-8", b"")
                && is_stream("", b"\ndata: {}")
                && !is_stream("application/json", b"{}")
        );
    }

    #[test]
    fn a_stream_that_breaks_off_is_no_completion() {
        assert_eq!(
            joined(b"data: {\"choices\": [{\"delta\": {\"content\": \"4\"}}]}\n"),
            None
        );
        assert_eq!(joined(b"data: [DONE]\n"), None);
        let failed =
            joined(b"data: {\"choices\": [{\"delta\": {\"content\": \"4\"}}]}\n\ndata: {\"error\": {\"code\": 502}}\n")
                .unwrap();
        assert_eq!(failed.pointer("/error/code"), Some(&json!(502)));
    }
}
