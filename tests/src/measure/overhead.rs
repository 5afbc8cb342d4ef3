//! What telemetry costs: switched off, and with every span sent.

use crate::{
    cluster::{Cluster, Setup, task::drawn},
    measure::{
        bench::{figure, run},
        usage::{cpu, cpu_seconds},
    },
    observe::otlp::Collector,
};
use anyhow::{Context as _, Result};
use sipdo_telemetry::{Settings, Span, Trace, metrics, names, propagation, recording};
use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

/// One comparison of traced with untraced work.
struct Comparison {
    /// Pairs of turns, and jobs of each turn.
    pairs: u64,
    jobs: usize,
    /// What a model call takes, in milliseconds.
    latency: u32,
    /// Jobs that the learner works on at a time.
    slots: u32,
}

/// Models that answer at once: all of the time is sipdo's own.
const AT_ONCE: Comparison = Comparison {
    pairs: 15,
    jobs: 6_000,
    latency: 0,
    slots: 128,
};
/// Models that take about as long as the quickest real ones.
const AS_MODELS: Comparison = Comparison {
    pairs: 7,
    jobs: 5_000,
    latency: 200,
    slots: 256,
};
/// Jobs of the loop that times telemetry switched off.
const LOOP: u32 = 200_000;

/// What one turn came to.
#[derive(Debug, Clone)]
struct Turn {
    per_second: f64,
    cpu_ms: f64,
    /// The same by process.
    by_process: BTreeMap<&'static str, f64>,
}

