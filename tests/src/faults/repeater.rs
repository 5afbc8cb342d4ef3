//! Brings every message a second time, later and in another order, as a network may: a client of the server that listens to all and
//! publishes again what it hears. Without the id by which the server would know a message again: that is what it is like once the time
//! of its deduplication is over.

use anyhow::{Context as _, Result};
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use sipdo_simulator::draw::Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};

/// Everything that is stored.
const SUBJECTS: [&str; 4] = ["sipdo.v1.run.>", "sipdo.v1.job.>", "sipdo.v1.attempt.>", "$KV.>"];
/// The longest that a copy is late, in milliseconds.
const LATE_MS: u64 = 1_500;
const ID: &str = "Nats-Msg-Id:";

/// Repeats until it is dropped.
#[derive(Debug)]
pub struct Repeater {
    repeated: Arc<AtomicUsize>,
    task: JoinHandle<Result<()>>,
}

impl Repeater {
    /// Listens to the server at this port of this machine, and waits until it hears.
    ///
    /// # Errors
    /// There is no server.
    pub async fn start(port: u16, seed: u64) -> Result<Self> {
        let (read, mut write) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
        // It does not hear itself.
        let mut hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"echo\":false}\r\n".to_owned();
        for (number, subject) in (1..).zip(SUBJECTS) {
            hello.push_str(&format!("SUB {subject} {number}\r\n"));
        }
        hello.push_str("PING\r\n");
        write.write_all(hello.as_bytes()).await?;
        let mut read = BufReader::new(read);
        while line(&mut read).await? != "PONG" {}
        let repeated = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(repeat(read, write, Rng::seed_from_u64(seed), Arc::clone(&repeated)));
        Ok(Repeater { repeated, task })
    }

    /// How many messages came a second time so far.
    pub fn repeated(&self) -> usize {
        self.repeated.load(Ordering::Relaxed)
    }
}

impl Drop for Repeater {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn line(read: &mut BufReader<OwnedReadHalf>) -> Result<String> {
    let mut line = String::new();
    read.read_line(&mut line).await?;
    anyhow::ensure!(!line.is_empty(), "the server has hung up");
    Ok(line.trim_end().to_owned())
}

async fn repeat(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    mut random: Rng,
    repeated: Arc<AtomicUsize>,
) -> Result<()> {
    let (late, mut due) = mpsc::unbounded_channel::<Vec<u8>>();
    let writer = tokio::spawn(async move {
        while let Some(copy) = due.recv().await {
            write.write_all(&copy).await?;
        }
        anyhow::Ok(())
    });
    loop {
        let line = line(&mut read).await?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let copy = match words.first().copied() {
            Some("PING") => {
                late.send(b"PONG\r\n".to_vec())?;
                continue;
            }
            Some("MSG" | "HMSG") => copy(&mut read, &words).await?,
            _ => continue,
        };
        repeated.fetch_add(1, Ordering::Relaxed);
        let (late, delay) = (late.clone(), Duration::from_millis(random.next_u64() % LATE_MS));
        anyhow::ensure!(!writer.is_finished(), "the server takes nothing more");
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            drop(late.send(copy));
        });
    }
}

/// `MSG subject sid [reply] bytes` or `HMSG subject sid [reply] header-bytes all-bytes`, as it is to be published again.
async fn copy(read: &mut BufReader<OwnedReadHalf>, words: &[&str]) -> Result<Vec<u8>> {
    let (subject, size) = words.get(1).zip(words.last()).context("a subject and a size")?;
    let mut body = vec![0; size.parse()?];
    read.read_exact(&mut body).await?;
    let (head, payload) = if words.first() == Some(&"HMSG") {
        let header: usize = words.iter().rev().nth(1).context("a size")?.parse()?;
        let (header, payload) = body.split_at_checked(header).context("a header")?;
        let lines = std::str::from_utf8(header)?.trim_end().split("\r\n");
        let kept: Vec<&str> = lines.filter(|line| !line.starts_with(ID)).collect();
        let header = format!("{}\r\n\r\n", kept.join("\r\n"));
        let (own, all) = (header.len(), header.len() + payload.len());
        (format!("HPUB {subject} {own} {all}\r\n{header}"), payload)
    } else {
        (format!("PUB {subject} {}\r\n", body.len()), body.as_slice())
    };
    let mut copy = head.into_bytes();
    copy.extend_from_slice(payload);
    copy.extend_from_slice(b"\r\n");
    Ok(copy)
}
