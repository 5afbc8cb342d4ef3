//! What is kept of a run for those who look at it: its state, and the newest entries of its log.

use crate::{
    follow::Projection,
    replay::{Applied, apply},
    run_state::RunState,
};
use sipdo_bus::{RunId, RunMessage};
use sipdo_protocol::pb::{self, log_event::Event};
use std::{collections::VecDeque, sync::Arc};

/// Bytes of a run's newest entries that are kept; older ones are read again by who wants them.
const MOST_BYTES: usize = 8 << 20;

/// A run as those see it who look at it.
#[derive(Debug)]
pub struct RunView {
    /// Its state.
    pub state: RunState,
    /// Stream sequence of the last message.
    pub sequence: u64,
    /// Its newest entries.
    pub log: RecentLog,
}

impl Projection for RunView {
    fn new(run: &RunId) -> Self {
        RunView {
            state: RunState::new(run.as_str()),
            sequence: 0,
            log: RecentLog::default(),
        }
    }

    fn apply(&mut self, message: RunMessage) {
        self.sequence = message.seq;
        let known = self.state.created.is_some();
        let Applied::Entry(entry) = apply(&mut self.state, &message) else {
            return;
        };
        if known && is_first(&entry) {
            // The run was deleted, and created again by the same request.
            self.state = RunState::new(&entry.run);
            self.state.apply_entry(message.seq, &entry);
            self.log = RecentLog::default();
        }
        self.log.push(message.seq, *entry, message.payload.len());
    }
}

fn is_first(entry: &pb::Entry) -> bool {
    let created = |event: &pb::LogEvent| matches!(event.event, Some(Event::Created(_)));
    entry.events.iter().any(created)
}

/// The newest entries of a log, as many as there is room for.
#[derive(Debug, Default)]
pub struct RecentLog {
    entries: VecDeque<Kept>,
    bytes: usize,
    /// Sequence of the newest entry that is not kept.
    dropped: u64,
}

#[derive(Debug)]
struct Kept {
    sequence: u64,
    entry: Arc<pb::Entry>,
    bytes: usize,
}

/// Entries with their sequences.
pub type Entries = Vec<(u64, Arc<pb::Entry>)>;

impl RecentLog {
    fn push(&mut self, sequence: u64, entry: pb::Entry, bytes: usize) {
        let entry = Arc::new(entry);
        self.entries.push_back(Kept { sequence, entry, bytes });
        self.bytes += bytes;
        while self.bytes > MOST_BYTES
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.dropped = oldest.sequence;
        }
    }

    /// The entries after a sequence, at most so many.
    ///
    /// # Errors
    /// Some of them are not kept: the sequence of the newest of these.
    pub fn after(&self, sequence: u64, most: usize) -> Result<Entries, u64> {
        if sequence < self.dropped {
            return Err(self.dropped);
        }
        let first = self.entries.partition_point(|kept| kept.sequence <= sequence);
        let newer = self.entries.range(first..).take(most);
        Ok(newer.map(|kept| (kept.sequence, Arc::clone(&kept.entry))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use sipdo_bus::{Headers, RunSubject};
    use std::time::SystemTime;

    fn entry(sequence: u64, event: Event) -> RunMessage {
        let entry = pb::Entry {
            run: "r".into(),
            events: vec![pb::LogEvent { event: Some(event) }],
            ..Default::default()
        };
        RunMessage {
            seq: sequence,
            kind: RunSubject::Log,
            time: SystemTime::UNIX_EPOCH,
            headers: Headers::new(),
            payload: entry.encode_to_vec().into(),
        }
    }

    fn created(strategy: &str) -> Event {
        Event::Created(pb::Created {
            strategy: strategy.into(),
            ..Default::default()
        })
    }

    #[test]
    fn old_entries_make_room_and_who_wants_them_is_told_so() {
        let mut log = RecentLog::default();
        for sequence in 1..=5 {
            log.push(sequence, pb::Entry::default(), MOST_BYTES / 3);
        }
        let sequences = |after, most| {
            log.after(after, most)
                .map(|entries| entries.iter().map(|(at, _)| *at).collect())
        };
        assert_eq!(sequences(0, 9), Err(2), "1 and 2 are not kept");
        assert_eq!(sequences(2, 9), Ok(vec![3, 4, 5]));
        assert_eq!(sequences(2, 2), Ok(vec![3, 4]));
        assert_eq!(sequences(5, 9), Ok(Vec::new()));
        assert!(log.bytes <= MOST_BYTES);
    }

    #[test]
    fn a_run_that_was_deleted_and_created_again_begins_anew() {
        let run = RunId::new("r").unwrap();
        let mut view = RunView::new(&run);
        view.apply(entry(3, created("eval")));
        view.apply(entry(4, Event::Exhausted(pb::Exhausted { cap: "calls".into() })));
        assert_eq!(view.log.after(0, 9).unwrap().len(), 2);
        view.apply(entry(9, created("none")));
        assert_eq!(view.state.summary.strategy, "none");
        assert_eq!(view.state.exhausted, [None, None]);
        assert_eq!((view.sequence, view.log.after(0, 9).unwrap().len()), (9, 1));
    }
}
