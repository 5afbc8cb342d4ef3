//! What a job cost, added up call by call. A figure that the provider does not give is estimated, and said to be.

use sipdo_llm::{AttemptRecord, ChatRequest, Completion, Model, Paid, Usage};
use sipdo_protocol::pb;

/// The cost of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct CostMeter {
    usage: pb::Usage,
    nano_usd: u64,
    unpriced: bool,
    /// A cost in it is what a gateway says: the operator has set no price.
    pub by_gateway: bool,
    /// The revision that the provider reported last.
    pub revision: String,
    /// The mark of the backend that the provider gave last.
    pub fingerprint: String,
}

impl CostMeter {
    /// Requests that were answered, or may have been paid for without an answer.
    pub fn calls(&self) -> u32 {
        self.usage.calls
    }

    /// Whether anything has, or may have, been paid for.
    pub fn is_empty(&self) -> bool {
        self.usage.calls == 0
    }

    /// Adds a completion that was paid for, whether it was of use or not.
    pub fn completion(&mut self, model: &Model, request: &ChatRequest, completion: &Completion) {
        let Usage {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            ..
        } = completion.usage;
        let estimated = Usage {
            input_tokens: input_tokens.or(Some(request.estimated_input_tokens())),
            output_tokens: output_tokens.or(Some(completion.text.len() as u64 / 4 + 1)),
            ..completion.usage
        };
        let cost = completion
            .cost_nano_usd
            .or_else(|| model.price().and_then(|price| price.cost(&estimated)));
        self.usage.calls += 1;
        self.usage.input_tokens += estimated.input_tokens.unwrap_or(0);
        self.usage.output_tokens += estimated.output_tokens.unwrap_or(0);
        self.usage.cached_tokens += cached_input_tokens.unwrap_or(0);
        self.usage.estimated |= input_tokens.is_none() || output_tokens.is_none();
        self.unpriced |= cost.is_none();
        self.by_gateway |= completion.cost_by_gateway;
        self.nano_usd = self.nano_usd.saturating_add(cost.unwrap_or(0));
        let short = |text: &String| text.chars().take(200).collect();
        if let Some(revision) = completion
            .model_reported
            .as_ref()
            .or(completion.system_fingerprint.as_ref())
        {
            self.revision = short(revision);
        }
        if let Some(fingerprint) = &completion.system_fingerprint {
            self.fingerprint = short(fingerprint);
        }
    }

    /// Adds the requests of a call: all are counted, and those that may have been paid for without an answer are charged at their worst.
    /// `input`: most input tokens of one of them; `output`: most output tokens.
    pub fn requests(&mut self, model: &Model, (input, output): (u64, u32), attempts: &[AttemptRecord]) {
        self.usage.requests += u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        let maybe_paid = attempts.iter().filter(|attempt| attempt.paid == Paid::Unknown).count();
        let maybe_paid = u32::try_from(maybe_paid).unwrap_or(u32::MAX);
        self.charge_worst(model, (input, output), maybe_paid);
    }

    /// Adds `maybe_paid` requests without an answer, each at its worst: the figures of one request, as [`CostMeter::requests`] takes
    /// them.
    pub fn charge_worst(&mut self, model: &Model, (input, output): (u64, u32), maybe_paid: u32) {
        if maybe_paid == 0 {
            return;
        }
        let (output, times) = (u64::from(output), u64::from(maybe_paid));
        let cost = model.price().map(|price| price.worst_case(input, output));
        self.usage.calls += maybe_paid;
        self.usage.input_tokens += input * times;
        self.usage.output_tokens += output * times;
        self.usage.estimated = true;
        self.unpriced |= cost.is_none();
        self.nano_usd = self.nano_usd.saturating_add(cost.unwrap_or(0).saturating_mul(times));
    }

    /// Sets the number of requests that were sent.
    pub fn count_requests(&mut self, requests: u32) {
        self.usage.requests = requests;
    }

    /// The sum.
    pub fn sum(mut self) -> pb::Usage {
        self.usage.nano_usd = (!self.unpriced).then_some(self.nano_usd);
        self.usage
    }
}

