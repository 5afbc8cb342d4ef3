//! The `sipdo-coordinator` process.
fn main() {}
