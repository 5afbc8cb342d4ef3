//! Chaos: whole optimizations under random faults of every kind, held against the undisturbed run of the same seed.
//!
//! A round runs a few small tasks at once, first alone, then again in another cluster while a seeded sequence of faults strikes every
//! part. Both are then judged by the simulator's own ledger and the runs' streams. Where every job of a run was measured, its story
//! and prompt must be those of the undisturbed run; where a fault outlived its retries they may differ, and such runs are counted
//! apart. Faults that spoil an answer itself (cut short, malformed, empty, refused) strike in rounds of their own for that reason.

mod fate;
mod inject;
mod judge;
mod kind;

pub use judge::Report;

use crate::{
    Ledger,
    cluster::{Client, Cluster, Setup},
    oracle::{History, Left},
    simulator, task,
};
use anyhow::{Context as _, Result, bail};
use fate::Fate;
use inject::{Injector, Round};
use kind::{Deck, Kind};
use prost::Message as _;
use rand_chacha::rand_core::SeedableRng as _;
use sipdo_bus::{Bus, BusSettings, RunId};
use sipdo_protocol::pb::{self, State};
use sipdo_simulator::draw::Rng;
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
    /// Go on until so many runs have ended.
    pub runs: usize,
    /// Runs at a time.
    pub together: usize,
    /// Milliseconds from one fault to the next, least and most.
    pub pause_ms: (u64, u64),
    /// Every n-th round has faults that spoil answers; 0 is none.
    pub spoiling_round: usize,
    /// Once, the server is away for so many seconds.
    pub away_seconds: Option<u64>,
}

/// Families whose tasks are run, in turn.
const FAMILIES: [&str; 4] = ["object_counting", "navigate", "web_of_lies", "boolean_expressions"];
/// A round that has not ended so long after its last fault is stuck.
const STUCK: Duration = Duration::from_secs(150);
/// Jobs that an agent works on at a time.
const SLOTS: u32 = 8;

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
/// A cluster does not start, or an undisturbed run does not end.
pub async fn run(plan: &Plan, say: impl Fn(&str)) -> Result<Report> {
    let mut report = Report::default();
    let mut round = 0;
    let away = plan.away_seconds.map(Kind::Away);
    let mut deck = Deck::new(away, Rng::seed_from_u64(plan.seed));
    let kinds = Kind::all(plan.spoiling_round > 0);
    let missing = |report: &Report| kinds.iter().any(|kind| !report.by_kind.contains_key(&kind.name()));
    while report.faults() < plan.faults || report.runs < plan.runs || missing(&report) {
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
        let spoils = plan.spoiling_round > 0 && round % plan.spoiling_round == plan.spoiling_round - 1;
        let (told, fate, rest) = disturbed(plan, (round, spoils), &specs, &caps, deck).await?;
        deck = rest;
        report.judge(&alone, &told, &fate, spoils);
        say(&format!("round {}: {}", round + 1, report.line()));
        round += 1;
    }
    Ok(report)
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

/// The cluster that faults strike, at a price list of so many USD for a million tokens.
fn strikable(usd: u64) -> Setup {
    let prices = ["sim-weak", "sim-teacher"].map(|model| {
        format!("[endpoints.simulator.prices.{model}]\ninput_per_million = {usd}.0\noutput_per_million = {usd}.0\n")
    });
    let retry = "[endpoints.simulator.retry]\nattempts = 10\nfirst_delay_seconds = 0.1\nmax_delay_seconds = 2.0\n";
    Setup {
        simulator: vec!["--latency-ms".into(), "50-250".into()],
        slots: SLOTS,
        coordinators: 3,
        agents: 2,
        ack_wait: 2,
        operator: format!("timeout_seconds = 6\n{retry}{}", prices.concat()),
        proxied: true,
        ..Setup::default()
    }
}

async fn disturbed(
    plan: &Plan,
    (number, spoils): (usize, bool),
    specs: &[Spec],
    caps: &[pb::Budget],
    deck: Deck,
) -> Result<(Told, Fate, Deck)> {
    let cluster = Cluster::start(&strikable(1)).await?;
    let bus = Bus::connect(BusSettings::new(cluster.nats.url())).await?;
    let runs = create(&cluster.client().await?, specs, Some(caps)).await?;
    let round = Round {
        seed: plan.seed * 100 + number as u64,
        spoils,
        pause_ms: plan.pause_ms,
        setup: strikable,
        deck,
    };
    let mut injector = Injector::new(cluster, round);
    let quota = (plan.faults * plan.together).div_ceil(plan.runs.max(1)) * 5 / 4;
    let mut last_fault = Instant::now();
    loop {
        injector.recover().await?;
        if injector.is_due() && injector.strike().await? {
            last_fault = Instant::now();
        }
        if all_ended(&bus, &runs).await {
            break;
        }
        if last_fault.elapsed() > STUCK {
            injector
                .fate
                .stuck
                .push(format!("a run of round {} has not ended: {runs:?}", number + 1));
            break;
        }
        // Once enough has struck, or after a long time, it is to end.
        if injector.fate.struck() >= quota || injector.started.elapsed() > STUCK {
            injector.enough = true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    injector.recover_all().await?;
    let told = tell(&bus, &injector.cluster, &runs).await?;
    injector.take_outputs();
    Ok((told, injector.fate, injector.round.deck))
}

async fn create(client: &Client, specs: &[Spec], caps: Option<&[pb::Budget]>) -> Result<Vec<String>> {
    let mut runs = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let task = task::drawn(spec.family, 10, 12, spec.number, spec.number);
        let cap = caps.and_then(|caps| caps.get(at)).copied();
        let request = pb::CreateRunRequest {
            budget: cap,
            ..task::request(task, "sipdo", &serde_json::json!({"levels": 3}), None)
        };
        let run = client.clone().create_run(request).await?.into_inner();
        runs.push(run.summary.context("a run without a summary")?.run);
    }
    Ok(runs)
}

/// Whether all have ended. A server that cannot be asked says no.
async fn all_ended(bus: &Bus, runs: &[String]) -> bool {
    for run in runs {
        let Ok(run) = RunId::new(run) else { return false };
        let last = tokio::time::timeout(Duration::from_millis(500), bus.last_log(&run)).await;
        let Ok(Ok(Some(last))) = last else { return false };
        let state = pb::Entry::decode(last.payload)
            .ok()
            .and_then(|entry| entry.summary)
            .unwrap_or_default()
            .state();
        if [State::Unspecified, State::Pending, State::Running, State::Paused].contains(&state) {
            return false;
        }
    }
    true
}

async fn tell(bus: &Bus, cluster: &Cluster, runs: &[String]) -> Result<Told> {
    let mut histories = Vec::new();
    for run in runs {
        histories.push(History::read(bus, run).await?);
    }
    Ok(Told {
        left: Left::read(bus, &histories).await?,
        histories,
        ledger: simulator::Ledger::read(cluster.models).await?,
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
