//! A short chaos: whole runs under random faults of every kind, held against the undisturbed ones. `make chaos` is the long one.

use anyhow::Result;
use sipdo_tests::chaos::{Plan, run};

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing_buy_nothing_twice_and_change_no_decision() -> Result<()> {
    let plan = Plan {
        seed: 7,
        faults: 20,
        runs: 3,
        together: 3,
        pause_ms: (300, 1_000),
        spoiling_round: 0,
    };
    let report = run(&plan, |line| println!("{line}")).await?;
    assert!(report.is_clean(), "{}\n{:#?}", report.line(), report.broken);
    assert!(report.compared > 0, "no run was measured whole: {}", report.line());
    Ok(())
}
