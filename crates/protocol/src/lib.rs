//! The contract: protobuf of `proto/sipdo/v1`, its conversion to and from domain types, and the identities of jobs and runs.
//!
//! Domain to protobuf is [`From`]; protobuf to domain is [`TryFrom`] with a [`DecodeError`] that names message and field. Both
//! sides destructure every field, so that a new field does not compile until it has its place. Unknown enum numbers and missing
//! messages are errors, never defaults. Knows nothing of NATS or HTTP.

mod ask;
mod error;
mod identity;
mod judged;
mod outcome;
mod reply;
mod result;
mod story;
mod task;
mod words;

pub use error::{DecodeError, EncodeError};
pub use identity::{identity_of, job_id, run_id};
pub use result::JobOutcome;
pub use words::role;

/// Version of the contract: the protobuf package, and the prefix of every subject.
pub const SCHEMA: &str = "sipdo.v1";

/// What each message on the bus calls itself in its schema header. A reader that meets another name must not guess.
pub mod schema {
    /// [`crate::pb::Job`].
    pub const JOB: &str = "job.v1";
    /// [`crate::pb::JobResult`].
    pub const RESULT: &str = "result.v1";
    /// [`crate::pb::Attempt`].
    pub const ATTEMPT: &str = "attempt.v1";
    /// [`crate::pb::AttemptLost`].
    pub const LOST: &str = "lost.v1";
    /// [`crate::pb::Entry`].
    pub const ENTRY: &str = "entry.v1";
    /// [`crate::pb::Control`].
    pub const CONTROL: &str = "control.v1";
}

/// Generated from `proto/sipdo/v1`.
pub mod pb {
    #![expect(clippy::allow_attributes, reason = "generated code")]
    tonic::include_proto!("sipdo.v1");

    /// The encoded `FileDescriptorSet`, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
