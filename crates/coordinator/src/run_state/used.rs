//! What each role used of its models: for the report.

use super::jobs::cost_of;
use sipdo_protocol::pb;

/// What a role used.
#[derive(Debug, Default)]
pub struct Use {
    /// `endpoint/model`, in order of first use.
    pub models: Vec<String>,
    /// Jobs done.
    pub jobs: u64,
    /// What each model did, in order of first use.
    pub stints: Vec<Stint>,
}

/// What one model did for a pool of a role.
#[derive(Debug, Default)]
pub struct Stint {
    /// Who, when, how much.
    pub told: pb::ModelUsage,
    /// Milliseconds in model calls, one for each job that called.
    pub model_ms: Vec<u32>,
}

impl Use {
    /// The stint of this model in one pool of the role: pools carry different models on purpose.
    pub(super) fn stint(&mut self, pool: &str, by: &pb::Provenance, job: u64) -> Option<&mut Stint> {
        let same = |Stint { told, .. }: &Stint| {
            told.pool == pool
                && (&told.endpoint, &told.model, &told.revision) == (&by.endpoint, &by.model, &by.revision)
        };
        let at = self.stints.iter().position(same).unwrap_or(self.stints.len());
        if at == self.stints.len() {
            let told = pb::ModelUsage {
                endpoint: by.endpoint.clone(),
                model: by.model.clone(),
                revision: by.revision.clone(),
                first_job: job,
                pool: pool.to_owned(),
                ..Default::default()
            };
            self.stints.push(Stint {
                told,
                ..Default::default()
            });
        }
        self.stints.get_mut(at)
    }
}

impl Stint {
    /// One more result, with its number among all results of the run.
    pub(super) fn note(&mut self, result: &pb::JobResult, job: u64) {
        self.told.last_job = job;
        self.told.jobs += 1;
        if let Some(usage) = &result.usage {
            let spent = self.told.spent.get_or_insert_default();
            let cost = cost_of(usage);
            spent.calls += cost.calls;
            spent.tokens += cost.tokens;
            spent.nano_usd += cost.nano_usd;
            if usage.nano_usd.is_none() {
                self.told.unpriced_calls += cost.calls;
            }
        }
        if let Some(timing) = result.timing.as_ref().filter(|timing| timing.model_ms > 0) {
            self.model_ms.push(timing.model_ms);
        }
    }
}
