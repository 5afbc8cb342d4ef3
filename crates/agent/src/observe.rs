//! What an agent lets be seen of its work: spans of a job, its model requests, its result and its settling, and the counts.
//!
//! `docs/telemetry.md` is the specification. Prompts and answers stand on spans only where an operator asks for it.

use crate::models::Target;
use crate::settle::Settle;
use serde_json::json;
use sipdo_bus::subjects::header;
use sipdo_bus::{AgentId, Delivery, Role};
use sipdo_llm::{AttemptRecord, ChatRequest, Completion, Finish, Message, Model, Output, Role as Speaker};
use sipdo_protocol::pb;
use sipdo_telemetry::metrics::{self, ModelCall};
use sipdo_telemetry::span::Kind;
use sipdo_telemetry::{Span, Start, Trace, capturing_content, for_langfuse, names, recording};
use std::time::{Duration, Instant, SystemTime};

/// Name of the stream of jobs, for the attribute of that name.
const JOB_STREAM: &str = sipdo_bus::subjects::JOB_STREAM;

/// One delivery in this process, from taking it to settling it.
pub(crate) struct Processing {
    span: Span,
    role: String,
    run: String,
    clock: Instant,
}

impl Processing {
    /// A delivery was taken. Its span hangs on to the one that published the job, and links to it too: backends show either.
    pub fn begin(delivery: &Delivery) -> Self {
        let role = delivery.role().as_str().to_owned();
        let waited = SystemTime::now().duration_since(delivery.published).unwrap_or_default();
        metrics::job_taken(&role, waited);
        let run = delivery.run.as_str().to_owned();
        let span = if recording() {
            processing(delivery, &role, &run, waited)
        } else {
            Span::none()
        };
        Self {
            span,
            role,
            run,
            clock: Instant::now(),
        }
    }

    /// Works inside its span.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        self.span.scope(work).await
    }

    /// The job is about to be settled so.
    pub fn settling(&self, settle: &Settle) -> Span {
        let of_role = names::of_role(&self.role);
        let (name, operation, outcome) = match settle {
            Settle::Ack => (of_role.ack_job, "ack", None),
            Settle::HandBack(_) => (of_role.nak_job, "nak", Some("handed_back")),
            Settle::DeadLetter(_) => (of_role.term_job, "term", Some("dead_letter")),
        };
        if let Some(outcome) = outcome {
            metrics::job_outcome(&self.role, outcome);
            self.span.set(names::OUTCOME, outcome);
        }
        if matches!(settle, Settle::DeadLetter(_)) {
            self.span.fail("dead_letter");
        }
        if self.span.is_none() {
            return Span::none();
        }
        Start::new(name, Kind::Client, &self.run)
            .parent(&self.span.trace())
            .with(names::MESSAGING_SYSTEM, names::NATS)
            .with(names::MESSAGING_OPERATION_NAME, operation)
            .with(names::MESSAGING_OPERATION_TYPE, "settle")
            .with(names::MESSAGING_DESTINATION, of_role.jobs)
            .with(names::MESSAGING_CONSUMER_GROUP, of_role.role)
            .with(names::ROLE, of_role.role)
            .start()
    }
}

impl Drop for Processing {
    fn drop(&mut self) {
        metrics::job_done(&self.role, self.clock.elapsed());
    }
}

fn processing(delivery: &Delivery, role: &str, run: &str, waited: Duration) -> Span {
    let of_role = names::of_role(role);
    let creation = delivery.headers.trace();
    let job = delivery.headers.get(header::JOB);
    let number = |name| {
        delivery
            .headers
            .number(name)
            .and_then(|number| i64::try_from(number).ok())
    };
    Start::new(of_role.process_job, Kind::Consumer, run)
        .parent(&creation)
        .link(&creation)
        .with(names::MESSAGING_SYSTEM, names::NATS)
        .with(names::MESSAGING_OPERATION_NAME, "process")
        .with(names::MESSAGING_OPERATION_TYPE, "process")
        .with(names::MESSAGING_DESTINATION, of_role.jobs)
        .with(names::MESSAGING_TEMPLATE, of_role.jobs_template)
        .with(names::MESSAGING_CONSUMER_GROUP, of_role.role)
        .with_run(names::MESSAGING_CONVERSATION_ID)
        .with_some(names::MESSAGING_MESSAGE_ID, job)
        .with(names::NATS_STREAM, JOB_STREAM)
        .with(names::NATS_SEQUENCE, whole(delivery.seq))
        .with(names::ROLE, of_role.role)
        .with_some(names::JOB_ID, job)
        .with_some(names::ATTEMPT, number(header::ATTEMPT))
        .with_some(names::EPOCH, number(header::EPOCH))
        .with(names::DELIVERY, whole(delivery.delivered))
        .with(names::WAITED_MS, millis(waited))
        .start()
}

