//! sipdo-simulator.
