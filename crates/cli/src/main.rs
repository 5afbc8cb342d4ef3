//! The `sipdo` command.
fn main() {}
