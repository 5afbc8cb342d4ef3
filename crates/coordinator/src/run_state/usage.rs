//! What each role used of its models: for the report.

use sipdo_domain::Amount;
use sipdo_protocol::pb;

/// What a role used.
#[derive(Debug, Default)]
pub struct RoleUsage {
    /// `endpoint/model`, in order of first use.
    pub models: Vec<String>,
    /// Jobs done.
    pub jobs: u64,
    /// What each model did for each pool of the role, in order of first use: pools have different models on purpose.
    pub by_model: Vec<ModelUsage>,
}

/// What one model did for a pool of a role.
#[derive(Debug, Default)]
pub struct ModelUsage {
    /// The counts, without percentiles.
    pub counts: pb::ModelUsage,
    /// Milliseconds in model calls, one for each job that called.
    pub model_ms: Vec<u32>,
}

impl RoleUsage {
    /// Counts a result, with its number among all results of the run. What the leader itself gave up comes from no model.
    pub(super) fn count(&mut self, pool: &str, result: &pb::JobResult, job: u64) {
        self.jobs += 1;
        let Some(by) = &result.by else { return };
        if by.endpoint.is_empty() && by.model.is_empty() {
            return;
        }
        let label = format!("{}/{}", by.endpoint, by.model);
        if !self.models.contains(&label) {
            self.models.push(label);
        }
        if let Some(usage) = self.of(pool, by, job) {
            usage.count(result, job);
        }
    }

    fn of(&mut self, pool: &str, by: &pb::Provenance, job: u64) -> Option<&mut ModelUsage> {
        let same = |ModelUsage { counts, .. }: &ModelUsage| {
            counts.pool == pool
                && (&counts.endpoint, &counts.model, &counts.revision) == (&by.endpoint, &by.model, &by.revision)
        };
        let at = self.by_model.iter().position(same).unwrap_or(self.by_model.len());
        if at == self.by_model.len() {
            let counts = pb::ModelUsage {
                endpoint: by.endpoint.clone(),
                model: by.model.clone(),
                revision: by.revision.clone(),
                first_job: job,
                pool: pool.to_owned(),
                ..Default::default()
            };
            let model_ms = Vec::new();
            self.by_model.push(ModelUsage { counts, model_ms });
        }
        self.by_model.get_mut(at)
    }
}

impl ModelUsage {
    fn count_origin(&mut self, by: &pb::Provenance) {
        let known = &mut self.counts.fingerprints;
        if !by.fingerprint.is_empty() && known.len() < FINGERPRINTS && !known.contains(&by.fingerprint) {
            known.push(by.fingerprint.clone());
        }
        if by.bought_ms > 0 {
            let counts = &mut self.counts;
            counts.reused_from_ms = match counts.reused {
                0 => by.bought_ms,
                _ => counts.reused_from_ms.min(by.bought_ms),
            };
            counts.reused_to_ms = counts.reused_to_ms.max(by.bought_ms);
            counts.reused += 1;
        }
    }

    fn count(&mut self, result: &pb::JobResult, job: u64) {
        self.counts.last_job = job;
        self.counts.jobs += 1;
        if let Some(by) = &result.by {
            self.count_origin(by);
        }
        if let Some(usage) = &result.usage {
            let spent = self.counts.spent.get_or_insert_default();
            let cost = cost_of(usage);
            spent.calls += cost.calls;
            spent.tokens += cost.tokens;
            spent.nano_usd += cost.nano_usd;
            if usage.nano_usd.is_none() {
                self.counts.unpriced_calls += cost.calls;
            }
        }
        if let Some(timing) = result.timing.as_ref().filter(|timing| timing.model_ms > 0) {
            self.model_ms.push(timing.model_ms);
        }
    }
}

/// Most fingerprints that are kept of one model: some providers tell another one with nearly every answer.
const FINGERPRINTS: usize = 8;

/// What a result cost.
pub fn cost_of(usage: &pb::Usage) -> Amount {
    Amount {
        calls: u64::from(usage.calls),
        tokens: usage.input_tokens.saturating_add(usage.output_tokens),
        nano_usd: usage.nano_usd.unwrap_or(0),
    }
}
