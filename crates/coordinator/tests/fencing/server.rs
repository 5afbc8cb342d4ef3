//! The run's log on a server in memory, with compare-and-set as NATS has it, and the rules that each entry must keep as it lands.

use prost::Message as _;
use sipdo_bus::{
    Headers, RunMessage, RunSubject,
    settling::{Last, PublishReply},
};
use sipdo_coordinator::leadership::Draft;
use sipdo_protocol::{pb, pb::log_event::Event};
use std::{
    collections::{BTreeSet, HashMap},
    time::SystemTime,
};

/// One sending of an entry.
#[derive(Debug, Clone)]
pub struct Sending {
    pub draft: Draft,
    pub life: u32,
}

/// The run's stream on the server, and what is still on its way there.
#[derive(Default)]
pub struct Server {
    pub stream: Vec<RunMessage>,
    pub ids: HashMap<String, u64>,
    pub late: Vec<Sending>,
    /// The last entry: its sequence and its id.
    pub last: (u64, String),
    /// Who leads: the life that wrote the last claim.
    pub leads: u32,
    pub epoch: u64,
    pub told: u32,
    pub issued: BTreeSet<(String, u32)>,
    pub results: BTreeSet<String>,
    pub ended: bool,
}

impl Server {
    pub fn push(&mut self, kind: RunSubject, payload: Vec<u8>) -> u64 {
        let seq = self.stream.len() as u64 + 1;
        self.stream.push(RunMessage {
            seq,
            kind,
            time: SystemTime::UNIX_EPOCH,
            headers: Headers::new(),
            payload: payload.into(),
        });
        seq
    }

    /// A sending arrives: the message id is looked at first, then the sequence that it must follow.
    pub fn arrives(&mut self, sending: Sending) -> PublishReply {
        let Sending { draft, life } = sending;
        if let Some(seq) = self.ids.get(&draft.id) {
            return PublishReply::Swallowed(*seq);
        }
        if draft.expected != self.last.0 {
            return PublishReply::WrongSequence;
        }
        self.judge(&draft.entry, life);
        let seq = self.push(RunSubject::Log, draft.entry.encode_to_vec());
        self.ids.insert(draft.id.clone(), seq);
        self.last = (seq, draft.id);
        PublishReply::Stored(seq)
    }

    /// The rules that each entry must keep as it lands.
    fn judge(&mut self, entry: &pb::Entry, life: u32) {
        assert!(!self.ended, "an entry after the end");
        for event in entry.events.iter().filter_map(|event| event.event.as_ref()) {
            match event {
                Event::Claimed(_) => {
                    assert!(entry.epoch > self.epoch, "epoch {} after {}", entry.epoch, self.epoch);
                    (self.leads, self.epoch) = (life, entry.epoch);
                }
                Event::Issued(issued) => {
                    let grant = (issued.job.clone(), issued.attempt);
                    assert!(self.issued.insert(grant), "granted twice: {issued:?}");
                }
                Event::Told(told) => {
                    self.told += 1;
                    assert_eq!(told.number, self.told, "told twice, or out of turn");
                }
                Event::Ended(_) => self.ended = true,
                _ => {}
            }
        }
        assert_eq!(
            (self.leads, self.epoch),
            (life, entry.epoch),
            "a fenced leader's append landed"
        );
    }

    pub fn last(&self, id: &str) -> Last {
        Last {
            seq: self.last.0,
            ours: self.last.1 == id,
        }
    }
}
