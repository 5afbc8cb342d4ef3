//! Generated from `proto/sipdo/v1`.

#![expect(
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated code; a log entry holds few events, and nobody keeps many"
)]

tonic::include_proto!("sipdo.v1");

/// The encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
