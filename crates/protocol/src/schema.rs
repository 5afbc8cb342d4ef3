//! The version of the contract, and what each message on the bus calls itself in its schema header.
//!
//! A reader that meets another name must not guess.

/// Version of the contract: the protobuf package, and the prefix of every subject.
pub const VERSION: &str = "sipdo.v1";

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
