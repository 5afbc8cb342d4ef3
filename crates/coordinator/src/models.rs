//! The model registry over the API: set, list, show history, probe a choice; and whether judges are independent.
//!
//! A choice names an endpoint; what the name means, and the key, only agents know. So an agent tries it.

mod layers;

use crate::{
    context::{Context, PATIENT_CALL, ROLL_CALL, roll_call},
    refusal::{bad_request, internal, not_found, precondition, unavailable},
    roster::{Roster, nobody, price_unknown},
    run_state::{created, is_end},
};
use layers::ModelOverrides;
use prost::Message as _;
use sipdo_bus::{AgentId, RunId};
use sipdo_domain::{Pool, Role};
use sipdo_protocol::{
    models::{Choices, registry_key, split_key},
    pb,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};
use tonic::Status;

/// How long an agent may take to try a model.
const TRIAL: Duration = Duration::from_secs(60);
/// Longest name of a model, in characters.
const LONGEST_MODEL: usize = 200;
/// Longest name of who changed an entry, in characters.
const LONGEST_BY: usize = 100;

/// Whose model is meant.
struct Place {
    pool: Pool,
    run: Option<RunId>,
}

impl Place {
    fn read(role: &str, run: &str) -> Result<Self, Status> {
        Ok(Place {
            pool: role
                .parse()
                .map_err(|error: String| bad_request("ROLE_UNKNOWN", "role", error))?,
            run: match run {
                "" => None,
                run => Some(RunId::new(run).map_err(|error| bad_request("RUN_NAME", "run", error.to_string()))?),
            },
        })
    }

    fn key(&self) -> String {
        registry_key(&self.pool.to_string(), self.run.as_ref().map(RunId::as_str))
    }

    /// The run's own choices; an error where there is no such run.
    async fn own(&self, context: &Context) -> Result<Choices, Status> {
        let Some(run) = &self.run else {
            return Ok(Choices::new());
        };
        let first = context.bus.first_log(run).await.map_err(unavailable)?;
        let first = first.ok_or_else(|| not_found("run", run.as_str()))?;
        let entry = pb::Entry::decode(first.payload).map_err(internal)?;
        Ok(created(entry).map(|created| created.models).unwrap_or_default())
    }
}

/// Who answers now, and who answered the last roll call: an agent that is slow for a moment is still there.
pub async fn present(context: &Context) -> Result<Roster, Status> {
    let statuses = roll_call(&context.bus, ROLL_CALL).await.map_err(unavailable)?;
    Ok(Roster::new(statuses).with(&context.roster()))
}

/// As [`present`], and where nobody of one of these pools answered, the roll is called once more, with patience: nothing is said for
/// or against a run by agents that are not heard.
pub async fn present_of(context: &Context, pools: &BTreeSet<Pool>) -> Result<Roster, Status> {
    let roster = present(context).await?;
    if pools.iter().all(|pool| !roster.of(pool).is_empty()) {
        return Ok(roster);
    }
    let statuses = roll_call(&context.bus, PATIENT_CALL).await.map_err(unavailable)?;
    Ok(Roster::new(statuses).with(&roster))
}

/// Sets or removes an entry.
pub async fn set(context: &Context, request: pb::SetModelRequest) -> Result<pb::SetModelResponse, Status> {
    let place = Place::read(&request.role, &request.run)?;
    let own = place.own(context).await?;
    let mut registry = list(context).await?;
    if request.choice.is_none() && !registry.contains_key(&place.key()) {
        // Nothing changes, so there is nothing to remember.
        return Ok(pb::SetModelResponse::default());
    }
    let roster = present(context).await?;
    let mut warnings = Vec::new();
    if let Some(choice) = &request.choice {
        check_choice("choice", choice)?;
        let capped = match &place.run {
            Some(run) => still_asks(context, run).await?,
            None => false,
        };
        check_endpoint(&roster, &place.pool, "choice.endpoint", &choice.endpoint)?;
        warnings.extend(warning(&roster, &place.pool, &choice.endpoint));
        registry.insert(place.key(), choice.clone());
        let layers = ModelOverrides {
            roster: &roster,
            registry: &registry,
            own: &own,
            run: place.run.as_ref().map(RunId::as_str),
        };
        if let Some(model) = layers.unpriced(&place.pool).first() {
            if capped {
                return Err(precondition("PRICE_UNKNOWN", price_unknown(model)));
            }
            warnings.push(format!(
                "the price of {model} is unknown: what it costs is not counted, and a run with a cap in USD waits until it is known"
            ));
        }
    }
    let by: String = sipdo_domain::fence::clean(&request.by)
        .chars()
        .take(LONGEST_BY)
        .collect();
    let value = request.choice.as_ref().map(|choice| choice.encode_to_vec().into());
    let models = context.bus.models();
    models.change(&place.key(), value, &by).await.map_err(unavailable)?;
    tracing::info!(key = place.key(), by, "the model registry was changed");
    if request.choice.is_some() {
        let voters = roster
            .pools()
            .filter(|pool| pool.role != Role::Learner)
            .cloned()
            .collect();
        let layers = ModelOverrides {
            roster: &roster,
            registry: &registry,
            own: &own,
            run: place.run.as_ref().map(RunId::as_str),
        };
        warnings.extend(layers.shared(&voters, false, Some(&place.pool)));
    }
    Ok(pb::SetModelResponse { warnings })
}

