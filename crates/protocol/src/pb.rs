//! Generated from `proto/sipdo/v1`.

#![expect(clippy::allow_attributes, reason = "generated code")]

tonic::include_proto!("sipdo.v1");

/// The encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
