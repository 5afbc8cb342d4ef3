//! One fault at a time, over whole runs with the real programs: what happens, what is lost, what is bought again.

mod agents;
mod budget;
mod coordinators;
mod copies;
mod poison;
mod prices;
mod providers;
mod servers;
mod three_servers;

/// The simulated model answers after so many milliseconds.
fn latency(ms: &str) -> Vec<String> {
    vec!["--latency-ms".into(), ms.into()]
}