/// Whether a run has a cap in USD now; an error where it will never ask anybody again.
async fn still_asks(context: &Context, run: &RunId) -> Result<bool, Status> {
    let followed = context.runs.open(run).await.map_err(unavailable)?;
    let followed = followed.ok_or_else(|| not_found("run", run.as_str()))?;
    let (state, capped) = followed.read(|view| {
        let state = &view.state;
        (state.state(), state.ledger.cap().nano_usd.is_some())
    });
    // With more budget it would go on.
    if is_end(state) && state != pb::State::BudgetExhausted {
        let why = format!("run {run} has ended and asks no model any more");
        return Err(precondition("RUN_ENDED", why));
    }
    Ok(capped)
}

/// Removes what is set for a run that is deleted.
pub async fn forget(context: &Context, run: &RunId) -> Result<(), Status> {
    let models = context.bus.models();
    for key in list(context).await?.into_keys() {
        if split_key(&key).0 == Some(run.as_str()) {
            let removed = models.change(&key, None, "sipdo runs delete").await;
            removed.map_err(unavailable)?;
        }
    }
    Ok(())
}

/// The registry as it stands.
pub async fn list(context: &Context) -> Result<Choices, Status> {
    let entries = context.bus.models().list().await.map_err(unavailable)?;
    Ok(entries
        .into_iter()
        .filter_map(|(key, entry)| Some((key, pb::ModelChoice::decode(entry.value).ok()?)))
        .collect())
}

/// What the registry held, oldest first.
pub async fn history(
    context: &Context,
    request: &pb::ListModelHistoryRequest,
) -> Result<pb::ListModelHistoryResponse, Status> {
    let mut before: BTreeMap<String, pb::ModelChoice> = BTreeMap::new();
    let mut changes = Vec::new();
    for change in context.bus.models().history().await.map_err(unavailable)? {
        let new = change.value.and_then(|value| pb::ModelChoice::decode(value).ok());
        let old = match &new {
            Some(new) => before.insert(change.key.clone(), new.clone()),
            None => before.remove(&change.key),
        };
        let (run, role) = split_key(&change.key);
        let wanted = |asked: &str, is: &str| asked.is_empty() || asked == is;
        if wanted(&request.role, role) && wanted(&request.run, run.unwrap_or_default()) {
            let since = change.time.duration_since(UNIX_EPOCH).unwrap_or_default();
            changes.push(pb::ModelChange {
                key: change.key,
                by: change.by,
                at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                old,
                new,
            });
        }
    }
    Ok(pb::ListModelHistoryResponse { changes })
}

/// Has an agent of the pool try a choice.
pub async fn probe(context: &Context, request: pb::ProbeModelRequest) -> Result<pb::ProbeModelResponse, Status> {
    let place = Place::read(&request.role, &request.run)?;
    place.own(context).await?;
    let choice = request.choice.unwrap_or_default();
    check_choice("choice", &choice)?;
    let roster = present(context).await?;
    check_endpoint(&roster, &place.pool, "choice.endpoint", &choice.endpoint)?;
    let knows = |status: &&pb::AgentStatus| choice.endpoint.is_empty() || status.endpoints.contains(&choice.endpoint);
    let Some(status) = roster.of(&place.pool).iter().find(knows) else {
        return Err(precondition("NO_AGENT", nobody(&place.pool)));
    };
    let agent = AgentId::new(&status.agent).map_err(internal)?;
    let asked = pb::Probe {
        choice: Some(choice),
        run: request.run,
    };
    let answer = context.bus.probe(&agent, asked.encode_to_vec().into(), TRIAL).await;
    let Some(answer) = answer.map_err(unavailable)? else {
        let why = format!("{agent} did not report a result: it has ended, or its version is too old");
        return Err(precondition("NO_AGENT", why));
    };
    let probed = pb::Probed::decode(answer).map_err(internal)?;
    Ok(pb::ProbeModelResponse { probed: Some(probed) })
}