/// The agent at work on one ask.
pub(crate) fn invoke(
    (agent, role): (&AgentId, &Role),
    job: &pb::Job,
    operation: &'static str,
    target: Option<&Target>,
) -> Span {
    if !recording() {
        return Span::none();
    }
    let of_role = names::of_role(role.as_str());
    // A program that an operator allows is no provider of models; the conventions want a name all the same.
    let provider = target.map_or("program", |target| target.model.endpoint().provider().as_str());
    Start::new(of_role.invoke, Kind::Internal, &job.run)
        .inference(of_role.openinference)
        .parent(&Trace::current())
        .with(names::GEN_AI_OPERATION, INVOKE)
        .with(names::GEN_AI_PROVIDER, provider)
        .with(names::GEN_AI_AGENT_NAME, of_role.role)
        .with(names::AGENT_NAME, of_role.role)
        .with(names::GEN_AI_AGENT_ID, agent.as_str())
        .with(names::GEN_AI_AGENT_VERSION, env!("CARGO_PKG_VERSION"))
        .with_some(
            names::GEN_AI_REQUEST_MODEL,
            target.map(|target| &target.settings().model),
        )
        .with_some(names::ENDPOINT, target.map(|target| &target.settings().endpoint))
        .with(names::ROLE, of_role.role)
        .with(names::JOB_ID, &job.job)
        .with(names::OPERATION, operation)
        .start()
}

/// Operation of the span of an agent at work.
const INVOKE: &str = "invoke_agent";
const CHAT: &str = "chat";

/// A result is about to be published.
pub(crate) fn publishing(result: &pb::JobResult, role: &str, parent: &Trace) -> Span {
    let outcome = match &result.finding {
        Some(pb::job_result::Finding::Reply(_)) => "measured",
        Some(pb::job_result::Finding::NotMeasured(_)) | None => "not_measured",
    };
    metrics::job_outcome(role, outcome);
    parent.set(names::OUTCOME, outcome);
    let from_store = result.usage.as_ref().is_some_and(|usage| usage.from_store);
    if from_store {
        parent.set(names::FROM_STORE, true);
    }
    if !recording() {
        return Span::none();
    }
    let of_role = names::of_role(role);
    Start::new(of_role.publish_result, Kind::Producer, &result.run)
        .parent(parent)
        .with(names::MESSAGING_SYSTEM, names::NATS)
        .with(names::MESSAGING_OPERATION_NAME, "publish")
        .with(names::MESSAGING_OPERATION_TYPE, "send")
        .with(names::MESSAGING_DESTINATION, of_role.results)
        .with(names::MESSAGING_TEMPLATE, of_role.results_template)
        .with(names::MESSAGING_MESSAGE_ID, &result.job)
        .with_run(names::MESSAGING_CONVERSATION_ID)
        .with(names::JOB_ID, &result.job)
        .with(names::ROLE, of_role.role)
        .start()
}

/// Whose requests to a model are seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub run: &'a str,
    pub job: &'a str,
    pub role: &'static str,
    /// Where the agent is at work.
    pub trace: &'a Trace,
}

