//! The contract: protobuf of `proto/sipdo/v1`, its conversion to and from domain types, and the identities of jobs and runs.
//!
//! Domain to protobuf is [`From`]; protobuf to domain is [`TryFrom`] with a [`DecodeError`] that names message and field. Both
//! sides destructure every field, so that a new field does not compile until it has its place. Unknown enum numbers and missing
//! messages are errors, never defaults. Knows nothing of NATS or HTTP.

mod ask;
mod error;
mod identity;
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

/// Version of the contract, as in subjects and in each message's schema header.
pub const SCHEMA: &str = "sipdo.v1";

/// Generated from `proto/sipdo/v1`.
pub mod pb {
    #![expect(clippy::allow_attributes, reason = "generated code")]
    tonic::include_proto!("sipdo.v1");

    /// The encoded `FileDescriptorSet`, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
