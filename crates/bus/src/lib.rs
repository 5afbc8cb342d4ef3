//! sipdo-bus.
