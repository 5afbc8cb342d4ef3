//! The client: an endpoint with its connections, key and limits, and a model on it. How a call goes is in `call`.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use crate::abilities::{Able, Learned, Param};
use crate::address::Guard;
use crate::chat::ChatRequest;
use crate::endpoint::{ConfigError, Endpoint, ModelSettings};
use crate::identity::{RequestKey, request_key};
use crate::key::KeySource;
use crate::limit::Limiter;
use crate::price::Price;
use crate::provider::Provider;
use crate::wire::{Failure, Reply, Shaped};
use crate::{anthropic, gemini, openai};

/// One endpoint, ready for use. Cheap to clone; everything is shared: make one per endpoint and process.
#[derive(Clone)]
pub struct EndpointClient(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    name: String,
    pub(crate) config: Endpoint,
    pub(crate) base: Url,
    /// Where completions are asked for. Gemini's address holds the model's name as well.
    chat: Url,
    pub(crate) http: reqwest::Client,
    pub(crate) key: KeySource,
    pub(crate) limiter: Limiter,
    /// What this endpoint has rejected, by model; outlives any one [`Model`].
    learned: Mutex<HashMap<String, Arc<Learned>>>,
}

impl EndpointClient {
    /// Makes the client of the endpoint called `name`. Fails on any setting that cannot work, an absent key included;
    /// does not touch the network ([`Model::probe`] does).
    pub fn new(name: impl Into<String>, config: Endpoint) -> Result<Self, ConfigError> {
        // The HTTP library panics without one; a caller that forgot is no reason to.
        crate::install_crypto_provider();
        let name = name.into();
        config.validate(&name)?;
        let base = config.checked_url(&name)?;
        let key = KeySource::new(&name, &config)?;
        let wrong = |problem: String| ConfigError::new(&name, "base_url", &problem);
        let http = http_client(&config, &base).map_err(|error| wrong(format!("no HTTP client: {error}")))?;
        let pauses = [config.retry.first_delay_seconds, config.retry.max_delay_seconds].map(Duration::from_secs_f64);
        let limiter = Limiter::new(
            config.concurrency,
            config.requests_per_minute,
            config.tokens_per_minute,
            pauses.into(),
        );
        let chat = match config.provider {
            Provider::Openai | Provider::Ollama => below(&base, "chat/completions"),
            Provider::Anthropic => below(&base, "messages"),
            Provider::Gemini => base.clone(),
        };
        let learned = Mutex::default();
        Ok(Self(Arc::new(Shared {
            name,
            config,
            base,
            chat,
            http,
            key,
            limiter,
            learned,
        })))
    }

    /// The endpoint's name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which API it speaks.
    pub fn provider(&self) -> Provider {
        self.0.config.provider
    }

    /// Host and port, for display and for telemetry.
    pub fn address(&self) -> (String, u16) {
        let host = self.0.base.host_str().unwrap_or_default().to_owned();
        (host, self.0.base.port_or_known_default().unwrap_or_default())
    }

    /// Name, provider and address (or what the operator lets stand for it) in one: what makes a completion from here one from here.
    /// Holds no key.
    pub fn identity(&self) -> String {
        let (name, provider) = (&self.0.name, self.0.config.provider.as_str());
        match &self.0.config.identity {
            Some(identity) => format!("{name} {provider} is {identity}"),
            None => format!("{name} {provider} {}", self.0.base),
        }
    }

    /// Calls in flight allowed at this moment: the operator's `concurrency`, or less after a 429.
    pub fn concurrency_now(&self) -> u32 {
        self.0.limiter.limit()
    }
}

impl fmt::Debug for EndpointClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointClient").field(&self.identity()).finish()
    }
}

/// One model at one endpoint, with a role's settings. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    pub(crate) endpoint: EndpointClient,
    pub(crate) settings: Arc<ModelSettings>,
    pub(crate) learned: Arc<Learned>,
    /// After this time without an answer a second request is sent.
    pub(crate) hedge: Option<Duration>,
    /// Nothing is tried again.
    pub(crate) once: bool,
}

