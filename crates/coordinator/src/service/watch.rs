//! Watching a run: its entries as they come, and its progress between them.

use crate::{
    context::Context,
    replay::{Applied, apply},
    room,
    run_state::RunState,
    view,
};
use sipdo_bus::{RunId, RunReader};
use sipdo_protocol::pb;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// How often a watcher hears of progress between entries.
const PROGRESS: Duration = Duration::from_millis(100);

/// Sends a run's entries and its progress until it has ended or the watcher is gone.
pub(super) async fn watch(
    context: &Context,
    run: &RunId,
    after: u64,
    updates: &mpsc::Sender<Result<pb::RunUpdate, Status>>,
) -> anyhow::Result<()> {
    use pb::run_update::Update;
    let mut reader = RunReader::open(&context.bus, run, 0).await?;
    let mut state = RunState::new(run.as_str());
    let mut progress = tokio::time::interval(PROGRESS);
    progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut caught_up, mut news, mut sequence, mut waiting) = (false, false, 0, None);
    loop {
        let mut send = Vec::new();
        tokio::select! {
            chunk = reader.next_chunk() => {
                let chunk = chunk?;
                caught_up |= chunk.caught_up;
                for message in chunk.messages {
                    sequence = message.seq;
                    news = true;
                    if let Applied::Entry(entry) = apply(&mut state, &message) && sequence > after {
                        send.push((sequence, Update::Entry(*entry)));
                    }
                }
            }
            _ = progress.tick(), if caught_up => {
                // What a run waits for may be known outside its stream only.
                let waits = room::waits(context, &state.summary);
                if std::mem::take(&mut news) || waits != waiting {
                    waiting = waits;
                    send.push((sequence, progress_of(context, &state)));
                }
            }
            () = updates.closed() => return Ok(()),
        }
        let over = caught_up && state.ended();
        if over {
            send.push((sequence, Update::Progress(view::progress(&state))));
        }
        for (sequence, update) in send {
            if updates
                .send(Ok(pb::RunUpdate {
                    sequence,
                    update: Some(update),
                }))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
    }
}

/// Where a run stands, with what it waits for at this moment.
fn progress_of(context: &Context, state: &RunState) -> pb::run_update::Update {
    let mut progress = view::progress(state);
    if let Some(summary) = &mut progress.summary {
        room::show_waiting(context, summary);
    }
    pb::run_update::Update::Progress(progress)
}
