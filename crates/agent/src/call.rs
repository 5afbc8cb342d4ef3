//! The call of one job: request, repairs, patience in an outage, and what all of it cost.

use crate::circuit::is_outage;
use crate::cost_meter::CostMeter;
use crate::lookup::SendPermit;
use crate::models::{Models, Target};
use crate::observe::Caller;
use crate::role::{Form, InvalidReply, MAX_REPAIRS, ModelOutput, Request, RoleAgent};
use sha2::{Digest as _, Sha256};
use sipdo_domain::{Ask, Measured, NotMeasured, Reason, Reply};
use sipdo_llm::{
    ChatModel as _, ChatRequest, Message, Model, ModelError, Outcome, Permit as _, Sampling, Structured, structured,
};
use sipdo_protocol::pb;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A job is not measured after so many failures that other jobs do not share.
const MAX_OWN_FAILURES: u32 = 3;
/// Longest part of an error's message that a result holds, in characters.
const MAX_DETAIL: usize = 400;

/// The result of a call, with its cost.
#[derive(Debug)]
pub(crate) struct Called {
    pub end: End,
    pub usage: pb::Usage,
    /// Revision and fingerprint as the provider told them last.
    pub told: (String, String),
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With an answer, or with a reason why there is none.
    Finished(Measured<Reply>),
    /// The call was given up in an outage of the provider, because the agent is about to end or another model has been set. The
    /// next attempt may succeed.
    GivenUp,
    /// A request was withheld, because somebody else has the answer.
    Withheld,
}

/// The terms of one call.
pub(crate) struct Terms<'a> {
    /// Most completions.
    pub max_calls: u32,
    /// Tokens that a repair adds to a request at most, beyond the answer that it repairs; none where nothing is repaired.
    pub repair: Option<u64>,
    /// Whether a request may be sent twice, as its endpoint is set.
    pub hedge: bool,
    /// Time after which it is given up; waits in an outage do not count.
    pub longest: Duration,
    /// True when the agent is about to end: then nothing waits for the end of an outage.
    pub draining: &'a watch::Receiver<bool>,
    /// To learn that another model is set for this job.
    pub models: &'a Models,
    /// The run's own choice.
    pub chosen: Option<&'a pb::ModelChoice>,
    /// Asked before each request.
    pub permit: &'a SendPermit<'a>,
    /// For whom it is: for spans and metrics.
    pub caller: Caller<'a>,
}

/// The request with the settings of the model that will do it.
///
/// A temperature that was set explicitly goes before the role's. The seed for the provider is drawn from run and sample where chance
/// counts, so that a run can be repeated, and two samples of one ask differ.
pub(crate) fn chat_request(target: &Target, request: &Request, job: &pb::Job) -> ChatRequest {
    let settings = target.settings();
    let temperature = settings.temperature.unwrap_or(request.temperature);
    let seed = if temperature > 0.0 {
        Some(settings.seed.unwrap_or_else(|| provider_seed(job.seed, job.sample)))
    } else {
        settings.seed.or((job.sample > 0).then_some(u64::from(job.sample)))
    };
    let sampling = Sampling {
        temperature: Some(temperature),
        seed,
        ..settings.sampling()
    };
    match &request.form {
        Form::Text => ChatRequest::text(request.messages.clone(), sampling),
        Form::Json(schema) => ChatRequest::json(request.messages.clone(), sampling, schema.clone()),
    }
}

/// 31 bits, because some servers take no larger seed.
fn provider_seed(run_seed: u64, sample: u32) -> u64 {
    let mut hash = Sha256::new();
    hash.update(run_seed.to_be_bytes());
    hash.update(sample.to_be_bytes());
    hash.finalize()
        .iter()
        .take(4)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
        >> 1
}

/// Calls the model, and reads its answer for `role`.
pub(crate) async fn call(
    target: &Target,
    role: &dyn RoleAgent,
    ask: &Ask,
    request: &Request,
    chat: &ChatRequest,
    terms: Terms<'_>,
) -> Called {
    let mut cost_meter = CostMeter::default();
    let end = call_until_answered(target, role, ask, request, chat, &terms, &mut cost_meter).await;
    if cost_meter.by_gateway {
        target.answers.priced_by_gateway();
    }
    let told = (
        std::mem::take(&mut cost_meter.revision),
        std::mem::take(&mut cost_meter.fingerprint),
    );
    Called {
        end,
        usage: cost_meter.sum(),
        told,
    }
}

