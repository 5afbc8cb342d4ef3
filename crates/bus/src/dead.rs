//! Messages that nobody could handle, kept with the reason, so that an operator sees them and nothing blocks a queue.

use std::time::SystemTime;

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{Headers, NewMessage, Stored};
use crate::subjects::{self, ALL_DEAD, DEAD_STREAM, Role, RunId, header};

/// Longest reason kept with a dead letter.
const LONGEST_REASON: usize = 1000;
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

    /// The last `most` dead letters, oldest first.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn dead_letters(&self, most: u64) -> Result<Vec<DeadLetter>, BusError> {
        let Some(last) = self.last_from_leader(DEAD_STREAM, ALL_DEAD).await? else {
            return Ok(Vec::new());
        };
        let start_sequence = last.seq.saturating_sub(most.saturating_sub(1)).max(1);
        let found = self
            .collect(DEAD_STREAM, ALL_DEAD, DeliverPolicy::ByStartSequence { start_sequence })
            .await?;
        Ok(found.into_iter().filter_map(read).collect())
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
