//! What strikes a cluster: one fault after the other, each with its recovery, all drawn from one seed.

use crate::{
    cluster::{Cluster, ROLES},
    oracle::Hurt,
    process::Process,
    proxy::Mode,
    simulator::script_faults,
};
use anyhow::Result;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::json;
use sipdo_simulator::draw::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The terms of a round.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Of all its choices.
    pub seed: u64,
    /// Whether answers are spoilt too.
    pub spoils: bool,
    /// Milliseconds from one fault to the next, least and most.
    pub pause_ms: (u64, u64),
}

/// What struck, and when.
#[derive(Debug, Default)]
pub struct Fate {
    /// Faults by kind.
    pub faults: BTreeMap<String, usize>,
    /// Agents that could not bring anything to safety for a while.
    pub hurts: Vec<Hurt>,
    /// Coordinators that were killed or frozen.
    pub leaders: Vec<LeaderHurt>,
    /// Times without a server, in Unix milliseconds.
    pub outages: Vec<(u64, u64)>,
    /// What did not end.
    pub stuck: Vec<String>,
    /// The ends of the logs of all processes, for a report of what went wrong.
    pub outputs: Vec<(String, String)>,
}

/// A coordinator that was killed or frozen.
#[derive(Debug, Clone)]
pub struct LeaderHurt {
    /// Its id on the bus.
    pub id: String,
    /// When.
    pub at_ms: u64,
    /// Until when it was frozen; none where it was killed.
    pub frozen_until_ms: Option<u64>,
}

/// Strikes a cluster.
pub struct Injector {
    /// The cluster.
    pub cluster: Cluster,
    /// What has struck so far.
    pub fate: Fate,
    /// When it began.
    pub started: Instant,
    /// Whether nothing more is to strike.
    pub enough: bool,
    round: Round,
    random: Rng,
    next: Instant,
    pending: Vec<(Instant, Recovery)>,
    /// Processes that were told to end and finish what they have in hand.
    leaving: Vec<Process>,
    no_server: bool,
    /// At most one coordinator is hurt at a time: there is always one that could take over.
    coordinators_rest: Instant,
}

#[derive(Debug, Clone)]
enum Recovery {
    Coordinator,
    Agent(&'static str),
    /// The process, and the hurt that ends.
    Thaw {
        pid: u32,
        hurt: Option<usize>,
    },
    Mend(u32),
    Server {
        frozen: bool,
        since_ms: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Coordinator,
    Agent(&'static str),
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Coordinator => "coordinator",
            Who::Agent(role) => role,
        }
    }
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

impl Injector {
    /// Will strike this cluster.
    pub fn new(cluster: Cluster, round: Round) -> Self {
        let now = Instant::now();
        Injector {
            cluster,
            fate: Fate::default(),
            started: now,
            enough: false,
            random: Rng::seed_from_u64(round.seed),
            round,
            next: now + Duration::from_millis(round.pause_ms.0),
            pending: Vec::new(),
            leaving: Vec::new(),
            no_server: false,
            coordinators_rest: now,
        }
    }

    /// Whether it is time for another fault.
    pub fn is_due(&self) -> bool {
        !self.enough && Instant::now() >= self.next
    }

    /// One fault. False where the one drawn cannot strike now.
    ///
    /// # Errors
    /// A process cannot be hurt.
    pub async fn strike(&mut self) -> Result<bool> {
        let (least, most) = self.round.pause_ms;
        let struck = match self.below(100) {
            0..35 => self.provider().await?,
            35..70 => self.process().await?,
            70..85 => self.link()?,
            _ => self.server().await?,
        };
        let Some(kind) = struck else { return Ok(false) };
        *self.fate.faults.entry(kind).or_default() += 1;
        self.next = Instant::now() + Duration::from_millis(least + self.below(most - least + 1));
        Ok(true)
    }

    /// Mends what is due.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn recover(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.pending = later;
        for (_, recovery) in due {
            self.mend(recovery).await?;
        }
        Ok(())
    }

    /// Mends everything now.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn recover_all(&mut self) -> Result<()> {
        for (_, recovery) in std::mem::take(&mut self.pending) {
            self.mend(recovery).await?;
        }
        Ok(())
    }

    /// Keeps the ends of all logs.
    pub fn take_outputs(&mut self) {
        let agents = self
            .cluster
            .agents
            .iter()
            .map(|(role, process)| ((*role).to_owned(), process.output()));
        let coordinators = self
            .cluster
            .coordinators
            .iter()
            .map(|(process, _)| ("coordinator".to_owned(), process.output()));
        self.fate.outputs = agents.chain(coordinators).collect();
    }

