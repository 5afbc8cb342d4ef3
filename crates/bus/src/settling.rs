//! How a compare-and-set comes to a known outcome, without I/O: what was heard goes in, what to do next comes out.
//!
//! An answer can be lost on its way, and a message can arrive long after its sender has given it up. So a publish without an answer
//! is settled by reading what lies last in its place, and it is sent again only where that is still what it must follow: then no
//! earlier sending can have been stored, and of all sendings at most one ever is.

/// What became of one sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishReply {
    /// The server stored it, at this sequence.
    Stored(u64),
    /// The server has a message with the same id, at this sequence, and swallowed this one.
    Swallowed(u64),
    /// Something else is last in its place than what it must follow.
    WrongSequence,
    /// Nothing: it may or may not be stored, or arrive later.
    Nothing,
}

/// What lies last in the message's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Its sequence; 0 where there is nothing.
    pub seq: u64,
    /// Whether it carries the identity of this very message.
    pub ours: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAction {
    /// Nothing: it is stored, at this sequence.
    Stored(u64),
    /// Nothing: another message came first.
    Taken,
    /// Nothing: the id was used before, at this sequence.
    Repeated(u64),
    /// Read what lies last in its place.
    Read,
    /// Send it again.
    Send,
}

/// One message on its way to its place.
#[derive(Debug, Clone)]
pub struct Settling {
    expected: u64,
    unique: bool,
    unsure: bool,
    swallowed: Option<u64>,
}

impl Settling {
    /// A message that must follow `expected` (0: nothing). `unique`: nobody has ever sent one with its identity, not even an earlier
    /// life of this process.
    #[must_use]
    pub fn new(expected: u64, unique: bool) -> Self {
        Settling {
            expected,
            unique,
            unsure: false,
            swallowed: None,
        }
    }

    /// Takes what became of a sending.
    pub fn heard(&mut self, heard: PublishReply) -> NextAction {
        self.swallowed = None;
        match heard {
            PublishReply::Stored(seq) => return NextAction::Stored(seq),
            // Nothing of ours can be there before the first try of a name that nobody else has.
            PublishReply::WrongSequence if self.unique && !self.unsure => return NextAction::Taken,
            PublishReply::WrongSequence => {}
            PublishReply::Swallowed(seq) => self.swallowed = Some(seq),
            PublishReply::Nothing => self.unsure = true,
        }
        NextAction::Read
    }

    /// Takes what was read; None where that failed.
    pub fn read(&mut self, last: Option<Last>) -> NextAction {
        let Some(last) = last else {
            self.unsure = true;
            return NextAction::Send;
        };
        match self.swallowed {
            _ if last.ours && last.seq > self.expected => NextAction::Stored(last.seq),
            _ if last.seq != self.expected => NextAction::Taken,
            Some(older) => NextAction::Repeated(older),
            None => NextAction::Send,
        }
    }
}
