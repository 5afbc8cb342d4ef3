//! What can go wrong with a model call, in words safe to log, store and show.

use std::time::Duration;

use crate::completion::Completion;

/// Why a call gave no usable answer. Messages hold no key, no URL user or query, and at most 300 bytes of a
/// provider's own text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// 401, 403: no key, a wrong key, or one without the right.
    #[error("not authorized ({detail}); check the endpoint's api_key_env or api_key_file")]
    Unauthorized {
        /// What the provider said.
        detail: String,
    },
    /// 402, or a quota that waiting does not refill.
    #[error("the account is out of credit or quota ({detail})")]
    OutOfCredit {
        /// What the provider said.
        detail: String,
    },
    /// 404: the endpoint has no such model, or the base URL's path is wrong.
    #[error("unknown model \"{model}\" or wrong base_url ({detail})")]
    UnknownModel {
        /// The model asked for.
        model: String,
        /// What the provider said.
        detail: String,
    },
    /// Any other 4xx: the request itself is at fault.
    #[error("the endpoint rejected the request ({detail})")]
    BadRequest {
        /// What the provider said.
        detail: String,
    },
    /// 429, after the retries.
    #[error("rate limited ({detail})")]
    RateLimited {
        /// What the provider asked us to wait.
        retry_after: Option<Duration>,
        /// What the provider said.
        detail: String,
    },
    /// 5xx, no connection, or a connection lost on the way, after the retries.
    #[error("the endpoint is unavailable ({detail})")]
    Unavailable {
        /// What happened.
        detail: String,
    },
    /// No whole answer within the time limit, after the retries.
    #[error("no answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// The limit of one attempt.
        after: Duration,
    },
    /// The model or a content filter refused.
    #[error("the model refused ({detail})")]
    Refused {
        /// Its reason, where it gave one.
        detail: String,
        /// What was paid for, with the text if there was any; `None` if a filter stopped the prompt itself.
        completion: Option<Box<Completion>>,
    },
    /// The answer holds no text.
    #[error("the answer is empty")]
    Empty {
        /// What was paid for.
        completion: Box<Completion>,
    },
    /// The answer ran into its token limit, or the context of the model was full: what there is of it is not the whole.
    #[error("{}", cut_off(*.max_tokens, .completion))]
    Truncated {
        /// The token limit of the request.
        max_tokens: u32,
        /// What was paid for, with the partial text.
        completion: Box<Completion>,
    },
    /// The reply is not what the provider's API promises, or not the JSON that was asked for.
    #[error("malformed answer ({detail})")]
    Malformed {
        /// What is wrong with it.
        detail: String,
        /// What was paid for, where the reply could be read that far.
        completion: Option<Box<Completion>>,
    },
    /// Request longer than the model takes, or reply longer than we take.
    #[error("too large ({detail})")]
    TooLarge {
        /// Which of the two, and how large.
        detail: String,
    },
    /// The endpoint cannot be used as it is configured; nothing was sent.
    #[error("the endpoint is misconfigured ({detail})")]
    Misconfigured {
        /// What to change.
        detail: String,
    },
    /// The caller's [`crate::Permit`] said no: this request was not sent.
    #[error("the request was withheld: its answer is no longer wanted")]
    Withheld,
}

/// Which of the two limits cut an answer, and what to change.
fn cut_off(max_tokens: u32, completion: &Completion) -> String {
    match completion.usage.output_tokens {
        Some(written) if written < u64::from(max_tokens) => {
            let input = completion.usage.input_tokens;
            let input = input.map_or_else(String::new, |input| format!(" after an input of {input}"));
            format!(
                "the answer was cut off after {written} of max_tokens = {max_tokens} tokens{input}: the context of the model is full; \
                 give the model a larger context, or make the prompt shorter"
            )
        }
        _ => format!("the answer was cut off at its token limit, max_tokens = {max_tokens}; raise max_tokens"),
    }
}

impl ModelError {
    /// A short name, one of a fixed few, fit for a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "unauthorized",
            Self::OutOfCredit { .. } => "out_of_credit",
            Self::UnknownModel { .. } => "unknown_model",
            Self::BadRequest { .. } => "bad_request",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "refused",
            Self::Empty { .. } => "empty",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Withheld => "withheld",
        }
    }

    /// Whether the very same request may succeed later. (The client has retried it already.)
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Timeout { .. }
        )
    }

    /// Whether the same error awaits every request to this endpoint and model until an operator changes something.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. }
                | Self::OutOfCredit { .. }
                | Self::UnknownModel { .. }
                | Self::Misconfigured { .. }
        )
    }

    /// The completion that was paid for and yet is of no use, if there is one: its usage and cost must be counted.
    pub fn paid(&self) -> Option<&Completion> {
        match self {
            Self::Empty { completion } | Self::Truncated { completion, .. } => Some(completion),
            Self::Refused { completion, .. } | Self::Malformed { completion, .. } => completion.as_deref(),
            _ => None,
        }
    }
}
