//! What every long-running process of a deployment needs, whatever it does: the flags that reach NATS, the admin pages, the signals
//! that stop it, and files that tell its ports.

mod admin;
mod nats;
mod port_file;
mod signals;

pub use admin::{AdminPages, Health};
pub use nats::{NatsFlags, nats_urls};
pub use port_file::write_port_file;
pub use signals::stop_signal;
