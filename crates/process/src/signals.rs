//! The signals that stop a process.

use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Completes when the process receives SIGTERM or SIGINT. The handlers are installed by this call, not by the first poll: a signal
/// that comes in between is not lost.
///
/// # Errors
/// The system refuses a handler.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
