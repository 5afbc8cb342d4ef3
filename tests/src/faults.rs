//! What is done to a cluster: deaths of leaders, full disks, repeated messages, and chaos.

pub mod chaos;
pub mod disk;
pub mod leader;
pub mod repeater;
