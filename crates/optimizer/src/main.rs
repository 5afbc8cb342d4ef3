//! The `sipdo-optimizer` process.
fn main() {}
