//! Jobs of a run: issued, lost, done. Of a result its sums stay, and its place in the run's stream.

use super::{
    RunState,
    open_job::{OpenJob, attempt_key},
    usage::cost_of,
};
use sipdo_domain::{Amount, Role};
use sipdo_protocol::pb::{self, job_result::Finding, reply::Reply};

impl RunState {
    pub(super) fn apply_issued(&mut self, issued: &pb::Issued) {
        let Ok(role) = Role::try_from(issued.role()) else {
            return;
        };
        let reserved = issued.reserved.map(Amount::from).unwrap_or_default();
        self.ledger.force(&attempt_key(&issued.job, issued.attempt), reserved);
        let first = self.open.get(&issued.job);
        let died = first.map_or(0, |open| open.died);
        let trace = first.map_or_else(|| self.trace.clone(), |open| open.trace.clone());
        self.open.insert(
            issued.job.clone(),
            OpenJob {
                role,
                pool: issued.pool.clone(),
                attempt: issued.attempt,
                lost: false,
                died,
                trace,
            },
        );
    }

    /// Applies a result. False where the job was never issued or has a result already: then it counts for nothing.
    pub fn apply_result(&mut self, sequence: u64, result: &pb::JobResult) -> bool {
        if self.result_at(&result.job).is_some() {
            return false;
        }
        let Some(open) = self.open.remove(&result.job) else {
            self.unknown_results += 1;
            return false;
        };
        let cost = result.usage.as_ref().map(cost_of).unwrap_or_default();
        for attempt in 1..=open.attempt {
            let key = attempt_key(&result.job, attempt);
            if attempt == result.attempt {
                self.ledger.settle(&key, open.role, cost);
            } else {
                // Another attempt may still be paid somewhere: charge it as if it were.
                self.ledger.charge_worst(&key, open.role);
            }
        }
        if let Some(usage) = result.usage.as_ref().filter(|usage| usage.nano_usd.is_none()) {
            self.ledger.unpriced_calls += u64::from(usage.calls);
        }
        self.count(&open, result);
        self.remember_models(open.role, result);
        self.results.insert(result.job.as_str().into(), sequence);
        self.refresh();
        true
    }

    fn count(&mut self, job: &OpenJob, result: &pb::JobResult) {
        self.summary.jobs_done += 1;
        let usage = self.usage_by_role.entry(job.role).or_default();
        usage.count(&job.pool, result, self.summary.jobs_done);
        if let Some(Finding::NotMeasured(missing)) = &result.finding {
            self.summary.not_measured += 1;
            let reason = missing.reason().as_str_name().to_owned();
            *self.not_measured.entry(reason).or_default() += 1;
        }
    }

    /// Remembers the models that a prompt names beside its text.
    fn remember_models(&mut self, role: Role, result: &pb::JobResult) {
        let (Some(Finding::Reply(reply)), Some(by)) = (&result.finding, &result.by) else {
            return;
        };
        if let Some(Reply::Edit(edit)) = &reply.reply {
            self.authors.remember(edit, by);
        }
        if role == Role::Learner {
            self.last_learner = Some(by.clone());
        }
    }

    /// Where in the stream a job's result lies, if it has one.
    pub fn result_at(&self, job: &str) -> Option<u64> {
        self.results.get(job).copied()
    }

    /// Applies the loss of an attempt: charged at its worst case unless nothing can have been bought, and the job waits for its
    /// next attempt. False where that attempt is not open.
    pub fn apply_lost(&mut self, lost: &pb::AttemptLost) -> bool {
        let Some(open) = self.open.get_mut(&lost.job) else {
            return false;
        };
        if open.attempt != lost.attempt || open.lost {
            return false;
        }
        open.lost = true;
        let (role, key) = (open.role, attempt_key(&lost.job, lost.attempt));
        if lost.unpaid {
            self.ledger.settle(&key, role, Amount::default());
        } else {
            open.died += 1;
            self.ledger.charge_worst(&key, role);
            self.summary.attempts_lost += 1;
        }
        self.refresh();
        true
    }
}
