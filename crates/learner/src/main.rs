//! The `sipdo-learner` process.
fn main() {}
