//! The bus: everything sipdo keeps or sends over NATS JetStream, and the only crate that uses a NATS client.
//!
//! What it guarantees, and where:
//! - a run's decisions are appended by one leader at a time, because **the append is the fence** ([`Journal`]);
//! - a run is read back whole and in order, through reconnects and restarts of the server ([`RunReader`]);
//! - results and rights to buy are created once, for ever ([`Bus::create_result`], [`Bus::create_attempt`]);
//! - jobs reach one agent with a free slot, come again if the agent dies, and never pile up beyond a window per run
//!   ([`Bus::publish_job`], [`JobQueue`]);
//! - who is alive is known from an answer, and death from a server that knows of nobody to ask ([`Bus::is_alive`]).
//!
//! It knows nothing of models, prompts or strategies: payloads are bytes, and names are checked tokens ([`subjects`]).
//! Any process may start in any order: [`Bus::connect`] waits for the server, [`Bus::ensure_streams`] makes what is
//! missing. [`local`] starts a private server as a child process.

mod connection;
mod create;
mod dead;
mod error;
mod jobs;
mod journal;
mod kv;
mod limits;
pub mod local;
mod message;
mod objects;
mod place;
mod presence;
mod probe;
mod queue;
mod reader;
mod runs;
mod settings;
pub mod settling;
mod streams;
pub mod subjects;
mod tail;
mod usage;

pub use connection::{Bus, Link};
pub use create::Created;
pub use dead::DeadLetter;
pub use error::{BusError, OLDEST_SERVER};
pub use jobs::{JobAck, JobMessage, Published};
pub use journal::{AppendError, Journal};
pub use kv::{Bucket, Change, Entry};
pub use limits::{Limits, Store, size};
pub use message::{Headers, NewMessage, Stored, now_ms};
pub use presence::{Liveness, Presence};
pub use probe::Probes;
pub use queue::{Delivery, JobQueue};
pub use reader::{Chunk, RunMessage, RunReader};
pub use runs::CreateRunError;
pub use settings::{BusSettings, Replicas};
pub use subjects::{AgentId, JobId, Role, RunId, RunSubject};
pub use usage::{HIGH_WATER, StoreUse, Usage};
