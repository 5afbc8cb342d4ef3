//! The client: an endpoint with its connections, key and limits, a model on it, and the course of one call.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use genai::adapter::AdapterKind;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::abilities::{Able, Learned, rejected_param};
use crate::address::Guard;
use crate::key::{KeySource, differ};
use crate::limit::{Limiter, Slot};
use crate::retry::pauses;
use crate::wire::{Failure, Reply, Sent, Shaped};
use crate::{
    AttemptRecord, ChatModel, ChatRequest, Completion, ConfigError, Endpoint, ModelError, ModelSettings, Outcome, Paid,
    Permit, Price, Provider, RequestKey, RetrySettings, hosted, openai, request_key,
};

/// Most calls repeated within one call because the endpoint rejected an option or its key had just been rotated. They
/// are sent at once: it is another request each time.
const MOST_CORRECTIONS: u32 = 6;

/// One endpoint, ready for use. Cheap to clone; everything is shared: make one per endpoint and process.
#[derive(Clone)]
pub struct EndpointClient(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    name: String,
    pub(crate) config: Endpoint,
    pub(crate) base: Url,
    chat: Url,
    pub(crate) http: reqwest::Client,
    /// For the providers that go through the library, with the library's name of the provider.
    hosted: Option<(genai::Client, AdapterKind)>,
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
        let kind = match config.provider {
            Provider::Openai | Provider::Ollama => None,
            Provider::Anthropic => Some(AdapterKind::Anthropic),
            Provider::Gemini => Some(AdapterKind::Gemini),
        };
        let hosted = match kind {
            Some(kind) => Some((hosted::client(http.clone()).map_err(wrong)?, kind)),
            None => None,
        };
        let limiter = Limiter::new(config.concurrency, config.requests_per_minute, config.tokens_per_minute);
        let chat = below(&base, "chat/completions");
        let learned = Mutex::default();
        Ok(Self(Arc::new(Shared {
            name,
            config,
            base,
            chat,
            http,
            hosted,
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

    /// Name, provider and address in one: what makes a completion from here one from here. Holds no key.
    pub fn identity(&self) -> String {
        format!("{} {} {}", self.0.name, self.0.config.provider.as_str(), self.0.base)
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
    settings: Arc<ModelSettings>,
    learned: Arc<Learned>,
    /// After this time without an answer a second request is sent.
    pub(crate) hedge: Option<Duration>,
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
    pub fn request_key(&self, request: &ChatRequest, sample: u64, run_seed: u64) -> RequestKey {
        request_key(
            &self.endpoint.identity(),
            &self.settings.model,
            request,
            sample,
            run_seed,
        )
    }

    /// What it can be asked for, as far as is known now.
    fn able(&self) -> Able {
        let config = &self.endpoint.0.config;
        Able::of(config.provider, &self.settings.model, &config.abilities, &self.learned)
    }

    /// How long one attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(
            self.settings
                .timeout_seconds
                .unwrap_or(self.endpoint.0.config.timeout_seconds),
        )
    }

    /// One call with the endpoint's retries.
    pub(crate) async fn complete_with(&self, request: &ChatRequest, permit: Option<&dyn Permit>) -> Outcome {
        self.run(request, &self.endpoint.0.config.retry, permit).await
    }

    /// One call with these retries, each request with leave where there is somebody to ask.
    pub(crate) async fn run(
        &self,
        request: &ChatRequest,
        retry: &RetrySettings,
        permit: Option<&dyn Permit>,
    ) -> Outcome {
        let mut call = Call {
            model: self,
            request,
            permit,
            attempts: Vec::new(),
            corrections: 0,
            started: None,
            hedged: false,
        };
        let result = call.run(retry).await;
        Outcome {
            result,
            attempts: call.attempts,
        }
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

impl ChatModel for Model {
    async fn complete(&self, request: &ChatRequest) -> Outcome {
        self.complete_with(request, None).await
    }
}

/// One call under way.
pub(crate) struct Call<'a> {
    pub(crate) model: &'a Model,
    request: &'a ChatRequest,
    pub(crate) permit: Option<&'a dyn Permit>,
    pub(crate) attempts: Vec<AttemptRecord>,
    corrections: u32,
    /// When the first attempt was sent.
    started: Option<Instant>,
    /// A second request was sent beside another one.
    pub(crate) hedged: bool,
}

/// What an attempt that failed leads to.
enum Next {
    /// Another request, at once.
    Corrected,
    /// The same request, if there are attempts and time left.
    Again { error: ModelError, wait: Option<Duration> },
    /// Nothing more.
    Over(ModelError),
}

impl Call<'_> {
    async fn run(&mut self, retry: &RetrySettings) -> Result<Completion, ModelError> {
        let shared = &self.model.endpoint.0;
        let tokens = self.tokens();
        let mut pauses = pauses(retry);
        loop {
            let slot = shared.limiter.acquire(tokens).await;
            if let Some(permit) = self.permit
                && !permit.may_send().await
            {
                return Err(ModelError::Withheld);
            }
            let (error, wait) = match self.attempt(slot).await {
                Ok(completion) => return Ok(completion),
                Err(Next::Corrected) => continue,
                Err(Next::Over(error)) => return Err(error),
                Err(Next::Again { error, wait }) => (error, wait),
            };
            let Some(pause) = pauses.next() else { return Err(error) };
            let pause = pause.max(wait.unwrap_or_default());
            let elapsed = self.started.map_or(Duration::ZERO, |started| started.elapsed());
            if elapsed + pause > Duration::from_secs_f64(retry.total_seconds) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The tokens that it may take.
    pub(crate) fn tokens(&self) -> u64 {
        self.request.estimated_input_tokens() + u64::from(self.request.sampling.max_tokens)
    }

    /// Sends the request and notes how it went.
    async fn attempt(&mut self, slot: Slot<'_>) -> Result<Completion, Next> {
        let model = self.model;
        let shared = &model.endpoint.0;
        let key = shared.key.current();
        let able = model.able();
        let mut shaped = Shaped::new(&model.settings.model, self.request, &able);

        self.started.get_or_insert_with(Instant::now);
        let Sent {
            result: sent,
            started,
            latency,
        } = self.send(&shaped, key.as_ref()).await;
        let (status, retry_after, paid, result) = match sent {
            Ok(reply) => {
                let usage = reply.usage;
                slot.succeeded(
                    usage
                        .input_tokens
                        .zip(usage.output_tokens)
                        .map(|(input, output)| input + output),
                );
                let judged = reply.judge(latency, std::mem::take(&mut shaped.dropped), model.price());
                (Some(200), None, Paid::Yes, judged.map_err(Next::Over))
            }
            Err(failure) => {
                if failure.is_overload() {
                    slot.overloaded(failure.retry_after());
                } else {
                    drop(slot);
                }
                let (status, retry_after, paid) = (failure.status(), failure.retry_after(), failure.paid());
                let next = self.next(failure, &shaped, &able, key.as_ref());
                (status, retry_after, paid, Err(next))
            }
        };
        let kind = match &result {
            Ok(_) => "ok",
            Err(Next::Corrected) => "corrected",
            Err(Next::Again { error, .. } | Next::Over(error)) => error.kind(),
        };
        self.attempts.push(AttemptRecord {
            started,
            latency,
            status,
            kind,
            retry_after,
            paid,
        });
        if kind != "ok" {
            let (endpoint, name) = (&shared.name, &model.settings.model);
            debug!(
                endpoint,
                model = name,
                attempt = self.attempts.len(),
                status,
                kind,
                "model call failed"
            );
        }
        result
    }

    /// What to do about a failure.
    fn next(&mut self, failure: Failure, shaped: &Shaped<'_>, able: &Able, key: Option<&SecretString>) -> Next {
        if self.corrections < MOST_CORRECTIONS && self.correct(&failure, shaped, able, key) {
            self.corrections += 1;
            return Next::Corrected;
        }
        let wait = failure.retry_after();
        let error = failure.into_error(shaped.model, key.map(ExposeSecret::expose_secret));
        if error.retryable() {
            Next::Again { error, wait }
        } else {
            Next::Over(error)
        }
    }

    /// Whether another request, without the option complained about or with a key just rotated, is worth sending.
    fn correct(&self, failure: &Failure, shaped: &Shaped<'_>, able: &Able, key: Option<&SecretString>) -> bool {
        let Failure::Status { status, body, .. } = failure else {
            return false;
        };
        match status {
            400 | 422 => {
                let Some(param) = rejected_param(body, &shaped.params()) else {
                    return false;
                };
                self.model.learned.add(param);
                // The same request again would get the same answer.
                self.model.able() != *able
            }
            401 => differ(self.model.endpoint.0.key.current().as_ref(), key),
            _ => false,
        }
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
        let limit = self.config.max_response_bytes;
        match &self.hosted {
            Some((client, kind)) => {
                hosted::call(
                    client,
                    *kind,
                    &self.base,
                    key.map(ExposeSecret::expose_secret),
                    shaped,
                    limit,
                )
                .await
            }
            None => openai::call(&self.http, &self.chat, self.auth(key)?, shaped, (limit, begun)).await,
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
