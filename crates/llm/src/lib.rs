//! sipdo-llm.
