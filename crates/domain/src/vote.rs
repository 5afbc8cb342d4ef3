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
    /// The provider's mark of the backend that answered; empty where it gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Unix time in milliseconds at which a stored answer was bought that was reused; 0 for an answer that its own job bought.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bought_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether the name that a provider reports is that of a dated or numbered revision of the model that was asked for. `llama3:latest`
/// for `llama3` tells nothing.
fn is_dated(reported: &str, asked: &str) -> bool {
    let has_digit = |text: &str| text.bytes().any(|b| b.is_ascii_digit());
    match reported.strip_prefix(asked) {
        Some(rest) => has_digit(rest),
        None => reported
            .as_bytes()
            .windows(4)
            .any(|four| four.iter().all(u8::is_ascii_digit)),
    }
}

/// Fingerprints that name the server's program and not the model behind it, by how they begin: those of Ollama and of llama.cpp's server
/// (`b` and the number of its build).
fn names_the_server(fingerprint: &str) -> bool {
    let build = fingerprint.strip_prefix('b').and_then(|rest| rest.split('-').next());
    fingerprint == "fp_ollama"
        || build.is_some_and(|build| !build.is_empty() && build.bytes().all(|b| b.is_ascii_digit()))
}

impl Provenance {
    /// `endpoint/model`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.endpoint, self.model)
    }

    /// Whether a stored answer was reused.
    pub fn is_reused(&self) -> bool {
        self.bought_ms > 0
    }

    /// Whether the provider told which revision of the model answered: a dated name, or a fingerprint that is not the server's alone.
    /// Where it did not, another model may stand behind the same name tomorrow, and nobody could see it.
    pub fn tells_revision(&self) -> bool {
        let marked = !self.fingerprint.is_empty() && !names_the_server(&self.fingerprint);
        marked || (self.revision != self.fingerprint && is_dated(&self.revision, &self.model))
    }

    /// What tells answers of different models apart: endpoint, model, revision and fingerprint.
    pub fn identity(&self) -> [&str; 4] {
        [&self.endpoint, &self.model, &self.revision, &self.fingerprint]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(model: &str, revision: &str, fingerprint: &str) -> bool {
        let by = Provenance {
            model: model.into(),
            revision: revision.into(),
            fingerprint: fingerprint.into(),
            ..Provenance::default()
        };
        by.tells_revision()
    }

    #[test]
    fn a_revision_is_told_by_a_dated_name_or_a_fingerprint_of_the_model() {
        assert!(told("gpt-4o", "gpt-4o-2024-08-06", ""));
        assert!(told("gemini-flash", "gemini-flash-002", ""));
        assert!(told("chat", "deepseek-chat-20250101", ""));
        assert!(told("gpt-4o", "gpt-4o", "fp_44709d6fcb"));
    }

    #[test]
    fn the_name_that_was_asked_for_and_a_server_s_own_mark_tell_nothing() {
        assert!(!told("qwen", "", ""));
        assert!(!told("qwen", "qwen", ""));
        assert!(!told("llama3", "llama3:latest", "fp_ollama"));
        assert!(!told("qwen", "qwen", "b6123-1d72c8418"));
        // Where the provider names no model, the revision is the fingerprint.
        assert!(!told("qwen", "fp_ollama", "fp_ollama"));
    }
}
