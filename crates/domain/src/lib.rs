//! The words of prompt optimization as types: tasks, examples, prompts, votes, scores, budgets, and the arithmetic on them.
//!
//! Pure and synchronous. Knows nothing of async, wire formats, NATS or models; everything here can be tested without a process.

pub mod accept;
pub mod ask;
pub mod budget;
pub mod consensus;
pub mod curriculum;
pub mod example;
pub mod fence;
pub mod form;
pub mod gates;
pub mod guards;
pub mod independence;
pub mod labels;
pub mod measured;
pub mod metric;
pub mod outcome;
pub mod pool;
pub mod prior;
pub mod prompt;
pub mod reasoning;
pub mod record;
pub mod role;
pub mod run_event;
pub mod similarity;
pub mod slips;
pub mod stats;

pub mod task;
pub mod template;
pub mod vote;

pub use accept::Accept;
pub use ask::{
    Answer, AnswerRequest, Ask, CheckRequest, CheckResult, Draft, Edit, EditRequest, GenerateRequest, Grade,
    GradeRequest, JudgeRequest, PastExample, Reply, Solution, SolveRequest, TaskBrief, Verdict, VerdictKind,
};
pub use budget::{Amount, Budget, Ledger};
pub use example::{Example, SyntheticExample};
pub use form::{ChatMessage, PromptForm, PromptMessage, Speaker};
pub use measured::{Mark, Measured, NotMeasured, Reason, Score};
pub use metric::{Comparison, Extraction, Metric};
pub use outcome::{Arm, Ending, Outcome, Shown};
pub use pool::Pool;
pub use prompt::{Prompt, Standing};
pub use role::Role;
pub use run_event::RunEvent;
pub use task::{Task, TaskGates};
pub use vote::{Decision, Provenance, Rule, Signed, Vote, Voter};
