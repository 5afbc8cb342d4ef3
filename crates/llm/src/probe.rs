//! Is this endpoint there, does it take our key, and does it know the model? Asked before a run buys anything.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::chat::{ChatRequest, Message, Sampling};
use crate::client::Model;
use crate::client::below;
use crate::complaint::Complaint;
use crate::completion::Completion;
use crate::endpoint::RetrySettings;
use crate::error::ModelError;
use crate::http;
use crate::provider::Provider;
use crate::wire::Failure;

/// Time for the free question; a completion may take as long as the model's settings say.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest list of models read, in bytes.
const LIST_BYTES: usize = 16 << 20;

/// Whether a probe may buy a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// Ask for the list of models only.
    Nothing,
    /// Where the list does not settle it (absent, or without the model: gateways and Azure list incompletely), ask the
    /// model for a completion of at most 16 tokens.
    OneCompletion,
}

/// What a probe found out. The endpoint answered and took the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// How long its answer took.
    pub latency: Duration,
    /// Whether its list of models holds ours; `None` if it has no list.
    pub listed: Option<bool>,
    /// Up to 20 models that it does list, if ours is not among them.
    pub others: Vec<String>,
    /// What was bought to find out.
    pub completion: Option<Completion>,
}

/// Where completions are asked for, below the base URL.
const CHAT: &str = "chat/completions";

/// A base URL as an operator writes it: without a slash at its end, and without user and password.
fn shown(base: &Url) -> String {
    crate::text::scrub(base.as_str().trim_end_matches('/'), None)
}

/// Whether a 404 is about the model: then the path is right.
fn names_model(body: &str, model: &str) -> bool {
    let complaint = Complaint::read(body);
    complaint.says(&[&model.to_lowercase(), "model_not_found", "deploymentnotfound"])
}

/// Whether nobody answered at all.
fn is_gone(asked: &Result<(), Failure>) -> bool {
    matches!(
        asked,
        Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
    )
}

impl Model {
    /// Checks endpoint, key and model, once and without retries. An error is fit to show to the operator as it is.
    pub async fn probe(&self, spend: Spend) -> Result<Probe, ModelError> {
        let clock = Instant::now();
        let key = self.endpoint.0.key.current();
        let listed = tokio::time::timeout(LIST_TIMEOUT, self.list(key.as_ref())).await;
        let secret = key.as_ref().map(ExposeSecret::expose_secret);
        let (listed, others) = match listed.unwrap_or(Err(Failure::TimedOut(LIST_TIMEOUT))) {
            Ok(found) => found,
            // Another server that speaks this API may have no such list: only the provider's own words count.
            Err(Failure::Status { status: 404, body, .. })
                if self.asks_by_name() && Complaint::read(&body).is_not_found() =>
            {
                (Some(false), Vec::new())
            }
            // No list here; that is no fault.
            Err(
                Failure::Status {
                    status: 404 | 405 | 501,
                    ..
                }
                | Failure::NotAReply(_)
                | Failure::TooLong(_),
            ) => (None, Vec::new()),
            Err(failure) => return Err(failure.into_error(&self.settings().model, secret)),
        };
        let latency = clock.elapsed();
        let completion = match (listed, spend) {
            (Some(true), _) | (_, Spend::Nothing) => {
                self.takes_completions(key.as_ref()).await?;
                None
            }
            _ => match self.shortest_completion().await {
                Ok(completion) => Some(completion),
                Err(error) => {
                    let no_path = matches!(error, ModelError::UnknownModel { .. });
                    return Err(match no_path {
                        true => self.takes_completions(key.as_ref()).await.err().unwrap_or(error),
                        false => error,
                    });
                }
            },
        };
        Ok(Probe {
            latency,
            listed,
            others,
            completion,
        })
    }

    /// Whether the models of this provider are asked for one by one.
    fn asks_by_name(&self) -> bool {
        matches!(self.endpoint.provider(), Provider::Anthropic | Provider::Gemini)
    }

