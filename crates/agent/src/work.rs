//! A job that an agent works on: read, checked, and made into a result.

use crate::cost_meter;
use crate::models::Target;
use prost::Message as _;
use sipdo_bus::subjects::header;
use sipdo_bus::{Delivery, JobId, RunId, now_ms};
use sipdo_domain::{Ask, Measured, Provenance};
use sipdo_protocol::{JobOutcome, pb, schema};
use sipdo_telemetry::Trace;
use std::time::{Duration, Instant};

/// A job, read and checked.
pub(crate) struct Work {
    pub run: RunId,
    pub job: JobId,
    pub wire: pb::Job,
    pub ask: Ask,
    /// Size of the ask on the bus, by which budget was reserved.
    pub ask_bytes: usize,
    pub started_ms: u64,
    /// When this agent began to work on it.
    pub clock: Instant,
    /// The span that processes it.
    pub trace: Trace,
    /// The span that published it.
    pub published_by: Trace,
}

impl Work {
    pub fn outcome(
        &self,
        finding: Measured<sipdo_domain::Reply>,
        by: Provenance,
        usage: pb::Usage,
        model_time: Duration,
    ) -> JobOutcome {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        JobOutcome {
            run: self.run.to_string(),
            job: self.job.to_string(),
            attempt: self.wire.attempt,
            finding,
            by,
            usage,
            timing: pb::Timing {
                started_ms: self.started_ms,
                took_ms: ms(self.clock.elapsed()),
                model_ms: ms(model_time),
            },
        }
    }

    /// The result from an answer that was bought before. Bought by this very attempt, whose process then died, it is still to be
    /// paid for by the run: its cost was told to nobody. Otherwise it has cost nothing.
    pub fn answered_before(&self, stored: JobOutcome) -> pb::JobResult {
        let own =
            stored.run == self.run.as_str() && stored.job == self.job.as_str() && stored.attempt == self.wire.attempt;
        let (by, usage) = if own {
            (stored.by, stored.usage)
        } else {
            let usage = pb::Usage {
                from_store: true,
                ..cost_meter::nothing()
            };
            (reused(stored.by, &stored.timing), usage)
        };
        self.outcome(stored.finding, by, usage, Duration::ZERO).into()
    }
}

/// Reads a job. The error is the reason of a dead letter.
pub(crate) fn read(delivery: &Delivery, role: &sipdo_bus::Role) -> Result<Work, String> {
    let named = delivery.headers.get(header::SCHEMA).unwrap_or(schema::JOB);
    if named != schema::JOB {
        return Err(format!(
            "the schema {named:?} is unknown to this version, which reads {:?}",
            schema::JOB
        ));
    }
    let mut wire =
        pb::Job::decode(delivery.payload.clone()).map_err(|error| format!("the job cannot be decoded: {error}"))?;
    if wire.run != delivery.run.as_str() {
        return Err(format!(
            "the job is of run {:?}, but it was delivered for run {}",
            wire.run, delivery.run
        ));
    }
    let job = JobId::new(&wire.job).map_err(|error| error.to_string())?;
    let ask = wire.ask.take().ok_or("Job.ask is missing")?;
    let ask_bytes = ask.reserved_bytes();
    let ask = Ask::try_from(ask).map_err(|error| error.to_string())?;
    if ask.role().name() != role.as_str() {
        return Err(format!(
            "the job is for a {}, but it was delivered to a {role}",
            ask.role()
        ));
    }
    let (run, started_ms, clock) = (delivery.run.clone(), now_ms(), Instant::now());
    Ok(Work {
        run,
        job,
        wire,
        ask,
        ask_bytes,
        started_ms,
        clock,
        trace: Trace::current(),
        published_by: delivery.headers.trace(),
    })
}

/// Who answers with this model.
pub(crate) fn provenance(target: &Target) -> Provenance {
    let settings = target.settings();
    Provenance {
        endpoint: settings.endpoint.clone(),
        model: settings.model.clone(),
        ..Provenance::default()
    }
}

/// Who gave an answer that is reused, and when.
pub(crate) fn reused(by: Provenance, timing: &pb::Timing) -> Provenance {
    Provenance {
        bought_ms: timing.started_ms,
        ..by
    }
}