/// The cost of a job that bought nothing.
pub(crate) fn nothing() -> pb::Usage {
    pb::Usage {
        nano_usd: Some(0),
        ..pb::Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_llm::{Endpoint, EndpointClient, Finish, Message, ModelSettings, Price, Provider, Sampling};
    use std::time::{Duration, SystemTime};

    fn model(priced: bool) -> Model {
        sipdo_llm::install_crypto_provider();
        let mut endpoint = Endpoint {
            base_url: Some("http://127.0.0.1:1/v1".into()),
            ..Endpoint::new(Provider::Openai)
        };
        if priced {
            let usd = |text: &str| text.parse().unwrap();
            let price = Price {
                input_per_million: usd("1"),
                output_per_million: usd("10"),
                cached_input_per_million: None,
                cache_write_input_per_million: None,
            };
            endpoint.prices.insert("m".into(), price);
        }
        Model::new(
            EndpointClient::new("e", endpoint).unwrap(),
            ModelSettings::new("e", "m"),
        )
        .unwrap()
    }

    fn request() -> ChatRequest {
        let sampling = Sampling {
            temperature: Some(0.0),
            top_p: None,
            max_tokens: 100,
            seed: None,
        };
        ChatRequest::text(vec![Message::user("x".repeat(400))], sampling)
    }

    fn completion(usage: Usage, cost: Option<u64>) -> Completion {
        Completion {
            text: "y".repeat(40),
            finish: Finish::Stop,
            usage,
            cost_nano_usd: cost,
            cost_by_gateway: false,
            model_reported: Some("m-2026".into()),
            response_id: None,
            system_fingerprint: None,
            attempt: 0,
            latency: Duration::ZERO,
            dropped: Vec::new(),
        }
    }

    fn attempt(paid: Paid) -> AttemptRecord {
        let (started, latency) = (SystemTime::UNIX_EPOCH, Duration::ZERO);
        AttemptRecord {
            started,
            latency,
            status: None,
            kind: "timeout",
            retry_after: None,
            paid,
        }
    }

    #[test]
    fn every_completion_is_on_the_bill() {
        let mut cost_meter = CostMeter::default();
        let usage = Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            ..Usage::default()
        };
        cost_meter.completion(&model(true), &request(), &completion(usage, Some(60)));
        cost_meter.completion(&model(true), &request(), &completion(usage, Some(60)));
        cost_meter.requests(
            &model(true),
            (400, 100),
            &[attempt(Paid::No), attempt(Paid::Yes), attempt(Paid::Yes)],
        );
        assert_eq!(cost_meter.revision, "m-2026");
        let sum = cost_meter.sum();
        assert_eq!(
            (sum.calls, sum.input_tokens, sum.output_tokens, sum.requests),
            (2, 20, 10, 3)
        );
        assert_eq!((sum.nano_usd, sum.estimated), (Some(120), false));
    }

    #[test]
    fn what_the_provider_does_not_say_is_estimated_and_said_to_be() {
        let mut cost_meter = CostMeter::default();
        cost_meter.completion(&model(true), &request(), &completion(Usage::default(), None));
        let sum = cost_meter.sum();
        assert!(
            sum.estimated && sum.input_tokens >= 100 && sum.output_tokens == 11,
            "{sum:?}"
        );
        assert_eq!(sum.nano_usd, Some(sum.input_tokens * 1_000 + 11 * 10_000));
    }

    #[test]
    fn an_unknown_price_is_unknown_and_never_nothing() {
        let mut cost_meter = CostMeter::default();
        let usage = Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            ..Usage::default()
        };
        cost_meter.completion(&model(false), &request(), &completion(usage, None));
        assert_eq!(cost_meter.sum().nano_usd, None);
        assert_eq!(CostMeter::default().sum().nano_usd, Some(0));
    }

    #[test]
    fn each_request_without_an_answer_is_a_call_and_is_charged_at_its_worst() {
        let mut cost_meter = CostMeter::default();
        cost_meter.requests(
            &model(true),
            (400, 100),
            &[attempt(Paid::Unknown), attempt(Paid::Unknown), attempt(Paid::No)],
        );
        assert!(!cost_meter.is_empty());
        let usage = Usage {
            input_tokens: Some(10),
            output_tokens: Some(5),
            ..Usage::default()
        };
        cost_meter.completion(&model(true), &request(), &completion(usage, Some(60)));
        let sum = cost_meter.sum();
        assert_eq!(
            (
                sum.calls,
                sum.input_tokens,
                sum.output_tokens,
                sum.requests,
                sum.estimated
            ),
            (3, 810, 205, 3, true)
        );
        assert_eq!(sum.nano_usd, Some(2 * (400 * 1_000 + 100 * 10_000) + 60));
    }
}
