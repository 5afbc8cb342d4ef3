//! Why a private server is not there.

use std::path::PathBuf;

/// Why a private server is not there.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No binary was found.
    #[error(
        "no nats-server found. Looked at: {}.\nInstall one with scripts/get-nats-server.sh (into .tools/bin, nothing \
         else is touched), or with your package manager (2.10.27 or newer), or name one in NATS_SERVER_BIN",
        looked.join(", ")
    )]
    NoBinary {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// The binary is too old.
    #[error("{binary} is version {found}, but sipdo needs 2.10.27 or newer; scripts/get-nats-server.sh installs one", binary = binary.display())]
    TooOld {
        /// Which one.
        binary: PathBuf,
        /// Its version.
        found: String,
    },
    /// One runs in this folder already; two on the same data would destroy it.
    #[error("a nats-server runs in {folder} already (process {pid}, {url})", folder = folder.display())]
    Running {
        /// Which folder.
        folder: PathBuf,
        /// Its process id.
        pid: u32,
        /// Where it listens.
        url: String,
    },
    /// It ended, or did not begin to answer in time.
    #[error("nats-server ({binary}) did not start: {reason}\n{log}", binary = binary.display())]
    NotStarted {
        /// Which one.
        binary: PathBuf,
        /// What was seen.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A file or a signal failed.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// The system's complaint.
        error: std::io::Error,
    },
}

pub(super) fn io(doing: String, error: std::io::Error) -> LocalError {
    LocalError::Io { doing, error }
}
