//! The course of one call: sent, retried, corrected, with the caller's permit before each request.

mod hedge;

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::abilities::{Able, Param};
use crate::chat::{AttemptRecord, ChatModel, ChatRequest, Outcome, Paid};
use crate::client::Model;
use crate::complaint::Complaint;
use crate::completion::Completion;
use crate::endpoint::RetrySettings;
use crate::error::ModelError;
use crate::key::differ;
use crate::limit::Slot;
use crate::permit::Permit;
use crate::refused::rejected_param;
use crate::retry::{Patience, Pause};
use crate::wire::{Failure, Sent, Shaped, Terms};

/// Most calls repeated within one call because the endpoint rejected an option or its key had just been rotated. They
/// are sent at once: it is another request each time.
const MOST_CORRECTIONS: u32 = 6;

impl Model {
    /// One call with the endpoint's retries.
    async fn complete_with(&self, request: &ChatRequest, permit: Option<&dyn Permit>) -> Outcome {
        let retry = &self.endpoint.0.config.retry;
        match self.once {
            true => {
                self.run(
                    request,
                    &RetrySettings {
                        attempts: 1,
                        ..retry.clone()
                    },
                    permit,
                )
                .await
            }
            false => self.run(request, retry, permit).await,
        }
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
            given_up: Vec::new(),
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
    /// Forms of the answer that this call does without, to see whether the endpoint's refusal is about them.
    given_up: Vec<Param>,
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
        let mut patience = Patience::new(retry);
        loop {
            let waits = |begins| self.permit.map_or((), |permit| permit.waits_for_limits(begins));
            waits(true);
            let slot = shared.limiter.acquire(tokens).await;
            waits(false);
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
            let pause = match error {
                ModelError::RateLimited { .. } => patience.next(Pause::OfRate),
                _ => patience.next(Pause::OfFailure),
            };
            let Some(pause) = pause else { return Err(error) };
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
        let mut able = model.able();
        able.json_schema &= !self.given_up.contains(&Param::JsonSchema);
        able.json_object &= !self.given_up.contains(&Param::JsonObject);
        let effort = model.settings.reasoning_effort;
        let mut shaped = Shaped::new(&model.settings.model, self.request, &able, effort);

        self.started.get_or_insert_with(Instant::now);
        let Sent {
            result: sent,
            started,
            latency,
        } = self.send(&shaped, key.as_ref()).await;
        let (status, retry_after, paid, result) = match sent {
            Ok(reply) => {
                // Without them it answers: so its refusal was about them.
                self.given_up.drain(..).for_each(|param| model.learn(param));
                let usage = reply.usage;
                slot.succeeded(
                    usage
                        .input_tokens
                        .zip(usage.output_tokens)
                        .map(|(input, output)| input + output),
                );
                let judged = reply.judge(Terms {
                    attempt: self.attempts.len(),
                    latency,
                    dropped: std::mem::take(&mut shaped.dropped),
                    price: model.price(),
                    max_tokens: self.request.sampling.max_tokens,
                });
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
        let key = key.map(ExposeSecret::expose_secret);
        let error = failure.clone().into_error(shaped.model, key);
        if failure.is_worth_again(&error) {
            return Next::Again { error, wait };
        }
        if matches!(error, ModelError::BadRequest { .. }) && self.does_without(shaped) {
            return Next::Corrected;
        }
        Next::Over(error)
    }

    /// Whether another request, without the option complained about or with a key just rotated, is worth sending.
    fn correct(&self, failure: &Failure, shaped: &Shaped<'_>, able: &Able, key: Option<&SecretString>) -> bool {
        match failure {
            Failure::Status { status: 401, .. } => differ(self.model.endpoint.0.key.current().as_ref(), key),
            Failure::Status { status, body, .. } => {
                let complaint = Complaint::read(body);
                if complaint.is_overflow() || complaint.is_out_of_credit() || complaint.is_failed_grammar() {
                    return false;
                }
                let Some(param) = rejected_param(*status, &complaint, &shaped.params()) else {
                    return false;
                };
                self.model.learn(param);
                // The same request again would get the same answer.
                self.model.able() != *able
            }
            _ => false,
        }
    }

    /// A refusal in words that nobody knows: whether the same request is worth sending with a weaker form of the answer.
    fn does_without(&mut self, shaped: &Shaped<'_>) -> bool {
        let forms = shaped.params().into_iter().filter(|param| param.is_form());
        let further: Vec<Param> = forms.filter(|param| !self.given_up.contains(param)).collect();
        self.given_up.extend(&further);
        !further.is_empty()
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
