//! The bus against real nats-servers: each test has its own, and stops, kills and restarts it as it needs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod connect;
mod journal;
mod kit;
mod limits;
mod local;
mod presence;
mod queue;
mod reader;
mod stores;