/// Calls the model. In an outage of the provider, as long as nothing is paid, waits for its turn and calls again.
async fn call_until_answered(
    target: &Target,
    role: &dyn RoleAgent,
    ask: &Ask,
    request: &Request,
    chat: &ChatRequest,
    terms: &Terms<'_>,
    cost_meter: &mut CostMeter,
) -> End {
    let circuit = &target.circuit;
    let deadline = circuit.deadline();
    let mut last = None;
    let mut own_failures = 0;
    let mut draining = terms.draining.clone();
    loop {
        // A job whose turn it is calls the model, whatever else has happened; the others wait only in an outage.
        let turn = tokio::select! {
            biased;
            turn = circuit.turn(deadline) => turn,
            _ = draining.wait_for(|ends| *ends) => return End::GivenUp,
            () = terms.models.replaced(target, terms.caller.run, terms.chosen) => return End::GivenUp,
        };
        let Some(turn) = turn else {
            let why = last.unwrap_or_else(|| "no request was sent".to_owned());
            return End::Finished(Err(NotMeasured::new(
                Reason::Unavailable,
                detail(&format!("the provider did not answer in time: {why}")),
            )));
        };
        let paid_before = cost_meter.clone();
        let calling = call_once(
            (target, turn.tries_for_all()),
            role,
            ask,
            request,
            chat,
            terms,
            cost_meter,
        );
        let Some(called) = within(terms.longest, terms.permit, calling).await else {
            *cost_meter = paid_before;
            charge_abandoned(&target.model, chat, terms, cost_meter);
            let seconds = terms.longest.as_secs();
            return End::Finished(Err(NotMeasured::new(
                Reason::Timeout,
                format!("the call took longer than {seconds} s, retries included"),
            )));
        };
        match called {
            Ok(finding) => {
                turn.answered();
                target.answers.note(finding.as_ref().err().map(|why| &why.reason));
                return End::Finished(finding);
            }
            Err(ModelError::Withheld) => return End::Withheld,
            Err(error) if is_outage(&error) => {
                let words = detail(&error.to_string());
                let outage = turn.failed(&words, error.needs_operator());
                // A used up rate is no failure of this job: it is waited for, up to the deadline.
                let pause = rate_pause(&error);
                own_failures += u32::from(!outage && pause.is_none());
                let late = !outage && tokio::time::Instant::now() >= deadline;
                if late || own_failures >= MAX_OWN_FAILURES || !cost_meter.is_empty() {
                    return End::Finished(Err(not_measured(&error)));
                }
                last = Some(words);
                if !outage {
                    tokio::time::sleep(circuit.pause().max(pause.unwrap_or_default())).await;
                }
            }
            Err(error) => {
                // It answered, if only to refuse; or it was slow, which says nothing about the next call.
                turn.answered();
                let why = not_measured(&error);
                target.answers.note(Some(&why.reason));
                return End::Finished(Err(why));
            }
        }
    }
}

/// Longest pause of a job that was refused for the rate and that no outage holds.
const LONGEST_RATE_PAUSE: Duration = Duration::from_secs(300);

/// How long a refusal for the rate asks to wait; none for other errors.
fn rate_pause(error: &ModelError) -> Option<Duration> {
    match error {
        ModelError::RateLimited { retry_after, .. } => Some(retry_after.unwrap_or_default().min(LONGEST_RATE_PAUSE)),
        _ => None,
    }
}

/// Charges every request of an abandoned call that was sent and may have been paid for: which of them were repairs, nobody can say.
fn charge_abandoned(model: &Model, chat: &ChatRequest, terms: &Terms<'_>, cost_meter: &mut CostMeter) {
    let (input, output) = (chat.most_input_tokens(), chat.sampling.max_tokens);
    let maybe_paid = terms.permit.maybe_paid();
    let repairs = match terms.repair {
        Some(_) => maybe_paid.saturating_sub(1),
        None => 0,
    };
    let longer = input + terms.repair.map_or(0, |repair| repair + u64::from(output));
    cost_meter.charge_worst(model, (input, output), maybe_paid - repairs);
    cost_meter.charge_worst(model, (longer, output), repairs);
    cost_meter.count_requests(terms.permit.requests());
}

/// The result of `calling` within `longest`; the time for which it waits for the bus does not count.
async fn within<T>(longest: Duration, permit: &SendPermit<'_>, calling: impl Future<Output = T>) -> Option<T> {
    let (clock, before) = (Instant::now(), permit.waited());
    let mut calling = std::pin::pin!(calling);
    loop {
        let waited = permit.waited().saturating_sub(before);
        let left = longest.saturating_add(waited).saturating_sub(clock.elapsed());
        match tokio::time::timeout(left, &mut calling).await {
            Ok(done) => return Some(done),
            Err(_) if permit.waited().saturating_sub(before) > waited => {}
            Err(_) => return None,
        }
    }
}

