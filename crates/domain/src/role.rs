//! The roles that agents play.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A role that is served by agents with a model. (The coordinator is a role too, but no job is sent to it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes synthetic examples.
    Generator,
    /// Solves synthetic examples blind.
    Checker,
    /// Judges synthetic examples, and answers where the metric is `judge`.
    Verifier,
    /// The model that will use the prompt.
    Learner,
    /// Analyses errors, recommends, refines.
    Optimizer,
}

impl Role {
    /// Every role, in the order in which reports list them.
    pub const ALL: [Role; 5] = [
        Role::Generator,
        Role::Checker,
        Role::Verifier,
        Role::Learner,
        Role::Optimizer,
    ];

    /// The role's name, as in subjects, settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Generator => "generator",
            Role::Checker => "checker",
            Role::Verifier => "verifier",
            Role::Learner => "learner",
            Role::Optimizer => "optimizer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            format!("unknown role `{text}`: use one of generator, checker, verifier, learner, optimizer")
        })
    }
}
