//! Chaos: whole optimizations under random faults of every kind, held against the undisturbed run of the same seed.
//!
//! A round runs a few small tasks at once, first alone, then again in another cluster while a seeded sequence of faults strikes every
//! part. Both are then judged by the simulator's own ledger and the runs' streams. Where every job of a run was measured, its story
//! and prompt must be those of the undisturbed run; where a fault outlived its retries they may differ, and such runs are counted
//! apart. Faults that spoil an answer itself (cut short, malformed, empty, refused) strike in rounds of their own for that reason.

mod inject;
mod judge;

pub use judge::Report;

use crate::{
    Ledger,
    cluster::{Client, Cluster, Setup},
    oracle::{History, Left},
    simulator, task,
};
use anyhow::{Context as _, Result, bail};
use inject::{Fate, Injector, Round};
use prost::Message as _;
use sipdo_bus::{Bus, BusSettings, RunId};
use sipdo_protocol::pb::{self, State};
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
    /// Every n-th round has faults that spoil answers.
    pub spoiling_round: usize,
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
    while report.faults() < plan.faults || report.runs < plan.runs {
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
        let caps: Vec<u64> = alone.histories.iter().map(|history| 4 * calls(history) + 200).collect();
        let spoils = plan.spoiling_round > 0 && round % plan.spoiling_round == plan.spoiling_round - 1;
        let (told, fate) = disturbed(plan, round, &specs, &caps, spoils).await?;
        report.judge(&alone, &told, &fate, spoils);
        say(&format!("round {}: {}", round + 1, report.line()));
        round += 1;
    }
    Ok(report)
}

fn calls(history: &History) -> u64 {
    history.summary().spent.map_or(0, |spent| spent.calls)
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

async fn disturbed(plan: &Plan, round: usize, specs: &[Spec], caps: &[u64], spoils: bool) -> Result<(Told, Fate)> {
    let setup = Setup {
        simulator: vec!["--latency-ms".into(), "50-250".into()],
        slots: SLOTS,
        coordinators: 3,
        agents: 2,
        ack_wait: 2,
        operator: "timeout_seconds = 6\n[endpoints.simulator.retry]\nattempts = 10\nfirst_delay_seconds = 0.1\nmax_delay_seconds = 2.0"
            .into(),
        proxied: true,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = Bus::connect(BusSettings::new(cluster.nats.url())).await?;
    let runs = create(&cluster.client().await?, specs, Some(caps)).await?;
    let mut injector = Injector::new(
        cluster,
        Round {
            seed: plan.seed * 100 + round as u64,
            spoils,
            pause_ms: plan.pause_ms,
        },
    );
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
                .push(format!("a run of round {} has not ended: {runs:?}", round + 1));
            break;
        }
        // Once enough has struck, or after a long time, it is to end.
        if injector.fate.faults.values().sum::<usize>() >= quota || injector.started.elapsed() > STUCK {
            injector.enough = true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    injector.recover_all().await?;
    let told = tell(&bus, &injector.cluster, &runs).await?;
    injector.take_outputs();
    Ok((told, injector.fate))
}

async fn create(client: &Client, specs: &[Spec], caps: Option<&[u64]>) -> Result<Vec<String>> {
    let mut runs = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let task = task::drawn(spec.family, 10, 12, spec.number, spec.number);
        let cap = caps.and_then(|caps| caps.get(at)).copied();
        let request = task::request(task, "sipdo", &serde_json::json!({"levels": 3}), cap);
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
