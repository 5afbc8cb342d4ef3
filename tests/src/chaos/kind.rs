//! The kinds of faults, and the deck from which they are drawn: each comes up once before any comes up more often than it is meant to.

use crate::cluster::ROLES;
use rand_chacha::rand_core::RngCore as _;
use sipdo_simulator::draw::Rng;
use std::collections::VecDeque;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The provider misbehaves so, for one call or a few.
    Provider(&'static str),
    /// A process dies, stands still, or is told to end and replaced.
    Process(How, Who),
    /// The link of a process to the server is cut, drops what is sent, or is slow.
    Link(&'static str),
    /// The server is killed, stopped, or frozen, and comes back soon.
    Server(&'static str),
    /// The server is killed and there again at once, and its clients find it one by one: for a while it knows nobody.
    EmptyTable,
    /// The server is away for so many seconds.
    Away(u64),
    /// The price list changes, for all agents that start from now on; one does.
    Prices,
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `kill -9`.
    Kill,
    /// `SIGSTOP`, and later `SIGCONT`.
    Freeze,
    /// `SIGTERM`, and another one at once.
    Restart,
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A coordinator.
    Coordinator,
    /// An agent of this role.
    Agent(&'static str),
}

/// Provider faults that a retry mends, with what is scripted beside the kind.
const PASSING: [&str; 9] = [
    "rate_limited",
    "rate_limited_retry_after",
    "server_error",
    "overloaded",
    "reset",
    "hang",
    "slow_drip",
    "cut_off",
    "delay",
];
/// Provider faults that spoil the answer.
const SPOILING: [&str; 6] = [
    "truncated",
    "malformed_content",
    "malformed_body",
    "wrong_content_type",
    "empty",
    "refusal",
];
/// So many faults strike before the one that is to strike early: the runs are under way by then.
const EARLY: usize = 8;
const LINKS: [&str; 3] = ["cut", "drop", "delay"];
const SERVERS: [&str; 3] = ["kill", "restart", "freeze"];

impl Kind {
    /// Its name in a report.
    pub fn name(self) -> String {
        match self {
            Kind::Provider(kind) => format!("provider {kind}"),
            Kind::Process(how, who) => {
                let (how, who) = (format!("{how:?}").to_lowercase(), who.name());
                format!("{how} {who}")
            }
            Kind::Link(how) => format!("link {how}"),
            Kind::Server(how) => format!("nats {how}"),
            Kind::EmptyTable => "nats knows nobody".into(),
            Kind::Away(seconds) => format!("nats away for {seconds} s"),
            Kind::Prices => "prices change".into(),
        }
    }

    /// Every kind that changes no answer, each once.
    fn passing() -> impl Iterator<Item = Kind> {
        let whos = ROLES.into_iter().map(Who::Agent).chain([Who::Coordinator]);
        let processes = whos.flat_map(|who| [How::Kill, How::Freeze, How::Restart].map(|how| Kind::Process(how, who)));
        PASSING
            .map(Kind::Provider)
            .into_iter()
            .chain(processes)
            .chain(LINKS.map(Kind::Link))
            .chain(SERVERS.map(Kind::Server))
            .chain([Kind::EmptyTable, Kind::Prices])
    }

    /// Every kind, each once; without those that spoil answers unless they are asked for.
    pub fn all(spoils: bool) -> Vec<Kind> {
        let spoiling = SPOILING.map(Kind::Provider).into_iter().filter(|_| spoils);
        Kind::passing().chain(spoiling).collect()
    }
}

impl Who {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Who::Coordinator => "coordinator",
            Who::Agent(role) => role,
        }
    }
}

/// What comes next, over all rounds.
#[derive(Debug)]
pub struct Deck {
    passing: VecDeque<Kind>,
    spoiling: VecDeque<Kind>,
    random: Rng,
}

impl Deck {
    /// A deck with each kind once, and this one among the first.
    pub fn new(early: Option<Kind>, random: Rng) -> Self {
        let mut deck = Deck {
            passing: VecDeque::new(),
            spoiling: VecDeque::new(),
            random,
        };
        deck.passing = deck.shuffled(Kind::passing().collect());
        if let Some(kind) = early {
            deck.passing.insert(EARLY.min(deck.passing.len()), kind);
        }
        deck
    }

    /// The next one. Where answers may be spoilt, every other one spoils them.
    pub fn draw(&mut self, spoils: bool) -> Kind {
        if spoils && self.random.next_u64().is_multiple_of(2) {
            if self.spoiling.is_empty() {
                self.spoiling = self.shuffled(SPOILING.map(Kind::Provider).to_vec());
            }
            if let Some(kind) = self.spoiling.pop_front() {
                return kind;
            }
        }
        if self.passing.is_empty() {
            self.passing = self.shuffled(Self::usual());
        }
        self.passing.pop_front().unwrap_or(Kind::EmptyTable)
    }

    /// Puts back what cannot strike now; it comes soon.
    pub fn put_back(&mut self, kind: Kind) {
        let place = self.passing.len().min(2);
        self.passing.insert(place, kind);
    }

    /// Once every kind has struck: more kills than anything else, most of them of whoever leads.
    fn usual() -> Vec<Kind> {
        let leaders = [How::Kill, How::Kill, How::Kill, How::Kill, How::Freeze, How::Freeze];
        let agents = ROLES.map(|role| Kind::Process(How::Kill, Who::Agent(role)));
        Kind::passing()
            .chain(leaders.map(|how| Kind::Process(how, Who::Coordinator)))
            .chain(agents)
            .chain(LINKS.map(Kind::Link))
            .chain(SERVERS.map(Kind::Server))
            .collect()
    }

    fn shuffled(&mut self, mut kinds: Vec<Kind>) -> VecDeque<Kind> {
        for last in (1..kinds.len()).rev() {
            let other = usize::try_from(self.random.next_u64() % (last as u64 + 1)).unwrap_or(0);
            kinds.swap(last, other);
        }
        kinds.into()
    }
}