/// Checks a choice without asking an agent.
pub fn check_choice(field: &str, choice: &pb::ModelChoice) -> Result<(), Status> {
    let wrong = |part: &str, problem: &str| Err(bad_request("CHOICE_INVALID", &format!("{field}.{part}"), problem));
    if *choice == pb::ModelChoice::default() {
        return Err(bad_request(
            "CHOICE_EMPTY",
            field,
            "the choice is empty; leave it out to remove an entry",
        ));
    }
    let plain = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !plain(&choice.model) || choice.model.chars().count() > LONGEST_MODEL {
        return wrong("model", "must have no blanks and at most 200 characters");
    }
    if choice.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return wrong("temperature", "must be between 0 and 2");
    }
    if choice.max_tokens == Some(0) {
        return wrong("max_tokens", "must be at least 1");
    }
    if choice
        .timeout_seconds
        .is_some_and(|seconds| !(1..=3600).contains(&seconds))
    {
        return wrong("timeout_seconds", "must be between 1 and 3600");
    }
    Ok(())
}

/// An endpoint name that no agent of the pool knows would only fail later.
pub fn check_endpoint(roster: &Roster, pool: &Pool, field: &str, endpoint: &str) -> Result<(), Status> {
    let statuses = roster.of(pool);
    let known: BTreeSet<&str> = statuses
        .iter()
        .flat_map(|status| status.endpoints.iter().map(String::as_str))
        .collect();
    if endpoint.is_empty() || statuses.is_empty() || known.contains(endpoint) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let endpoint: String = sipdo_domain::fence::clean(endpoint).chars().take(64).collect();
    let why = format!("no {pool} knows `{endpoint}`; they know {known}");
    Err(bad_request("ENDPOINT_UNKNOWN", field, why))
}

/// A warning about an endpoint that may still work.
fn warning(roster: &Roster, pool: &Pool, endpoint: &str) -> Option<String> {
    let statuses = roster.of(pool);
    if statuses.is_empty() {
        return Some(format!("{}; whether it can use this is not known", nobody(pool)));
    }
    let lacks =
        |status: &&pb::AgentStatus| !endpoint.is_empty() && !status.endpoints.iter().any(|name| name == endpoint);
    let without: Vec<&str> = statuses
        .iter()
        .filter(lacks)
        .map(|status| status.agent.as_str())
        .collect();
    (!without.is_empty()).then(|| {
        let names = without.join(", ");
        format!("{names} does not know the endpoint `{endpoint}`: its jobs will not be measured")
    })
}

/// Checks what a new run wants of models: endpoint names, and whether its judges are independent. Gives what is doubtful.
pub async fn check_run(
    context: &Context,
    roster: &Roster,
    request: &pb::CreateRunRequest,
    pools: &BTreeSet<Pool>,
    judged: bool,
) -> Result<Vec<String>, Status> {
    let own = &request.models;
    for (name, choice) in own {
        let pool: Pool = name
            .parse()
            .map_err(|error: String| bad_request("ROLE_UNKNOWN", "models", error))?;
        check_choice(&format!("models.{pool}"), choice)?;
    }
    let registry = list(context).await?;
    let layers = ModelOverrides {
        roster,
        registry: &registry,
        own,
        run: None,
    };
    let shared = layers.shared(pools, judged, None);
    if request.require_independent {
        if let Some(first) = shared.first() {
            return Err(precondition("NOT_INDEPENDENT", first.clone()));
        }
        if let Some(pool) = pools.iter().find(|pool| roster.of(pool).is_empty()) {
            let why = format!(
                "{}; whether the judges are independent cannot be known before",
                nobody(pool)
            );
            return Err(precondition("NOT_INDEPENDENT", why));
        }
    }
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use layers::tests::status;

    #[test]
    fn a_choice_that_cannot_work_is_refused() {
        let roster = Roster::new(vec![status("checker", "m")]);
        let check = |pool: &str, endpoint| check_endpoint(&roster, &pool.parse().unwrap(), "f", endpoint);
        assert!(check("checker", "").is_ok() && check("checker", "local").is_ok());
        let why = check("checker", "clod").unwrap_err();
        assert!(why.message().contains("`clod`; they know cloud, local"), "{why}");
        assert!(check("checker_a", "clod").is_ok(), "nobody is there to ask");
        assert!(
            warning(&roster, &"checker_a".parse().unwrap(), "")
                .unwrap()
                .contains("--pool a")
        );
        let good = pb::ModelChoice {
            model: "m".into(),
            ..Default::default()
        };
        assert!(check_choice("c", &good).is_ok());
        for bad in [
            pb::ModelChoice::default(),
            pb::ModelChoice {
                temperature: Some(2.1),
                ..good.clone()
            },
            pb::ModelChoice {
                temperature: Some(f64::NAN),
                ..good.clone()
            },
            pb::ModelChoice {
                max_tokens: Some(0),
                ..good.clone()
            },
            pb::ModelChoice {
                timeout_seconds: Some(0),
                ..good.clone()
            },
            pb::ModelChoice {
                model: "two words".into(),
                ..good.clone()
            },
        ] {
            assert!(check_choice("c", &bad).is_err(), "{bad:?}");
        }
    }
}
