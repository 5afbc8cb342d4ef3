//! `make chaos`: whole optimizations under random faults, held against the undisturbed runs. Ends with one line per figure.

use anyhow::{Result, ensure};
use sipdo_tests::{
    bench::figure,
    chaos::{Ground, Plan, run},
};

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let plan = Plan {
        seed: number("SIPDO_CHAOS_SEED", 1),
        faults: usize::try_from(number("SIPDO_CHAOS_FAULTS", 200))?,
        runs: usize::try_from(number("SIPDO_CHAOS_RUNS", 20))?,
        together: 4,
        pause_ms: (200, 800),
        grounds: vec![Ground::One, Ground::Three, Ground::One, Ground::Spoiling],
        every_kind: true,
    };
    println!(
        "chaos: seed {}, at least {} faults of every kind, and at least {} runs to compare",
        plan.seed, plan.faults, plan.runs
    );
    let report = run(&plan, |line| println!("{line}")).await?;
    for (kind, count) in &report.by_kind {
        println!("  {count:4}  {kind}");
    }
    for broken in &report.broken {
        println!("broken: {broken}");
    }
    let (median, slowest) = report.takeovers();
    let seconds = |ms: Option<u64>| ms.map_or("none".to_owned(), |ms| format!("{}.{:03}", ms / 1000, ms % 1000));
    println!("kinds of faults: {}", report.by_kind.len());
    println!("attempts granted again: {}", report.granted_again);
    println!(
        "takeovers: {} after a kill, {} after a freeze, {} after the return of a server",
        report.killed_ms.len(),
        report.frozen_ms.len(),
        report.returned_ms.len()
    );
    figure("chaos.faults", report.faults(), "faults");
    figure("chaos.runs", report.runs, "runs");
    figure("chaos.compared", report.compared, "runs");
    figure("chaos.results_lost", report.results_lost, "results");
    figure("chaos.finished_rebought", report.finished_rebought, "calls");
    figure("chaos.unfinished_rebought", report.unfinished_rebought, "calls");
    figure("chaos.over_cap", report.over_cap, "times");
    figure("chaos.diverged", report.diverged, "runs");
    figure("chaos.takeover_p50", seconds(median), "s");
    figure("chaos.takeover_max", seconds(slowest), "s");
    ensure!(
        report.is_clean(),
        "something was lost, bought twice, overspent or decided otherwise"
    );
    ensure!(
        report.takes_over_in_time(),
        "takeovers took too long: {:?} ms after a kill, {:?} ms after a freeze, {:?} ms after the return of a server",
        report.killed_ms,
        report.frozen_ms,
        report.returned_ms
    );
    Ok(())
}
