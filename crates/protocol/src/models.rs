//! Which model does a job, resolved in one place for agents, coordinators and the command line.
//!
//! Weakest first: what the operator's file gives the agent, the run's own choice, the registry's entry for all runs, the registry's
//! entry for this run. What a layer leaves out stays as the layers below it have it.

use crate::pb::ModelChoice;
use std::collections::BTreeMap;

/// Choices by `role` or `role_pool`; in the registry also by `run.role` and `run.role_pool`.
pub type Choices = BTreeMap<String, ModelChoice>;

/// What these layers come to, the weakest first.
#[must_use]
pub fn resolve<'a>(layers: impl IntoIterator<Item = &'a ModelChoice>) -> ModelChoice {
    layers.into_iter().fold(ModelChoice::default(), |below, layer| {
        let ModelChoice {
            endpoint,
            model,
            temperature,
            max_tokens,
            timeout_seconds,
        } = layer;
        let or = |name: &String, below: String| if name.is_empty() { below } else { name.clone() };
        ModelChoice {
            endpoint: or(endpoint, below.endpoint),
            model: or(model, below.model),
            temperature: temperature.or(below.temperature),
            max_tokens: max_tokens.or(below.max_tokens),
            timeout_seconds: timeout_seconds.or(below.timeout_seconds),
        }
    })
}

/// The registry's keys for a pool, the weakest first: for all runs, then for this one.
#[must_use]
pub fn registry_keys(pool: &str, run: Option<&str>) -> Vec<String> {
    let of_run = run.map(|run| registry_key(pool, Some(run)));
    [pool.to_owned()].into_iter().chain(of_run).collect()
}

/// The registry's key of an entry for a pool, in one run or in all.
#[must_use]
pub fn registry_key(pool: &str, run: Option<&str>) -> String {
    match run {
        None => pool.to_owned(),
        Some(run) => format!("{run}.{pool}"),
    }
}

/// The run and the pool of a registry's key; no run where the entry is for all of them.
#[must_use]
pub fn split_key(key: &str) -> (Option<&str>, &str) {
    key.rsplit_once('.')
        .map_or((None, key), |(run, pool)| (Some(run), pool))
}

/// A run's own choices with the registry's over them, by pool.
#[must_use]
pub fn resolve_all(own: &Choices, registry: &Choices, run: Option<&str>) -> Choices {
    let in_registry = registry.keys().map(|key| split_key(key));
    let named = in_registry.filter(|(of, _)| of.is_none() || *of == run);
    let pools = own.keys().map(String::as_str).chain(named.map(|(_, pool)| pool));
    pools
        .map(|pool| {
            let keys = registry_keys(pool, run);
            let entries = keys.iter().filter_map(|key| registry.get(key));
            (pool.to_owned(), resolve(own.get(pool).into_iter().chain(entries)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(model: &str, max_tokens: Option<u32>) -> ModelChoice {
        ModelChoice {
            model: model.into(),
            max_tokens,
            ..ModelChoice::default()
        }
    }

    #[test]
    fn what_a_layer_leaves_out_stays_as_it_is_below() {
        let below = ModelChoice {
            endpoint: "cloud".into(),
            temperature: Some(0.5),
            timeout_seconds: Some(9),
            ..choice("small", Some(100))
        };
        let resolved = resolve([&below, &choice("large", None), &choice("", Some(7))]);
        let expected = ModelChoice {
            model: "large".into(),
            max_tokens: Some(7),
            ..below.clone()
        };
        assert_eq!(resolved, expected);
        assert_eq!(resolve([&below]), below);
        assert_eq!(resolve([]), ModelChoice::default());
    }

    #[test]
    fn the_registry_goes_before_the_run_and_its_entry_for_the_run_before_that_for_all() {
        let given = |choices: &[(&str, u32)]| -> Choices {
            let one = |(key, most): &(&str, u32)| ((*key).to_owned(), choice("", Some(*most)));
            choices.iter().map(one).collect()
        };
        let own = given(&[("verifier", 1), ("learner", 2)]);
        let registry = given(&[
            ("verifier", 10),
            ("r1.verifier", 20),
            ("r2.verifier", 30),
            ("r2.optimizer", 5),
            ("checker_a", 40),
        ]);
        let resolved = |run| -> Vec<(String, u32)> {
            let all = resolve_all(&own, &registry, run).into_iter();
            all.map(|(pool, choice)| (pool, choice.max_tokens.unwrap_or(0)))
                .collect()
        };
        let is = |pool: &str, most| (pool.to_owned(), most);
        assert_eq!(
            resolved(Some("r1")),
            [is("checker_a", 40), is("learner", 2), is("verifier", 20)]
        );
        assert_eq!(
            resolved(None),
            [is("checker_a", 40), is("learner", 2), is("verifier", 10)]
        );
    }
}
