//! Trying a model before an operator sets it: only agents have endpoints and keys, so one of them tries.

use crate::context::Context;
use crate::models::Target;
use bytes::Bytes;
use prost::Message as _;
use sipdo_llm::{Probe, Spend};
use sipdo_protocol::pb;
use std::time::{Duration, Instant};

/// Longer than that nobody waits for a trial.
const LIMIT: Duration = Duration::from_secs(40);

/// Tries the model that a [`pb::Probe`] names and says what came of it, as a [`pb::Probed`].
pub(crate) async fn try_model(context: &Context, asked: Bytes) -> Bytes {
    let mut probed = match pb::Probe::decode(asked) {
        Ok(asked) => probed_by(context, &asked).await,
        Err(error) => failed(format!("the request cannot be read: {error}")),
    };
    probed.agent = context.publisher.id.to_string();
    tracing::info!(
        works = probed.works,
        endpoint = probed.endpoint,
        model = probed.model,
        "a model was tried"
    );
    probed.encode_to_vec().into()
}

async fn probed_by(context: &Context, asked: &pb::Probe) -> pb::Probed {
    let run = Some(asked.run.as_str()).filter(|run| !run.is_empty());
    let choice = asked.choice.clone().unwrap_or_default();
    let target = match context.models.trial(run, &choice) {
        Ok(target) => target,
        Err(why) => return failed(why.detail),
    };
    let clock = Instant::now();
    let tried = tokio::time::timeout(LIMIT, target.model.probe(Spend::OneCompletion)).await;
    let mut probed = match tried {
        Ok(Ok(probe)) => works(&target, &probe),
        Ok(Err(error)) => pb::Probed {
            refused: error.needs_operator(),
            ..failed(error.to_string())
        },
        Err(_) => failed(format!("no answer within {} s", LIMIT.as_secs())),
    };
    probed.endpoint.clone_from(&target.settings().endpoint);
    probed.model.clone_from(&target.settings().model);
    probed.took_ms = u32::try_from(clock.elapsed().as_millis()).unwrap_or(u32::MAX);
    probed
}

fn works(target: &Target, probe: &Probe) -> pb::Probed {
    let model = &target.settings().model;
    let words = match (&probe.completion, probe.listed) {
        (Some(_), _) => format!("the endpoint does not list {model}, but the model answers"),
        (None, Some(true)) => format!("the endpoint lists {model}"),
        (None, _) => "the endpoint answers".to_owned(),
    };
    pb::Probed {
        works: true,
        words,
        calls: u32::from(probe.completion.is_some()),
        ..pb::Probed::default()
    }
}

fn failed(words: String) -> pb::Probed {
    pb::Probed {
        words,
        ..pb::Probed::default()
    }
}