/// Everything that one job calls of telemetry while nothing is recorded, in a loop of its own: metrics, which are always counted, and
/// spans, which are not made. As a share of `cpu_ms`, the processor time of a whole job.
///
/// # Errors
/// Telemetry cannot be set up.
pub fn off(cpu_ms: f64) -> Result<()> {
    let settings = Settings::from_env(|_| None, false)?;
    let guard = sipdo_telemetry::init_with("bench", &settings)?;
    anyhow::ensure!(!recording(), "nothing is recorded here");
    let start = Instant::now();
    for _ in 0..LOOP {
        one_job();
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(LOOP);
    drop(guard);
    println!(
        "telemetry switched off: {micros:.2} microseconds a job, of {:.0}",
        cpu_ms * 1e3
    );
    figure("speed.tracing_off", format!("{:.2}", micros / 10.0 / cpu_ms), "percent");
    Ok(())
}

/// The calls of coordinator and agent for one job.
fn one_job() {
    let took = Duration::from_millis(3);
    for span in [names::SPAN_ITERATION; 6] {
        if !recording() {
            black_box(span);
        }
        let span = Span::none();
        span.set(names::OUTCOME, "measured");
        black_box(span.trace());
        black_box(Trace::current());
    }
    for _ in 0..2 {
        propagation::inject(&Trace::none(), |name, value| drop(black_box((name, value))));
        black_box(propagation::extract(|_| None));
    }
    metrics::job_sent("learner", took, None);
    metrics::job_taken("learner", took);
    metrics::model_call(&metrics::ModelCall {
        role: "learner",
        provider: "openai",
        model: "sim-weak",
        reported: Some("sim-weak"),
        took,
        error: None,
        input_tokens: Some(100),
        output_tokens: Some(10),
        nano_usd: Some(1),
    });
    metrics::job_outcome("learner", "measured");
    metrics::result_sent("learner", took);
    metrics::job_done("learner", took);
}

/// What tracing takes where models answer at once, and what is kept where they take as long as the quickest real ones.
///
/// # Errors
/// A run does not come to its end.
pub async fn on() -> Result<()> {
    let (off, on) = AT_ONCE.measure().await?;
    let slower = ratios(&off, &on, |off, on| off.per_second / on.per_second);
    println!("a job takes {} % more time where it is traced", percent(slower.clone()));
    // Of a hundred jobs a second, so many are lost.
    let lost = slower.into_iter().map(|ratio| 2.0 - 1.0 / ratio).collect();
    figure("speed.tracing_overhead", percent(lost), "percent");
    let dearer = ratios(&off, &on, |off, on| on.cpu_ms / off.cpu_ms);
    figure("speed.tracing_overhead_cpu", percent(dearer), "percent");

    let (off, on) = AS_MODELS.measure().await?;
    let kept = median(ratios(&off, &on, |off, on| on.per_second / off.per_second));
    figure("speed.tracing_kept", format!("{:.1}", 100.0 * kept), "percent");
    let cpu = median(ratios(&off, &on, |off, on| on.cpu_ms / off.cpu_ms));
    figure("speed.tracing_cpu_ratio", format!("{cpu:.2}"), "ratio");
    Ok(())
}

/// A ratio of each pair of turns.
fn ratios(off: &[Turn], on: &[Turn], ratio: fn(&Turn, &Turn) -> f64) -> Vec<f64> {
    off.iter().zip(on).map(|(off, on)| ratio(off, on)).collect()
}

impl Comparison {
    /// The same jobs with nothing recorded and with every signal sent, unsampled, in turns on two clusters that stand beside each
    /// other, who goes first alternating. The pairs' ratios count: other work on the machine disturbs both turns of a pair alike.
    async fn measure(&self) -> Result<(Vec<Turn>, Vec<Turn>)> {
        let collector = Collector::deaf().await?;
        // Only where to send: how often stays as users have it, and not as the tests do.
        let mut environment = collector.http_environment();
        environment.retain(|(name, _)| name.starts_with("OTEL_EXPORTER_"));
        let without = Cluster::start(&self.setup(Vec::new())).await?;
        let with = Cluster::start(&self.setup(environment)).await?;
        println!(
            "\nTracing: {} pairs of turns of {} jobs, {} in flight, {} ms for each model call; one cluster that records nothing and one\n\
             that sends every span, metric and log line by OTLP (HTTP, protobuf) to a receiver in this process, which reads the bytes,\n\
             answers and looks at none of them. All of it shares the same cores.",
            self.pairs, self.jobs, self.slots, self.latency
        );
        // The first turns only fill the connection pools.
        self.turn(&without, 0).await?;
        self.turn(&with, 0).await?;
        let before = cpu_seconds(std::process::id())?;
        let (mut plain, mut traced) = (Vec::new(), Vec::new());
        for pair in 1..=self.pairs {
            if pair % 2 == 0 {
                plain.push(self.turn(&without, pair).await?);
                traced.push(self.turn(&with, pair).await?);
            } else {
                traced.push(self.turn(&with, pair).await?);
                plain.push(self.turn(&without, pair).await?);
            }
        }
        let received = cpu_seconds(std::process::id())? - before;
        let jobs = self.pairs as f64 * self.jobs as f64;
        show(&plain, &traced, received * 1e3 / jobs);
        Ok((plain, traced))
    }

    fn setup(&self, environment: Vec<(String, String)>) -> Setup {
        let latency = vec!["--latency-ms".to_owned(), self.latency.to_string()];
        Setup {
            simulator: if self.latency > 0 { latency } else { Vec::new() },
            slots: self.slots,
            environment,
            ..Setup::default()
        }
    }

    async fn turn(&self, cluster: &Cluster, number: u64) -> Result<Turn> {
        let client = cluster.client().await?;
        // Other questions each time: an answer bought before would cost no call.
        let task = drawn("object_counting", 2, self.jobs, 1_000 + number, 7);
        let (before, start) = (cpu(cluster)?, Instant::now());
        let run = run(&client, task, "eval", &serde_json::json!({})).await?;
        let (seconds, after) = (start.elapsed().as_secs_f64(), cpu(cluster)?);
        let done = run.summary.context("summary")?.jobs_done as f64;
        let used = |(name, after): (&'static str, f64)| {
            let before = before.get(name).copied().unwrap_or_default();
            (name, (after - before) * 1e3 / done)
        };
        let by_process: BTreeMap<_, _> = after.into_iter().map(used).collect();
        Ok(Turn {
            per_second: done / seconds,
            cpu_ms: by_process.values().sum(),
            by_process,
        })
    }
}

/// Where the processor time of a job goes, in each process; `received` is that of this program.
fn show(plain: &[Turn], traced: &[Turn], received: f64) {
    for name in ["coordinator", "learner", "nats-server", "simulator"] {
        let ms = |turns: &[Turn]| {
            median(
                turns
                    .iter()
                    .filter_map(|turn| turn.by_process.get(name).copied())
                    .collect(),
            )
        };
        println!(
            "  {name:<14} {:>6.3} ms CPU a job untraced, {:>6.3} traced",
            ms(plain),
            ms(traced)
        );
    }
    let middle = |turns: &[Turn], of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
    println!(
        "median: {:.0} jobs a second untraced, {:.0} traced; {:.3} and {:.3} ms CPU a job; the receiver and this program {received:.3} ms",
        middle(plain, |turn| turn.per_second),
        middle(traced, |turn| turn.per_second),
        middle(plain, |turn| turn.cpu_ms),
        middle(traced, |turn| turn.cpu_ms),
    );
}

fn percent(ratios: Vec<f64>) -> String {
    format!("{:.1}", 100.0 * (median(ratios) - 1.0))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
