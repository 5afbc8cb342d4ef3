//! What an operator writes about an endpoint and about a role's model, and what is refused about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::abilities::Abilities;
use crate::address;
use crate::chat::Sampling;
use crate::price::Price;
use crate::provider::Provider;

/// `[endpoints.<name>]`: one service that sells (or gives) completions. Operator's configuration only: a base URL never
/// comes from a message or a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Which API it speaks.
    pub provider: Provider,
    /// Where it is, as `https://host/v1`; the provider's own address if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Stands for the address in the identity of stored answers: an endpoint that moves keeps them, and one that is replaced behind its
    /// address does not. The address if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// File that holds the key; read again whenever it changes, so that a key can be rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// Header that carries the key bare, as Azure's `api-key`; `Authorization: Bearer` if absent. OpenAI-compatible only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_header: Option<String>,
    /// Most requests per minute, retries included; per process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens per minute, input and output together; per process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// Most requests in flight; per process. The limit in force falls when the endpoint says 429 and rises again.
    #[serde(default = "defaults::concurrency")]
    pub concurrency: u32,
    /// Seconds one attempt may take, unless the role's model sets its own.
    #[serde(default = "defaults::timeout_seconds")]
    pub timeout_seconds: f64,
    /// Seconds without an answer after which the same request is sent a second time, once in a call; the first answer counts, and
    /// the other request is charged at its worst case. Off if absent: it doubles what is reserved for every job. OpenAI-compatible
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after_seconds: Option<f64>,
    /// Longest reply taken, in bytes.
    #[serde(default = "defaults::max_response_bytes")]
    pub max_response_bytes: usize,
    /// Allows plain http to public addresses, keys and prompts in clear text.
    #[serde(default)]
    pub allow_insecure: bool,
    /// When and how often to try again.
    #[serde(default)]
    pub retry: RetrySettings,
    /// What it can do, where that differs from what its provider and model names suggest.
    #[serde(default)]
    pub abilities: Abilities,
    /// Prices by model name, as asked for (not as reported). A model without one has an unknown price.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
}

impl Endpoint {
    /// Why it cannot send a request twice, where it is to.
    fn hedge_problem(&self) -> Option<&'static str> {
        let after = self.hedge_after_seconds?;
        if !in_range(after, 0.001, 3600.0) {
            Some("must be above 0 and at most 3600")
        } else if !matches!(self.provider, Provider::Openai | Provider::Ollama) {
            Some("only OpenAI-compatible endpoints can be asked twice: of others it is not known when an answer begins")
        } else if self.concurrency < 2 {
            Some("needs a concurrency of at least 2: the second request is in flight beside the first")
        } else {
            None
        }
    }
}

/// `[endpoints.<name>.retry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Most attempts of one call, the first included.
    pub attempts: u32,
    /// No retry starts later than this many seconds after the first attempt did.
    pub total_seconds: f64,
    /// The first pause; each next one is twice as long, plus up to as much again at random.
    pub first_delay_seconds: f64,
    /// The longest pause of our own choosing (the endpoint's Retry-After may be longer).
    pub max_delay_seconds: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 5,
            total_seconds: 300.0,
            first_delay_seconds: 0.5,
            max_delay_seconds: 30.0,
        }
    }
}

mod defaults {
    pub(super) fn concurrency() -> u32 {
        64
    }
    pub(super) fn timeout_seconds() -> f64 {
        120.0
    }
    pub(super) fn max_response_bytes() -> usize {
        4 << 20
    }
    pub(super) fn max_tokens() -> u32 {
        4096
    }
}

