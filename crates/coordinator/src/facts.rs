//! What the messages of a run's stream mean: reading a run back, and folding one message after the other.

use crate::{
    context::Context,
    fold::RunState,
    unexpected::{self, Unexpected},
};
use prost::Message as _;
use sipdo_bus::{RunId, RunMessage, RunReader, RunSubject};
use sipdo_protocol::pb;

/// Reads a run up to where its stream ended when the reader was opened.
///
/// # Errors
/// Where the stream cannot be read.
pub async fn replay(context: &Context, run: &RunId, reader: &mut RunReader) -> anyhow::Result<RunState> {
    replay_noting(context, run, reader, &mut Vec::new()).await
}

/// As [`replay`], noting what should not be there.
pub(crate) async fn replay_noting(
    context: &Context,
    run: &RunId,
    reader: &mut RunReader,
    unexpected: &mut Vec<Unexpected>,
) -> anyhow::Result<RunState> {
    let mut state = RunState::new(run.as_str());
    loop {
        let chunk = reader.next_chunk().await?;
        for message in chunk.messages {
            if let Applied::Unexpected(reason) = fold(context, &mut state, &message) {
                unexpected.push(Unexpected { message, reason });
            }
        }
        if chunk.caught_up {
            return Ok(state);
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

/// Folds one message of the run's stream. What cannot be read counts for nothing, and is said.
pub fn fold(context: &Context, state: &mut RunState, message: &RunMessage) -> Applied {
    match meaning(state, message) {
        Ok(fact) => fact,
        Err(Unreadable { what, error }) => {
            context.unreadable(what, &state.summary.run, &error);
            Applied::Unexpected(format!("{what} that cannot be decoded: {error}"))
        }
    }
}

/// Something in the run's stream that cannot be decoded.
#[derive(Debug)]
pub struct Unreadable {
    /// What stands in its place.
    pub what: &'static str,
    /// Why not.
    pub error: prost::DecodeError,
}

/// As [`fold`], for whoever has no process to tell it to.
///
/// # Errors
/// The message cannot be decoded; the state is what it was.
pub fn meaning(state: &mut RunState, message: &RunMessage) -> Result<Applied, Unreadable> {
    if let Some(reason) = unexpected::unknown_schema(message) {
        return Ok(Applied::Unexpected(reason));
    }
    let unreadable = |what| move |error| Unreadable { what, error };
    let payload = message.payload.clone();
    Ok(match &message.kind {
        RunSubject::Log if message.seq <= state.log_sequence => Applied::Nothing,
        RunSubject::Log => {
            let entry = pb::Entry::decode(payload).map_err(unreadable("an entry of the log"))?;
            let trace = message.headers.trace();
            if !trace.is_none() {
                state.trace = trace;
            }
            state.apply_entry(message.seq, &entry);
            Applied::Entry(Box::new(entry))
        }
        RunSubject::Result { job, .. } => {
            let result = pb::JobResult::decode(payload).map_err(unreadable("a result"))?;
            if result.job != job.as_str() {
                return Ok(Applied::Unexpected(format!(
                    "a result of job {:?} in the place of {job}",
                    result.job
                )));
            }
            let strangers = state.unknown_results;
            if state.apply_result(message.seq, &result) {
                Applied::Settled(Box::new(result))
            } else if state.unknown_results > strangers {
                Applied::Unexpected(format!("a result of job {job}, which was never issued"))
            } else {
                Applied::Nothing
            }
        }
        RunSubject::Lost { .. } => {
            let lost = pb::AttemptLost::decode(payload).map_err(unreadable("a lost attempt"))?;
            match state.apply_lost(&lost) {
                true => Applied::Lost(lost.job),
                false => Applied::Nothing,
            }
        }
        RunSubject::Control => {
            state.apply_request(pb::Control::decode(payload).map_err(unreadable("a control request"))?);
            Applied::Nothing
        }
        RunSubject::Unknown => Applied::Nothing,
    })
}
