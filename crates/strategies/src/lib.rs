//! Optimization methods, each one plain async function over one port, [`Agents`].
//!
//! Knows nothing of NATS, protobuf or HTTP, and owns no I/O, clock, environment or unseeded randomness: that is what lets a run be
//! replayed from the top after a crash.

pub mod port;

pub use port::{Agents, Stop};
