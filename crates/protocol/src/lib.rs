//! The contract: protobuf of `proto/sipdo/v1`, and conversion to and from domain types.
//!
//! Knows nothing of NATS or HTTP.

/// Generated from `proto/sipdo/v1`.
pub mod pb {
    #![expect(missing_docs, clippy::all, reason = "generated code")]
    tonic::include_proto!("sipdo.v1");

    /// The encoded `FileDescriptorSet`, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
