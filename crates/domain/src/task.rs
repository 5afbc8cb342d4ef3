//! A task: what a user wants solved.

use crate::{accept::Accept, ask::TaskBrief, example::Example, form::PromptForm, measured::Mark, metric::Metric};
use serde::{Deserialize, Serialize};

/// Everything a run needs to know of a task; read from a task file, carried by the run, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Short name: letters, digits, `-`, `_`.
    pub name: String,
    /// What the teaching roles are told of it.
    pub brief: TaskBrief,
    /// The seed prompt; of a task with messages those that may be optimized, as one text ([`PromptForm::prompt`]).
    pub prompt: String,
    /// How answers are marked.
    pub metric: Metric,
    /// The seed examples: shown to the generator, and the guard against forgetting.
    pub train: Vec<Example>,
    /// Held out: seen only by the conclusion.
    pub test: Vec<Example>,
    /// What a synthetic example must also satisfy.
    pub gates: TaskGates,
    /// Passages that may ground questions; may be empty.
    pub corpus: Vec<String>,
    /// All randomness of a run comes from it.
    pub seed: u64,
    /// What the held-out test must show. None in a task of a version that had no such rule: any higher score is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,
    /// Messages, protected parts and form of the answers.
    #[serde(default, skip_serializing_if = "PromptForm::is_plain")]
    pub form: PromptForm,
}

impl Task {
    /// [`Metric::mark`] by the task's metric; of an input with columns it sees their values.
    pub fn mark(&self, answer: &str, example: &Example) -> Mark {
        match self.form.messages.is_empty() {
            true => self.metric.mark(answer, example),
            false => self.metric.mark(answer, &self.form.readable_example(example)),
        }
    }

    /// [`Metric::agree`] by the task's metric, of an answer and an example's target.
    pub fn agree(&self, answer: &str, example: &Example) -> bool {
        let input = self.form.readable(&example.input);
        self.metric.agree(answer, &example.target, &input)
    }
}

/// The task's own conditions on synthetic examples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGates {
    /// Regular expression that a synthetic input must match.
    pub input_pattern: Option<String>,
    /// Regular expression that a synthetic target must match.
    pub target_pattern: Option<String>,
    /// Name of an operator-allowed program with a veto.
    pub program: Option<String>,
    /// The longest synthetic input, in characters.
    pub max_input_chars: u32,
}
