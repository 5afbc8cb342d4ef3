//! Messages that nobody could handle, kept with the reason, so that an operator sees them and nothing blocks a queue.

use std::time::SystemTime;

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use futures::StreamExt as _;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{Headers, NewMessage, Stored};
use crate::subjects::{self, ALL_DEAD, DEAD_STREAM, Role, RunId, header};

/// Longest reason kept with a dead letter.
const LONGEST_REASON: usize = 1000;
/// How many times further back it is looked for a run's letters each time.
const FURTHER: u64 = 8;
/// More than the message id takes that is added last.
const ID_ROOM: usize = 512;

/// A message that could not be handled.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Whose message it was.
    pub role: Role,
    /// Of which run.
    pub run: RunId,
    /// Its place among dead letters.
    pub seq: u64,
    /// When it was given up.
    pub time: SystemTime,
    /// Why.
    pub reason: String,
    /// Where it came from.
    pub subject: String,
    /// How often it had been delivered.
    pub delivered: u64,
    /// Its headers, with those of the dead letter.
    pub headers: Headers,
    /// Its content, untouched.
    pub payload: Bytes,
}

impl Bus {
    /// Keeps a message that `role` cannot handle, with the reason. `subject` is where it came from, `seq` its sequence
    /// there: the same message given up twice is kept once.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn keep_dead_letter(
        &self,
        role: &Role,
        run: &RunId,
        message: NewMessage,
        origin: (&str, u64),
        delivered: u64,
        reason: &str,
    ) -> Result<(), BusError> {
        let (subject, seq) = origin;
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        tracing::error!(%role, %run, subject, seq, reason, "giving a message up");
        let mut message = message
            .with(header::DEAD_REASON, reason)
            .with(header::DEAD_SUBJECT, subject)
            .with(header::DEAD_DELIVERED, delivered.to_string());
        if message.size() + ID_ROOM > self.max_message() {
            // It came within the limit; only its new headers are too much. The reason matters more than the rest.
            message.payload = Bytes::new();
        }
        let place = subjects::dead(role, run);
        let id = format!("{subject}.{seq}");
        let kept = self.deliver(DEAD_STREAM, &place, "dead letter", message, &id);
        kept.await.map(drop)
    }

    /// The last `most` dead letters, oldest first, and how many there are in all; only those of `run`, if one is named.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn dead_letters(&self, run: Option<&RunId>, most: usize) -> Result<(Vec<DeadLetter>, u64), BusError> {
        let filter = run.map_or_else(|| ALL_DEAD.to_owned(), subjects::dead_of_run);
        let total = self.count(DEAD_STREAM, &filter).await?;
        let Some(last) = self.last_from_leader(DEAD_STREAM, &filter).await? else {
            return Ok((Vec::new(), 0));
        };
        // Letters of others may lie between them: it is looked further back until there are enough.
        let mut back = most.max(1) as u64;
        loop {
            let start_sequence = last.seq.saturating_sub(back - 1).max(1);
            let start = DeliverPolicy::ByStartSequence { start_sequence };
            let mut found = self.collect(DEAD_STREAM, &filter, start).await?;
            if found.len() >= most || start_sequence == 1 {
                found.drain(..found.len().saturating_sub(most));
                return Ok((found.into_iter().filter_map(read).collect(), total));
            }
            back = back.saturating_mul(FURTHER);
        }
    }

    /// Messages of a stream under a subject with wildcards.
    async fn count(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        const DOING: &str = "counting messages";
        let stream = self.jetstream().get_stream_no_info(stream).await;
        let stream = stream.map_err(|error| BusError::failed(DOING, error))?;
        let mut subjects = stream
            .info_with_subjects(filter)
            .await
            .map_err(|error| BusError::failed(DOING, error))?;
        let mut total = 0;
        while let Some(counted) = subjects.next().await {
            let (_, count) = counted.map_err(|error| BusError::failed(DOING, error))?;
            total += count as u64;
        }
        Ok(total)
    }
}

fn read(stored: Stored) -> Option<DeadLetter> {
    let Stored {
        subject,
        seq,
        time,
        headers,
        payload,
    } = stored;
    let (role, run) = subjects::dead_place(&subject)?;
    let text = |name| headers.get(name).unwrap_or_default().to_owned();
    Some(DeadLetter {
        role,
        run,
        seq,
        time,
        reason: text(header::DEAD_REASON),
        subject: text(header::DEAD_SUBJECT),
        delivered: headers.number(header::DEAD_DELIVERED).unwrap_or_default(),
        headers,
        payload,
    })
}
