//! What the benchmarks measure, and what processes use of this machine.

pub mod bench;
pub mod durability;
pub mod long_run;
pub mod overhead;
pub mod paired;
pub mod throughput;
pub mod usage;
pub mod verdict;
