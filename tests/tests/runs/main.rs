//! Whole runs with the real programs: as users, operators and collectors of telemetry meet them.

mod answers;
mod archive;
mod bad_input;
mod cli;
mod closed_output;
mod collector;
mod documented;
mod hedging;
mod messages;
mod metrics;
mod models;
mod offline_control;
mod options;
mod reuse;
mod rollout;
mod secrets;
mod sharing;
mod storage;
mod suspects;
mod swap;
mod telemetry;
mod timeouts;
mod usd;
mod whole_run;
