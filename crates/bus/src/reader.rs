//! A run read back: every message of it, in the one order that the stream gives them, and then the new ones.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{Headers, Stored};
use crate::subjects::{self, RUN_STREAM, RunId, RunSubject};
use crate::tail::Tail;

/// Most messages handed out at a time. Bounds the memory of a replay, and how long a reader goes without looking up.
const CHUNK: usize = 4096;

/// One message of a run.
#[derive(Debug, Clone)]
pub struct RunMessage {
    /// Its place in the order; grows, with gaps where other runs have theirs.
    pub seq: u64,
    /// What it is.
    pub kind: RunSubject,
    /// When the server took it. For people: no decision may rest on it.
    pub time: SystemTime,
    /// Its headers.
    pub headers: Headers,
    /// Its content.
    pub payload: Bytes,
}

/// Messages that were there at one moment, in order.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// At least one, except in a first chunk of a run without messages.
    pub messages: Vec<RunMessage>,
    /// Whether, with these, everything has been read that was there when the reader was opened.
    pub caught_up: bool,
}

/// Reads one run. Nothing is lost and nothing comes twice, also over a restart of the server.
#[derive(Debug)]
pub struct RunReader {
    tail: Tail,
    /// The last message of the run when the reader was opened.
    target: u64,
    last: u64,
    told: bool,
}

impl RunReader {
    /// Opens `run` to read everything after the sequence `after` (0: everything), and notes where it ends at present.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn open(bus: &Bus, run: &RunId, after: u64) -> Result<Self, BusError> {
        let all = subjects::run_all(run);
        let target = bus.last_sequence(run).await?.unwrap_or(0);
        let start = DeliverPolicy::ByStartSequence {
            start_sequence: after + 1,
        };
        Ok(Self {
            tail: Tail::new(bus, RUN_STREAM, all, start),
            target,
            last: after,
            told: false,
        })
    }

    /// Waits for messages and hands out all that have arrived. A run that had nothing to read at opening yields one
    /// empty chunk that says so. Safe to cancel.
    ///
    /// # Errors
    /// Only if the stream is gone or the connection closed for good; a server that is away is waited for.
    pub async fn next_chunk(&mut self) -> Result<Chunk, BusError> {
        if !self.told && self.caught_up() {
            self.told = true;
            return Ok(Chunk {
                messages: Vec::new(),
                caught_up: true,
            });
        }
        let messages: Vec<_> = self
            .tail
            .next_chunk(CHUNK)
            .await?
            .into_iter()
            .map(RunMessage::from)
            .collect();
        self.last = messages.last().map_or(self.last, |message| message.seq);
        self.told = self.caught_up();
        Ok(Chunk {
            messages,
            caught_up: self.told,
        })
    }

    /// Whether everything has been handed out that was there at opening.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.last >= self.target
    }
}

/// How long it takes until a message is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

impl Bus {
    /// A message of a run that was read before, at this sequence. A copy of the stream that does not have it yet, and a server that
    /// does not answer, are asked again.
    ///
    /// # Errors
    /// It is gone, or nobody answered, for [`crate::BusSettings::settle_within`].
    pub async fn run_message(&self, seq: u64) -> Result<RunMessage, BusError> {
        let failed = |error: String| BusError::failed("reading a message again", error);
        let stream = self.jetstream().get_stream_no_info(RUN_STREAM).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let start = Instant::now();
        loop {
            match stream.direct_get(seq).await {
                Ok(message) => return Ok(Stored::from(message).into()),
                Err(error) if start.elapsed() > self.settings().settle_within => {
                    return Err(failed(format!("{error}, at sequence {seq}")));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

impl From<Stored> for RunMessage {
    fn from(stored: Stored) -> Self {
        let Stored {
            subject,
            seq,
            time,
            headers,
            payload,
        } = stored;
        let kind = subjects::run_place(&subject).map_or(RunSubject::Unknown, |(_, kind)| kind);
        Self {
            seq,
            kind,
            time,
            headers,
            payload,
        }
    }
}
