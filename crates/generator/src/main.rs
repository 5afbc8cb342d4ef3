//! The `sipdo-generator` process.
fn main() {}
