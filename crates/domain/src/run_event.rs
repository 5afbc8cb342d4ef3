//! The story of a run as its strategy tells it: recorded once in the journal, shown live, and enough to explain every prompt.

use crate::{
    example::SyntheticExample,
    measured::{Mark, Score},
    outcome::{Arm, Correction},
    prompt::Prompt,
};
use serde::{Deserialize, Serialize};

/// One thing told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// A prompt was tried on a whole set.
    Scored {
        /// `train`, `test`, or `history` (train and synthetic examples together).
        set: String,
        /// The prompt: `seed`, `zero-shot-cot`, `final`, or a version.
        arm: String,
        /// The result.
        score: Score,
    },
    /// A level began.
    LevelBegun {
        /// From 1.
        level: u32,
        /// The last level.
        of: u32,
        /// The label drawn for it, where labels are closed.
        target: Option<String>,
    },
    /// A synthetic example was accepted, refused, or set aside; with its votes.
    ExampleJudged {
        /// The example.
        example: SyntheticExample,
    },
    /// The learner tried a new example with the current prompt.
    Challenged {
        /// The example's id.
        example: String,
        /// The prompt's version.
        version: u32,
        /// The outcome.
        mark: Mark,
    },
    /// Errors were analysed.
    ErrorsAnalysed {
        /// The examples' ids.
        examples: Vec<String>,
        /// The prompt's version.
        version: u32,
        /// The analysis.
        analysis: String,
        /// The recommendation drawn from it.
        recommendation: String,
    },
    /// A candidate was accepted or rejected.
    CandidateJudged {
        /// The candidate with its standing.
        prompt: Prompt,
    },
    /// Errors that an accepted candidate corrected.
    Corrected {
        /// One entry for each error.
        corrections: Vec<Correction>,
    },
    /// An example outlived its repairs and was set aside.
    ExampleQuarantined {
        /// Its id.
        example: String,
        /// Why.
        reason: String,
    },
    /// The held-out test was taken.
    ArmMeasured {
        /// The arm.
        arm: Arm,
    },
    /// Something the user should know.
    Warning {
        /// In words.
        text: String,
    },
}