impl Caller<'_> {
    /// Every request of one call, as a span of its own with the time at which it was really made. Each completion names the
    /// request that it answers.
    pub fn requests(&self, model: &Model, chat: &ChatRequest, attempts: &[AttemptRecord], completions: &[Completion]) {
        for (index, (number, attempt)) in (1..).zip(attempts).enumerate() {
            let completion = completions.iter().find(|completion| completion.attempt == index);
            let cost = completion.and_then(|completion| {
                let priced = || model.price().and_then(|price| price.cost(&completion.usage));
                completion.cost_nano_usd.or_else(priced)
            });
            let settings = model.settings();
            metrics::model_call(&ModelCall {
                role: self.role,
                provider: model.endpoint().provider().as_str(),
                model: &settings.model,
                reported: completion.and_then(|completion| completion.model_reported.as_deref()),
                took: attempt.latency,
                error: failed(attempt),
                input_tokens: completion.and_then(|completion| completion.usage.input_tokens),
                output_tokens: completion.and_then(|completion| completion.usage.output_tokens),
                nano_usd: cost,
            });
            if recording() {
                self.request(model, chat, number, attempt, completion, cost);
            }
        }
    }

    fn request(
        &self,
        model: &Model,
        chat: &ChatRequest,
        number: i64,
        attempt: &AttemptRecord,
        completion: Option<&Completion>,
        cost: Option<u64>,
    ) {
        let name = &model.settings().model;
        let (host, port) = model.endpoint().address();
        let sampling = &chat.sampling;
        let form = match chat.output {
            Output::Text => "text",
            Output::Json(_) => "json",
        };
        let span = Start::new(format!("{CHAT} {name}"), Kind::Client, self.run)
            .inference("LLM")
            .parent(self.trace)
            .at(attempt.started)
            .with(names::GEN_AI_OPERATION, CHAT)
            .with(names::GEN_AI_PROVIDER, model.endpoint().provider().as_str())
            .with(names::GEN_AI_REQUEST_MODEL, name)
            .with(names::GEN_AI_AGENT_NAME, self.role)
            .with(names::SERVER_ADDRESS, host)
            .with(names::SERVER_PORT, i64::from(port))
            .with(names::ENDPOINT, model.endpoint().name())
            .with(names::ROLE, self.role)
            .with(names::JOB_ID, self.job)
            .with(names::LLM_ATTEMPT, number)
            .with(names::GEN_AI_OUTPUT_TYPE, form)
            .with_some(names::GEN_AI_REQUEST_TEMPERATURE, sampling.temperature)
            .with_some(names::GEN_AI_REQUEST_TOP_P, sampling.top_p)
            .with(names::GEN_AI_REQUEST_MAX_TOKENS, i64::from(sampling.max_tokens))
            .with_some(names::GEN_AI_REQUEST_SEED, sampling.seed.map(whole))
            .with_some(names::HTTP_STATUS, attempt.status.map(i64::from))
            .start();
        if let Some(completion) = completion {
            answered(&span, completion, cost);
        }
        if capturing_content() {
            content(&span, chat, completion);
        }
        if let Some(kind) = failed(attempt) {
            span.fail(kind);
        }
        span.end_at(attempt.started + attempt.latency);
    }
}

fn failed(attempt: &AttemptRecord) -> Option<&'static str> {
    (attempt.kind != "ok").then_some(attempt.kind)
}

fn answered(span: &Span, completion: &Completion, cost: Option<u64>) {
    let usage = &completion.usage;
    for (name, tokens) in [
        (names::GEN_AI_INPUT_TOKENS, usage.input_tokens),
        (names::GEN_AI_OUTPUT_TOKENS, usage.output_tokens),
        (names::GEN_AI_CACHE_READ_TOKENS, usage.cached_input_tokens),
        (names::GEN_AI_CACHE_WRITE_TOKENS, usage.cache_write_input_tokens),
        (names::GEN_AI_REASONING_TOKENS, usage.reasoning_tokens),
    ] {
        if let Some(tokens) = tokens {
            span.set(name, whole(tokens));
        }
    }
    if let Some(model) = &completion.model_reported {
        span.set(names::GEN_AI_RESPONSE_MODEL, model);
    }
    if let Some(id) = &completion.response_id {
        span.set(names::GEN_AI_RESPONSE_ID, id);
    }
    if let Some(reason) = finish(&completion.finish) {
        span.set(names::GEN_AI_FINISH_REASONS, [reason].as_slice());
    }
    if let Some(nano) = cost {
        let usd = nano as f64 / 1e9;
        span.set(names::LLM_COST_USD, usd);
        if for_langfuse() {
            span.set(names::GEN_AI_COST, usd);
        }
    }
}

fn finish(finish: &Finish) -> Option<&str> {
    match finish {
        Finish::Stop => Some("stop"),
        Finish::Length => Some("length"),
        Finish::Refused => Some("content_filter"),
        Finish::Missing => None,
        Finish::Failed(other) | Finish::Other(other) => Some(other),
    }
}

/// Content, in the shape of the conventions. Called only where an operator has opted in.
fn content(span: &Span, chat: &ChatRequest, completion: Option<&Completion>) {
    let part = |text: &str| json!({"type": "text", "content": text});
    let system = |message: &&Message| message.role == Speaker::System;
    let instructions: Vec<_> = chat
        .messages
        .iter()
        .filter(system)
        .map(|message| part(&message.text))
        .collect();
    let conversation: Vec<_> = chat
        .messages
        .iter()
        .filter(|message| !system(message))
        .map(|message| json!({"role": message.role.as_str(), "parts": [part(&message.text)]}))
        .collect();
    if !instructions.is_empty() {
        span.set(names::GEN_AI_SYSTEM_INSTRUCTIONS, json!(instructions).to_string());
    }
    span.set(names::GEN_AI_INPUT_MESSAGES, json!(conversation).to_string());
    if let Some(completion) = completion {
        let reason = finish(&completion.finish).unwrap_or("unknown");
        let answer = json!([{"role": "assistant", "parts": [part(&completion.text)], "finish_reason": reason}]);
        span.set(names::GEN_AI_OUTPUT_MESSAGES, answer.to_string());
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
