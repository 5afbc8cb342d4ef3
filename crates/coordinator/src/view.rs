//! What the API shows of a run's state.

use crate::run_state::{
    RunState,
    usage::{ModelUsage, RoleUsage},
};
use sipdo_protocol::pb;
use std::collections::BTreeMap;

/// A run, whole.
pub fn run(state: &RunState) -> pb::Run {
    let created = state.created.clone().unwrap_or_default();
    let prompts = match &state.outcome {
        Some(outcome) => outcome.prompts.clone(),
        None => state.prompts.values().cloned().collect(),
    };
    let usage = state.usage_by_role.iter();
    let model_use = usage.map(|(role, usage)| (role.name().to_owned(), role_usage(usage)));
    let mut warnings = state.warnings.clone();
    if let Some(outcome) = &state.outcome {
        for warning in &outcome.warnings {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
    }
    warnings.extend(beyond_forecast(created.most_calls, state.ledger.spent().calls));
    pb::Run {
        summary: Some(state.summary.clone()),
        options_json: created.options_json,
        models: created.models,
        prompts,
        outcome: state.outcome.clone(),
        failure: state.failure.clone(),
        warnings,
        model_use: model_use.collect(),
        not_measured_by_reason: state.not_measured.clone(),
        // They lie outside the run's stream.
        dead_letters: Vec::new(),
        dead_letters_total: 0,
    }
}

/// What a run is told that has spent more calls than its strategy asks at most; 0 is not known.
fn beyond_forecast(most: u64, spent: u64) -> Option<String> {
    let beyond = most > 0 && spent > most;
    beyond.then(|| {
        format!(
            "the run has spent {spent} calls; its forecast was {most} at most, without format repairs, repeated requests and lost attempts"
        )
    })
}

/// Where a run stands.
pub fn progress(state: &RunState) -> pb::Progress {
    let mut by_role: BTreeMap<String, u32> = BTreeMap::new();
    for open in state.open.values() {
        *by_role.entry(open.role.name().to_owned()).or_default() += 1;
    }
    pb::Progress {
        summary: Some(state.summary.clone()),
        in_flight: u32::try_from(state.open.len()).unwrap_or(u32::MAX),
        reserved: Some(state.ledger.reserved().into()),
        in_flight_by_role: by_role,
    }
}

fn role_usage(usage: &RoleUsage) -> pb::RoleUsage {
    let times = sorted(usage.by_model.iter().flat_map(|usage| &usage.model_ms));
    pb::RoleUsage {
        models: usage.models.clone(),
        jobs: usage.jobs,
        p50_ms: percentile(&times, 50),
        p95_ms: percentile(&times, 95),
        stints: usage.by_model.iter().map(model_usage).collect(),
    }
}

fn model_usage(usage: &ModelUsage) -> pb::ModelUsage {
    let times = sorted(&usage.model_ms);
    pb::ModelUsage {
        p50_ms: percentile(&times, 50),
        p95_ms: percentile(&times, 95),
        ..usage.counts.clone()
    }
}

fn sorted<'a>(times: impl IntoIterator<Item = &'a u32>) -> Vec<u32> {
    let mut times: Vec<u32> = times.into_iter().copied().collect();
    times.sort_unstable();
    times
}

/// Nearest-rank percentile of sorted values; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_beyond_its_forecast_is_told_of_it_while_it_goes() {
        let mut state = RunState::new("r1");
        let created = |most_calls| {
            Some(pb::Created {
                most_calls,
                ..pb::Created::default()
            })
        };
        let two = sipdo_domain::Amount {
            calls: 2,
            ..sipdo_domain::Amount::default()
        };
        state.ledger.force("job", two);
        state.ledger.settle("job", sipdo_domain::Role::Learner, two);
        for (most, told) in [(0, false), (2, false), (1, true)] {
            state.created = created(most);
            let warnings = run(&state).warnings;
            assert_eq!(!warnings.is_empty(), told, "{most}: {warnings:?}");
        }
        assert!(run(&state).warnings[0].contains("2 calls; its forecast was 1 at most"));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[7], 95), 7);
        assert_eq!(percentile(&[1, 2, 3, 4], 50), 2);
        assert_eq!(percentile(&(1..=100).collect::<Vec<_>>(), 95), 95);
    }
}
