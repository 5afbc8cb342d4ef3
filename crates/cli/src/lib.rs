//! The `sipdo` command: what a person types, and the local stack that it starts for them.
//!
//! Knows the contract and a task's shape; knows nothing of how agents work inside. Data goes to stdout, messages to stderr.

pub mod client;
pub mod failure;
pub mod json;
pub mod output;
pub mod progress;
pub mod report;
pub mod stack;
