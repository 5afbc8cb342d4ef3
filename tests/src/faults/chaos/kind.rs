//! The kinds of faults, and on which ground each can strike.

use crate::{cluster::ROLES, faults::disk::SmallDisk};
use std::time::Duration;

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
    /// The server is away for so long.
    Away(Duration),
    /// The price list changes, for all agents that start from now on; one does.
    Prices,
    /// A message that nobody can use lies among the run's own.
    Poison(Poison),
    /// One job kills so many agents that have it in hand, one after the other.
    Killer(usize),
    /// There is no room for more.
    Room(Room),
    /// Of three servers, some are lost.
    Node(Node),
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
    /// A coordinator, one that leads a run if there is one.
    Coordinator,
    /// An agent of this role.
    Agent(&'static str),
}

/// A message that nobody can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// In a queue: it cannot be decoded.
    Job,
    /// The same, as large as the server takes.
    LargeJob,
    /// In a queue: its schema is of a version that nobody knows.
    JobSchema,
    /// Among the results: it cannot be decoded.
    Result,
    /// The same, as large as the server takes.
    LargeResult,
    /// Among the results: its schema is of a version that is read no more.
    ResultSchema,
    /// The result of a job that nobody has asked for.
    UnknownJob,
    /// Another result of a job that has one.
    SecondResult,
    /// A wish that cannot be decoded.
    Control,
}

/// Where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The stream of runs nears its limit.
    NearLimit,
    /// The stream of runs is at its limit.
    AtLimit,
    /// The server holds as much as it may, which nobody else knows.
    Server,
    /// The server's disk is nearly full.
    NearlyFullDisk,
    /// The server's disk is full, and the server has to be started again.
    FullDisk,
}

/// What is lost of three servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Any one is killed.
    One,
    /// The one that leads this stream is killed.
    Leader(&'static str),
    /// The one that leads this stream stands still.
    FrozenLeader(&'static str),
    /// All of them are killed.
    All,
}

/// What a round stands on, and what may strike there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// One server; faults change no answer.
    One,
    /// One server; some faults spoil answers.
    Spoiling,
    /// Three servers; faults change no answer.
    Three,
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
/// Deaths of its agent that a job survives, and those after which it is given up.
const SURVIVED: usize = 2;
/// The least number of deaths after which a job is given up.
pub const GIVEN_UP: usize = 4;
const LINKS: [&str; 3] = ["cut", "drop", "delay"];
const SERVERS: [&str; 3] = ["kill", "restart", "freeze"];
const POISONS: [Poison; 9] = [
    Poison::Job,
    Poison::LargeJob,
    Poison::JobSchema,
    Poison::Result,
    Poison::LargeResult,
    Poison::ResultSchema,
    Poison::UnknownJob,
    Poison::SecondResult,
    Poison::Control,
];
/// Without the disk that is full, which takes long.
const ROOMS: [Room; 4] = [Room::NearLimit, Room::AtLimit, Room::Server, Room::NearlyFullDisk];
const NODES: [Node; 5] = [
    Node::One,
    Node::Leader("SIPDO_RUN"),
    Node::Leader("SIPDO_JOB"),
    Node::FrozenLeader("SIPDO_RUN"),
    Node::All,
];
/// The server is away for a minute.
const AWAY: Duration = Duration::from_secs(60);

impl Kind {
    /// Faults that take long: each is to strike once.
    pub const LONG: [Kind; 2] = [Kind::Away(AWAY), Kind::Room(Room::FullDisk)];

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
            Kind::Away(time) => format!("nats away for {} s", time.as_secs()),
            Kind::Prices => "prices change".into(),
            Kind::Poison(poison) => format!("poison: {}", poison.name()),
            Kind::Killer(deaths) => format!("poison: a job that kills {deaths} agents"),
            Kind::Room(room) => format!("no room: {}", room.name()),
            Kind::Node(node) => format!("three servers: {}", node.name()),
        }
    }

    /// Every kind that may strike on this ground, but those that take long.
    pub fn on(ground: Ground) -> Vec<Kind> {
        let own: Vec<Kind> = match ground {
            Ground::One => {
                let servers = LINKS.map(Kind::Link).into_iter().chain(SERVERS.map(Kind::Server));
                servers.chain(ROOMS.map(Kind::Room)).chain([Kind::EmptyTable]).collect()
            }
            Ground::Three => NODES.map(Kind::Node).into(),
            Ground::Spoiling => {
                let spoiling = SPOILING.map(Kind::Provider).into_iter();
                return spoiling.chain([Kind::Killer(GIVEN_UP)]).collect();
            }
        };
        let whos = ROLES.into_iter().map(Who::Agent).chain([Who::Coordinator]);
        let processes = whos.flat_map(|who| [How::Kill, How::Freeze, How::Restart].map(|how| Kind::Process(how, who)));
        PASSING
            .map(Kind::Provider)
            .into_iter()
            .chain(processes)
            .chain(POISONS.map(Kind::Poison))
            .chain([Kind::Killer(SURVIVED), Kind::Prices])
            .chain(own)
            .filter(Kind::can_strike)
            .collect()
    }

    /// Whether this machine lets it strike: a disk can be filled only where one can be mounted.
    pub fn can_strike(&self) -> bool {
        !matches!(self, Kind::Room(Room::NearlyFullDisk | Room::FullDisk)) || SmallDisk::can_be_mounted()
    }

    /// What comes more often: above all that a leader is lost.
    pub fn more_often(ground: Ground) -> Vec<Kind> {
        let how = [
            How::Kill,
            How::Kill,
            How::Kill,
            How::Kill,
            How::Kill,
            How::Kill,
            How::Freeze,
            How::Freeze,
        ];
        let leaders = how.map(|how| Kind::Process(how, Who::Coordinator)).into_iter();
        match ground {
            Ground::One => leaders
                .chain(ROLES.map(|role| Kind::Process(How::Kill, Who::Agent(role))))
                .chain(SERVERS.map(Kind::Server))
                .collect(),
            Ground::Three => leaders.chain([Kind::Node(Node::Leader("SIPDO_RUN"))]).collect(),
            Ground::Spoiling => Vec::new(),
        }
    }
}

impl Ground {
    /// All of them.
    pub const ALL: [Ground; 3] = [Ground::One, Ground::Spoiling, Ground::Three];
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

impl Poison {
    fn name(self) -> &'static str {
        match self {
            Poison::Job => "a job that cannot be decoded",
            Poison::LargeJob => "a job of the largest size that cannot be decoded",
            Poison::JobSchema => "a job of an unknown schema",
            Poison::Result => "a result that cannot be decoded",
            Poison::LargeResult => "a result of the largest size that cannot be decoded",
            Poison::ResultSchema => "a result of an old schema",
            Poison::UnknownJob => "a result of an unknown job",
            Poison::SecondResult => "a second result of a job",
            Poison::Control => "a control message that cannot be decoded",
        }
    }
}

impl Room {
    fn name(self) -> &'static str {
        match self {
            Room::NearLimit => "a stream near its limit",
            Room::AtLimit => "a stream at its limit",
            Room::Server => "a server at its limit",
            Room::NearlyFullDisk => "a disk nearly full",
            Room::FullDisk => "a full disk",
        }
    }
}

impl Node {
    fn name(self) -> String {
        match self {
            Node::One => "one killed".into(),
            Node::Leader(stream) => format!("the leader of {stream} killed"),
            Node::FrozenLeader(stream) => format!("the leader of {stream} frozen"),
            Node::All => "all killed".into(),
        }
    }
}
