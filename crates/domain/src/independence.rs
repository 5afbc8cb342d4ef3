//! Do those who judge each other's work use different models? What one model gets wrong it also takes for right.

use crate::{pool::Pool, role::Role};
use std::collections::{BTreeMap, BTreeSet};

/// Models, as `endpoint/model`, and the pools that share each although they judge one another: generator, checkers and verifier,
/// who vote on the same example; and, where the verifier is also the judge of answers (`judged`), optimizer and verifier.
pub fn shared(models: &BTreeMap<Pool, BTreeSet<String>>, judged: bool) -> BTreeMap<String, BTreeSet<Pool>> {
    let votes = |pool: &Pool| matches!(pool.role, Role::Generator | Role::Checker | Role::Verifier);
    let pair = |one: &Pool, other: &Pool| {
        let grading = (one.role, other.role) == (Role::Verifier, Role::Optimizer);
        (votes(one) && votes(other)) || (judged && grading)
    };
    let mut shared: BTreeMap<String, BTreeSet<Pool>> = BTreeMap::new();
    for (at, (one, ones)) in models.iter().enumerate() {
        // Roles come in their order, so that the verifier stands before the optimizer.
        for (other, others) in models.iter().skip(at + 1).filter(|(other, _)| pair(one, other)) {
            for label in ones.intersection(others) {
                let sharing = shared.entry(label.clone()).or_default();
                sharing.extend([one.clone(), other.clone()]);
            }
        }
    }
    shared
}

/// Says it to the user. A strategy says it so of the votes that it got: in the same words it is said once.
pub fn sentence(label: &str, pools: &BTreeSet<Pool>) -> String {
    let names: Vec<String> = pools.iter().map(Pool::to_string).collect();
    let names = match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    };
    if pools.iter().any(|pool| pool.role == Role::Optimizer) {
        return format!("{names} use the same model, {label}: it judges what it has written");
    }
    format!("{names} vote with the same model, {label}: they may share its errors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn using(models: &[(&str, &[&str])]) -> BTreeMap<Pool, BTreeSet<String>> {
        let labels = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        models
            .iter()
            .map(|(pool, models)| (pool.parse().unwrap(), labels(models)))
            .collect()
    }

    fn told(models: &[(&str, &[&str])], judged: bool) -> Vec<String> {
        let shared = shared(&using(models), judged);
        shared.iter().map(|(label, pools)| sentence(label, pools)).collect()
    }

    #[test]
    fn voters_that_share_a_model_are_named_together() {
        let lines = told(
            &[
                ("generator", &["c/big"]),
                ("checker_a", &["c/big"]),
                ("checker_b", &["c/other"]),
                ("verifier", &["c/big", "c/other"]),
                ("learner", &["c/big"]),
                ("optimizer", &["c/big"]),
            ],
            false,
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("generator, checker_a and verifier vote with the same model, c/big"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("checker_b and verifier vote with the same model, c/other"),
            "{lines:?}"
        );
    }

    #[test]
    fn the_optimizer_must_differ_only_from_a_judge_of_answers() {
        let models: &[(&str, &[&str])] = &[("verifier", &["c/m"]), ("optimizer", &["c/m"]), ("learner", &["c/m"])];
        assert!(told(models, false).is_empty());
        let lines = told(models, true);
        assert!(
            lines.len() == 1 && lines[0].starts_with("verifier and optimizer use"),
            "{lines:?}"
        );
    }
}
