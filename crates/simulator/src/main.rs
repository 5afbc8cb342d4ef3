//! The `sipdo-simulator` process.
fn main() {}
