//! The contract: protobuf of `proto/sipdo/v1`, its conversion to and from domain types, and the identities of jobs and runs.
//!
//! Domain to protobuf is [`From`]; protobuf to domain is [`TryFrom`] with a [`DecodeError`] that names message and field. Both
//! sides destructure every field, so that a new field does not compile until it has its place. Unknown enum numbers and missing
//! messages are errors, never defaults. Knows nothing of NATS or HTTP.

mod ask;
mod common;
mod error;
mod identity;
mod judged;
pub mod models;
mod outcome;
pub mod pb;
mod reply;
mod result;
mod run_event;
pub mod schema;
mod task;

pub use common::role;
pub use error::{DecodeError, EncodeError};
pub use identity::{identity_of, job_id, run_id};
pub use result::JobOutcome;
pub use schema::VERSION as SCHEMA;
