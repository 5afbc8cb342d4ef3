//! The `sipdo-verifier` process.
fn main() {}
