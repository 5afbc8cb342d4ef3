//! Coordinators: take runs, lead them over the bus, and answer for them over gRPC.
//!
//! Knows nothing of how agents call models. All state of a run is in its stream; a coordinator can die at any moment.

mod admission;
mod archive;
pub mod context;
mod dead_letters;
mod follow;
mod jobs;
pub mod leader;
pub mod leadership;
mod models;
mod observe;
pub mod port;
pub mod process;
mod refusal;
pub mod replay;
mod room;
pub mod roster;
pub mod run_state;
mod run_view;
pub mod scheduler;
pub mod service;
mod storage;
pub mod supervisor;
mod view;