impl Model {
    /// The model that `settings` name, at `endpoint`. Fails on a value out of range; does not touch the network.
    pub fn new(endpoint: EndpointClient, settings: ModelSettings) -> Result<Self, ConfigError> {
        settings.validate(&format!("model {} at {}", settings.model, settings.endpoint))?;
        let learned = {
            let mut all = endpoint.0.learned.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(settings.model.clone()).or_default())
        };
        let hedge = endpoint.0.config.hedge_after_seconds.map(Duration::from_secs_f64);
        let model = Self {
            endpoint,
            settings: Arc::new(settings),
            learned,
            hedge,
            once: false,
        };
        if hedge.is_some_and(|after| after >= model.timeout()) {
            let (name, at) = (&model.settings.model, &model.settings.endpoint);
            return Err(ConfigError::new(
                at,
                "hedge_after_seconds",
                &format!(
                    "must be less than the timeout_seconds of the model {name}, or no second request is ever sent"
                ),
            ));
        }
        Ok(model)
    }

    /// Its settings.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> &EndpointClient {
        &self.endpoint
    }

    /// Its price, if the operator has given one; `None` is "unknown", which a user is to be told, and never free.
    pub fn price(&self) -> Option<&Price> {
        self.endpoint.0.config.prices.get(&self.settings.model)
    }

    /// The key under which the answer to `request` may be found again; see [`request_key`].
    pub fn request_key(&self, request: &ChatRequest, sample: u64, run_seed: Option<u64>) -> RequestKey {
        // A setting that is not part of the request; without it the key is what it always was.
        let model = match self.settings.reasoning_effort {
            Some(effort) => format!("{} with reasoning_effort {}", self.settings.model, effort.as_str()),
            None => self.settings.model.clone(),
        };
        request_key(&self.endpoint.identity(), &model, request, sample, run_seed)
    }

    /// What it can be asked for, as far as is known now.
    pub(crate) fn able(&self) -> Able {
        let config = &self.endpoint.0.config;
        Able::of(config.provider, &self.settings.model, &config.abilities, &self.learned)
    }

    /// What it is not asked for, because the operator, its name or its own refusals say that it cannot, and what is done instead: one
    /// clause each. Empty if it is asked for everything.
    pub fn lacks(&self) -> Vec<&'static str> {
        self.able().lacks()
    }

    /// The same model, whose calls try nothing again.
    #[must_use]
    pub fn once(&self) -> Model {
        let mut model = self.clone();
        model.once = true;
        model
    }

    /// Remembers that it refuses `param`, and says so once.
    pub(crate) fn learn(&self, param: Param) {
        if self.learned.add(param) {
            let (endpoint, model) = (self.endpoint.name(), &self.settings.model);
            let now = self.lacks().join("; ");
            warn!(
                endpoint,
                model,
                option = param.name(),
                now,
                "the endpoint refuses an option, which is not sent to this model any more"
            );
        }
    }

    /// How long one attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(
            self.settings
                .timeout_seconds
                .unwrap_or(self.endpoint.0.config.timeout_seconds),
        )
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("endpoint", &self.endpoint)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Sends one request; `begun` becomes true when its answer begins to come.
    pub(crate) async fn send(
        &self,
        shaped: &Shaped<'_>,
        key: Option<&SecretString>,
        begun: &AtomicBool,
    ) -> Result<Reply, Failure> {
        let (http, url, bounds) = (&self.http, &self.chat, (self.config.max_response_bytes, begun));
        match self.config.provider {
            Provider::Openai | Provider::Ollama => openai::call(http, url, self.auth(key)?, shaped, bounds).await,
            Provider::Anthropic => anthropic::call(http, url, secret(key)?, shaped, bounds).await,
            Provider::Gemini => gemini::call(http, url, secret(key)?, shaped, bounds).await,
        }
    }

    /// The header that carries the key of an OpenAI-compatible endpoint.
    pub(crate) fn auth(&self, key: Option<&SecretString>) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
        let Some(key) = key else { return Ok(None) };
        let wrong = || Failure::Forbidden("api_key_header is not the name of an HTTP header".to_owned());
        let key = key.expose_secret();
        let (name, text) = match &self.config.api_key_header {
            Some(name) => (
                HeaderName::try_from(name.as_str()).map_err(|_| wrong())?,
                key.to_owned(),
            ),
            None => (AUTHORIZATION, format!("Bearer {key}")),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

/// A key as the value of a header, never shown.
fn secret(key: Option<&SecretString>) -> Result<Option<HeaderValue>, Failure> {
    let Some(key) = key else { return Ok(None) };
    let wrong = || Failure::Forbidden("the key has characters that no HTTP header takes".to_owned());
    let mut value = HeaderValue::try_from(key.expose_secret()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// `base` with `path` below it, its query kept (Azure's `api-version`).
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path()));
    url
}

fn http_client(config: &Endpoint, base: &Url) -> Result<reqwest::Client, reqwest::Error> {
    let plain = base.scheme() == "http";
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("sipdo/", env!("CARGO_PKG_VERSION")))
        // A redirect could lead a key to where the operator never meant it to go.
        .redirect(Policy::none())
        .dns_resolver(Guard {
            private_only: plain && !config.allow_insecure,
        })
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60))
        .pool_idle_timeout(Duration::from_secs(50))
        .pool_max_idle_per_host(config.concurrency as usize)
        // One connection per call in flight: no limit on streams, no head-of-line blocking.
        .http1_only()
        // Answers are short; a compressed one could unfold beyond any limit.
        .gzip(false);
    if plain {
        // Private services are not behind the proxy that leads outside; a proxy would also evade the address check.
        builder = builder.no_proxy();
    }
    builder.build()
}
