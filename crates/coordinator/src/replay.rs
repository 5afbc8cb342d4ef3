//! Reading a run back: the messages of its stream applied to its state, one after the other.

use crate::run_state::RunState;
use prost::Message as _;
use sipdo_bus::{BusError, RunId, RunMessage, RunReader, RunSubject, subjects::header};
use sipdo_protocol::{pb, schema};

/// Schemas of the messages of a run's stream that this version reads.
const KNOWN: [&str; 4] = [schema::ENTRY, schema::RESULT, schema::LOST, schema::CONTROL];

/// Reads a run up to where its stream ended when the reader was opened; gives what should not be there, too.
///
/// # Errors
/// The stream cannot be read.
pub(crate) async fn read(run: &RunId, reader: &mut RunReader) -> Result<(RunState, Vec<Unexpected>), BusError> {
    let (mut state, mut unexpected) = (RunState::new(run.as_str()), Vec::new());
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if let Applied::Unexpected(reason) = apply(&mut state, &message) {
                unexpected.push(Unexpected { message, reason });
            }
        }
        if chunk.caught_up {
            return Ok((state, unexpected));
        }
    }
}

/// What one message meant.
#[derive(Debug)]
pub enum Applied {
    /// Nothing new.
    Nothing,
    /// An entry of the log that this process had not seen.
    Entry(Box<pb::Entry>),
    /// A job has its result, this one.
    Settled(Box<pb::JobResult>),
    /// A job's attempt was lost.
    Lost(String),
    /// It counts for nothing and should not be there; why.
    Unexpected(String),
}

/// A message that counts for nothing.
pub(crate) struct Unexpected {
    /// The message.
    pub message: RunMessage,
    /// Why.
    pub reason: String,
}

/// Applies one message of the run's stream. What cannot be decoded counts for nothing, and is logged.
pub(crate) fn apply(state: &mut RunState, message: &RunMessage) -> Applied {
    try_apply(state, message).unwrap_or_else(|Undecodable { what, error }| {
        tracing::error!(run = state.summary.run, what, %error, "cannot be decoded; left out");
        Applied::Unexpected(format!("{what} that cannot be decoded: {error}"))
    })
}

/// Something in the run's stream that cannot be decoded.
#[derive(Debug)]
pub struct Undecodable {
    /// What stands in its place.
    pub what: &'static str,
    /// Why not.
    pub error: prost::DecodeError,
}

/// As [`apply`], without a log line.
///
/// # Errors
/// The message cannot be decoded; the state is what it was.
pub fn try_apply(state: &mut RunState, message: &RunMessage) -> Result<Applied, Undecodable> {
    if let Some(reason) = unknown_schema(message) {
        return Ok(Applied::Unexpected(reason));
    }
    let undecodable = |what| move |error| Undecodable { what, error };
    let payload = message.payload.clone();
    Ok(match &message.kind {
        RunSubject::Log if message.seq <= state.log_sequence => Applied::Nothing,
        RunSubject::Log => {
            let entry = pb::Entry::decode(payload).map_err(undecodable("an entry of the log"))?;
            let trace = message.headers.trace();
            if !trace.is_none() {
                state.trace = trace;
            }
            state.apply_entry(message.seq, &entry);
            Applied::Entry(Box::new(entry))
        }
        RunSubject::Result { job, .. } => {
            let result = pb::JobResult::decode(payload).map_err(undecodable("a result"))?;
            if result.job != job.as_str() {
                return Ok(Applied::Unexpected(format!(
                    "a result of job {:?} in the place of {job}",
                    result.job
                )));
            }
            let unknown = state.unknown_results;
            if state.apply_result(message.seq, &result) {
                Applied::Settled(Box::new(result))
            } else if state.unknown_results > unknown {
                Applied::Unexpected(format!("a result of job {job}, which was never issued"))
            } else {
                Applied::Nothing
            }
        }
        RunSubject::Lost { .. } => {
            let lost = pb::AttemptLost::decode(payload).map_err(undecodable("a lost attempt"))?;
            match state.apply_lost(&lost) {
                true => Applied::Lost(lost.job),
                false => Applied::Nothing,
            }
        }
        RunSubject::Control => {
            state.apply_request(pb::Control::decode(payload).map_err(undecodable("a control request"))?);
            Applied::Nothing
        }
        RunSubject::Unknown => Applied::Nothing,
    })
}

/// Why a message is left alone, where its schema is one that this version does not read.
fn unknown_schema(message: &RunMessage) -> Option<String> {
    let schema = message.headers.get(header::SCHEMA)?;
    (!KNOWN.contains(&schema)).then(|| format!("the schema {schema:?} is unknown to this version"))
}
