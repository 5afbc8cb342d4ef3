//! Votes on synthetic examples, and the rule that turns them into a decision.

use crate::measured::NotMeasured;
use serde::{Deserialize, Serialize};

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
