//! How quickly a long run is taken over: its strategy starts again from the top, and every answer is read again.

use crate::{
    cluster::{
        Cluster, Setup,
        task::{counting, request},
    },
    measure::bench::figure,
    observe::watch::create,
};
use anyhow::{Context as _, Result};
use prost::Message as _;
use sipdo_bus::{RunId, RunReader, RunSubject};
use sipdo_protocol::pb::{Entry, log_event::Event};
use std::time::SystemTime;

/// Jobs of the run.
const JOBS: usize = 8_000;
/// Results after which its coordinator is killed.
const DONE: usize = 7_500;

/// One `eval` run, as the first part of the benchmark.
///
/// # Errors
/// A process or the run fails.
pub async fn measure() -> Result<()> {
    let setup = Setup {
        slots: 128,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let eval = request(counting(2, JOBS), "eval", &serde_json::json!({}), None);
    let run = RunId::new(create(&cluster.client().await?, eval).await?)?;
    let mut reader = RunReader::open(&bus, &run, 0).await?;
    let mut read = Read::default();
    read.until(&mut reader, |read| read.results >= DONE).await?;
    for (mut coordinator, _) in cluster.coordinators.drain(..) {
        coordinator.kill()?;
    }
    cluster.start_coordinator().await?;
    read.until(&mut reader, |read| read.ended).await?;
    let replayed = read.claimed.zip(read.issued).context("nobody took the run over")?;
    let seconds = replayed.1.duration_since(replayed.0)?.as_secs_f64();
    println!(
        "\na run of {JOBS} jobs whose coordinator is killed after {DONE}: the next one asks something new {seconds:.2} s after its claim"
    );
    figure("speed.takeover_of_long_run", format!("{seconds:.2}"), "s");
    Ok(())
}

/// What was read of the run.
#[derive(Default)]
struct Read {
    results: usize,
    /// When it was claimed last, and when the first job was issued after that.
    claimed: Option<SystemTime>,
    issued: Option<SystemTime>,
    ended: bool,
}

impl Read {
    async fn until(&mut self, reader: &mut RunReader, done: impl Fn(&Read) -> bool) -> Result<()> {
        while !done(self) {
            for message in reader.next_chunk().await?.messages {
                match message.kind {
                    RunSubject::Result { .. } => self.results += 1,
                    RunSubject::Log => {
                        let events = Entry::decode(message.payload)?.events;
                        events
                            .iter()
                            .filter_map(|event| event.event.as_ref())
                            .for_each(|event| self.take(event, message.time));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event, at: SystemTime) {
        match event {
            Event::Claimed(_) => (self.claimed, self.issued) = (Some(at), None),
            Event::Issued(_) if self.issued.is_none() => self.issued = Some(at),
            Event::Ended(_) => self.ended = true,
            _ => {}
        }
    }
}
