//! Prompts and their lineage.

use crate::vote::Provenance;
use serde::{Deserialize, Serialize};

/// The place in a prompt where the input goes, if the prompt has one.
pub const PLACEHOLDER: &str = "{input}";

/// One version of the text being optimized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// 0 is the seed prompt; every candidate, accepted or not, has a number of its own.
    pub version: u32,
    /// The version it was written from.
    pub parent: Option<u32>,
    /// Sent to the learner verbatim.
    pub text: String,
    /// Why it was written: the recommendation, in short.
    pub reason: String,
    /// Level at which it was written; 0 for the seed.
    pub level: u32,
    /// Accepted, or why not.
    pub standing: Standing,
    /// The model that wrote the text; none where a person did, or where the log of an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<Provenance>,
}

/// What became of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// The user's own.
    Seed,
    /// Fixed the errors that it was written for and broke nothing.
    Accepted {
        /// Ids of the examples that it fixed.
        fixed: Vec<String>,
    },
    /// Kept, never used.
    Rejected {
        /// `guard`, `local` (did not fix the errors) or `global` (broke something).
        stage: String,
        /// Why, in words.
        reason: String,
        /// Ids of the examples that it failed or broke.
        broke: Vec<String>,
    },
}

impl Prompt {
    /// The user's own prompt, version 0.
    pub fn seed(text: impl Into<String>) -> Self {
        Prompt {
            version: 0,
            parent: None,
            text: text.into(),
            reason: "seed prompt".into(),
            level: 0,
            standing: Standing::Seed,
            written_by: None,
        }
    }

    /// Whether the run stood on this prompt at some time.
    pub fn was_current(&self) -> bool {
        !matches!(self.standing, Standing::Rejected { .. })
    }
}

/// How a prompt and an input become messages: `(system, user)`.
///
/// With a placeholder the input takes its place and all of it is the user's message; without one the prompt is the system
/// message and the input the user's.
pub fn messages(prompt: &str, input: &str) -> (Option<String>, String) {
    if prompt.contains(PLACEHOLDER) {
        (None, prompt.replacen(PLACEHOLDER, input, 1))
    } else if prompt.trim().is_empty() {
        (None, input.to_owned())
    } else {
        (Some(prompt.to_owned()), input.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_takes_the_place_of_the_placeholder_once() {
        let (system, user) = messages("Q: {input}\nA:", "is {input} safe?");
        assert_eq!(system, None);
        assert_eq!(user, "Q: is {input} safe?\nA:");
    }

    #[test]
    fn without_a_placeholder_the_prompt_is_the_system_message() {
        assert_eq!(messages("Be brief.", "2+2?"), (Some("Be brief.".into()), "2+2?".into()));
        assert_eq!(messages("  ", "2+2?"), (None, "2+2?".into()));
    }
}
