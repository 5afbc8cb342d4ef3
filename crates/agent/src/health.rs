//! `/livez` and `/readyz`: whether the loop turns, and whether jobs are taken. `/metrics`: what was counted, for Prometheus.

use crate::error::AgentError;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use sipdo_bus::Link;
use sipdo_telemetry::metrics;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A loop that has not turned for so long is stuck.
const STUCK: Duration = Duration::from_secs(15);

/// The health of this process, told over HTTP until it is dropped.
#[derive(Debug)]
pub(crate) struct Health {
    state: Shared,
    server: JoinHandle<()>,
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
            .map_err(failed("cannot tell the port of the health pages".to_owned()))?;
        if let Some(path) = port_file {
            let what = format!("cannot write the port to {}", path.display());
            write_whole(path, &format!("{}\n", address.port())).map_err(failed(what))?;
        }
        let state = Arc::new(Mutex::new(Pulse {
            turned: None,
            phase: Phase::Joining,
        }));
        let pages = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route(
                "/metrics",
                get(|| async { ([(CONTENT_TYPE, metrics::PAGE_TYPE)], metrics::page()) }),
            )
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "the health pages have ended");
            }
        });
        tracing::debug!(%address, "health pages");
        Ok(Self { state, server })
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

impl Drop for Health {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn livez(State(state): State<Shared>) -> (StatusCode, &'static str) {
    match lock(&state).turned {
        Some(turned) if turned.elapsed() > STUCK => (StatusCode::SERVICE_UNAVAILABLE, "stuck\n"),
        _ => (StatusCode::OK, "alive\n"),
    }
}

async fn readyz(State(state): State<Shared>) -> (StatusCode, &'static str) {
    match &lock(&state).phase {
        Phase::Joining => (StatusCode::SERVICE_UNAVAILABLE, "joining\n"),
        Phase::Working(link) if link.borrow().connected => (StatusCode::OK, "ready\n"),
        Phase::Working(_) => (StatusCode::SERVICE_UNAVAILABLE, "not connected to NATS\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Pulse> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a file so that nobody sees half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(unfinished, path)
}