impl Endpoint {
    /// An endpoint of `provider` with everything else at its default.
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            base_url: None,
            identity: None,
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: defaults::concurrency(),
            timeout_seconds: defaults::timeout_seconds(),
            hedge_after_seconds: None,
            max_response_bytes: defaults::max_response_bytes(),
            allow_insecure: false,
            retry: RetrySettings::default(),
            abilities: Abilities::default(),
            prices: BTreeMap::new(),
        }
    }

    /// Checks all that can be checked without touching the network. `name` is for the message only.
    pub fn validate(&self, name: &str) -> Result<(), ConfigError> {
        self.checked_url(name)?;
        let wrong = |key: &str, problem: &str| Err(ConfigError::new(name, key, problem));
        if self.api_key_env.is_some() && self.api_key_file.is_some() {
            return wrong("api_key_env", "give api_key_env or api_key_file, not both");
        }
        if self
            .api_key_header
            .as_ref()
            .is_some_and(|name| HeaderName::try_from(name.as_str()).is_err())
        {
            return wrong("api_key_header", "is not the name of an HTTP header");
        }
        if self.api_key_header.is_some() && !matches!(self.provider, Provider::Openai | Provider::Ollama) {
            return wrong(
                "api_key_header",
                "only OpenAI-compatible endpoints take another header for the key",
            );
        }
        if self.concurrency == 0 || self.concurrency > 10_000 {
            return wrong("concurrency", "must be 1 to 10000");
        }
        if self.requests_per_minute == Some(0) {
            return wrong("requests_per_minute", "must be at least 1; leave it out for no limit");
        }
        if self.tokens_per_minute == Some(0) {
            return wrong("tokens_per_minute", "must be at least 1; leave it out for no limit");
        }
        if !in_range(self.timeout_seconds, 0.001, 3600.0) {
            return wrong("timeout_seconds", "must be above 0 and at most 3600");
        }
        if let Some(problem) = self.hedge_problem() {
            return wrong("hedge_after_seconds", problem);
        }
        if self.max_response_bytes < 1024 {
            return wrong("max_response_bytes", "must be at least 1024");
        }
        let retry = &self.retry;
        if retry.attempts == 0 || retry.attempts > 20 {
            return wrong("retry.attempts", "must be 1 to 20; 1 means no retry");
        }
        let times = [
            ("retry.total_seconds", retry.total_seconds),
            ("retry.first_delay_seconds", retry.first_delay_seconds),
            ("retry.max_delay_seconds", retry.max_delay_seconds),
        ];
        match times.iter().find(|(_, seconds)| !in_range(*seconds, 0.0, 86_400.0)) {
            Some((key, _)) => wrong(key, "must be 0 to 86400"),
            None => Ok(()),
        }
    }

    /// The base URL in force: checked, and ending in a slash.
    pub(crate) fn checked_url(&self, name: &str) -> Result<Url, ConfigError> {
        let text = self.base_url.as_deref().unwrap_or(self.provider.default_base_url());
        let wrong = |problem: String| ConfigError::new(name, "base_url", &problem);
        let mut url = address::check_url(text, self.allow_insecure).map_err(wrong)?;
        // Ollama's host alone is what people have at hand.
        if self.provider == Provider::Ollama && url.path() == "/" {
            url.set_path("/v1/");
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        if url.query().is_some() && matches!(self.provider, Provider::Anthropic | Provider::Gemini) {
            return Err(wrong("must have no query".to_owned()));
        }
        Ok(url)
    }
}

/// `[models.<role>]`: which model a role uses, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Name of the model there.
    pub model: String,
    /// See [`Sampling::temperature`]; a role's request may bring its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// See [`Sampling::top_p`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// See [`Sampling::max_tokens`].
    #[serde(default = "defaults::max_tokens")]
    pub max_tokens: u32,
    /// Seconds one attempt may take; the endpoint's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// See [`Sampling::seed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How much a reasoning model thinks before it answers; the provider's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Effort>,
}

/// How much a reasoning model thinks: the words of the providers. Which of them a model takes, it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// A little.
    Low,
    /// The usual.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// As much as it can.
    Max,
}

impl Effort {
    /// The word for it, as in a file and in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

impl ModelSettings {
    /// `model` at `endpoint` with everything else at its default.
    pub fn new(endpoint: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            model: model.into(),
            temperature: None,
            top_p: None,
            max_tokens: defaults::max_tokens(),
            timeout_seconds: None,
            seed: None,
            reasoning_effort: None,
        }
    }

    /// The sampling these settings ask for.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            seed: self.seed,
        }
    }

    /// Checks every value. `place` is where they were found, for the message: `models.checker`.
    pub fn validate(&self, place: &str) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: &str| {
            let (place, problem) = (format!("{place}.{key}"), problem.to_owned());
            Err(ConfigError { place, problem })
        };
        if self.endpoint.trim().is_empty() {
            return wrong("endpoint", "must name one of [endpoints]");
        }
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        if self.model.is_empty() || self.model.len() > 256 || !self.model.chars().all(plain) {
            return wrong("model", "must be a model's name, without blanks");
        }
        if self.temperature.is_some_and(|t| !in_range(t, 0.0, 2.0)) {
            return wrong("temperature", "must be 0.0 to 2.0");
        }
        if self.top_p.is_some_and(|p| p == 0.0 || !in_range(p, 0.0, 1.0)) {
            return wrong("top_p", "must be above 0.0 and at most 1.0");
        }
        if self.max_tokens == 0 {
            return wrong("max_tokens", "must be at least 1");
        }
        if self.timeout_seconds.is_some_and(|s| !in_range(s, 0.001, 3600.0)) {
            return wrong("timeout_seconds", "must be above 0 and at most 3600");
        }
        Ok(())
    }
}

