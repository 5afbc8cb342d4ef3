//! sipdo-generator.
