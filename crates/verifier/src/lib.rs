//! sipdo-verifier.
