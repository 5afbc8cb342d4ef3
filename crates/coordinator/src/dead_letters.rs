//! Messages of a run's stream that should not be there: kept as dead letters with the reason, so that an operator sees them.
//!
//! A leader keeps what it meets. One that takes a run over meets all of it again, and keeps only what is not kept yet.

use crate::{context::Context, refusal::unavailable, replay::Unexpected};
use sipdo_bus::{DeadLetter, NewMessage, Role, RunId, RunMessage, RunSubject, subjects};
use sipdo_protocol::pb;
use std::{collections::HashSet, time::UNIX_EPOCH};
use tonic::Status;

/// Whose dead letters they are.
const LEADER: &str = "coordinator";
/// Dead letters of the run that are looked through for what is kept already.
const LOOK_BACK: usize = 1_000;

/// Keeps what is not kept yet. What cannot be kept now is met again by the next leader.
pub(crate) async fn keep_new(context: &Context, run: &RunId, unexpected: &[Unexpected]) {
    if unexpected.is_empty() {
        return;
    }
    let known: HashSet<String> = match context.bus.dead_letters(Some(run), LOOK_BACK).await {
        Ok((letters, _)) => letters.into_iter().map(|letter| letter.subject).collect(),
        Err(error) => {
            tracing::warn!(%run, %error, "cannot read dead letters");
            return;
        }
    };
    for message in unexpected {
        if !known.contains(&place(run, &message.message)) {
            keep(context, run, message).await;
        }
    }
}

/// Keeps one as a dead letter.
pub(crate) async fn keep(context: &Context, run: &RunId, Unexpected { message, reason }: &Unexpected) {
    let Ok(role) = Role::new(LEADER) else { return };
    // Without its headers: what they demanded of its own subject does not hold here.
    let copy = NewMessage {
        payload: message.payload.clone(),
        ..NewMessage::default()
    };
    let place = place(run, message);
    let kept = context
        .bus
        .keep_dead_letter(&role, run, copy, (&place, message.seq), 1, reason);
    if let Err(error) = kept.await {
        tracing::error!(%run, place, reason, %error, "cannot store a dead letter");
    }
}

/// Where it lies: subject and sequence.
fn place(run: &RunId, message: &RunMessage) -> String {
    let subject = match &message.kind {
        RunSubject::Log => subjects::run_log(run),
        RunSubject::Result { role, job } => subjects::run_result(run, role, job),
        RunSubject::Lost { role, job, n } => subjects::run_lost(run, role, job, *n),
        RunSubject::Control => subjects::run_control(run),
        RunSubject::Unknown => subjects::run_all(run),
    };
    format!("{subject}#{}", message.seq)
}

/// The last dead letters, newest first, and how many there are in all; only a run's, if one is named.
///
/// # Errors
/// The bus does not answer.
pub async fn list(context: &Context, run: Option<&RunId>, most: usize) -> Result<(Vec<pb::DeadLetter>, u64), Status> {
    let (letters, total) = context.bus.dead_letters(run, most).await.map_err(unavailable)?;
    let shown = |letter: DeadLetter| pb::DeadLetter {
        sequence: letter.seq,
        role: letter.role.as_str().into(),
        run: letter.run.as_str().into(),
        reason: letter.reason,
        at_ms: letter
            .time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        size: letter.payload.len() as u64,
    };
    Ok((letters.into_iter().rev().map(shown).collect(), total))
}
