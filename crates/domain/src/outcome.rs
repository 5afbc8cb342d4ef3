//! What a run comes to: the prompts, the data, and an honest statement of the gain.

use crate::{example::SyntheticExample, measured::Score, prompt::Prompt};
use serde::{Deserialize, Serialize};

/// The held-out score of the user's prompt.
pub const SEED_ARM: &str = "seed";
/// The held-out score of a prompt that asks for nothing but the task, step by step.
pub const ZERO_SHOT_ARM: &str = "zero-shot-cot";
/// The held-out score of the run's result.
pub const FINAL_ARM: &str = "final";
/// The arms of every conclusion, in the order in which they are reported.
pub const ARMS: [&str; 3] = [SEED_ARM, ZERO_SHOT_ARM, FINAL_ARM];

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub ending: Ending,
    /// Version of the prompt to use: the seed's where nothing better was found.
    pub best: u32,
    /// The strategy's best prompt, before any revert to the seed.
    pub found: u32,
    /// Every prompt of the run, accepted or not, by version.
    pub prompts: Vec<Prompt>,
    /// Every synthetic example, accepted or not.
    pub synthetic: Vec<SyntheticExample>,
    /// What each repair corrected.
    pub corrections: Vec<Correction>,
    /// Held-out scores, by the names of [`ARMS`]. Empty where there was no test set or no budget for it.
    pub arms: Vec<Arm>,
    /// Final against seed, paired on the same test examples.
    pub gain: Option<Gain>,
    /// The found prompt was not better than the seed, so the seed is kept.
    pub reverted: bool,
    /// KL(accepted labels ‖ estimated prior) in nats, where labels are closed.
    pub label_kl: Option<f64>,
    /// Things the user should know.
    pub warnings: Vec<String>,
    /// What the held-out test shows by the task's rule; none where it was not taken, or the task has no rule.
    #[serde(default)]
    pub shown: Option<Shown>,
    /// About how many more test examples would show a gain of the size that was seen.
    #[serde(default)]
    pub more_examples: Option<u32>,
}

impl Outcome {
    /// The prompt to use.
    pub fn best_prompt(&self) -> Option<&Prompt> {
        self.prompts.iter().find(|prompt| prompt.version == self.best)
    }

    /// The arm of this name.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The strategy came to its own end.
    Finished,
    /// A cap was met: which one.
    BudgetExhausted(String),
    /// The user asked it to stop early.
    StoppedEarly,
}

/// One prompt on the held-out test examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// One of [`ARMS`], or the name that `eval` gives a prompt.
    pub name: String,
    /// Counts.
    pub score: Score,
    /// 95 % Wilson interval of the accuracy; none where nothing was measured.
    pub interval: Option<(f64, f64)>,
    /// Mean credit of the measured answers, in 0..=1; none where the metric gives none, or nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<f64>,
}

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The second arm is better, and by enough.
    Better,
    /// Neither direction is shown, or the gain is too small.
    Nothing,
    /// The second arm is worse.
    Worse,
}

/// A paired difference in accuracy, in -1..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Final minus seed.
    pub difference: f64,
    /// 95 % interval by paired bootstrap.
    pub interval: (f64, f64),
    /// Exact two-sided McNemar test on the discordant pairs.
    pub p_value: f64,
    /// Examples that both arms measured.
    pub pairs: u32,
    /// Right with the final prompt only.
    pub gained: u32,
    /// Right with the seed prompt only.
    pub lost: u32,
    /// The difference in macro-F1, where the task's objective is that.
    #[serde(default)]
    pub macro_f1: Option<MacroF1Gain>,
}

/// A paired difference in macro-F1, in -1..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MacroF1Gain {
    /// Final minus seed.
    pub difference: f64,
    /// Two-sided paired permutation test: the answers of an example are exchanged or not.
    pub p_value: f64,
}

/// One entry of the error-and-correction log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The example's id.
    pub example: String,
    /// Input that was answered wrongly.
    pub input: String,
    /// Its target.
    pub target: String,
    /// The answer under the old prompt.
    pub wrong_answer: String,
    /// The answer under the new prompt.
    pub right_answer: String,
    /// Prompt version before.
    pub from_version: u32,
    /// Prompt version after.
    pub to_version: u32,
    /// What the error analysis said.
    pub analysis: String,
    /// What was recommended.
    pub recommendation: String,
}
