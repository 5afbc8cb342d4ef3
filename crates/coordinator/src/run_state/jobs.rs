//! Jobs in the fold: issued, lost, done. Of a result stay its sums and its place in the run's stream.

use super::RunState;
use sipdo_domain::{Amount, Role};
use sipdo_protocol::pb::{self, job_result::Finding};
use sipdo_telemetry::Trace;

/// A job that was issued and has no result.
#[derive(Debug, Clone)]
pub struct OpenJob {
    /// Whom it went to.
    pub role: Role,
    /// The pool of the role; empty for the unnamed one.
    pub pool: String,
    /// The newest attempt.
    pub attempt: u32,
    /// The newest attempt was lost with its agent: the next one must be issued.
    pub lost: bool,
    /// Attempts that died with their agents. Those that were given up unpaid do not count.
    pub died: u32,
    /// The iteration that issued it first: whatever is done for it belongs there.
    pub trace: Trace,
}

/// The ledger's key of one attempt.
pub fn attempt_key(job: &str, attempt: u32) -> String {
    format!("{job}#{attempt}")
}

impl RunState {
    pub(super) fn apply_issued(&mut self, issued: &pb::Issued) {
        let Ok(role) = Role::try_from(issued.role()) else {
            return;
        };
        let worst = issued.reserved.map(Amount::from).unwrap_or_default();
        self.ledger.force(&attempt_key(&issued.job, issued.attempt), worst);
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
        self.sign(open.role, result);
        self.results.insert(result.job.as_str().into(), sequence);
        self.refresh();
        true
    }

    fn count(&mut self, job: &OpenJob, result: &pb::JobResult) {
        self.summary.jobs_done += 1;
        let used = self.use_by_role.entry(job.role).or_default();
        used.jobs += 1;
        if let Some(by) = &result.by {
            let label = format!("{}/{}", by.endpoint, by.model);
            if label != "/" && !used.models.contains(&label) {
                used.models.push(label.clone());
            }
            // What the leader itself gave up comes from no model.
            if label != "/"
                && let Some(stint) = used.stint(&job.pool, by, self.summary.jobs_done)
            {
                stint.note(result, self.summary.jobs_done);
            }
        }
        if let Some(Finding::NotMeasured(missing)) = &result.finding {
            self.summary.not_measured += 1;
            *self
                .not_measured
                .entry(missing.reason().as_str_name().to_owned())
                .or_default() += 1;
        }
    }

    /// Remembers whose work a result is.
    fn sign(&mut self, role: Role, result: &pb::JobResult) {
        let (Some(Finding::Reply(reply)), Some(by)) = (&result.finding, &result.by) else {
            return;
        };
        if let Some(pb::reply::Reply::Edit(edit)) = &reply.reply {
            self.authors.insert(edit.text.clone(), by.clone());
        }
        self.latest.insert(role, by.clone());
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

/// What a result cost.
pub fn cost_of(usage: &pb::Usage) -> Amount {
    Amount {
        calls: u64::from(usage.calls),
        tokens: usage.input_tokens.saturating_add(usage.output_tokens),
        nano_usd: usage.nano_usd.unwrap_or(0),
    }
}
