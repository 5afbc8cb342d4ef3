//! What passes over a nats-server, heard by a client that subscribes to it.

use anyhow::{Context as _, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

/// All but the pings of single agents (that nobody hears one tells that an agent is gone), and what the server says of its clients by
/// itself: who logs in is known to it.
const SUBJECTS: [&str; 11] = [
    "sipdo.v1.run.>",
    "sipdo.v1.job.>",
    "sipdo.v1.attempt.>",
    "sipdo.v1.dead.>",
    "sipdo.v1.cancel.>",
    "sipdo.v1.agents.>",
    "sipdo.v1.agent.*.probe",
    "$KV.>",
    "$O.>",
    "$JS.API.>",
    "_INBOX.>",
];

/// Hears until it is dropped.
#[derive(Debug)]
pub struct BusListener {
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl BusListener {
    /// Listens to the server at this port of this machine, and waits until it is heard.
    ///
    /// # Errors
    /// There is no server.
    pub async fn start(port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n".to_owned();
        for (number, subject) in (1..).zip(SUBJECTS) {
            hello.push_str(&format!("SUB {subject} {number}\r\n"));
        }
        hello.push_str("PING\r\n");
        stream.write_all(hello.as_bytes()).await?;
        let mut first = Vec::new();
        while !first.ends_with(b"PONG\r\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .await
                .context("the server does not let us in")?;
            first.extend(byte);
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(hear(stream, Arc::clone(&heard)));
        Ok(BusListener { heard, task })
    }

    /// Every byte so far.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.heard).clone()
    }
}

impl Drop for BusListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hear(mut stream: TcpStream, heard: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let new = buffer.get(..count).unwrap_or_default();
        lock(&heard).extend_from_slice(new);
        // The server asks now and then whether we are there. One answer too many does no harm.
        if new.windows(6).any(|window| window == b"PING\r\n") && stream.write_all(b"PONG\r\n").await.is_err() {
            return;
        }
    }
}

fn lock(heard: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
