//! The cross-crate tests and their kit.
