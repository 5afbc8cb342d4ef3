//! sipdo-domain.
