//! sipdo-strategies.
