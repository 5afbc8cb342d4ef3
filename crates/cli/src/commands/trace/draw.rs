//! The lanes of a trace: sums over jobs, and time as columns.

use sipdo_protocol::pb;

use crate::output;

/// What some jobs waited, called and cost together.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) waited_ms: u64,
    pub(super) called_ms: u64,
    pub(super) tokens: u64,
    pub(super) nano_usd: u64,
    pub(super) unpriced: bool,
    pub(super) models: Vec<String>,
}

impl Sum {
    pub(super) fn of(jobs: &[&pb::JobLine]) -> Self {
        let mut sum = Sum::default();
        for job in jobs {
            let Some(done) = &job.done else { continue };
            if let Some(timing) = &done.timing {
                sum.waited_ms += timing.started_ms.saturating_sub(job.issued_ms);
                sum.called_ms += u64::from(timing.model_ms);
            }
            if let Some(usage) = &done.usage {
                sum.tokens += usage.input_tokens + usage.output_tokens;
                sum.nano_usd += usage.nano_usd.unwrap_or(0);
                sum.unpriced |= unpriced(usage);
            }
            let model = done.by.as_ref().map(|by| format!("{}/{}", by.endpoint, by.model));
            sum.models
                .extend(model.filter(|model| model != "/" && !sum.models.contains(model)));
        }
        sum
    }

    pub(super) fn cost(&self) -> String {
        match (self.unpriced, output::dollars(self.nano_usd)) {
            (false, known) => known,
            (true, _) if self.nano_usd == 0 => "?".into(),
            (true, known) => format!("{known} + ?"),
        }
    }
}

/// Whether nobody knows what it cost.
pub(super) fn unpriced(usage: &pb::Usage) -> bool {
    usage.nano_usd.is_none() && usage.calls > 0
}

/// Time as columns.
pub(super) struct Scale {
    pub(super) from: u64,
    pub(super) span: u64,
    pub(super) width: usize,
}

impl Scale {
    pub(super) fn of(jobs: &[&pb::JobLine], width: usize) -> Self {
        let from = jobs.iter().map(|job| job.issued_ms).min().unwrap_or(0);
        let to = jobs.iter().map(|job| end(job)).max().unwrap_or(from);
        Scale {
            from,
            span: to.saturating_sub(from).max(1),
            width,
        }
    }

    pub(super) fn column(&self, ms: u64) -> usize {
        let part = ms.saturating_sub(self.from) as f64 / self.span as f64;
        ((part * self.width as f64) as usize).min(self.width.saturating_sub(1))
    }

    /// The jobs in one lane; where several overlap, the model's time is seen above the agent's, and that above waiting.
    pub(super) fn draw(&self, jobs: &[&pb::JobLine]) -> String {
        let mut lane = vec![' '; self.width];
        let mut paint = |mark: char, from: u64, to: u64| {
            let rank = |mark: char| [' ', '·', '▒', '█'].iter().position(|known| *known == mark);
            for cell in lane.iter_mut().take(self.column(to) + 1).skip(self.column(from)) {
                if rank(*cell) < rank(mark) {
                    *cell = mark;
                }
            }
        };
        for job in jobs {
            let timing = job.done.as_ref().and_then(|done| done.timing);
            let Some(timing) = timing else {
                paint('·', job.issued_ms, self.from + self.span);
                continue;
            };
            let end = timing.started_ms + u64::from(timing.took_ms);
            paint('·', job.issued_ms, timing.started_ms);
            paint('▒', timing.started_ms, end);
            if timing.model_ms > 0 {
                // Of a job in the agent, only how long the model took is known: that is nearly all of it, at its end.
                paint('█', end.saturating_sub(u64::from(timing.model_ms)), end);
            }
        }
        lane.iter().collect()
    }
}

fn end(job: &pb::JobLine) -> u64 {
    let timing = job.done.as_ref().and_then(|done| done.timing);
    timing.map_or(job.issued_ms, |timing| timing.started_ms + u64::from(timing.took_ms))
}
