//! An OpenAI-compatible server with *simulated* models, for demos, tests and benchmarks without a key.
pub mod answers;
pub mod draw;
pub mod families;
