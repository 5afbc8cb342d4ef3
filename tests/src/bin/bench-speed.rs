//! `make bench-speed`: jobs per second end to end, with and without tracing, CPU and memory of every process, jobs in flight, the
//! takeover of a long run, and what durability costs.

use anyhow::{Context as _, Result};
use prost::Message as _;
use sipdo_bus::{Bus, BusSettings, RunId, RunReader, RunSubject};
use sipdo_protocol::pb;
use sipdo_tests::{
    Cluster, Setup,
    bench::{figure, machine, run},
    durability, long_run, overhead,
    task::counting,
    throughput::{JOBS, Throughput},
};
use std::time::Instant;

/// Latency of the simulated models in the second part, in milliseconds.
const LATENCY: u32 = 200;

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "All processes on this machine ({}): coordinator, nats-server, five agents, simulated models.",
        machine()
    );
    println!("A job: coordinator, NATS, agent, HTTP, NATS, journal, strategy.\n");
    // `bench-speed tracing`, `bench-speed long-run` and `bench-speed durability` measure that alone.
    match std::env::args().nth(1).as_deref() {
        Some("tracing") => return overhead::on().await,
        Some("long-run") => return long_run::measure().await,
        Some("durability") => return durability::measure().await,
        _ => {}
    }
    let cpu_ms = throughput().await?;
    overhead::off(cpu_ms)?;
    overhead::on().await?;
    parallelism().await?;
    long_run::measure().await?;
    durability::measure().await
}

/// Gives the milliseconds of processor time for each job.
async fn throughput() -> Result<f64> {
    let done = Throughput::measure(Setup::default(), JOBS).await?;
    println!(
        "{} jobs in {:.2} s, from the creation of the run to its end: {:.0} a second",
        done.jobs,
        done.seconds,
        done.per_second()
    );
    for used in &done.processes {
        println!(
            "  {:<14} {:>6.3} ms CPU a job, peak {:>5.1} MiB resident",
            used.name, used.cpu_ms, used.peak
        );
    }
    println!("  {:<14} {:>6.3} ms CPU a job\n", "all", done.cpu_ms());
    for measure in done.measures()? {
        measure.print("speed");
    }
    Ok(done.cpu_ms())
}

/// A whole optimization with slow models: how much runs at the same time?
async fn parallelism() -> Result<()> {
    let latency = vec!["--latency-ms".to_owned(), LATENCY.to_string()];
    let cluster = Cluster::start(&Setup {
        simulator: latency,
        slots: 128,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let start = Instant::now();
    let run = run(&client, counting(30, 120), "sipdo", &serde_json::json!({})).await?;
    let seconds = start.elapsed().as_secs_f64();
    let name = run
        .summary
        .as_ref()
        .map(|summary| summary.run.clone())
        .unwrap_or_default();
    let spans = spans(&cluster, &name).await?;
    let busy: u64 = spans.iter().map(|(start, end)| end - start).sum();
    let mean = busy as f64 / (seconds * 1000.0);
    println!(
        "\nsipdo with {LATENCY} ms for every model call: {} jobs in {seconds:.1} s; one after the other they would take {:.0} s",
        spans.len(),
        busy as f64 / 1000.0
    );
    figure("speed.in_flight_mean", format!("{mean:.1}"), "jobs");
    figure("speed.in_flight_peak", peak_overlap(&spans), "jobs");
    Ok(())
}

/// When each job of a run began and ended in its agent, in Unix milliseconds.
async fn spans(cluster: &Cluster, run: &str) -> Result<Vec<(u64, u64)>> {
    let bus = Bus::connect(BusSettings::new(cluster.nats.url())).await?;
    let mut reader = RunReader::open(&bus, &RunId::new(run)?, 0).await?;
    let mut spans = Vec::new();
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if let RunSubject::Result { .. } = message.kind {
                let timing = pb::JobResult::decode(message.payload)?
                    .timing
                    .context("a result without its times")?;
                spans.push((timing.started_ms, timing.started_ms + u64::from(timing.took_ms)));
            }
        }
        if chunk.caught_up {
            return Ok(spans);
        }
    }
}

fn peak_overlap(spans: &[(u64, u64)]) -> i64 {
    let mut edges: Vec<(u64, i64)> = spans
        .iter()
        .flat_map(|(start, end)| [(*start, 1), (*end, -1)])
        .collect();
    edges.sort_unstable();
    let mut open = 0;
    edges
        .iter()
        .map(|(_, step)| {
            open += step;
            open
        })
        .max()
        .unwrap_or(0)
}
