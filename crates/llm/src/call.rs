//! The course of one call: sent, retried, corrected, with the caller's permit before each request.

mod hedge;

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::abilities::{Able, rejected_param};
use crate::chat::{AttemptRecord, ChatModel, ChatRequest, Outcome, Paid};
use crate::client::Model;
use crate::completion::Completion;
use crate::endpoint::RetrySettings;
use crate::error::ModelError;
use crate::key::differ;
use crate::limit::Slot;
use crate::permit::Permit;
use crate::retry::pauses;
use crate::wire::{Failure, Sent, Shaped};

/// Most calls repeated within one call because the endpoint rejected an option or its key had just been rotated. They
/// are sent at once: it is another request each time.
const MOST_CORRECTIONS: u32 = 6;

impl Model {
    /// One call with the endpoint's retries.
    async fn complete_with(&self, request: &ChatRequest, permit: Option<&dyn Permit>) -> Outcome {
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

    /// This model, asking `permit` before each request.
    pub fn permitted<'a>(&'a self, permit: &'a dyn Permit) -> Permitted<'a> {
        Permitted { model: self, permit }
    }
}

impl ChatModel for Model {
    async fn complete(&self, request: &ChatRequest) -> Outcome {
        self.complete_with(request, None).await
    }
}

/// One call under way.
struct Call<'a> {
    model: &'a Model,
    request: &'a ChatRequest,
    permit: Option<&'a dyn Permit>,
    attempts: Vec<AttemptRecord>,
    corrections: u32,
    /// When the first attempt was sent.
    started: Option<Instant>,
    /// A second request was sent beside another one.
    hedged: bool,
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
            if !self.has_room() {
                return Err(error);
            }
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
    fn tokens(&self) -> u64 {
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
                let judged = reply.judge(
                    self.attempts.len(),
                    latency,
                    std::mem::take(&mut shaped.dropped),
                    model.price(),
                );
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
        self.note(AttemptRecord {
            started,
            latency,
            status,
            kind,
            retry_after,
            paid,
        });
        if kind != "ok" {
            let (endpoint, name) = (model.endpoint.name(), &model.settings.model);
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

    fn has_room(&self) -> bool {
        self.permit.is_none_or(Permit::has_room)
    }

    /// Notes a request that has ended, for the caller and for the outcome.
    fn note(&mut self, record: AttemptRecord) {
        if let Some(permit) = self.permit {
            permit.ended(record.paid);
        }
        self.attempts.push(record);
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

/// A model that sends nothing without leave.
#[derive(Clone, Copy)]
pub struct Permitted<'a> {
    model: &'a Model,
    permit: &'a dyn Permit,
}

impl ChatModel for Permitted<'_> {
    async fn complete(&self, request: &ChatRequest) -> Outcome {
        self.model.complete_with(request, Some(self.permit)).await
    }

    fn has_room(&self) -> bool {
        self.permit.has_room()
    }
}
