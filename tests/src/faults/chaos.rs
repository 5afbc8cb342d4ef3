//! Chaos: whole optimizations under random faults of every kind, held against the undisturbed run of the same seed.
//!
//! A round runs a few small tasks at once, first alone, then again in another cluster while a seeded sequence of faults strikes every
//! part. Both are then judged by the simulator's own ledger and the runs' streams. Where every job of a run was measured, its story
//! and prompt must be those of the undisturbed run; where a fault outlived its retries they may differ, and such runs are counted
//! apart. Faults that spoil an answer itself (cut short, malformed, empty, refused, or of a job that kills every agent) strike in rounds
//! of their own for that reason; so do those of three servers, which need other ground. It goes on until enough runs were compared.

mod fault_log;
mod fault_schedule;
mod inject;
mod judge;
mod kind;
mod site;

pub use fault_log::now_ms;
pub use judge::Report;
pub use kind::Ground;

use crate::{
    cluster::{Client, Cluster, Setup, over, process::eventually_within, simulator::Ledger, task},
    observe::oracle::{History, Left},
};
use anyhow::{Context as _, Result, bail};
use fault_log::FaultLog;
use fault_schedule::FaultSchedule;
use inject::{Injector, Round};
use kind::Kind;
use prost::Message as _;
use rand_chacha::rand_core::SeedableRng as _;
use sipdo_bus::{Bus, BusSettings, RunId};
use sipdo_protocol::pb;
use sipdo_simulator::draw::Rng;
use site::Site;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How much chaos.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All choices come from it.
    pub seed: u64,
    /// Go on until so many faults have struck.
    pub faults: usize,
    /// Go on until so many runs have ended and were compared.
    pub runs: usize,
    /// Runs at a time.
    pub together: usize,
    /// Milliseconds from one fault to the next, least and most.
    pub pause_ms: (u64, u64),
    /// What the rounds stand on, in turn.
    pub grounds: Vec<Ground>,
    /// Whether to go on until every kind has struck on these grounds, also those that take long.
    pub every_kind: bool,
}

/// Families whose tasks are run, in turn.
const FAMILIES: [&str; 4] = ["object_counting", "navigate", "web_of_lies", "boolean_expressions"];
/// A round that has not ended so long after its last fault is stuck.
const STUCK: Duration = Duration::from_secs(150);
/// More rounds than this for every one that is needed, and some fault cannot strike or every run is spoilt.
const PATIENCE: usize = 4;

/// One run of a round.
#[derive(Debug, Clone)]
struct Spec {
    family: &'static str,
    number: u64,
}

/// What a round came to.
struct Told {
    histories: Vec<History>,
    ledger: Ledger,
    left: Left,
}

/// Runs rounds until the plan is fulfilled. `say` hears what happens.
///
/// # Errors
/// A cluster does not start, an undisturbed run does not end, or the plan cannot be fulfilled.
pub async fn run(plan: &Plan, say: impl Fn(&str)) -> Result<Report> {
    let mut report = Report::default();
    let long = Kind::LONG.into_iter().filter(|_| plan.every_kind);
    let mut schedule = FaultSchedule::new(long.filter(Kind::can_strike), Rng::seed_from_u64(plan.seed));
    let mut round = 0;
    while let Some(ground) = plan.next(round, &report) {
        if round * plan.together > PATIENCE * plan.runs {
            bail!(
                "after {round} rounds: {}; not struck: {:?}",
                report.line(),
                plan.missing(&report)
            );
        }
        let first = round * plan.together;
        let specs: Vec<Spec> = (first..first + plan.together)
            .map(|number| Spec {
                family: FAMILIES
                    .get(number % FAMILIES.len())
                    .copied()
                    .unwrap_or("object_counting"),
                number: plan.seed * 1000 + number as u64,
            })
            .collect();
        let alone = undisturbed(&specs).await.context("without faults")?;
        let caps: Vec<pb::Budget> = alone.histories.iter().map(cap).collect();
        let terms = Round {
            seed: plan.seed * 100 + round as u64,
            ground,
            pause_ms: plan.pause_ms,
            schedule,
        };
        let (told, log, rest) = disturbed(plan, terms, &specs, &caps).await?;
        schedule = rest;
        let before = report.broken.len();
        report.judge(&alone, &told, &log, ground == Ground::Spoiling);
        round += 1;
        for broken in report.broken.iter_mut().skip(before) {
            *broken = format!("round {round}: {broken}");
        }
        say(&format!("round {round} ({ground:?}): {}", report.line()));
    }
    Ok(report)
}

impl Plan {
    /// The ground of the next round; none where enough has struck and was compared.
    fn next(&self, round: usize, report: &Report) -> Option<Ground> {
        let in_turn = self.grounds.get(round % self.grounds.len().max(1)).copied();
        if report.faults() < self.faults || report.compared < self.runs {
            return in_turn;
        }
        self.missing(report).first().map(|(ground, _)| *ground)
    }

