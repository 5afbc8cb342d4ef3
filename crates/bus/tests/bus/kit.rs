//! What the tests share: a server and a connection, short times, and waiting for a condition.

use std::time::Duration;

use sipdo_bus::local::{NatsServer, NatsServerOptions};
use sipdo_bus::{Bus, BusSettings, JobId, JobMessage, NewMessage, Published, Role, RunId};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A short patience of the server with agents, so that tests need not wait long for a redelivery.
pub const ACK_WAIT: Duration = Duration::from_millis(600);

/// A private server with its data in a folder that vanishes with it.
pub struct Server {
    pub nats: NatsServer,
    _folder: TempDir,
}

pub async fn server() -> Server {
    server_with(|_| {}).await
}

pub async fn server_with(change: impl FnOnce(&mut NatsServerOptions)) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let mut options = NatsServerOptions::new(folder.path());
    change(&mut options);
    Server {
        nats: NatsServer::start(options).await.unwrap(),
        _folder: folder,
    }
}

pub fn settings(server: &Server) -> BusSettings {
    BusSettings {
        connect_within: Some(PATIENCE),
        ack_wait: ACK_WAIT,
        ..BusSettings::new(server.nats.url())
    }
}

/// Another connection to the same server.
pub async fn connect(server: &Server) -> Bus {
    patient(server, ACK_WAIT).await
}

/// As [`connect`], for agents with which the server is so patient.
pub async fn patient(server: &Server, ack_wait: Duration) -> Bus {
    let settings = BusSettings {
        ack_wait,
        ..settings(server)
    };
    Bus::connect(settings).await.unwrap()
}

/// A server with streams, and a connection to it.
pub async fn bus() -> (Server, Bus) {
    patient_bus(ACK_WAIT).await
}

/// As [`bus`], where the server is so patient with agents.
pub async fn patient_bus(ack_wait: Duration) -> (Server, Bus) {
    let server = server().await;
    let bus = patient(&server, ack_wait).await;
    bus.ensure_streams().await.unwrap();
    (server, bus)
}

pub fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

pub fn role() -> Role {
    Role::new("learner").unwrap()
}

pub fn job_id(n: usize) -> JobId {
    JobId::new(format!("job-{n}")).unwrap()
}

pub fn text(text: &str) -> NewMessage {
    NewMessage::new(text.to_owned())
}

pub fn job(run: &RunId, n: usize) -> JobMessage {
    let message = text(&format!("payload {n}"));
    JobMessage {
        role: role(),
        suspect: false,
        run: run.clone(),
        job: job_id(n),
        attempt: 1,
        epoch: 1,
        repeat: 0,
        message,
    }
}

pub async fn publish(bus: &Bus, job: JobMessage) -> Published {
    bus.publish_job(job).await.unwrap().settled().await.unwrap()
}

/// Waits for `future`, and fails with `what` if it takes too long.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Waits until `holds` says so, and fails with `what` if it never does.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
