//! What a run will ask, estimated before it starts.

use sipdo_domain::{Role, Task};
use std::collections::BTreeMap;

/// Numbers of calls by role.
pub type Calls = BTreeMap<Role, u64>;

/// An estimate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// A run that goes neither well nor badly.
    pub expected: Calls,
    /// What a run needs to make sense at all: baselines, and one turn of the method.
    pub least: Calls,
    /// What a run asks at most, by its options. Each ask is one call as a rule; a format repair, a repeated request or a lost attempt is
    /// a call more.
    pub most: Calls,
    /// Learner answers to hold back for the conclusion. With a judging metric each of them costs a verifier call too.
    pub conclusion_answers: u64,
}

/// Learner answers of the conclusion: seed, zero-shot chain of thought and final on every test example.
pub(crate) fn conclusion_answers(task: &Task) -> u64 {
    3 * task.test.len() as u64
}

/// Asks for one answer of a conclusion at most: the first one, one where it was not measured, and the same again where the answer was
/// stored by an outdated revision of the model.
pub(crate) const AT_THE_END: u64 = 4;

/// The most that so many answers of a conclusion ask.
pub(crate) fn repeated(task: &Task, answers: u64) -> Calls {
    let mut calls = Calls::new();
    add_answers(&mut calls, task, AT_THE_END * answers);
    calls
}

/// Adds learner answers, and the grades that a judging metric asks for them.
pub(crate) fn add_answers(calls: &mut Calls, task: &Task, answers: u64) {
    *calls.entry(Role::Learner).or_default() += answers;
    if task.metric.needs_judge() {
        *calls.entry(Role::Verifier).or_default() += answers;
    }
}
