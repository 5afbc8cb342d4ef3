//! One answer of a provider: its text, its end, its tokens and its price.

use std::time::Duration;

use serde_json::Value;

use crate::text::clip;

/// One answer, as the provider gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The answer. A leading `<think>…</think>` block, in which some local models write their reasoning, is taken off.
    pub text: String,
    /// Why the model stopped.
    pub finish: Finish,
    /// Tokens used; what the provider did not say is `None`.
    pub usage: Usage,
    /// Price of this completion in 10⁻⁹ USD; `None` if a price or the usage is not known.
    pub cost_nano_usd: Option<u64>,
    /// Whether `cost_nano_usd` is what a gateway says that it cost: so where the operator has set no price.
    pub cost_by_gateway: bool,
    /// The model's name as the provider reports it (a dated revision, often).
    pub model_reported: Option<String>,
    /// The provider's id of this answer.
    pub response_id: Option<String>,
    /// The provider's mark of the backend that answered.
    pub system_fingerprint: Option<String>,
    /// Which request of its call it answers: the index of its [`crate::AttemptRecord`].
    pub attempt: usize,
    /// From sending the request to reading the last byte, of the attempt that succeeded.
    pub latency: Duration,
    /// Options of the request that the endpoint cannot honour and that were therefore not sent, by name.
    pub dropped: Vec<&'static str>,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It was done.
    Stop,
    /// It ran into `max_tokens` or the context window: the text is cut off.
    Length,
    /// The provider's filter, or the model itself, refused.
    Refused,
    /// The provider gave no reason.
    Missing,
    /// It says that the answer failed on the way, verbatim (at most 60 bytes).
    Failed(String),
    /// Any other reason, verbatim (at most 60 bytes). Nothing in it says that the text is not whole.
    Other(String),
}

/// Words for an end, whatever their case: done, cut off, refused, failed.
const STOPPED: &[&str] = &[
    "stop",
    "stopped",
    "end",
    "end_turn",
    "stop_sequence",
    "eos",
    "eos_token",
    "completed",
    "complete",
    "done",
    "finished",
    "finish",
];
const CUT: &[&str] = &[
    "length",
    "max_tokens",
    "max_token",
    "max_length",
    "max_output_tokens",
    "max_new_tokens",
    "max_completion_tokens",
    "max_messages",
    "model_length",
    "token_limit",
    "limit",
    "context_length",
    "context_length_exceeded",
    "model_context_window_exceeded",
    "truncated",
    "incomplete",
];
const REFUSED: &[&str] = &[
    "content_filter",
    "content-filter",
    "refusal",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "language",
    "jailbreak",
    "model_armor",
    "image_safety",
    "sensitive",
    "blocked",
    "guardrail_intervened",
];
const FAILED: &[&str] = &[
    "error",
    "failed",
    "failure",
    "network_error",
    "insufficient_system_resource",
    "cancelled",
    "canceled",
    "abort",
    "aborted",
    "timeout",
    "steered",
    "malformed_function_call",
    "malformed_response",
    "unexpected_tool_call",
    "escalation",
    "continuation",
    "pause_turn",
];

impl Finish {
    /// Reads any provider's word for it, or number.
    pub(crate) fn read(reason: &Value) -> Self {
        let word = match reason {
            Value::String(word) => word.trim().to_owned(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let lower = word.to_lowercase();
        let is_in = |words: &[&str]| words.contains(&lower.as_str());
        match () {
            () if word.is_empty() => Self::Missing,
            () if is_in(STOPPED) => Self::Stop,
            () if is_in(CUT) => Self::Length,
            () if is_in(REFUSED) => Self::Refused,
            () if is_in(FAILED) => Self::Failed(clip(&word, 60)),
            () => Self::Other(clip(&word, 60)),
        }
    }
}

/// Tokens of one completion. `None` is "the provider did not say", never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input_tokens: Option<u64>,
    /// All output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// The part of the input that was read from the provider's cache.
    pub cached_input_tokens: Option<u64>,
    /// The part of the input that was written to the provider's cache.
    pub cache_write_input_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_says_that_it_is_cut_is_cut() {
        let read = |value: Value| Finish::read(&value);
        for done in ["stop", "Stop", "end", "END_TURN", "eos_token", "COMPLETE"] {
            assert_eq!(read(json!(done)), Finish::Stop, "{done}");
        }
        for cut in ["length", "MAX_TOKENS", "model_context_window_exceeded", "Truncated"] {
            assert_eq!(read(json!(cut)), Finish::Length, "{cut}");
        }
        for missing in [json!(null), json!(""), json!(" ")] {
            assert_eq!(read(missing), Finish::Missing);
        }
        assert_eq!(read(json!("MODEL_ARMOR")), Finish::Refused);
        assert_eq!(read(json!("error")), Finish::Failed("error".into()));
        assert_eq!(read(json!(1)), Finish::Other("1".into()));
        assert_eq!(read(json!("tool_calls")), Finish::Other("tool_calls".into()));
    }
}
