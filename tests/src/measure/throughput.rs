//! How many jobs a second a cluster does and what a job costs, by one `eval` run: every job is one learner answer, each to another
//! question.

use crate::{
    Cluster, Setup,
    bench::{Measure, run},
    task::{counting, drawn},
    usage::{cpu, peak, processes},
};
use anyhow::{Context as _, Result, ensure};
use std::{collections::BTreeMap, time::Instant};

/// Jobs of the run that is timed.
pub const JOBS: usize = 10_000;
/// Jobs of a first, small run, which fills the connection pools.
pub const WARM_UP: usize = 500;

/// What one run came to.
#[derive(Debug)]
pub struct Throughput {
    /// Jobs that were done.
    pub jobs: u64,
    /// From the creation of the run to its end.
    pub seconds: f64,
    /// What each process used.
    pub processes: Vec<Used>,
}

/// What a process used.
#[derive(Debug)]
pub struct Used {
    /// Its role, `simulator` or `nats-server`.
    pub name: &'static str,
    /// Processor time for each job of the run, in milliseconds.
    pub cpu_ms: f64,
    /// Peak resident memory of its whole life, in MiB.
    pub peak: f64,
}

impl Throughput {
    /// Starts a cluster made so, with 128 slots, and runs this many jobs.
    ///
    /// # Errors
    /// A process or the run fails, or more than one job of a hundred is not done.
    pub async fn measure(setup: Setup, jobs: usize) -> Result<Self> {
        let cluster = Cluster::start(&Setup { slots: 128, ..setup }).await?;
        let client = cluster.client().await?;
        // Other questions than those of the timed run: an answer bought before would cost no call.
        let warm_up = drawn("object_counting", 1, WARM_UP, 12, 7);
        run(&client, warm_up, "eval", &serde_json::json!({})).await?;
        let task = counting(2, jobs);
        let before = cpu(&cluster)?;
        let start = Instant::now();
        let run = run(&client, task, "eval", &serde_json::json!({})).await?;
        let seconds = start.elapsed().as_secs_f64();
        let after = cpu(&cluster)?;
        let done = run.summary.context("a run without a summary")?.jobs_done;
        ensure!(done >= jobs as u64 * 99 / 100, "only {done} jobs of {jobs}");
        let used = |(name, pid)| {
            let seconds = |all: &BTreeMap<_, f64>| all.get(name).copied().unwrap_or_default();
            Ok(Used {
                name,
                cpu_ms: 1000.0 * (seconds(&after) - seconds(&before)) / done as f64,
                peak: peak(pid)? as f64 / f64::from(1 << 20),
            })
        };
        let processes = processes(&cluster).into_iter().map(used).collect::<Result<_>>()?;
        Ok(Throughput {
            jobs: done,
            seconds,
            processes,
        })
    }

    /// Jobs a second, end to end.
    pub fn per_second(&self) -> f64 {
        self.jobs as f64 / self.seconds
    }

    /// Processor time of all processes for each job, in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        self.processes.iter().map(|used| used.cpu_ms).sum()
    }

    /// What is compared and kept of it.
    ///
    /// # Errors
    /// The cluster had no learner or no coordinator.
    pub fn measures(&self) -> Result<Vec<Measure>> {
        let peak = |name| {
            let found = self.processes.iter().find(|used| used.name == name);
            found.map(|used| used.peak).with_context(|| format!("no {name}"))
        };
        Ok(vec![
            Measure::new("jobs_per_second", self.per_second(), 0, "jobs/s"),
            Measure::new("cpu_ms_per_job", self.cpu_ms(), 3, "ms"),
            Measure::new("agent_rss", peak("learner")?, 1, "MiB"),
            Measure::new("coordinator_rss", peak("coordinator")?, 1, "MiB"),
        ])
    }
}
