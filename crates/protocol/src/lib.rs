//! sipdo-protocol.
