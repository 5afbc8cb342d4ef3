//! What the messages of a run's stream mean: reading a run back, and folding one message after the other.

use crate::{
    context::Context,
    fold::RunState,
    strays::{self, Stray},
};
use anyhow::Result;
use prost::Message as _;
use sipdo_bus::{RunId, RunMessage, RunReader, RunSubject};
use sipdo_protocol::pb;

/// Reads a run up to where its stream ended when the reader was opened.
///
/// # Errors
/// Where the stream cannot be read.
pub async fn replay(context: &Context, run: &RunId, reader: &mut RunReader) -> Result<RunState> {
    replay_noting(context, run, reader, &mut Vec::new()).await
}

/// As [`replay`], noting what should not be there.
pub async fn replay_noting(
    context: &Context,
    run: &RunId,
    reader: &mut RunReader,
    strays: &mut Vec<Stray>,
) -> Result<RunState> {
    let mut state = RunState::new(run.as_str());
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if let Fact::Stray(reason) = fold(context, &mut state, &message) {
                strays.push(Stray { message, reason });
            }
        }
        if chunk.caught_up {
            return Ok(state);
        }
    }
}

/// What one message meant.
#[derive(Debug)]
pub enum Fact {
    /// Nothing new.
    Nothing,
    /// An entry of the log that this process had not seen.
    Entry(Box<pb::Entry>),
    /// A job has its result.
    Settled(String),
    /// A job's attempt was lost.
    Lost(String),
    /// It counts for nothing and should not be there; why.
    Stray(String),
}

/// Folds one message of the run's stream. What cannot be read counts for nothing, and is said.
pub fn fold(context: &Context, state: &mut RunState, message: &RunMessage) -> Fact {
    let run = state.summary.run.clone();
    let unreadable = |what: &str, error: prost::DecodeError| {
        context.unreadable(what, &run, &error);
        Fact::Stray(format!("{what} that cannot be decoded: {error}"))
    };
    if let Some(reason) = strays::unknown_schema(message) {
        return Fact::Stray(reason);
    }
    let payload = message.payload.clone();
    match &message.kind {
        RunSubject::Log if message.seq <= state.log_sequence => Fact::Nothing,
        RunSubject::Log => match pb::Entry::decode(payload) {
            Ok(entry) => {
                let trace = message.headers.trace();
                if !trace.is_none() {
                    state.trace = trace;
                }
                state.apply_entry(message.seq, &entry);
                Fact::Entry(Box::new(entry))
            }
            Err(error) => unreadable("an entry of the log", error),
        },
        RunSubject::Result { job, .. } => match pb::JobResult::decode(payload) {
            Ok(result) if result.job != job.as_str() => {
                Fact::Stray(format!("a result of job {:?} in the place of {job}", result.job))
            }
            Ok(result) => {
                let (job, strangers) = (result.job.clone(), state.unknown_results);
                if state.apply_result(result) {
                    Fact::Settled(job)
                } else if state.unknown_results > strangers {
                    Fact::Stray(format!("a result of job {job}, which was never issued"))
                } else {
                    Fact::Nothing
                }
            }
            Err(error) => unreadable("a result", error),
        },
        RunSubject::Lost { .. } => match pb::AttemptLost::decode(payload) {
            Ok(lost) if state.apply_lost(&lost) => Fact::Lost(lost.job),
            Ok(_) => Fact::Nothing,
            Err(error) => unreadable("a lost attempt", error),
        },
        RunSubject::Control => match pb::Control::decode(payload) {
            Ok(control) => {
                state.apply_request(control);
                Fact::Nothing
            }
            Err(error) => unreadable("a control request", error),
        },
        RunSubject::Unknown => Fact::Nothing,
    }
}
