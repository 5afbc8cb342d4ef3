//! What every part of a coordinator's process shares.

use crate::{follow::Followers, jobs::Jobs, roster::Roster, run_state::is_end, run_view::RunView, storage::Storage};
use prost::Message as _;
use sipdo_bus::{AgentId, Bus, RunId};
use sipdo_protocol::pb;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How long a roll call waits for answers.
pub const ROLL_CALL: Duration = Duration::from_millis(150);
/// The same, where it matters much that nobody is missed.
pub const PATIENT_CALL: Duration = Duration::from_secs(1);
/// Pause between roll calls while something is missing, and while all is well.
const ANXIOUS: Duration = Duration::from_millis(30);
const CALM: Duration = Duration::from_secs(2);

/// Shared by leaders, supervisor and API of one process. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The bus.
    pub bus: Bus,
    /// This process. A process started again is another one.
    pub id: AgentId,
    /// Jobs of a role and run that may be in flight.
    pub window: usize,
    /// Runs that this process leads.
    pub leading: Arc<AtomicU32>,
    /// Which runs these are, or are about to be.
    pub led: Led,
    /// Whether runs that an earlier process left unfinished are left until somebody asks for them.
    pub leaves_unfinished: bool,
    /// Those of them that have jobs in flight.
    pub asking: Arc<AtomicU32>,
    /// Whether there is room for more.
    pub storage: Storage,
    /// Runs that somebody looks at.
    pub(crate) runs: Followers<RunView>,
    /// Runs whose jobs somebody looks at.
    pub(crate) jobs: Followers<Jobs>,
    roster: watch::Receiver<Roster>,
    look: Arc<Notify>,
}

/// The names of some runs, shared.
#[derive(Clone, Default)]
pub struct Led(Arc<Mutex<BTreeSet<RunId>>>);

impl Led {
    /// Adds one.
    pub fn add(&self, run: RunId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
    }

    /// Takes one out.
    pub fn remove(&self, run: &RunId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    /// Whether it is one of them.
    pub fn contains(&self, run: &str) -> bool {
        let led = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        RunId::new(run).is_ok_and(|run| led.contains(&run))
    }
}

impl Context {
    /// Whether a run in this state goes on only when somebody resumes it.
    pub fn is_left(&self, summary: &pb::Summary) -> bool {
        self.leaves_unfinished && !is_end(summary.state()) && !self.led.contains(&summary.run)
    }

    /// A context whose roster is kept up by [`keep_roster`].
    pub fn new(bus: Bus, id: AgentId, window: usize) -> (Self, watch::Sender<Roster>) {
        let (sender, roster) = watch::channel(Roster::default());
        let context = Context {
            runs: Followers::new(bus.clone()),
            jobs: Followers::new(bus.clone()),
            bus,
            id,
            window,
            leading: Arc::default(),
            led: Led::default(),
            leaves_unfinished: false,
            asking: Arc::default(),
            storage: Storage::default(),
            roster,
            look: Arc::new(Notify::new()),
        };
        (context, sender)
    }

    /// The newest roll call.
    pub fn roster(&self) -> Roster {
        self.roster.borrow().clone()
    }

    /// What keeps this coordinator from storing its decisions, as it says itself.
    pub fn leader_trouble(&self, coordinator: &str) -> Option<String> {
        self.roster.borrow().leader_trouble(coordinator)
    }

    /// Waits for the next roll call.
    pub fn roster_changes(&self) -> watch::Receiver<Roster> {
        self.roster.clone()
    }

    /// Asks for a roll call soon: an agent is missing.
    pub fn look_for_agents(&self) {
        self.look.notify_one();
    }

    /// This process's status.
    pub fn status(&self, started_ms: u64) -> pb::AgentStatus {
        pb::AgentStatus {
            agent: self.id.as_str().to_owned(),
            role: "coordinator".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            busy: self.leading.load(Ordering::Relaxed),
            started_ms,
            trouble: self.storage.trouble(None).unwrap_or_default(),
            ..Default::default()
        }
    }
}

/// Calls the roll for ever: often while a leader misses an agent, seldom while all is well.
pub async fn keep_roster(context: Context, sender: watch::Sender<Roster>) {
    loop {
        match roll_call(&context.bus, ROLL_CALL).await {
            Ok(statuses) => {
                sender.send_replace(Roster::new(statuses));
            }
            Err(error) => tracing::warn!(%error, "the roll call failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(CALM) => {}
            () = async { context.look.notified().await; tokio::time::sleep(ANXIOUS).await } => {}
        }
    }
}

/// The statuses of everybody who answers within `wait`.
pub async fn roll_call(bus: &Bus, wait: Duration) -> Result<Vec<pb::AgentStatus>, sipdo_bus::BusError> {
    let statuses = bus.roll_call(wait).await?;
    Ok(statuses
        .into_iter()
        .filter_map(|bytes| pb::AgentStatus::decode(bytes).ok())
        .collect())
}
