//! An OpenAI-compatible server with *simulated* models, for demos, tests and benchmarks without a key.
//!
//! As a learner it solves questions of a few families and makes the systematic mistakes of a weak solver unless the prompt teaches
//! the missing procedure. It plays the teaching roles as well. Every reply is worked out from the request alone, and is the same
//! for the same request and seed. What it scores says nothing of real models.

pub mod answers;
pub mod draw;
pub mod examples;
pub mod families;
mod faults;
mod ledger;
mod listener;
mod request;
mod roles;
mod server;
mod settings;
mod wire;

pub use faults::{Fault, FaultKind};
pub use ledger::{Call, Ledger, Totals};
pub use server::{Running, serve, serve_until, spawn};
pub use settings::{Ability, Flags, Latency, Limit, Rates, Secret, Settings};
