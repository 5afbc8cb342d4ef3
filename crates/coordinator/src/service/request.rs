//! What a request says, read and checked, and a state as people say it.

use crate::refusal::bad_request;
use sipdo_bus::RunId;
use sipdo_domain::{Pool, Role, Task};
use sipdo_protocol::pb;
use std::collections::BTreeSet;
use tonic::Status;

/// Up to what age stored answers of a model that tells no revision are reused, where the user does not say: one hour.
const REUSE_WITHIN_MS: u64 = 3_600_000;

/// Whether two creations ask for the same run, whatever program asked.
pub(super) fn asks_the_same(one: &pb::Created, other: &pb::Created) -> bool {
    let asked = |created: &pb::Created| {
        let options = serde_json::from_str::<serde_json::Value>(&created.options_json).unwrap_or_default();
        (
            created.task_hash.clone(),
            created.strategy.clone(),
            options,
            created.budget,
            created.models.clone(),
        )
    };
    asked(one) == asked(other)
}

/// A state as people say it.
pub(super) fn words(state: pb::State) -> String {
    state
        .as_str_name()
        .trim_start_matches("STATE_")
        .replace('_', " ")
        .to_lowercase()
}

pub(super) fn parse(run: &str) -> Result<RunId, Status> {
    RunId::new(run).map_err(|error| bad_request("RUN_NAME", "run", error.to_string()))
}

pub(super) fn strategy(request: &pb::CreateRunRequest) -> &str {
    if request.strategy.is_empty() {
        "sipdo"
    } else {
        &request.strategy
    }
}

/// The pools that the run will ask.
pub(super) fn pools(forecast: &sipdo_strategies::Forecast, options: &serde_json::Value) -> BTreeSet<Pool> {
    let calls = forecast.expected.iter().chain(&forecast.least);
    let roles: BTreeSet<Role> = calls.filter(|(_, calls)| **calls > 0).map(|(role, _)| *role).collect();
    sipdo_strategies::pools(&roles, options)
}

pub(super) fn options(json: &str) -> Result<serde_json::Value, Status> {
    if json.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_str(json)
        .map_err(|error| bad_request("OPTIONS_INVALID", "options_json", format!("not JSON: {error}")))
}

/// The options with every default of this version filled in.
pub(super) fn resolved(request: &pb::CreateRunRequest) -> Result<String, Status> {
    sipdo_strategies::resolve(strategy(request), &options(&request.options_json)?)
        .map(|options| options.to_string())
        .map_err(|error| bad_request("OPTIONS_INVALID", "options_json", error))
}

/// Which stored answers a run that is created now may reuse.
pub(super) fn reuse(request: &pb::CreateRunRequest, created_ms: u64) -> pb::Reuse {
    let within = request.reuse_within_ms.unwrap_or(REUSE_WITHIN_MS);
    pb::Reuse {
        not_before_ms: if request.fresh { created_ms } else { 0 },
        without_revision_not_before_ms: if request.fresh {
            created_ms
        } else {
            created_ms.saturating_sub(within)
        },
    }
}

/// What the strategy asks at most; 0 where nobody can say.
pub(super) fn most_calls(task: &Task, request: &pb::CreateRunRequest) -> u64 {
    let forecast = options(&request.options_json)
        .ok()
        .and_then(|options| sipdo_strategies::forecast(task, strategy(request), &options));
    forecast.map_or(0, |forecast| {
        forecast.most.values().fold(0, |all, most| all.saturating_add(*most))
    })
}

pub(super) fn position(run: &pb::Summary) -> (u64, String) {
    (run.created_ms, run.run.clone())
}

pub(super) fn page_position(token: &str) -> Result<(u64, String), Status> {
    let parsed = token
        .split_once('.')
        .and_then(|(at, run)| Some((at.parse().ok()?, run.to_owned())));
    parsed.ok_or_else(|| {
        bad_request(
            "PAGE_TOKEN",
            "page_token",
            "use next_page_token of the last response as it is",
        )
    })
}