/// A setting that cannot be used: where it is, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: String,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(endpoint: &str, key: &str, problem: &str) -> Self {
        Self {
            place: format!("endpoints.{endpoint}.{key}"),
            problem: problem.to_owned(),
        }
    }
}

/// False for NaN as well.
fn in_range(value: f64, low: f64, high: f64) -> bool {
    (low..=high).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<Endpoint, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn the_least_that_works_is_a_provider() {
        let endpoint = read(json!({"provider": "openai"})).unwrap();
        assert_eq!(endpoint, Endpoint::new(Provider::Openai));
        assert_eq!(
            endpoint.checked_url("x").unwrap().as_str(),
            "https://api.openai.com/v1/"
        );
    }

    #[test]
    fn unknown_keys_and_inline_keys_are_refused() {
        assert!(read(json!({"provider": "openai", "api_key": "sk-1"})).is_err());
        assert!(read(json!({"provider": "openai", "retry": {"tries": 3}})).is_err());
        assert!(read(json!({"provider": "openai", "prices": {"m": {"input_per_million": 1}}})).is_err());
        assert!(serde_json::from_value::<ModelSettings>(json!({"endpoint": "a", "model": "b", "temp": 1})).is_err());
    }

    #[test]
    fn base_urls_end_in_a_slash_and_ollama_gets_its_path() {
        let url = |provider, base: &str| {
            let endpoint = Endpoint {
                base_url: Some(base.to_owned()),
                ..Endpoint::new(provider)
            };
            endpoint.checked_url("x").map(|url| url.to_string())
        };
        assert_eq!(
            url(Provider::Openai, "http://127.0.0.1:8000/v1").unwrap(),
            "http://127.0.0.1:8000/v1/"
        );
        assert_eq!(
            url(Provider::Ollama, "http://localhost:11434").unwrap(),
            "http://localhost:11434/v1/"
        );
        assert_eq!(
            url(Provider::Openai, "https://a.openai.azure.com/openai/v1?api-version=1").unwrap(),
            "https://a.openai.azure.com/openai/v1/?api-version=1"
        );
    }

    #[test]
    fn every_wrong_value_is_named() {
        let base = Endpoint::new(Provider::Anthropic);
        let both = Endpoint {
            api_key_env: Some("A".into()),
            api_key_file: Some("b".into()),
            ..base.clone()
        };
        assert!(
            both.validate("e")
                .unwrap_err()
                .to_string()
                .starts_with("endpoints.e.api_key_env: ")
        );
        let slow = Endpoint {
            timeout_seconds: f64::NAN,
            ..base.clone()
        };
        assert!(
            slow.validate("e")
                .unwrap_err()
                .to_string()
                .starts_with("endpoints.e.timeout_seconds: ")
        );
        let header = Endpoint {
            api_key_header: Some("a b".into()),
            ..Endpoint::new(Provider::Openai)
        };
        let said = header.validate("e").unwrap_err().to_string();
        assert!(said.starts_with("endpoints.e.api_key_header: "), "{said}");
        let none = Endpoint {
            concurrency: 0,
            ..base.clone()
        };
        assert!(
            none.validate("e")
                .unwrap_err()
                .to_string()
                .starts_with("endpoints.e.concurrency: ")
        );
        assert!(base.validate("e").is_ok());

        let hot = ModelSettings {
            temperature: Some(2.5),
            ..ModelSettings::new("e", "m")
        };
        assert!(
            hot.validate("models.checker")
                .unwrap_err()
                .to_string()
                .starts_with("models.checker.temperature: ")
        );
        assert!(ModelSettings::new("e", "qwen3:4b").validate("models.learner").is_ok());
        assert!(ModelSettings::new("e", "two words").validate("models.learner").is_err());
    }
}
