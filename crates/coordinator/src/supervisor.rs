//! Which runs this process leads: it takes over runs without a leader, and runs whose coordinator has died; with
//! `--leave-unfinished` only those that it is asked for.
//!
//! Being wrong about a death does no harm: the claim is an append that only one can make, and the loser stops.

use crate::{
    context::Context,
    leader::{LeaderExit, lead},
    run_state::is_end,
};
use prost::Message as _;
use sipdo_bus::{AgentId, Liveness, RunId};
use sipdo_protocol::pb::{self, State};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How often the leaders of known runs are looked at.
const LOOK: Duration = Duration::from_millis(150);
/// How often all runs are listed, at most.
const LIST: Duration = Duration::from_secs(1);
/// Where there are many, it is done less often: so much later for each. How long a list took says less, since a server that was away
/// for a moment would leave us without one for long.
const LIST_EACH: Duration = Duration::from_millis(1);
/// How long a coordinator may be silent while it is connected.
const SILENCE: Duration = Duration::from_millis(2_000);
/// How long one look waits for an answer.
const PING: Duration = Duration::from_millis(400);
/// How long a coordinator that the server does not know is given to come back.
const COME_BACK: Duration = Duration::from_millis(200);
/// How long others are given to come back after our own connection was made.
const SETTLE: Duration = Duration::from_millis(600);

/// The supervisor of one process.
pub struct Supervisor {
    context: Context,
    wanted: mpsc::UnboundedReceiver<RunId>,
    leaders: JoinSet<anyhow::Result<LeaderExit>>,
    leading: BTreeSet<RunId>,
    tasks: HashMap<tokio::task::Id, RunId>,
    /// Runs that somebody asked this process for. They are taken up again if their leader here fails.
    asked: BTreeSet<RunId>,
    /// Runs that have not ended and are not led here, with the coordinator that leads them.
    others: BTreeMap<RunId, String>,
    silent: HashMap<String, Instant>,
}

impl Supervisor {
    /// A supervisor, and the channel by which the API hands it a run at once.
    pub fn new(context: Context) -> (Self, mpsc::UnboundedSender<RunId>) {
        let (want, wanted) = mpsc::unbounded_channel();
        let supervisor = Supervisor {
            context,
            wanted,
            leaders: JoinSet::new(),
            leading: BTreeSet::new(),
            tasks: HashMap::new(),
            asked: BTreeSet::new(),
            others: BTreeMap::new(),
            silent: HashMap::new(),
        };
        (supervisor, want)
    }

    /// Takes and leads runs until `stop`; then lets go of all of them, for others to take.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut list_at, mut first) = (Instant::now(), true);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(run) = self.wanted.recv() => self.lead(run),
                Some(joined) = self.leaders.join_next_with_id(), if !self.leaders.is_empty() => self.leader_ended(joined),
                _ = look.tick() => {
                    if list_at <= Instant::now() {
                        let runs = self.list(first).await;
                        first &= runs.is_none();
                        list_at = Instant::now() + LIST.max(LIST_EACH * runs.unwrap_or_default());
                    }
                    self.take_over().await;
                }
            }
        }
        self.leaders.shutdown().await;
    }

    fn lead(&mut self, run: RunId) {
        if !self.leading.insert(run.clone()) {
            return;
        }
        self.others.remove(&run);
        self.asked.insert(run.clone());
        self.context.led.add(run.clone());
        self.context.leading.fetch_add(1, Ordering::Relaxed);
        let (context, id) = (self.context.clone(), run.clone());
        let task = self.leaders.spawn(async move { lead(&context, &id).await });
        self.tasks.insert(task.id(), run);
    }

    fn leader_ended(&mut self, joined: Result<(tokio::task::Id, anyhow::Result<LeaderExit>), tokio::task::JoinError>) {
        self.context.leading.fetch_sub(1, Ordering::Relaxed);
        let (task, exit) = match joined {
            Ok(done) => done,
            Err(error) => (error.id(), Err(error.into())),
        };
        let Some(run) = self.tasks.remove(&task) else { return };
        self.leading.remove(&run);
        self.context.led.remove(&run);
        match exit {
            Ok(exit) => tracing::debug!(%run, ?exit, "no longer leading"),
            Err(error) => {
                tracing::error!(%run, error = format!("{error:#}"), "the leader failed; a coordinator will take the run over")
            }
        }
    }

    /// Lists all runs, and notes those that others lead or nobody does. How many there are; none where the server cannot be asked.
    async fn list(&mut self, first: bool) -> Option<u32> {
        let runs = match self.context.bus.list_runs().await {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(%error, "cannot list the runs");
                return None;
            }
        };
        let listed = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let known = std::mem::take(&mut self.others);
        for (run, last) in runs {
            if self.context.leaves_unfinished && !self.asked.contains(&run) {
                continue;
            }
            let Ok(entry) = pb::Entry::decode(last.payload) else {
                continue;
            };
            let summary = entry.summary.unwrap_or_default();
            // A run that met its cap may have been given more while nobody was there to see it.
            let look_again = first && summary.state() == State::BudgetExhausted;
            if (is_end(summary.state()) && !look_again) || self.leading.contains(&run) {
                continue;
            }
            let leader = if look_again { String::new() } else { summary.coordinator };
            if !leader.is_empty() && known.get(&run) != Some(&leader) {
                tracing::info!(%run, leader, "standing by");
            }
            self.others.insert(run, leader);
        }
        Some(listed)
    }

    /// Takes the runs whose leader is gone.
    async fn take_over(&mut self) {
        let leaders: BTreeSet<String> = self.others.values().cloned().collect();
        let mut gone = BTreeSet::new();
        for leader in leaders {
            if self.is_gone(&leader).await {
                gone.insert(leader);
            }
        }
        let take: Vec<RunId> = self
            .others
            .iter()
            .filter(|(_, leader)| gone.contains(*leader))
            .map(|(run, _)| run.clone())
            .collect();
        for run in take {
            tracing::info!(%run, "nobody leads the run: taking it");
            self.lead(run);
        }
    }

    async fn is_gone(&mut self, leader: &str) -> bool {
        if leader.is_empty() || leader == self.context.id.as_str() {
            return true;
        }
        let Ok(id) = AgentId::new(leader) else { return true };
        match self.context.bus.is_alive_after(&id, PING, COME_BACK, SETTLE).await {
            Ok(Liveness::Alive(_)) => {
                self.silent.remove(leader);
                false
            }
            Ok(Liveness::Dead) => true,
            Ok(Liveness::Silent) => {
                let since = *self.silent.entry(leader.to_owned()).or_insert_with(Instant::now);
                since.elapsed() > SILENCE
            }
            Err(error) => {
                tracing::warn!(%error, leader, "cannot ask the coordinator whether it is alive");
                false
            }
        }
    }
}
