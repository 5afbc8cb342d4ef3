//! What an agent's `/livez` and `/readyz` answer: whether its loop turns, and whether it takes jobs.

use crate::error::AgentError;
use sipdo_bus::Link;
use sipdo_process::{self as process, AdminPages, write_port_file};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

/// A loop that has not turned for so long is stuck.
const STUCK: Duration = Duration::from_secs(15);

/// The health of this process, shown on its admin pages until it is dropped.
#[derive(Debug)]
pub(crate) struct Health {
    state: Shared,
    _pages: AdminPages,
}

type Shared = Arc<Mutex<Pulse>>;

#[derive(Debug)]
struct Pulse {
    /// None while the agent waits for its server: that is no fault of its own.
    turned: Option<Instant>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Joining,
    Working(watch::Receiver<Link>),
    Draining,
}

impl Health {
    /// Binds the address, and writes the port to a file if one is named.
    pub async fn bind(listen: SocketAddr, port_file: Option<&Path>) -> Result<Self, AgentError> {
        let failed = |what: String| move |source| AgentError::Health { what, source };
        let listener = TcpListener::bind(listen)
            .await
            .map_err(failed(format!("cannot listen on {listen} (--admin-listen)")))?;
        let address = listener
            .local_addr()
            .map_err(failed("cannot read the port of the admin pages".to_owned()))?;
        if let Some(path) = port_file {
            let what = format!("cannot write the port to {}", path.display());
            write_port_file(path, &format!("{}\n", address.port())).map_err(failed(what))?;
        }
        let state = Arc::new(Mutex::new(Pulse {
            turned: None,
            phase: Phase::Joining,
        }));
        let (live, ready) = (Arc::clone(&state), Arc::clone(&state));
        let pages = AdminPages::serve(listener, move || lock(&live).live(), move || lock(&ready).ready());
        tracing::debug!(%address, "admin pages");
        Ok(Self { state, _pages: pages })
    }

    /// Jobs are taken from now on, as long as `link` is connected.
    pub fn joined(&self, link: watch::Receiver<Link>) {
        lock(&self.state).phase = Phase::Working(link);
        self.alive();
    }

    /// The loop has turned.
    pub fn alive(&self) {
        lock(&self.state).turned = Some(Instant::now());
    }

    /// No more jobs are taken.
    pub fn draining(&self) {
        lock(&self.state).phase = Phase::Draining;
    }
}

impl Pulse {
    fn live(&self) -> process::Health {
        match self.turned {
            Some(turned) if turned.elapsed() > STUCK => process::Health::Bad("stuck"),
            _ => process::Health::Good("alive"),
        }
    }

    fn ready(&self) -> process::Health {
        match &self.phase {
            Phase::Joining => process::Health::Bad("joining"),
            Phase::Working(link) if link.borrow().connected => process::Health::Good("ready"),
            Phase::Working(_) => process::Health::Bad("not connected to NATS"),
            Phase::Draining => process::Health::Bad("draining"),
        }
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Pulse> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
