//! `make paired` on a small scale: two builds in turn against one simulator. Here both are this one.

use anyhow::{Context as _, Result, ensure};
use sipdo_tests::{
    Ledger,
    paired::compare,
    process::program,
    throughput::{Throughput, WARM_UP},
};

const JOBS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_take_turns_against_one_simulator_and_each_measure_gets_a_ratio() -> Result<()> {
    let coordinator = program("sipdo-coordinator")?;
    let programs = coordinator.parent().context("a folder of programs")?;
    let compared = compare(programs, 1, async |setup| {
        let models = setup.shared_simulator.as_ref().context("a simulator")?.address;
        let measures = Throughput::measure(setup, JOBS).await?.measures()?;
        // Its cluster is gone, the simulator is not: all calls of this turn came to it, and none of another turn.
        let calls = Ledger::read(models).await?.calls.len();
        ensure!(calls == WARM_UP + JOBS, "{calls} calls");
        Ok(measures)
    })
    .await?;
    let names: Vec<&str> = compared.iter().map(|comparison| comparison.name()).collect();
    assert_eq!(
        names,
        ["jobs_per_second", "cpu_ms_per_job", "agent_rss", "coordinator_rss"]
    );
    for comparison in compared {
        let ratios = comparison.ratios();
        assert!(matches!(ratios[..], [ratio] if ratio > 0.0), "{comparison:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_programs_of_the_old_folder_are_those_that_are_started() -> Result<()> {
    let nothing = tempfile::tempdir()?;
    let compared = compare(nothing.path(), 1, async |setup| {
        Throughput::measure(setup, JOBS).await?.measures()
    });
    let failed = compared.await.err().context("no programs, and no error")?;
    let folder = nothing.path().display().to_string();
    assert!(format!("{failed:#}").contains(&folder), "{failed:#}");
    Ok(())
}
