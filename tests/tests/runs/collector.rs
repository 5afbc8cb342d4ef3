//! A collector as it stands in production: over TLS, known by a certificate of its own, with compressed bodies, and one
//! that refuses some of what it is sent.

use anyhow::{Context as _, Result, ensure};
use sipdo_tests::{
    Cluster, Collector, Process, Setup,
    cluster::{ROLES, ended},
    task::{counting, request},
    watch::{RUN, create},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_collector_hears_everything_by_grpc_and_what_it_refuses_is_counted() -> Result<()> {
    sealed("grpc").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_collector_hears_everything_by_http_and_what_it_refuses_is_counted() -> Result<()> {
    sealed("http/protobuf").await
}

async fn sealed(protocol: &str) -> Result<()> {
    let collector = Collector::sealed().await?;
    let setup = Setup {
        environment: collector.sealed_environment(protocol),
        ..Setup::default()
    };
    // As while it is started anew: nothing is lost by it.
    collector.turn_away(3);
    let mut cluster = Cluster::start(&setup).await?;
    let client = cluster.client().await?;
    let options = serde_json::json!({"levels": 1});
    let run = create(&client, request(counting(12, 12), "sipdo", &options, None)).await?;
    ended(&client, &run, RUN).await?;
    cluster.drain().await?;

    let spans = collector.spans().len() as u64;
    let processes = cluster.coordinators.iter().map(|(process, _)| process);
    let all: Vec<&Process> = processes
        .chain(cluster.agents.iter().map(|(_, process)| process))
        .collect();
    let (mut sent, mut lost) = (0, 0);
    for process in &all {
        let (of_it, not) = told(process)?;
        ensure!(not > 0, "each lost one: {}", process.output());
        (sent, lost) = (sent + of_it, lost + not);
    }
    assert_eq!(
        sent + lost,
        spans,
        "what came is what was sent, and what was refused of it"
    );
    for role in ROLES.iter().chain(&["coordinator"]) {
        let service = format!("sipdo-{role}");
        ensure!(
            collector.metrics().iter().any(|metric| metric.service == service),
            "{service}"
        );
    }
    ensure!(!collector.lines().is_empty(), "log lines come too");
    let (packed, plain) = collector.compressed();
    ensure!(packed > 0 && plain == 0, "{packed} compressed, {plain} not");
    Ok(())
}

/// How many spans a process says were sent and lost.
fn told(process: &Process) -> Result<(u64, u64)> {
    let output = process.output();
    let last = output.lines().find(|line| line.contains("the last spans were sent"));
    let number = |name: &str| last?.split_once(name)?.1.split_whitespace().next()?.parse().ok();
    let told = number(" sent=").zip(number(" lost="));
    told.with_context(|| output.clone())
}
