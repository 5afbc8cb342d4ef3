//! What can go wrong on the bus, said so that an operator knows what to do.

use std::path::PathBuf;
use std::time::Duration;

/// The oldest nats-server whose compare-and-set holds in a cluster and that loses nothing of a work queue.
pub const OLDEST_SERVER: (u64, u64, u64) = (2, 10, 27);

/// Why something on the bus failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No server answered in time.
    #[error("no NATS server answered at {urls} within {waited:?} ({last}); is it running, and is the URL right?")]
    Unreachable {
        /// Where it was looked for, without passwords.
        urls: String,
        /// How long.
        waited: Duration,
        /// The last complaint of the connection.
        last: String,
    },
    /// The server is too old to be trusted with a journal.
    #[error(
        "the NATS server {server} is version {found}, but sipdo needs 2.10.27 or newer: older servers break \
         compare-and-set in clusters. Install a newer one (scripts/get-nats-server.sh does), and start it again"
    )]
    TooOld {
        /// Name or address of the server.
        server: String,
        /// Its version.
        found: String,
    },
    /// JetStream is off.
    #[error(
        "the NATS server {server} runs without JetStream, in which sipdo keeps every run. Start it with `-js`, or with \
         a `jetstream {{ store_dir: ... }}` block in its configuration, and enable JetStream for the account"
    )]
    NoJetStream {
        /// Name or address of the server.
        server: String,
    },
    /// A stream exists with settings under which the bus would not be safe.
    #[error(
        "the stream {stream} exists with {setting} = {have}, but sipdo needs {want}: another program uses the name, or \
         it was made by hand. Remove or rename that stream"
    )]
    StreamMismatch {
        /// Which stream.
        stream: String,
        /// Which setting.
        setting: &'static str,
        /// What is needed.
        want: String,
        /// What is there.
        have: String,
    },
    /// A stream could not be made.
    #[error("the stream {stream} could not be created with {replicas} replica(s): {reason}")]
    StreamUnavailable {
        /// Which stream.
        stream: String,
        /// How many copies were asked for.
        replicas: usize,
        /// What the server said.
        reason: String,
    },
    /// A limit could not be changed.
    #[error(
        "the limits of the stream {stream} could not be changed from ({was}) to ({wanted}): {reason}. All limits in bytes \
         together must fit into the server's store (max_file_store); change them with --max-bytes and --keep of the \
         coordinator, or leave them out to keep what the stream has"
    )]
    LimitRefused {
        /// Which stream.
        stream: String,
        /// What holds.
        was: String,
        /// What was to hold.
        wanted: String,
        /// What the server said.
        reason: String,
    },
    /// There is no room for it. Nothing was stored.
    #[error(
        "{doing}: there is no room: {reason}. Make room (sipdo runs delete), or raise the limit; `sipdo doctor` shows what \
         each stream holds"
    )]
    Full {
        /// What was tried.
        doing: &'static str,
        /// Whose limit was met, and how large it is where that is known.
        reason: String,
    },
    /// A file with credentials, a seed or a certificate cannot be used. Its content is never shown.
    #[error("{path}: {reason}", path = path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A URL that is not one.
    #[error("{url:?} is not a NATS URL ({reason}); write for example nats://localhost:4222")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that may not become part of a subject.
    #[error("{text:?} cannot be a {what}: {reason}")]
    InvalidName {
        /// What it should have been.
        what: &'static str,
        /// The name.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A message is larger than the server takes.
    #[error(
        "the {what} has {size} bytes with its headers, {over} more than the {limit} that the NATS server takes \
         (max_payload)", over = size.saturating_sub(*limit)
    )]
    TooLarge {
        /// What kind of message.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The server's limit.
        limit: usize,
    },
    /// The outcome is unknown: the server did not answer, also not when asked again.
    #[error("{doing}: no answer for {waited:?} ({reason}); it may or may not have happened")]
    Unsettled {
        /// What was tried.
        doing: &'static str,
        /// For how long.
        waited: Duration,
        /// The last complaint.
        reason: String,
    },
    /// The server refused, or something in between failed.
    #[error("{doing}: {reason}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What the server said.
        reason: String,
    },
    /// What was stored under a content hash is not what the hash says.
    #[error("the object {hash} in {bucket} does not have the content that its name says")]
    Corrupt {
        /// Which store.
        bucket: &'static str,
        /// Its name.
        hash: String,
    },
}

impl BusError {
    pub(crate) fn failed(doing: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Failed {
            doing,
            reason: reason.to_string(),
        }
    }
}
