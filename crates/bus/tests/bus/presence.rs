//! Who is alive, who is dead, and who only does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sipdo_bus::{AgentId, Liveness};
use tokio::time::Instant;

use crate::kit::{self, bus};

const WAIT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn everybody_shows_a_card_of_the_moment() {
    let (server, bus) = bus().await;
    let load = Arc::new(AtomicU32::new(0));
    let mut present = Vec::new();
    for name in ["a", "b", "c"] {
        let load = load.clone();
        let connection = kit::connect(&server).await;
        let card = move || format!("{name} {}", load.load(Ordering::Relaxed)).into();
        present.push((
            connection.announce(&AgentId::new(name).unwrap(), card).await.unwrap(),
            connection,
        ));
    }
    load.store(5, Ordering::Relaxed);
    let mut cards = bus.roll_call(WAIT).await.unwrap();
    cards.sort();
    assert_eq!(cards, ["a 5", "b 5", "c 5"]);
    assert_eq!(
        bus.is_alive(&AgentId::new("b").unwrap(), WAIT).await.unwrap(),
        Liveness::Alive("b 5".into())
    );
    present.clear();
    let nobody = kit::soon("an empty roll call", async {
        while !bus.roll_call(Duration::from_millis(50)).await.unwrap().is_empty() {}
    });
    nobody.await;
}

#[tokio::test]
async fn the_dead_are_known_long_before_a_timeout_would_tell() {
    let (server, bus) = bus().await;
    let id = AgentId::new("worker-1").unwrap();
    let connection = kit::connect(&server).await;
    let presence = connection.announce(&id, || "here".into()).await.unwrap();
    assert!(matches!(bus.is_alive(&id, WAIT).await.unwrap(), Liveness::Alive(_)));
    drop((presence, connection));
    // Until the server knows that the connection is closed, the process is only silent.
    let short = Duration::from_millis(200);
    kit::until("the death", async || {
        bus.is_alive(&id, short).await.unwrap() == Liveness::Dead
    })
    .await;
    let start = Instant::now();
    assert_eq!(
        bus.is_alive(&id, Duration::from_secs(60)).await.unwrap(),
        Liveness::Dead
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_process_is_not_dead_because_its_server_was_restarted() {
    let (mut server, bus) = bus().await;
    let id = AgentId::new("worker-1").unwrap();
    let connection = kit::connect(&server).await;
    let _presence = connection.announce(&id, || "here".into()).await.unwrap();
    server.nats.kill().await.unwrap();
    server.nats.start_again().await.unwrap();
    let mut link = bus.link();
    kit::soon(
        "the connection",
        link.wait_for(|link| link.connected && link.epoch == 2),
    )
    .await
    .unwrap();
    assert!(matches!(bus.is_alive(&id, WAIT).await.unwrap(), Liveness::Alive(_)));
}

#[tokio::test]
async fn one_that_does_not_answer_is_silent_and_not_dead() {
    let (server, bus) = bus().await;
    let id = AgentId::new("worker-1").unwrap();
    // Subscribed, but with nobody reading: as a process that is paused.
    let client = async_nats::connect(server.nats.url()).await.unwrap();
    let _asked = client.subscribe("sipdo.v1.agent.worker-1.ping").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(
        bus.is_alive(&id, Duration::from_millis(200)).await.unwrap(),
        Liveness::Silent
    );
}
