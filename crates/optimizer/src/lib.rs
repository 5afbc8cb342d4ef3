//! sipdo-optimizer.
