//! Votes on synthetic examples, and the rule that turns them into a decision.

use crate::{measured::NotMeasured, role::Role};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which agent and model produced a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// Endpoint name, from the operator's configuration.
    pub endpoint: String,
    /// Model name as asked for.
    pub model: String,
    /// Model or system revision as reported by the provider; empty where it reports none.
    pub revision: String,
    /// Id of the agent's process.
    pub agent: String,
}

impl Provenance {
    /// `endpoint/model`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.endpoint, self.model)
    }
}

/// A value and who produced it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// The value.
    pub value: T,
    /// Who produced it.
    pub by: Provenance,
}

/// Who votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voter {
    /// Votes for the label it claims.
    Generator,
    /// Solved the question blind; the number tells several checkers apart, from 0.
    Checker(u32),
    /// Saw question, claim and the checker's working.
    Verifier,
    /// A task-supplied program: can only veto.
    Program,
}

/// One voter's opinion on a synthetic example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub voter: Voter,
    /// The voter's own answer to the question; empty for a program.
    pub answer: String,
    /// `Ok(true)` supports the claimed label, `Ok(false)` opposes it.
    pub supports: Result<bool, NotMeasured>,
    /// Why, in the voter's words.
    pub reason: String,
    /// The model behind the vote.
    pub by: Provenance,
}

/// The rule that turns votes into a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Every voter supports the label (SIPDO section 4.2).
    #[default]
    Unanimous,
    /// More than half of the voters support it.
    Majority,
}

/// What the votes, or a gate before them, came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Counts from now on.
    Accepted,
    /// Refused, by `gate` (schema, length, labels, duplicate, leak, ...) or `votes`.
    Rejected {
        /// Which gate, or `votes`.
        by: String,
        /// Why.
        reason: String,
    },
    /// A vote could not be had, so that neither yes nor no can be said.
    SetAside {
        /// Which votes were missing, and why.
        reason: String,
    },
}

/// A warning for each model that several voters share: such voters share its errors. `models` holds the labels, `endpoint/model`,
/// that each voter votes with.
pub fn shared_models(models: &[(Role, BTreeSet<String>)]) -> Vec<String> {
    let mut sharing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (role, labels) in models {
        for label in labels {
            sharing.entry(label).or_default().push(role.name());
        }
    }
    let warning = |(label, roles): (&str, Vec<&str>)| {
        let (last, others) = roles.split_last().filter(|(_, others)| !others.is_empty())?;
        Some(format!(
            "{} and {last} vote with the same model, {label}: they may share its errors",
            others.join(", ")
        ))
    };
    sharing.into_iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(role: Role, labels: &[&str]) -> (Role, BTreeSet<String>) {
        (role, labels.iter().map(|label| (*label).to_owned()).collect())
    }

    #[test]
    fn voters_that_share_a_model_are_one_warning() {
        let all = ["a/x"].as_slice();
        let three = [
            voter(Role::Generator, all),
            voter(Role::Checker, all),
            voter(Role::Verifier, all),
        ];
        assert_eq!(
            shared_models(&three),
            ["generator, checker and verifier vote with the same model, a/x: they may share its errors"]
        );
        let two = [
            voter(Role::Generator, &["a/x"]),
            voter(Role::Checker, &["a/y", "a/z"]),
            voter(Role::Verifier, &["a/z"]),
        ];
        assert_eq!(
            shared_models(&two),
            ["checker and verifier vote with the same model, a/z: they may share its errors"]
        );
        assert!(shared_models(&[voter(Role::Generator, all), voter(Role::Checker, &["a/y"])]).is_empty());
    }
}
