//! One answer of a provider: its text, its end, its tokens and its price.

use std::time::Duration;

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
    /// Any other reason, verbatim (at most 60 bytes).
    Other(String),
}

impl Finish {
    /// Reads any provider's word for it.
    pub(crate) fn parse(reason: Option<&str>) -> Self {
        match reason {
            None | Some("") => Self::Missing,
            Some("stop" | "end_turn" | "STOP" | "stop_sequence" | "eos" | "eos_token" | "completed" | "COMPLETE") => {
                Self::Stop
            }
            Some(
                "length"
                | "max_tokens"
                | "MAX_TOKENS"
                | "model_length"
                | "model_context_window_exceeded"
                | "incomplete",
            ) => Self::Length,
            Some(
                "content_filter" | "refusal" | "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
                | "LANGUAGE",
            ) => Self::Refused,
            Some(other) => Self::Other(clip(other, 60)),
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
