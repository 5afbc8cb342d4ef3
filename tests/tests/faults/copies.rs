//! Messages that come twice and in another order.

use crate::latency;
use anyhow::Result;
use sipdo_protocol::pb::{State, control::Kind};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    oracle::Left,
    process::eventually,
    repeater::Repeater,
    task::counting,
    watch::{RUN, clean, optimize, results, summary, tell},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_message_may_come_twice_and_out_of_order_long_after_the_server_would_know_it_again() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("100-200"),
        coordinators: 2,
        agents: 2,
        slots: 2,
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let repeater = Repeater::start(cluster.nats.port(), 3).await?;
    let run = optimize(&cluster, counting(12, 20), 3).await?;
    results(&bus, &run, 10).await?;
    // What was asked once is done once, also where it is asked again after something else.
    for (kind, state) in [(Kind::Pause, State::Paused), (Kind::Resume, State::Running)] {
        tell(&bus, &run, kind).await?;
        summary(&bus, &run, state.as_str_name(), |summary| summary.state() == state).await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    // Each result lies behind a job and a right to buy, and each of these has come twice.
    eventually("a copy of all of it", || async {
        Ok((repeater.repeated() >= 3 * history.results()).then_some(()))
    })
    .await?;
    let left = Left::read(&bus, std::slice::from_ref(&history)).await?;
    assert_eq!(left, Left::default());
    assert_eq!(history.not_measured(), 0);
    assert_eq!(history.check().granted_again, 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}
