//! The client against a real HTTP listener that plays a provider from a script: every shape of reply and of failure.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]

mod calls;
mod hedging;
mod mock;
mod permits;
mod probes;
mod providers;
mod refusals;
mod secrets;
mod slow;
