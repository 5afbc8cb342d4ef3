//! A run exported message by message, and its state computed again from the export.

use crate::{
    context::Context,
    replay::{Applied, apply},
    run_state::RunState,
};
use anyhow::{Result, ensure};
use sipdo_bus::{NewMessage, RunId, RunMessage, RunReader, subjects, subjects::header};
use sipdo_protocol::pb;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::mpsc;
use tonic::Status;

/// What the record of a task is called.
const TASK: &str = "task";

/// Sends all that the run's stream holds at this moment, its task first. Ends early where nobody listens.
pub(crate) async fn send(
    context: &Context,
    run: &RunId,
    task: Vec<u8>,
    records: &mpsc::Sender<Result<pb::Record, Status>>,
) -> Result<()> {
    let task = pb::Record {
        run: run.to_string(),
        kind: TASK.into(),
        payload: task,
        ..Default::default()
    };
    if records.send(Ok(task)).await.is_err() {
        return Ok(());
    }
    let mut reader = RunReader::open(&context.bus, run, 0).await?;
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if records.send(Ok(record(run, message))).await.is_err() {
                return Ok(());
            }
        }
        if chunk.caught_up {
            return Ok(());
        }
    }
}

fn record(run: &RunId, message: RunMessage) -> pb::Record {
    let since = message.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    pb::Record {
        run: run.to_string(),
        sequence: message.seq,
        at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        kind: message.kind.to_string(),
        schema: message.headers.get(header::SCHEMA).unwrap_or_default().to_owned(),
        payload: message.payload.to_vec(),
    }
}

/// A run as its records tell it.
#[derive(Debug)]
pub struct Archived {
    state: Option<RunState>,
    last: u64,
}

impl Archived {
    /// Nothing read yet.
    pub fn new() -> Self {
        Archived { state: None, last: 0 }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is of another run, or out of order: then a part is missing or the file is not one archive.
    pub fn take(&mut self, record: pb::Record) -> Result<()> {
        let state = self.state.get_or_insert_with(|| RunState::new(&record.run));
        let run = &state.summary.run;
        ensure!(
            *run == record.run,
            "a record of run {} among those of {run}",
            record.run
        );
        if record.kind == TASK {
            return Ok(());
        }
        let last = self.last;
        ensure!(record.sequence > last, "record {} comes after {last}", record.sequence);
        self.last = record.sequence;
        let mut message = NewMessage::new(record.payload);
        if !record.schema.is_empty() {
            message = message.with(header::SCHEMA, record.schema);
        }
        let message = RunMessage {
            seq: record.sequence,
            kind: subjects::run_part(&record.kind),
            time: UNIX_EPOCH + Duration::from_millis(record.at_ms),
            headers: message.headers,
            payload: message.payload,
        };
        if let Applied::Unexpected(reason) = apply(state, &message) {
            tracing::warn!(sequence = message.seq, reason, "a record counts for nothing");
        }
        Ok(())
    }

    /// The run; none where there was no first entry of a log.
    pub fn state(self) -> Option<RunState> {
        self.state.filter(|state| state.created.is_some())
    }
}

impl Default for Archived {
    fn default() -> Self {
        Self::new()
    }
}