/// One call with its repairs. The outer error is the model's, the inner one the role's.
async fn call_once(
    (target, trial): (&Target, bool),
    role: &dyn RoleAgent,
    ask: &Ask,
    request: &Request,
    chat: &ChatRequest,
    terms: &Terms<'_>,
    cost_meter: &mut CostMeter,
) -> Result<Measured<Reply>, ModelError> {
    let once = target.model.once();
    let model = if trial { &once } else { &target.model };
    let output = complete(model, request, chat, terms.max_calls, terms, cost_meter).await?;
    let words = match &output {
        ModelOutput::Text(text) => text.clone(),
        ModelOutput::Json(value) => value.to_string(),
    };
    let invalid_reply = match role.read(ask, output) {
        Ok(reply) => return Ok(Ok(reply)),
        Err(invalid_reply) => invalid_reply,
    };
    let left = terms.max_calls.saturating_sub(cost_meter.calls());
    let InvalidReply {
        why,
        ask_again: Some(complaint),
    } = invalid_reply
    else {
        return Ok(Err(invalid_reply.why));
    };
    if left == 0 || !terms.permit.has_room() {
        return Ok(Err(why));
    }
    let mut again = chat.clone();
    again
        .messages
        .extend([Message::assistant(words), Message::user(complaint)]);
    // The first answer is paid for; a failure of the second leaves the job where the first had left it.
    let output = match complete(model, request, &again, left, terms, cost_meter).await {
        Ok(said) => said,
        Err(ModelError::Withheld) => return Err(ModelError::Withheld),
        Err(error) => {
            tracing::debug!(error = error.kind(), "the follow-up request failed");
            return Ok(Err(why));
        }
    };
    Ok(role.read(ask, output).map_err(|invalid_reply| invalid_reply.why))
}

/// Asks the model for the form that is wanted, within `max_calls` completions.
async fn complete(
    model: &Model,
    request: &Request,
    chat: &ChatRequest,
    max_calls: u32,
    terms: &Terms<'_>,
    cost_meter: &mut CostMeter,
) -> Result<ModelOutput, ModelError> {
    let sent = if terms.hedge { model.clone() } else { model.unhedged() };
    let (asked, caller) = (sent.permitted(terms.permit), terms.caller);
    match &request.form {
        Form::Text => {
            let Outcome { result, attempts } = asked.complete(chat).await;
            cost_meter.requests(model, (chat.most_input_tokens(), chat.sampling.max_tokens), &attempts);
            let paid = result.as_ref().map_or_else(ModelError::paid, Some);
            caller.requests(model, chat, &attempts, paid.map_or(&[], std::slice::from_ref));
            if let Some(completion) = paid {
                cost_meter.completion(model, chat, completion);
            }
            result.map(|completion| ModelOutput::Text(completion.text))
        }
        Form::Json(schema) => {
            let repairs = MAX_REPAIRS.min(max_calls.saturating_sub(1));
            let Structured {
                result,
                completions,
                attempts,
                most_input_tokens,
                ..
            } = structured(&asked, chat.clone(), schema, repairs).await;
            cost_meter.requests(model, (most_input_tokens, chat.sampling.max_tokens), &attempts);
            caller.requests(model, chat, &attempts, &completions);
            for completion in &completions {
                cost_meter.completion(model, chat, completion);
            }
            result.map(ModelOutput::Json)
        }
    }
}

/// A model's failure as a reason of the domain.
fn not_measured(error: &ModelError) -> NotMeasured {
    let reason = match error {
        ModelError::Refused { .. } => Reason::Refused,
        ModelError::Truncated { .. } => Reason::Truncated,
        ModelError::Empty { .. } => Reason::Empty,
        ModelError::Malformed { .. } => Reason::Malformed,
        ModelError::Timeout { .. } => Reason::Timeout,
        ModelError::RateLimited { .. } => Reason::RateLimited,
        ModelError::Unavailable { .. } | ModelError::Withheld => Reason::Unavailable,
        ModelError::TooLarge { .. } => Reason::TooLarge,
        ModelError::Unauthorized { .. }
        | ModelError::OutOfCredit { .. }
        | ModelError::UnknownModel { .. }
        | ModelError::BadRequest { .. }
        | ModelError::Misconfigured { .. } => Reason::Misconfigured,
    };
    NotMeasured::new(reason, detail(&error.to_string()))
}

fn detail(words: &str) -> String {
    words.chars().take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_run_and_sample_and_fit_everywhere() {
        assert_eq!(provider_seed(1, 0), provider_seed(1, 0));
        assert_ne!(provider_seed(1, 0), provider_seed(1, 1));
        assert_ne!(provider_seed(1, 0), provider_seed(2, 0));
        assert!((0..1000).all(|sample| provider_seed(7, sample) <= i32::MAX as u64));
    }
}