    async fn mend(&mut self, recovery: Recovery) -> Result<()> {
        match recovery {
            Recovery::Coordinator => self.cluster.launch_coordinator().await,
            Recovery::Agent(role) => self.cluster.start_agent(role, &[]).await,
            Recovery::Thaw { pid, hurt } => {
                let Some(process) = self.running(pid) else {
                    return Ok(());
                };
                process.signal("CONT")?;
                if let Some(hurt) = hurt.and_then(|hurt| self.fate.hurts.get_mut(hurt)) {
                    hurt.until_ms = Some(now_ms());
                }
                Ok(())
            }
            Recovery::Mend(pid) => {
                // Killed meanwhile, it has no link any more.
                drop(self.cluster.set_link(pid, Mode::Open));
                Ok(())
            }
            Recovery::Server { frozen, since_ms } => {
                if frozen {
                    self.cluster.nats.resume().await?;
                } else {
                    self.cluster.nats.start_again().await?;
                }
                self.no_server = false;
                self.fate.outages.push((since_ms, now_ms()));
                Ok(())
            }
        }
    }

    fn running(&self, pid: u32) -> Option<&Process> {
        let coordinators = self.cluster.coordinators.iter().map(|(process, _)| process);
        coordinators
            .chain(self.cluster.agents.iter().map(|(_, process)| process))
            .chain(&self.leaving)
            .find(|process| process.pid() == pid)
    }

    async fn provider(&mut self) -> Result<Option<String>> {
        let kinds: &[&str] = if self.round.spoils && self.below(2) == 0 {
            &SPOILING
        } else {
            &PASSING
        };
        let Some(kind) = self.one_of(kinds) else {
            return Ok(None);
        };
        let mut fault = json!({"kind": kind.trim_end_matches("_retry_after"), "times": 1 + self.below(3)});
        if let Some(fault) = fault.as_object_mut() {
            match kind {
                "rate_limited_retry_after" => drop(fault.insert("retry_after".into(), json!("1"))),
                "hang" => drop(fault.insert("delay_ms".into(), json!(15_000))),
                "delay" => drop(fault.insert("delay_ms".into(), json!(1_500))),
                _ => {}
            }
        }
        script_faults(self.cluster.models, &json!([fault])).await?;
        Ok(Some(format!("provider {kind}")))
    }

    async fn process(&mut self) -> Result<Option<String>> {
        let Some(who) = self.victim() else { return Ok(None) };
        let how = self.one_of(&["kill", "kill", "freeze", "restart"]).unwrap_or("kill");
        let (pid, at) = match self.pick(who) {
            Some(found) => found,
            None => return Ok(None),
        };
        let at_ms = now_ms();
        match how {
            "kill" => {
                self.note_leader(at, who, None);
                // Stands still for a moment, so that it is known which calls die with it.
                let ports = self.stop(pid)?;
                self.hurt(who, at_ms, None, ports);
                self.take(who, at).kill()?;
                let back = 200 + self.below(1_300);
                self.start_later(who, back);
            }
            "freeze" => {
                let time = match who {
                    Who::Coordinator => 3_000 + self.below(4_000),
                    Who::Agent(_) => 500 + self.below(4_000),
                };
                self.note_leader(at, who, Some(at_ms + time));
                let ports = self.stop(pid)?;
                let hurt = self.hurt(who, at_ms, Some(at_ms + time), ports);
                self.later(time, Recovery::Thaw { pid, hurt });
                self.rest(who, time);
            }
            _ => {
                let process = self.take(who, at);
                process.signal("TERM")?;
                self.leaving.push(process);
                self.start_later(who, 0);
            }
        }
        Ok(Some(format!("{how} {}", who.name())))
    }

    fn link(&mut self) -> Result<Option<String>> {
        let Some(who) = self.victim() else { return Ok(None) };
        let Some((pid, _)) = self.pick(who) else {
            return Ok(None);
        };
        let how = self.one_of(&["cut", "drop", "delay"]).unwrap_or("cut");
        let time = 300 + self.below(3_500);
        let mode = match how {
            "cut" => Mode::Cut,
            "drop" => Mode::Drop,
            _ => Mode::Delay(Duration::from_millis(20 + self.below(200))),
        };
        self.cluster.set_link(pid, mode)?;
        self.later(time, Recovery::Mend(pid));
        self.rest(who, time);
        Ok(Some(format!("link {how}")))
    }

