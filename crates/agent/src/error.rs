//! Why an agent could not start or go on.

use sipdo_bus::BusError;

/// Why an agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting that cannot work.
    #[error("{0}")]
    Settings(String),
    /// The spool's folder cannot be used.
    #[error("the spool {folder} cannot be used: {source}; name another folder with --spool-dir")]
    Spool {
        /// Which folder.
        folder: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The address of the admin pages cannot be bound, or their port not written.
    #[error("{what}: {source}")]
    Health {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bus cannot be used, and waiting would not help.
    #[error(transparent)]
    Bus(#[from] BusError),
}
