//! What is seen of runs and programs: streams, the API, messages on the bus, telemetry; and the rules they are held to.

pub mod bus_listener;
pub mod oracle;
pub mod otlp;
pub mod runs;
pub mod spec;
pub mod watch;
