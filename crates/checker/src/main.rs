//! The `sipdo-checker` process.
fn main() {}
