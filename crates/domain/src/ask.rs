//! What a strategy can ask of the agents, and what comes back. Each ask becomes one job.

use crate::{form::ChatMessage, measured::Measured, pool::Pool, role::Role};
use serde::{Deserialize, Serialize};

/// Samples from this number on are asked anew: no answer that was bought before the run takes their place.
pub const ANEW: u32 = 1 << 20;

/// What one job asks of one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Learner: answer an input with a prompt.
    Answer(AnswerRequest),
    /// Generator: write one new example.
    Synthesize(GenerateRequest),
    /// Checker: solve a question without seeing its claimed answer.
    Solve(SolveRequest),
    /// Checker: run an operator-allowed program over an example. Buys nothing.
    Check(CheckRequest),
    /// Verifier: judge a synthetic example.
    Judge(JudgeRequest),
    /// Verifier: is this answer right? (the metric `judge`)
    Grade(GradeRequest),
    /// Optimizer: carry out one step of a strategy.
    Edit(EditRequest),
}

impl Ask {
    /// The role whose agents do it.
    pub fn role(&self) -> Role {
        match self {
            Ask::Answer(_) => Role::Learner,
            Ask::Synthesize(_) => Role::Generator,
            Ask::Solve(_) | Ask::Check(_) => Role::Checker,
            Ask::Judge(_) | Ask::Grade(_) => Role::Verifier,
            Ask::Edit(_) => Role::Optimizer,
        }
    }

    /// The agents that it is meant for: all of the role, or those of the pool that the ask names.
    pub fn pool(&self) -> Pool {
        let name = match self {
            Ask::Solve(riddle) => riddle.pool.as_str(),
            Ask::Check(program) => program.pool.as_str(),
            _ => "",
        };
        Pool {
            role: self.role(),
            name: name.to_owned(),
        }
    }

    /// The operation's name, as in reports and in a job's identity.
    pub fn operation(&self) -> &'static str {
        match self {
            Ask::Answer(_) => "answer",
            Ask::Synthesize(_) => "synthesize",
            Ask::Solve(_) => "solve",
            Ask::Check(_) => "check",
            Ask::Judge(_) => "judge",
            Ask::Grade(_) => "grade",
            Ask::Edit(_) => "edit",
        }
    }
}

/// What comes back, one variant for each ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Ask::Answer`].
    Answer(Answer),
    /// To [`Ask::Synthesize`].
    Draft(Draft),
    /// To [`Ask::Solve`].
    Solution(Solution),
    /// To [`Ask::Check`].
    Check(CheckResult),
    /// To [`Ask::Judge`].
    Verdict(Verdict),
    /// To [`Ask::Grade`].
    Grade(Grade),
    /// To [`Ask::Edit`].
    Edit(Edit),
}

/// What the teaching roles are told of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBrief {
    /// The task, in the user's words.
    pub description: String,
    /// How an answer must look; empty where the user does not say.
    pub answer_format: String,
    /// The label space; empty where answers are open.
    pub labels: Vec<String>,
}

/// An input to be answered with a prompt, which is sent verbatim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRequest {
    /// The prompt's text; empty where there are messages.
    pub prompt: String,
    /// The example's input; empty where there are messages.
    pub input: String,
    /// The whole conversation, filled in; empty where the prompt is one text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ChatMessage>,
    /// JSON Schema of the answer, as JSON; empty where the answer is text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
}

/// The learner's answer, whole and as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub text: String,
}

/// What the generator is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The task.
    pub task: TaskBrief,
    /// A few of the user's examples, as `(input, target)`, to show the form.
    pub shown: Vec<(String, String)>,
    /// Synthetic examples so far: the new one must differ.
    pub past: Vec<PastExample>,
    /// Difficulty to write at, from 1.
    pub level: u32,
    /// The highest level.
    pub max_level: u32,
    /// Ask for the most unusual example instead of one at a level (the paper's ablation).
    pub extreme: bool,
    /// The label that the new example must have; none where answers are open.
    pub target: Option<String>,
    /// The prompt whose weaknesses are sought.
    pub prompt: String,
    /// The error analyses so far, newest last.
    pub weaknesses: Vec<String>,
    /// A passage that must ground the question.
    pub passage: Option<String>,
    /// Why the last drafts were refused, so that the next avoids it.
    pub refused: Vec<String>,
    /// The columns of an input, in their order; empty where an input is one text. With columns every input is a record of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// A synthetic example as the generator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastExample {
    /// Its level.
    pub level: u32,
    /// Its input.
    pub input: String,
    /// Its target.
    pub target: String,
}

