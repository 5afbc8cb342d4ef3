//! sipdo-checker.
