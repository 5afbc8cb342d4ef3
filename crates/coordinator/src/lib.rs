//! sipdo-coordinator.