    /// What has not struck and is to.
    fn missing(&self, report: &Report) -> Vec<(Ground, String)> {
        let grounds = Ground::ALL
            .into_iter()
            .filter(|ground| self.every_kind && self.grounds.contains(ground));
        let kinds = grounds.flat_map(|ground| Kind::on(ground).into_iter().map(move |kind| (ground, kind)));
        let long = Kind::LONG
            .map(|kind| (Ground::One, kind))
            .into_iter()
            .filter(|_| self.every_kind);
        let named = kinds.chain(long).filter(|(_, kind)| kind.can_strike());
        let named = named.map(|(ground, kind)| (ground, kind.name()));
        named.filter(|(_, name)| !report.by_kind.contains_key(name)).collect()
    }
}

/// A cap that faults do not meet: what is lost is charged at its worst case.
fn cap(quiet: &History) -> pb::Budget {
    let calls = quiet.summary().spent.map_or(0, |spent| spent.calls);
    pb::Budget {
        calls: Some(4 * calls + 200),
        nano_usd: Some(60_000_000_000),
        ..pb::Budget::default()
    }
}

async fn undisturbed(specs: &[Spec]) -> Result<Told> {
    let cluster = Cluster::start(&Setup {
        slots: 16,
        ..Setup::default()
    })
    .await?;
    let bus = Bus::connect(BusSettings::new(cluster.nats.url())).await?;
    let runs = create(&cluster.client().await?, specs, None).await?;
    let start = Instant::now();
    while !all_ended(&bus, &runs).await {
        if start.elapsed() > STUCK {
            bail!("not ended after {STUCK:?}: {runs:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tell(&bus, &cluster, &runs).await
}

async fn disturbed(
    plan: &Plan,
    round: Round,
    specs: &[Spec],
    caps: &[pb::Budget],
) -> Result<(Told, FaultLog, FaultSchedule)> {
    let site = Site::start(round.ground).await?;
    let bus = site.bus.clone();
    let runs = create(&site.cluster.client().await?, specs, Some(caps)).await?;
    let mut injector = Injector::new(site, runs.clone(), round);
    let quota = (plan.faults * plan.together).div_ceil(plan.runs.max(1));
    let mut last_fault = Instant::now();
    loop {
        injector.recover().await?;
        injector.look().await?;
        if injector.is_due() && injector.strike().await? {
            last_fault = Instant::now();
        }
        if all_ended(&bus, &runs).await {
            break;
        }
        if last_fault.elapsed() > STUCK {
            injector.log.broken.push(format!("not ended: {runs:?}"));
            break;
        }
        // Once enough has struck, or after a long time, it is to end.
        if injector.log.struck() >= quota || injector.started.elapsed() > STUCK {
            injector.enough = true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    injector.recover_all().await?;
    // Three servers that agree may do so anew, and are asked again.
    let told = eventually_within(STUCK, "what the servers hold", || async {
        Ok(tell(&bus, &injector.site.cluster, &runs).await.ok())
    });
    let told = told.await?;
    Ok((told, injector.log, injector.round.schedule))
}

async fn create(client: &Client, specs: &[Spec], caps: Option<&[pb::Budget]>) -> Result<Vec<RunId>> {
    let mut runs = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let task = task::drawn(spec.family, 10, 12, spec.number, spec.number);
        let cap = caps.and_then(|caps| caps.get(at)).copied();
        let request = pb::CreateRunRequest {
            budget: cap,
            ..task::request(task, "sipdo", &serde_json::json!({"levels": 3}), None)
        };
        let run = client.clone().create_run(request).await?.into_inner();
        runs.push(RunId::new(run.summary.context("a run without a summary")?.run)?);
    }
    Ok(runs)
}

/// Whether all have ended. A server that cannot be asked says no.
async fn all_ended(bus: &Bus, runs: &[RunId]) -> bool {
    for run in runs {
        if last_summary(bus, run).await.is_none_or(|last| !over(last.state())) {
            return false;
        }
    }
    true
}

/// How a run stands; none where the server cannot be asked.
async fn last_summary(bus: &Bus, run: &RunId) -> Option<pb::Summary> {
    let last = tokio::time::timeout(Duration::from_millis(500), bus.last_log(run)).await;
    pb::Entry::decode(last.ok()?.ok()??.payload).ok()?.summary
}

async fn tell(bus: &Bus, cluster: &Cluster, runs: &[RunId]) -> Result<Told> {
    let mut histories = Vec::new();
    for run in runs {
        histories.push(History::read(bus, run.as_str()).await?);
    }
    Ok(Told {
        left: Left::read(bus, &histories).await?,
        histories,
        ledger: Ledger::read(cluster.models).await?,
    })
}

impl Told {
    fn asked(&self) -> BTreeSet<&str> {
        self.ledger.whole()
    }

    /// What all runs together say that they have spent.
    fn spent(&self) -> pb::Amount {
        let spent = self.histories.iter().filter_map(|history| history.summary().spent);
        spent.fold(pb::Amount::default(), |sum, spent| pb::Amount {
            calls: sum.calls + spent.calls,
            tokens: sum.tokens + spent.tokens,
            nano_usd: sum.nano_usd + spent.nano_usd,
        })
    }

    /// What the simulator says that they have bought.
    fn bought(&self) -> pb::Amount {
        let totals = &self.ledger.totals;
        pb::Amount {
            calls: totals.answered,
            tokens: totals.prompt_tokens + totals.completion_tokens,
            nano_usd: 0,
        }
    }
}
