//! What can go wrong with a model call, in words safe to log, store and show.

use std::time::Duration;

use crate::Completion;

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
    /// The answer ran into its token limit: what there is of it is not the whole.
    #[error("the answer was cut off at its token limit; raise max_tokens")]
    Truncated {
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
            Self::Empty { completion } | Self::Truncated { completion } => Some(completion),
            Self::Refused { completion, .. } | Self::Malformed { completion, .. } => completion.as_deref(),
            _ => None,
        }
    }
}

/// Most bytes of a provider's own words in a message of ours.
const DETAIL_BYTES: usize = 300;

/// Makes a provider's words fit to show: the key and anything that looks like one is taken out, URLs lose user and
/// query, control characters and runs of blanks become one blank, and the rest is cut at 300 bytes.
pub(crate) fn scrub(text: &str, key: Option<&str>) -> String {
    // Ample for a message, and bounds the work on a huge body.
    let text = clip(text, 16 * DETAIL_BYTES);
    let text = match key {
        Some(key) if !key.is_empty() => text.replace(key, "[redacted]"),
        _ => text,
    };
    let mut clean = String::with_capacity(text.len().min(DETAIL_BYTES));
    let mut after_bearer = false;
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(&if after_bearer {
            "[redacted]".to_owned()
        } else {
            scrub_word(word)
        });
        after_bearer = word.to_ascii_lowercase().ends_with("bearer");
    }
    clip(&clean, DETAIL_BYTES)
}

/// The first `limit` bytes of `text`, cut between characters, with an ellipsis if something was cut.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut clipped = text.get(..end).unwrap_or_default().to_owned();
    clipped.push('…');
    clipped
}

/// Redacts what looks like a key in a word (providers echo parts of wrong keys), and trims a URL.
fn scrub_word(word: &str) -> String {
    const MARKS: [&str; 6] = ["sk-", "sk_", "AIza", "gsk_", "xai-", "nvapi-"];
    let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if bare.len() > 8 && MARKS.iter().any(|mark| bare.starts_with(mark)) {
        return "[redacted]".to_owned();
    }
    let Some((before, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match path {
        Some(path) => format!("{before}://{host}/{path}"),
        None => format!("{before}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_and_its_like_are_taken_out() {
        let said =
            "Incorrect API key provided: sk-proj-abc****wxyz (you sent 'canary-123') Authorization: Bearer tok.en";
        let shown = scrub(said, Some("canary-123"));
        assert!(
            !shown.contains("canary-123") && !shown.contains("sk-proj") && !shown.contains("tok.en"),
            "{shown}"
        );
        assert!(shown.contains("Incorrect API key provided"), "{shown}");
    }

    #[test]
    fn urls_lose_user_and_query() {
        assert_eq!(
            scrub("see https://me:pw@host.example/a/b?key=abc now", None),
            "see https://host.example/a/b now"
        );
    }

    #[test]
    fn long_and_multibyte_text_is_cut_between_characters() {
        let shown = scrub(&"é".repeat(10_000), None);
        assert!(shown.len() <= DETAIL_BYTES + '…'.len_utf8());
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn control_characters_cannot_forge_log_lines() {
        assert_eq!(scrub("a\r\nINFO all fine\u{1b}[2J", None), "a INFO all fine [2J");
    }
}
