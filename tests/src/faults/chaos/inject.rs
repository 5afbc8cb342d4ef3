//! What strikes a site: one fault after the other, each with its recovery, all drawn from one seed. A fault counts once it is known
//! to have struck: where that is not certain by what was done, it is waited for its effect.

mod effect;
mod poison;
mod process;
mod room;
mod server;

use super::{
    fault_log::{FaultLog, now_ms},
    fault_schedule::FaultSchedule,
    kind::{Ground, Kind, Room, Who},
    site::Site,
};
use crate::cluster::{over, process::Process, proxy::Mode, simulator::script_faults};
use anyhow::{Result, bail};
use effect::{Awaited, Effect};
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::json;
use sipdo_bus::RunId;
use sipdo_protocol::pb;
use sipdo_simulator::draw::Rng;
use std::{
    collections::BTreeMap,
    mem,
    time::{Duration, Instant},
};

/// The terms of a round.
#[derive(Debug)]
pub struct Round {
    /// Of all its choices.
    pub seed: u64,
    /// Where it takes place.
    pub ground: Ground,
    /// Milliseconds from one fault to the next, least and most.
    pub pause_ms: (u64, u64),
    /// What comes next.
    pub schedule: FaultSchedule,
}

/// Strikes a site.
pub struct Injector {
    /// What it strikes.
    pub site: Site,
    /// What has struck so far.
    pub log: FaultLog,
    /// When it began.
    pub started: Instant,
    /// Whether nothing more is to strike.
    pub enough: bool,
    /// The terms.
    pub round: Round,
    runs: Vec<RunId>,
    random: Rng,
    /// USD for a million tokens, as the operator's file has it now.
    usd: u64,
    next: Instant,
    pending: Vec<(Instant, Recovery)>,
    awaited: Vec<Awaited>,
    /// Dead letters that were the effect of something, by words of their reason.
    letters: BTreeMap<&'static str, usize>,
    /// Processes that were told to end and finish what they have in hand.
    leaving: Vec<Process>,
    no_server: bool,
    no_room: bool,
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
    Room {
        room: Room,
        since_ms: u64,
    },
    /// Which of the three servers.
    Nodes {
        numbers: Vec<usize>,
        frozen: bool,
    },
}

/// Whether a fault has struck.
enum Struck {
    /// It cannot strike now.
    No,
    /// It has.
    Yes,
    /// It has when this is seen; then, so many milliseconds later, this mends it.
    When(Effect, Option<(u64, Recovery)>),
}

impl From<bool> for Struck {
    fn from(struck: bool) -> Self {
        if struck { Struck::Yes } else { Struck::No }
    }
}

/// What cannot be mended in so many tries, half a second apart, cannot be mended.
const TRIES: usize = 60;
const AGAIN: Duration = Duration::from_millis(500);

impl Injector {
    /// Will strike this site and these runs.
    pub fn new(site: Site, runs: Vec<RunId>, mut round: Round) -> Self {
        let now = Instant::now();
        round.schedule.begin(round.ground);
        Injector {
            site,
            runs,
            log: FaultLog::default(),
            started: now,
            enough: false,
            random: Rng::seed_from_u64(round.seed),
            next: now + Duration::from_millis(round.pause_ms.0),
            round,
            usd: 1,
            pending: Vec::new(),
            awaited: Vec::new(),
            letters: BTreeMap::new(),
            leaving: Vec::new(),
            no_server: false,
            no_room: false,
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
        let kind = self.round.schedule.draw(self.round.ground);
        let struck = match kind {
            Kind::Provider(kind) => self.provider(kind).await?.into(),
            Kind::Process(how, who) => self.process(how, who).await?.into(),
            Kind::Link(how) => self.link(how).await?.into(),
            Kind::Server(how) => self.server(how).await?.into(),
            Kind::EmptyTable => self.empty_table().await?.into(),
            Kind::Away(time) => self.away(time).await?.into(),
            Kind::Prices => self.prices().await?.into(),
            Kind::Poison(poison) => self.poison(poison).await?,
            Kind::Killer(deaths) => self.killer(deaths).await?,
            Kind::Room(room) => self.no_room(room).await?,
            Kind::Node(node) => self.node(node)?,
        };
        match struck {
            Struck::No => {
                self.round.schedule.put_back(self.round.ground, kind);
                return Ok(false);
            }
            Struck::Yes => self.count(kind),
            Struck::When(effect, then) => self.awaited.push(Awaited::new(kind, effect, then)),
        }
        self.next = Instant::now() + Duration::from_millis(least + self.below(most - least + 1));
        if let Kind::Away(time) = kind {
            // Nothing much can happen meanwhile.
            self.next += time / 2;
        }
        Ok(true)
    }

    fn count(&mut self, kind: Kind) {
        *self.log.faults.entry(kind.name()).or_default() += 1;
    }

    /// Mends what is due.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn recover(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= now);
        self.pending = later;
        for (_, recovery) in due {
            self.mend(recovery).await?;
        }
        Ok(())
    }

    /// Mends everything now. What has shown no effect so far did not strike: all runs had ended before.
    ///
    /// # Errors
    /// Something cannot be mended.
    pub async fn recover_all(&mut self) -> Result<()> {
        for Awaited { kind, then, .. } in mem::take(&mut self.awaited) {
            self.round.schedule.put_back(self.round.ground, kind);
            self.pending
                .extend(then.map(|(_, recovery)| (Instant::now(), recovery)));
        }
        for _ in 0..TRIES {
            for (_, recovery) in mem::take(&mut self.pending) {
                self.mend(recovery).await?;
            }
            if self.pending.is_empty() {
                return self.whole().await;
            }
            tokio::time::sleep(AGAIN).await;
        }
        bail!("cannot be mended: {:?}", self.pending)
    }

    async fn mend(&mut self, recovery: Recovery) -> Result<()> {
        match recovery {
            Recovery::Coordinator => self.site.cluster.launch_coordinator().await?,
            Recovery::Agent(role) => self.site.cluster.start_agent(role, &[]).await?,
            Recovery::Thaw { pid, hurt } => self.thaw(pid, hurt)?,
            // Killed meanwhile, it has no link any more.
            Recovery::Mend(pid) => drop(self.site.cluster.set_link(pid, Mode::Open)),
            Recovery::Server { frozen, since_ms } => {
                let nats = &mut self.site.cluster.nats;
                if frozen {
                    nats.resume().await?;
                } else {
                    nats.start_again().await?;
                }
                self.no_server = false;
                self.log.outages.push((since_ms, now_ms()));
            }
            Recovery::Nodes { numbers, frozen } => self.bring_back(&numbers, frozen)?,
            Recovery::Room { room, since_ms } => self.make_room(room, since_ms).await?,
        }
        Ok(())
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
        script_faults(self.site.cluster.models, &json!([fault])).await?;
        Ok(true)
    }

    /// The summaries of the runs that have not ended; none where the server cannot be asked.
    async fn open_runs(&self) -> Vec<pb::Summary> {
        let mut open = Vec::new();
        for run in self.runs.iter().filter(|_| !self.no_server) {
            open.extend(
                super::last_summary(&self.site.bus, run)
                    .await
                    .filter(|last| !over(last.state())),
            );
        }
        open
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

    /// One of these, at random.
    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let number = self.below(all.len() as u64);
        all.get(usize::try_from(number).unwrap_or(0)).cloned()
    }
}
