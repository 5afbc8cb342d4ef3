//! What a user asks of a run by the command line while no coordinator lives.

use anyhow::Result;
use sipdo_protocol::pb::{self, State};
use sipdo_tests::{
    Cluster, Setup, User,
    task::{counting, request},
    watch::{clean, create, levels, optimize, results, summary},
};

async fn kill_coordinators(cluster: &mut Cluster) -> Result<()> {
    for (mut coordinator, _) in cluster.coordinators.drain(..) {
        coordinator.kill()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_left_for_the_next_coordinator_where_the_operators_file_names_nats() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        simulator: vec!["--latency-ms".into(), "100-200".into()],
        slots: 2,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(12, 12), 2).await?;
    results(&bus, &run, 3).await?;

    let mut user = User::new()?;
    let (_, api) = cluster.coordinators.first().expect("one coordinator");
    user.set("SIPDO_COORDINATOR", format!("http://{api}"));
    kill_coordinators(&mut cluster).await?;
    let done = user.sipdo(&format!("runs pause {run}"))?;
    assert_eq!(done.code, Some(6), "{done}");
    assert!(
        done.err.contains("no coordinator answers") && done.err.contains("SIPDO_NATS_URL"),
        "{done}"
    );

    user.write("sipdo.toml", format!("[nats]\nurl = \"{}\"\n", cluster.nats.url()))?;
    for (command, name, state) in [
        ("pause", run.as_str(), State::Paused),
        ("resume", run.as_str(), State::Running),
        ("pause", "latest", State::Paused),
        ("stop", run.as_str(), State::Stopped),
    ] {
        kill_coordinators(&mut cluster).await?;
        let done = user.sipdo(&format!("runs {command} {name}"))?;
        assert_eq!(done.code, Some(0), "{done}");
        assert!(done.err.contains("takes effect when one is back"), "{done}");
        cluster.start_coordinator().await?;
        summary(&bus, &run, state.as_str_name(), |summary| summary.state() == state).await?;
    }

    kill_coordinators(&mut cluster).await?;
    let done = user.sipdo(&format!("runs cancel {run}"))?;
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.err.contains("has ended (stopped"), "{done}");
    let done = user.sipdo("runs cancel r00000000000000000000")?;
    assert_eq!(done.code, Some(4), "{done}");
    let findings = sipdo_tests::oracle::History::read(&bus, &run).await?.check();
    assert_eq!(findings.broken, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_caps_are_left_for_the_next_coordinator_also_for_a_run_that_met_its_own() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let capped = request(counting(12, 20), "sipdo", &levels(6), Some(160));
    let run = create(&cluster.client().await?, capped).await?;
    let met = |summary: &pb::Summary| summary.state() == State::BudgetExhausted;
    summary(&bus, &run, "its cap to be met", met).await?;

    let mut user = User::new()?;
    let (_, api) = cluster.coordinators.first().expect("one coordinator");
    user.set("SIPDO_COORDINATOR", format!("http://{api}"));
    user.write("sipdo.toml", format!("[nats]\nurl = \"{}\"\n", cluster.nats.url()))?;
    kill_coordinators(&mut cluster).await?;
    for caps in ["--budget-calls 5000", "--budget-tokens 90000000"] {
        let done = user.sipdo(&format!("runs budget {run} {caps}"))?;
        assert_eq!(done.code, Some(0), "{done}");
        assert!(done.err.contains("takes effect when one starts"), "{done}");
    }
    cluster.start_coordinator().await?;
    let finished = |summary: &pb::Summary| summary.state() == State::Finished;
    let summary = summary(&bus, &run, "it to finish", finished).await?;
    let caps = summary.budget.unwrap_or_default();
    assert_eq!(
        (caps.calls, caps.tokens),
        (Some(5_000), Some(90_000_000)),
        "the one is kept, the other new"
    );
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());

    kill_coordinators(&mut cluster).await?;
    let done = user.sipdo(&format!("runs budget {run} --budget-calls 6000"))?;
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.err.contains("has ended (finished"), "{done}");
    Ok(())
}
