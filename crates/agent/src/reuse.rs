//! Reuse of stored answers: which of them may take the place of a new one.
//!
//! An answer is found again by its request. What stands behind a model's name may have changed since: without a revision that the provider
//! tells, nobody can see it, so such answers are reused only for a while. How long, the run says (`Job.reuse`).

use crate::work::Work;
use sipdo_domain::Role;
use sipdo_llm::ChatRequest;
use sipdo_protocol::JobOutcome;

/// Whether a stored answer may be the answer to this job. What another attempt at the very same job bought is its answer in any case.
pub(crate) fn may_reuse(stored: &JobOutcome, work: &Work) -> bool {
    let same_job = stored.run == work.run.as_str() && stored.job == work.job.as_str();
    let Some(rule) = work.wire.reuse.filter(|_| !same_job) else {
        return true;
    };
    let bought_ms = stored.timing.started_ms;
    bought_ms >= rule.not_before_ms && (stored.by.tells_revision() || bought_ms >= rule.without_revision_not_before_ms)
}

/// The seed that is part of a request's identity; none where runs with different seeds share an answer. A repeat of a run must be
/// independent in what chance decides, and in what the teaching roles write: examples and prompts.
pub(crate) fn run_seed(work: &Work, chat: &ChatRequest) -> Option<u64> {
    let writes = matches!(work.ask.role(), Role::Generator | Role::Optimizer);
    let chance = chat.sampling.temperature != Some(0.0);
    (writes || chance).then_some(work.wire.seed)
}