    async fn server(&mut self) -> Result<Option<String>> {
        if self.no_server {
            return Ok(None);
        }
        let how = self.one_of(&["kill", "restart", "freeze"]).unwrap_or("kill");
        let since_ms = now_ms();
        match how {
            "kill" => self.cluster.nats.kill().await?,
            "restart" => self.cluster.nats.terminate().await?,
            _ => self.cluster.nats.pause().await?,
        }
        self.no_server = true;
        let time = 100 + self.below(2_500);
        self.later(
            time,
            Recovery::Server {
                frozen: how == "freeze",
                since_ms,
            },
        );
        Ok(Some(format!("nats {how}")))
    }

    /// Whom to hurt. A coordinator is hurt only where all others are well.
    fn victim(&mut self) -> Option<Who> {
        let number = usize::try_from(self.below(9)).unwrap_or(0);
        match ROLES.get(number) {
            Some(role) => Some(Who::Agent(role)),
            None => (Instant::now() >= self.coordinators_rest).then_some(Who::Coordinator),
        }
    }

    /// A process of this kind, and its place.
    fn pick(&mut self, who: Who) -> Option<(u32, usize)> {
        let found: Vec<(u32, usize)> = match who {
            Who::Coordinator => self
                .cluster
                .coordinators
                .iter()
                .enumerate()
                .map(|(at, (process, _))| (process.pid(), at))
                .collect(),
            Who::Agent(role) => {
                let of_role = self
                    .cluster
                    .agents
                    .iter()
                    .enumerate()
                    .filter(|(_, (is, _))| *is == role);
                of_role.map(|(at, (_, process))| (process.pid(), at)).collect()
            }
        };
        let number = self.below(found.len().max(1) as u64);
        found.get(usize::try_from(number).unwrap_or(0)).copied()
    }

    fn take(&mut self, who: Who, at: usize) -> Process {
        match who {
            Who::Coordinator => self.cluster.coordinators.remove(at).0,
            Who::Agent(_) => self.cluster.agents.remove(at).1,
        }
    }

    fn note_leader(&mut self, at: usize, who: Who, frozen_until_ms: Option<u64>) {
        let Who::Coordinator = who else { return };
        let Some((process, _)) = self.cluster.coordinators.get(at) else {
            return;
        };
        if let Some(id) = coordinator_id(&process.output()) {
            self.fate.leaders.push(LeaderHurt {
                id,
                at_ms: now_ms(),
                frozen_until_ms,
            });
        }
    }

    /// Stops a process, and says which ports it has open.
    fn stop(&self, pid: u32) -> Result<Option<BTreeSet<u16>>> {
        let Some(process) = self.running(pid) else {
            return Ok(None);
        };
        process.signal("STOP")?;
        Ok(process.ports())
    }

    /// Notes that an agent could bring nothing to safety, and where that is noted.
    fn hurt(&mut self, who: Who, from_ms: u64, until_ms: Option<u64>, ports: Option<BTreeSet<u16>>) -> Option<usize> {
        let Who::Agent(role) = who else { return None };
        self.fate.hurts.push(Hurt {
            role: role.to_owned(),
            from_ms,
            until_ms,
            ports,
        });
        Some(self.fate.hurts.len() - 1)
    }

    fn start_later(&mut self, who: Who, ms: u64) {
        let recovery = match who {
            Who::Coordinator => Recovery::Coordinator,
            Who::Agent(role) => Recovery::Agent(role),
        };
        self.later(ms, recovery);
        self.rest(who, ms);
    }

    fn rest(&mut self, who: Who, ms: u64) {
        if let Who::Coordinator = who {
            self.coordinators_rest = Instant::now() + Duration::from_millis(ms + 1_500);
        }
    }

    fn later(&mut self, ms: u64, recovery: Recovery) {
        self.pending
            .push((Instant::now() + Duration::from_millis(ms), recovery));
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end.max(1)
    }

    fn one_of(&mut self, names: &[&'static str]) -> Option<&'static str> {
        let number = self.below(names.len() as u64);
        names.get(usize::try_from(number).unwrap_or(0)).copied()
    }
}

/// The id that a coordinator has told in its log.
pub fn coordinator_id(output: &str) -> Option<String> {
    let start = output.find("coordinator-")?;
    let rest = output.get(start..)?;
    let id: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    (id.len() > "coordinator-".len() + 30).then_some(id)
}

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
