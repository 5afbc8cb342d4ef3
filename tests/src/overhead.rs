//! What telemetry costs: switched off, and with every span sent.

use crate::{
    Cluster, Collector, Setup,
    bench::{figure, median, run},
    task::drawn,
    usage::{cpu, cpu_seconds},
};
use anyhow::{Context as _, Result};
use sipdo_telemetry::{Settings, Span, Trace, metrics, names, propagation, recording};
use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

/// Pairs of turns, and jobs of each turn.
const PAIRS: u64 = 15;
const JOBS: usize = 6_000;
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

/// The same jobs with nothing recorded and with every signal sent, unsampled, in turns on two clusters that stand beside each other,
/// who goes first alternating. The median of the pairs' ratios: other work on the machine disturbs single ones, and both turns of a
/// pair alike. The overhead is the share of the jobs per second that tracing takes.
///
/// # Errors
/// A run does not come to its end.
pub async fn on() -> Result<()> {
    let collector = Collector::deaf().await?;
    let setup = |environment| Setup {
        slots: 128,
        environment,
        ..Setup::default()
    };
    // Only where to send: how often stays as users have it, and not as the tests do.
    let mut environment = collector.http_environment();
    environment.retain(|(name, _)| name.starts_with("OTEL_EXPORTER_"));
    let without = Cluster::start(&setup(Vec::new())).await?;
    let with = Cluster::start(&setup(environment)).await?;
    println!(
        "\nTracing: {PAIRS} pairs of turns of {JOBS} jobs, one cluster that records nothing and one that sends every span, metric and\n\
         log line by OTLP (HTTP, protobuf) to a receiver in this process, which reads the bytes, answers and looks at none of them.\n\
         All of it shares the same cores."
    );
    // The first turns only fill the connection pools.
    turn(&without, 0).await?;
    turn(&with, 0).await?;
    let before = cpu_seconds(std::process::id())?;
    let (mut slower, mut dearer, mut plain, mut traced) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        let (off, on) = if pair % 2 == 0 {
            let off = turn(&without, pair).await?;
            (off, turn(&with, pair).await?)
        } else {
            let on = turn(&with, pair).await?;
            (turn(&without, pair).await?, on)
        };
        slower.push(off.per_second / on.per_second);
        dearer.push(on.cpu_ms / off.cpu_ms);
        plain.push(off);
        traced.push(on);
    }
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
            ms(&plain),
            ms(&traced)
        );
    }
    let received = cpu_seconds(std::process::id())? - before;
    let middle = |turns: &[Turn], of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
    println!(
        "median: {:.0} jobs a second untraced, {:.0} traced; {:.3} and {:.3} ms CPU a job; the receiver and this program {:.3} ms",
        middle(&plain, |turn| turn.per_second),
        middle(&traced, |turn| turn.per_second),
        middle(&plain, |turn| turn.cpu_ms),
        middle(&traced, |turn| turn.cpu_ms),
        received * 1e3 / (PAIRS as f64 * JOBS as f64),
    );
    println!("a job takes {} % more time where it is traced", percent(slower.clone()));
    // Of a hundred jobs a second, so many are lost.
    let lost = slower.into_iter().map(|ratio| 2.0 - 1.0 / ratio).collect();
    figure("speed.tracing_overhead", percent(lost), "percent");
    figure("speed.tracing_overhead_cpu", percent(dearer), "percent");
    Ok(())
}

async fn turn(cluster: &Cluster, number: u64) -> Result<Turn> {
    let client = cluster.client().await?;
    // Other questions each time: an answer bought before would cost no call.
    let task = drawn("object_counting", 2, JOBS, 1_000 + number, 7);
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

fn percent(ratios: Vec<f64>) -> String {
    format!("{:.1}", 100.0 * (median(ratios) - 1.0))
}
