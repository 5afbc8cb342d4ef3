//! `make bench-speed`: jobs per second end to end, with and without tracing, CPU and memory of every process, jobs in flight.

use anyhow::{Context as _, Result};
use prost::Message as _;
use sipdo_bus::{Bus, BusSettings, RunId, RunReader, RunSubject};
use sipdo_protocol::pb;
use sipdo_tests::{
    Cluster, Collector, Process, Setup,
    bench::{figure, machine, run},
    task::{counting, drawn},
};
use std::{collections::BTreeMap, fs, time::Instant};

/// Jobs of the run that is timed.
const JOBS: usize = 10_000;
/// Turns with and without tracing, and jobs of each.
const ROUNDS: u64 = 5;
const ROUND_JOBS: usize = 2_000;
/// Latency of the simulated models in the second part, in milliseconds.
const LATENCY: u32 = 200;

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "All processes on this machine ({}): coordinator, nats-server, five agents, simulated models.",
        machine()
    );
    println!("A job: coordinator, NATS, agent, HTTP, NATS, journal, strategy.\n");
    throughput().await?;
    tracing_overhead().await?;
    parallelism().await
}

/// The same jobs with nothing recorded and with every signal sent to a collector that throws it away, in turns on two clusters that
/// stand beside each other. The median of the turns: other work on the machine disturbs single ones.
async fn tracing_overhead() -> Result<()> {
    let collector = Collector::deaf().await?;
    let setup = |environment| Setup {
        slots: 128,
        environment,
        ..Setup::default()
    };
    // Only where to send: how often stays as users have it, and not as the tests do.
    let mut environment = collector.http_environment();
    environment.retain(|(name, _)| name.starts_with("OTEL_EXPORTER_"));
    let clusters = [
        Cluster::start(&setup(Vec::new())).await?,
        Cluster::start(&setup(environment)).await?,
    ];
    let mut speeds = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (cluster, speeds) in clusters.iter().zip(&mut speeds) {
            let client = cluster.client().await?;
            // Other questions each time: an answer bought before would cost no call.
            let task = drawn("object_counting", 2, ROUND_JOBS, 1_000 + round, 7);
            let start = Instant::now();
            let run = run(&client, task, "eval", &serde_json::json!({})).await?;
            let done = run.summary.map(|summary| summary.jobs_done).unwrap_or_default();
            // The first round only fills the connection pools.
            if round > 0 {
                speeds.push(done as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    let [without, with] = speeds.map(median);
    let percent = 100.0 * (without / with - 1.0);
    println!("\nmedian of {ROUNDS} turns of {ROUND_JOBS} jobs: {without:.0} a second untraced, {with:.0} traced");
    figure("speed.tracing_overhead", format!("{percent:.1}"), "percent");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One `eval` run: every job is one learner answer, each to another question.
async fn throughput() -> Result<()> {
    let setup = Setup {
        slots: 128,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let client = cluster.client().await?;
    // A first, small run fills the connection pools.
    run(&client, counting(1, 500), "eval", &serde_json::json!({})).await?;
    let task = counting(2, JOBS);
    let before = cpu(&cluster)?;
    let start = Instant::now();
    let run = run(&client, task, "eval", &serde_json::json!({})).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = cpu(&cluster)?;
    let done = run
        .summary
        .as_ref()
        .map(|summary| summary.jobs_done)
        .unwrap_or_default();
    anyhow::ensure!(done >= JOBS as u64 * 99 / 100, "only {done} jobs of {JOBS}");
    let per_second = done as f64 / seconds;
    println!("{done} jobs in {seconds:.2} s, from the creation of the run to its end: {per_second:.0} a second");
    let mut all = 0.0;
    for (name, ticks) in &after {
        let used = ticks - before.get(name).copied().unwrap_or(0.0);
        all += used;
        println!(
            "  {name:<14} {:>6.3} ms CPU a job, peak {:>5.1} MiB resident",
            1000.0 * used / done as f64,
            peak(&cluster, name)?
        );
    }
    let per_job = 1000.0 * all / done as f64;
    println!("  {:<14} {per_job:>6.3} ms CPU a job\n", "all");
    let agents = peak(&cluster, "learner")?;
    figure("speed.jobs_per_second", format!("{per_second:.0}"), "jobs/s");
    figure("speed.cpu_ms_per_job", format!("{per_job:.3}"), "ms");
    figure("speed.agent_rss", format!("{agents:.1}"), "MiB");
    figure(
        "speed.coordinator_rss",
        format!("{:.1}", peak(&cluster, "coordinator")?),
        "MiB",
    );
    Ok(())
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

fn processes(cluster: &Cluster) -> Vec<(&'static str, u32)> {
    let mut all = vec![("simulator", cluster.simulator.pid())];
    all.extend(cluster.nats.pid().map(|pid| ("nats-server", pid)));
    all.extend(
        cluster
            .coordinators
            .iter()
            .map(|(process, _)| ("coordinator", process.pid())),
    );
    all.extend(
        cluster
            .agents
            .iter()
            .map(|(role, process): &(&'static str, Process)| (*role, process.pid())),
    );
    all
}

/// Seconds of processor time so far, by process.
fn cpu(cluster: &Cluster) -> Result<BTreeMap<&'static str, f64>> {
    processes(cluster)
        .into_iter()
        .map(|(name, pid)| Ok((name, cpu_seconds(pid)?)))
        .collect()
}

/// User and system time from /proc, in clock ticks of 10 ms.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("unreadable /proc/pid/stat")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<f64>().ok())
            .context("unreadable /proc/pid/stat")
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Peak resident memory in MiB.
fn peak(cluster: &Cluster, name: &str) -> Result<f64> {
    let pid = processes(cluster)
        .into_iter()
        .find(|(known, _)| *known == name)
        .context("no such process")?
        .1;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