/// A new example as the generator claims it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The question.
    pub input: String,
    /// The claimed answer.
    pub target: String,
    /// The generator's own solution.
    pub rationale: String,
}

/// A question to be solved blind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolveRequest {
    /// The task.
    pub task: TaskBrief,
    /// The question.
    pub input: String,
    /// The pool of checkers that is asked; empty for those that belong to none.
    pub pool: String,
}

/// The checker's solution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// Its steps.
    pub working: String,
    /// Its answer.
    pub answer: String,
}

/// A program check: the operator's configuration says which command the name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// The program's name.
    pub name: String,
    /// The question.
    pub input: String,
    /// The claimed answer.
    pub target: String,
    /// The pool of checkers that is asked; empty for those that belong to none.
    pub pool: String,
}

/// What the program said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Whether it lets the example pass.
    pub passed: bool,
    /// Its words.
    pub reason: String,
}

/// A synthetic example before the verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeRequest {
    /// The task.
    pub task: TaskBrief,
    /// The question.
    pub input: String,
    /// The generator's claimed answer.
    pub claim: String,
    /// The checker's steps.
    pub working: String,
    /// The checker's answer.
    pub checked: String,
}

/// The verifier's judgment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The verdict.
    pub verdict: VerdictKind,
    /// Its own answer.
    pub answer: String,
    /// Why.
    pub reasons: String,
}

/// What a verifier can say of a synthetic example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The question is sound and the claimed answer right.
    Valid,
    /// The question is sound, the claimed answer wrong.
    WrongLabel,
    /// More than one answer can be defended.
    Ambiguous,
    /// No answer can be found from what is given.
    Unsolvable,
}

/// An answer to be graded by a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GradeRequest {
    /// The task.
    pub task: TaskBrief,
    /// The question.
    pub input: String,
    /// The reference answer.
    pub target: String,
    /// The answer to grade.
    pub answer: String,
    /// What counts as right, in the user's words; may be empty.
    pub criteria: String,
}

/// A grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// Whether the answer is right.
    pub correct: bool,
    /// Why.
    pub reason: String,
}

/// One step of a strategy, for the optimizer. The texts belong to the strategy; the optimizer adds its model, the output schema,
/// the repair of malformed output, and the cap on length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditRequest {
    /// The step's name: `error_analysis`, `recommendation`, `refinement`, ... Also names the output schema.
    pub step: String,
    /// The system message.
    pub instruction: String,
    /// The user message: titled, fenced sections.
    pub material: String,
    /// The one property of the JSON object that is asked for: `analysis`, `recommendation`, `prompt`, ...
    pub field: String,
    /// Sampling temperature that the method prescribes for this step.
    pub temperature: f64,
    /// The longest text that is accepted, in characters.
    pub max_chars: u32,
}

/// What the step produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The text of the asked property.
    pub text: String,
}

/// Why [`Reply`] could not be read as the type that the ask calls for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a reply of the wrong kind")]
pub struct WrongKind;

/// A reply of one known kind.
pub trait FromReply: Sized {
    /// Unwraps the kind.
    fn from_reply(reply: Reply) -> Result<Self, WrongKind>;
}

macro_rules! replies {
    ($($kind:ident => $type:ty),* $(,)?) => {$(
        impl FromReply for $type {
            fn from_reply(reply: Reply) -> Result<Self, WrongKind> {
                match reply {
                    Reply::$kind(value) => Ok(value),
                    _ => Err(WrongKind),
                }
            }
        }
        impl From<$type> for Reply {
            fn from(value: $type) -> Self {
                Reply::$kind(value)
            }
        }
    )*};
}

replies! {
    Answer => Answer, Draft => Draft, Solution => Solution, Check => CheckResult, Verdict => Verdict, Grade => Grade, Edit => Edit,
}

/// What a finished job holds: a reply, or why there is none.
pub type Finding = Measured<Reply>;
