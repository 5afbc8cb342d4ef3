//! What strikes a cluster: one fault after the other, each with its recovery, all drawn from one seed.

use super::{
    fate::{Fate, LeaderHurt, coordinator_id, now_ms},
    kind::{Deck, How, Kind, Who},
};
use crate::{
    cluster::{Cluster, ROLES, Setup},
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
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The terms of a round.
#[derive(Debug)]
pub struct Round {
    /// Of all its choices.
    pub seed: u64,
    /// Whether answers are spoilt too.
    pub spoils: bool,
    /// Milliseconds from one fault to the next, least and most.
    pub pause_ms: (u64, u64),
    /// How the cluster was made, at a price list.
    pub setup: fn(usd: u64) -> Setup,
    /// What comes next.
    pub deck: Deck,
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
    /// The terms.
    pub round: Round,
    random: Rng,
    /// USD for a million tokens, as the operator's file has it now.
    usd: u64,
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
            next: now + Duration::from_millis(round.pause_ms.0),
            round,
            usd: 1,
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
        let kind = self.round.deck.draw(self.round.spoils);
        let struck = match kind {
            Kind::Provider(kind) => self.provider(kind).await?,
            Kind::Process(how, who) => self.process(how, who)?,
            Kind::Link(how) => self.link(how)?,
            Kind::Server(how) => self.server(how).await?,
            Kind::EmptyTable => self.empty_table().await?,
            Kind::Away(seconds) => self.away(seconds).await?,
            Kind::Prices => self.prices()?,
        };
        if !struck {
            self.round.deck.put_back(kind);
            return Ok(false);
        }
        *self.fate.faults.entry(kind.name()).or_default() += 1;
        self.next = Instant::now() + Duration::from_millis(least + self.below(most - least + 1));
        if let Kind::Away(seconds) = kind {
            // Nothing much can happen meanwhile.
            self.next += Duration::from_secs(seconds / 2);
        }
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

    async fn provider(&mut self, kind: &str) -> Result<bool> {
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
        Ok(true)
    }

    fn process(&mut self, how: How, who: Who) -> Result<bool> {
        let Some((pid, at)) = self.pick(who) else {
            return Ok(false);
        };
        let at_ms = now_ms();
        match how {
            How::Kill => {
                self.note_leader(at, who, None);
                // Stands still for a moment, so that it is known which calls die with it.
                let ports = self.stop(pid)?;
                self.hurt(who, at_ms, None, ports);
                self.take(who, at).kill()?;
                let back = 200 + self.below(1_300);
                self.start_later(who, back);
            }
            How::Freeze => {
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
            How::Restart => {
                let process = self.take(who, at);
                process.signal("TERM")?;
                self.leaving.push(process);
                self.start_later(who, 0);
            }
        }
        Ok(true)
    }

    fn link(&mut self, how: &str) -> Result<bool> {
        let who = self.anybody();
        let Some((pid, _)) = self.pick(who) else {
            return Ok(false);
        };
        let time = 300 + self.below(3_500);
        let mode = match how {
            "cut" => Mode::Cut,
            "drop" => Mode::Drop,
            _ => Mode::Delay(Duration::from_millis(20 + self.below(200))),
        };
        self.cluster.set_link(pid, mode)?;
        self.later(time, Recovery::Mend(pid));
        self.rest(who, time);
        Ok(true)
    }

    async fn server(&mut self, how: &str) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        match how {
            "kill" => self.cluster.nats.kill().await?,
            "restart" => self.cluster.nats.terminate().await?,
            _ => self.cluster.nats.pause().await?,
        }
        self.no_server = true;
        let time = 100 + self.below(2_500);
        let frozen = how == "freeze";
        self.later(time, Recovery::Server { frozen, since_ms });
        Ok(true)
    }

    /// The server comes back before any of its clients, who find it one after the other within two seconds.
    async fn empty_table(&mut self) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        let coordinators = self.cluster.coordinators.iter().map(|(process, _)| process.pid());
        let agents = self.cluster.agents.iter().map(|(_, process)| process.pid());
        let all: Vec<u32> = coordinators.chain(agents).collect();
        for pid in &all {
            self.cluster.set_link(*pid, Mode::Cut)?;
        }
        self.cluster.nats.kill().await?;
        self.cluster.nats.start_again().await?;
        for pid in all {
            let time = self.below(2_000);
            self.later(time, Recovery::Mend(pid));
        }
        self.fate.outages.push((since_ms, now_ms() + 2_000));
        self.rest(Who::Coordinator, 2_000);
        Ok(true)
    }

    async fn away(&mut self, seconds: u64) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        self.cluster.nats.kill().await?;
        self.no_server = true;
        let frozen = false;
        self.later(seconds * 1_000, Recovery::Server { frozen, since_ms });
        Ok(true)
    }

    /// Twice as dear, or as it was before; one agent starts anew and knows it, and so does whoever starts later.
    fn prices(&mut self) -> Result<bool> {
        self.usd = if self.usd == 1 { 2 } else { 1 };
        self.cluster.set_operator(&(self.round.setup)(self.usd))?;
        let number = self.below(ROLES.len() as u64);
        let role = ROLES.get(usize::try_from(number).unwrap_or(0)).copied();
        self.process(How::Restart, Who::Agent(role.unwrap_or("learner")))
    }

    fn anybody(&mut self) -> Who {
        let number = usize::try_from(self.below(9)).unwrap_or(0);
        ROLES.get(number).copied().map_or(Who::Coordinator, Who::Agent)
    }

    /// A process of this kind, and its place. A coordinator is hurt only where all others are well.
    fn pick(&mut self, who: Who) -> Option<(u32, usize)> {
        if who == Who::Coordinator && Instant::now() < self.coordinators_rest {
            return None;
        }
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
}
