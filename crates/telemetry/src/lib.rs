//! sipdo-telemetry.
