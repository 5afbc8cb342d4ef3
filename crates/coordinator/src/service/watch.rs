//! Watching a run: its entries as they come, and its progress between them.

use crate::{
    context::Context,
    follow::Followed,
    room,
    run_state::RunState,
    run_view::{Entries, RunView},
    view,
};
use prost::Message as _;
use sipdo_bus::{RunId, RunReader, RunSubject};
use sipdo_protocol::pb::{self, run_update::Update};
use std::time::Duration;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tonic::Status;

/// How often a watcher hears of progress between entries.
const PROGRESS: Duration = Duration::from_millis(100);
/// Entries that are handed to a watcher at a time.
const AT_ONCE: usize = 64;

/// Sends a run's entries and its progress until it has ended or the watcher is gone.
pub(super) async fn watch(
    context: &Context,
    run: &RunId,
    followed: &Followed<RunView>,
    after: u64,
    updates: &mpsc::Sender<Result<pb::RunUpdate, Status>>,
) -> anyhow::Result<()> {
    let mut watcher = Watcher {
        context,
        followed,
        updates,
        after,
        shown: None,
    };
    let mut read = followed.progress();
    let mut tick = tokio::time::interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let failed = read.borrow_and_update().failed.clone();
        if watcher.send_entries(run).await?.is_none() {
            return Ok(());
        }
        if let Some(reason) = failed {
            anyhow::bail!(reason);
        }
        tokio::select! {
            _ = read.changed() => {}
            _ = tick.tick() => {
                if watcher.send_progress().await.is_none() {
                    return Ok(());
                }
            }
            () = updates.closed() => return Ok(()),
        }
    }
}

struct Watcher<'a> {
    context: &'a Context,
    followed: &'a Followed<RunView>,
    updates: &'a mpsc::Sender<Result<pb::RunUpdate, Status>>,
    /// Sequence of the last entry that was sent, or that was not wanted.
    after: u64,
    /// The progress that was sent last: of which message, and what the run waited for.
    shown: Option<(u64, Option<String>)>,
}

/// None where the watcher is gone, or has seen the end.
type GoesOn = Option<()>;

impl Watcher<'_> {
    async fn send(&self, sequence: u64, update: Update) -> GoesOn {
        let update = pb::RunUpdate {
            sequence,
            update: Some(update),
        };
        self.updates.send(Ok(update)).await.ok()
    }

    /// Sends the entries that are there, and the last progress after those of a run that has ended.
    async fn send_entries(&mut self, run: &RunId) -> anyhow::Result<GoesOn> {
        loop {
            match self.followed.read(|view| next(view, self.after)) {
                Next::Entries(entries) => {
                    for (sequence, entry) in entries {
                        self.after = sequence;
                        if self.send(sequence, Update::Entry((*entry).clone())).await.is_none() {
                            return Ok(None);
                        }
                    }
                }
                Next::NotKept(newest) => {
                    if self.send_old_entries(run, newest).await?.is_none() {
                        return Ok(None);
                    }
                }
                Next::Nothing => return Ok(Some(())),
                Next::Over(sequence, progress) => {
                    self.send(sequence, Update::Progress(*progress)).await;
                    return Ok(None);
                }
            }
        }
    }

    /// Sends entries that are not kept in memory, up to this sequence.
    async fn send_old_entries(&mut self, run: &RunId, newest: u64) -> anyhow::Result<GoesOn> {
        let mut reader = RunReader::open(&self.context.bus, run, self.after).await?;
        while self.after < newest {
            let messages = reader.next_chunk().await?.messages;
            for message in messages.into_iter().take_while(|message| message.seq <= newest) {
                self.after = message.seq;
                let entry = match message.kind {
                    RunSubject::Log => pb::Entry::decode(message.payload).ok(),
                    _ => None,
                };
                if let Some(entry) = entry
                    && self.send(message.seq, Update::Entry(entry)).await.is_none()
                {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// Sends the progress, where it is not what was sent last. What a run waits for may be known outside its stream only.
    async fn send_progress(&mut self) -> GoesOn {
        let changed = self.followed.read(|view| {
            let state = (view.sequence, room::waits(self.context, &view.state.summary));
            (self.shown.as_ref() != Some(&state)).then(|| (state, self.progress(&view.state)))
        });
        let Some((state, progress)) = changed else {
            return Some(());
        };
        let sequence = state.0;
        self.shown = Some(state);
        self.send(sequence, Update::Progress(progress)).await
    }

    fn progress(&self, state: &RunState) -> pb::Progress {
        let mut progress = view::progress(state);
        if let Some(summary) = &mut progress.summary {
            room::show_waiting(self.context, summary);
        }
        progress
    }
}

/// What a watcher is sent next.
enum Next {
    Entries(Entries),
    /// Entries that are not kept, up to this sequence.
    NotKept(u64),
    Nothing,
    /// The run has ended; its last progress.
    Over(u64, Box<pb::Progress>),
}

fn next(view: &RunView, after: u64) -> Next {
    match view.log.after(after, AT_ONCE) {
        Err(newest) => Next::NotKept(newest),
        Ok(entries) if !entries.is_empty() => Next::Entries(entries),
        Ok(_) if view.state.ended() => Next::Over(view.sequence, Box::new(view::progress(&view.state))),
        Ok(_) => Next::Nothing,
    }
}
