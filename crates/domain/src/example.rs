//! Examples: the user's labelled ones, and the synthetic ones that a run writes.

use crate::vote::{Decision, Vote};
use serde::{Deserialize, Serialize};

/// An input and its target, labelled by the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Names the example in reports: `train-12`, `test-3`, `synthetic-4`.
    pub id: String,
    /// What the learner is given.
    pub input: String,
    /// The gold answer.
    pub target: String,
    /// Other targets that are right too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl Example {
    /// Every target that counts as right, the gold answer first.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.target.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// An example written by the generator, with the votes that accepted or rejected it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyntheticExample {
    /// Input, claimed target and id (`synthetic-<n>`).
    pub example: Example,
    /// Difficulty, from 1.
    pub level: u32,
    /// The generator's own reasoning.
    pub rationale: String,
    /// Every vote, in the order asked.
    pub votes: Vec<Vote>,
    /// What the votes (or a gate) came to.
    pub decision: Decision,
    /// The prompt version that it was aimed at.
    pub prompt_version: u32,
    /// Set aside after it outlived its repairs: counts for nothing from then on.
    pub quarantined: bool,
}