    async fn list(&self, key: Option<&SecretString>) -> Result<(Option<bool>, Vec<String>), Failure> {
        let shared = &self.endpoint.0;
        let model = &self.settings().model;
        let mut url = below(&shared.base, "models");
        if self.asks_by_name()
            && let Ok(mut path) = url.path_segments_mut()
        {
            path.push(model);
        }
        let mut request = shared.http.get(url);
        for (name, value) in self.probe_headers(key)? {
            request = request.header(name, value);
        }
        let response = http::success(request.send().await.map_err(http::failure)?).await?;
        let body = http::read(response, LIST_BYTES).await?;
        let reply: Value = serde_json::from_slice(&body).map_err(|error| Failure::NotAReply(error.to_string()))?;
        if self.asks_by_name() {
            return Ok((Some(true), Vec::new()));
        }
        let Some(list) = reply.get("data").and_then(Value::as_array) else {
            return Ok((None, Vec::new()));
        };
        let names = || list.iter().filter_map(|entry| entry.get("id").and_then(Value::as_str));
        if names().any(|name| name == model) {
            return Ok((Some(true), Vec::new()));
        }
        Ok((
            Some(false),
            names().take(20).map(|name| crate::text::clip(name, 100)).collect(),
        ))
    }

    /// Whether completions are asked for at this base URL, and with this key: a list of models may be open to all, or stand elsewhere.
    ///
    /// It asks for a completion without a message, which every server refuses for nothing. What it says about the request does not
    /// matter; a refused key and a path that is not there do.
    async fn takes_completions(&self, key: Option<&SecretString>) -> Result<(), ModelError> {
        if !matches!(self.endpoint.provider(), Provider::Openai | Provider::Ollama) {
            return Ok(());
        }
        let base = &self.endpoint.0.base;
        let Err(failure) = self.ask_without_message(&below(base, CHAT), key).await else {
            return Ok(());
        };
        let secret = key.map(ExposeSecret::expose_secret);
        match failure {
            Failure::Status { status: 401 | 403, .. } => Err(failure.into_error(&self.settings.model, secret)),
            Failure::Status {
                status: 404 | 405,
                ref body,
                ..
            } if !names_model(body, &self.settings.model) => {
                for path in ["v1/", "openai/v1/", "api/v1/"] {
                    let further = below(base, path);
                    let there = self.ask_without_message(&below(&further, CHAT), key).await;
                    if !matches!(there, Err(Failure::Status { status: 404 | 405, .. })) && !is_gone(&there) {
                        return Err(ModelError::Misconfigured {
                            detail: format!(
                                "{} has no {CHAT}; set base_url = \"{}\", which has",
                                shown(base),
                                shown(&further)
                            ),
                        });
                    }
                }
                Err(ModelError::Misconfigured {
                    detail: format!(
                        "{} has no {CHAT}: give base_url the address of an OpenAI-compatible API, as http://host/v1",
                        shown(base)
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    async fn ask_without_message(&self, url: &Url, key: Option<&SecretString>) -> Result<(), Failure> {
        let asking = async {
            let body = json!({"model": self.settings.model, "max_tokens": 1});
            let begun = AtomicBool::new(false);
            http::post(
                &self.endpoint.0.http,
                url,
                self.probe_headers(key)?,
                &body,
                (LIST_BYTES, &begun),
            )
            .await
        };
        let asked = tokio::time::timeout(LIST_TIMEOUT, asking).await;
        asked.unwrap_or(Err(Failure::TimedOut(LIST_TIMEOUT))).map(|_| ())
    }

    fn probe_headers(&self, key: Option<&SecretString>) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let name = match self.endpoint.provider() {
            Provider::Openai | Provider::Ollama => return Ok(self.endpoint.0.auth(key)?.into_iter().collect()),
            Provider::Anthropic => HeaderName::from_static("x-api-key"),
            Provider::Gemini => HeaderName::from_static("x-goog-api-key"),
        };
        let version = (
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        );
        let mut headers = vec![version];
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(key.expose_secret())
                .map_err(|_| Failure::Forbidden("the key does not fit in an HTTP header".to_owned()))?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(headers)
    }

    /// Any answer at all will do, a cut-off or empty one too.
    async fn shortest_completion(&self) -> Result<Completion, ModelError> {
        let sampling = Sampling {
            max_tokens: 16,
            ..self.settings().sampling()
        };
        let request = ChatRequest::text(vec![Message::user("Reply with OK.")], sampling);
        let once = RetrySettings {
            attempts: 1,
            ..RetrySettings::default()
        };
        match self.run(&request, &once, None).await.result {
            Ok(completion) => Ok(completion),
            Err(ModelError::Truncated { completion, .. } | ModelError::Empty { completion }) => Ok(*completion),
            Err(error) => Err(error),
        }
    }
}
