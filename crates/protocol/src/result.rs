//! A job's result in domain words.

use crate::{
    error::{DecodeError, required},
    pb,
};
use sipdo_domain::{Amount, Measured, Provenance, Reply, Signed};

/// What became of one attempt at a job: the domain side of [`pb::JobResult`].
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutcome {
    /// The run.
    pub run: String,
    /// The job.
    pub job: String,
    /// The attempt that produced it, from 1.
    pub attempt: u32,
    /// A reply, or why there is none.
    pub finding: Measured<Reply>,
    /// Who produced it.
    pub by: Provenance,
    /// What it cost. Counts and money as the wire has them: the domain knows only [`Amount`].
    pub usage: pb::Usage,
    /// When it ran and how long.
    pub timing: pb::Timing,
}

impl JobOutcome {
    /// The finding with its author, as the port `Agents` hands it to a strategy.
    pub fn signed(self) -> Measured<Signed<Reply>> {
        let by = self.by;
        self.finding.map(|value| Signed { value, by })
    }

    /// What the ledger settles. Money is 0 where the price is unknown: see [`JobOutcome::unpriced_calls`].
    pub fn cost(&self) -> Amount {
        Amount {
            calls: self.usage.calls.into(),
            tokens: self.usage.input_tokens.saturating_add(self.usage.output_tokens),
            nano_usd: self.usage.nano_usd.unwrap_or(0),
        }
    }

    /// Calls whose price nobody knows.
    pub fn unpriced_calls(&self) -> u64 {
        match self.usage.nano_usd {
            Some(_) => 0,
            None => self.usage.calls.into(),
        }
    }
}

impl From<JobOutcome> for pb::JobResult {
    fn from(outcome: JobOutcome) -> Self {
        let JobOutcome {
            run,
            job,
            attempt,
            finding,
            by,
            usage,
            timing,
        } = outcome;
        Self {
            run,
            job,
            attempt,
            finding: Some(match finding {
                Ok(reply) => pb::job_result::Finding::Reply(reply.into()),
                Err(why) => pb::job_result::Finding::NotMeasured(why.into()),
            }),
            by: Some(by.into()),
            usage: Some(usage),
            timing: Some(timing),
        }
    }
}

impl TryFrom<pb::JobResult> for JobOutcome {
    type Error = DecodeError;

    fn try_from(result: pb::JobResult) -> Result<Self, DecodeError> {
        let pb::JobResult {
            run,
            job,
            attempt,
            finding,
            by,
            usage,
            timing,
        } = result;
        Ok(Self {
            run,
            job,
            attempt,
            finding: match required(finding, "JobResult", "finding")? {
                pb::job_result::Finding::Reply(reply) => Ok(reply.try_into()?),
                pb::job_result::Finding::NotMeasured(why) => Err(why.try_into()?),
            },
            by: required(by, "JobResult", "by")?.into(),
            usage: required(usage, "JobResult", "usage")?,
            timing: required(timing, "JobResult", "timing")?,
        })
    }
}
