//! sipdo-agent.
