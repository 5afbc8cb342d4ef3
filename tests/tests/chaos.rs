//! A short chaos: whole runs under random faults on one server and on three, held against the undisturbed ones. `make chaos` is the long
//! one, in which every kind strikes.

use anyhow::Result;
use sipdo_tests::{
    chaos::{Ground, Plan, run},
    usage::crowding,
};

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing_buy_nothing_twice_and_change_no_decision() -> Result<()> {
    let plan = Plan {
        seed: 7,
        faults: 36,
        runs: 6,
        together: 3,
        pause_ms: (200, 700),
        grounds: vec![Ground::One, Ground::Spoiling, Ground::Three],
        every_kind: false,
    };
    let report = run(&plan, |line| println!("{line}")).await?;
    assert!(report.is_clean(), "{}\n{:#?}", report.line(), report.broken);
    for (kind, times) in &report.by_kind {
        println!("{times:4}  {kind}");
    }
    let (_, slowest) = report.takeovers();
    let most = (5_000.0 * crowding()) as u64;
    assert!(slowest.is_none_or(|ms| ms <= most), "a takeover took {slowest:?} ms");
    assert!(report.compared > 0, "no run was measured whole: {}", report.line());
    Ok(())
}
