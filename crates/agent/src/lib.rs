//! What every role's process shares: settings, pulling jobs, buying each answer once, changing the model while running, health, drain.
//!
//! A role is a [`role::RoleAgent`]: its instructions and its parsing, without I/O. [`run`] is the whole of its `main`. An agent holds
//! no state that matters: what it has bought is on the bus, or on its way there in the spool; any number of agents of a role may come
//! and go, in any order. It knows nothing of strategies.

mod agent;
mod buy;
mod call;
mod circuit;
mod context;
mod cost_meter;
mod counters;
mod error;
mod health;
mod in_flight;
mod job_picker;
mod lookup;
mod models;
mod observe;
mod probe;
mod process;
mod program;
mod publisher;
mod purchase_gate;
mod reuse;
pub mod role;
pub mod settings;
mod settle;
mod spool;
mod status;
mod weakness;
mod work;

pub use agent::serve;
pub use circuit::Patience;
pub use error::AgentError;
pub use models::overridden;
pub use process::{Made, run};
pub use settings::{AgentFlags, AgentSettings, Settings, SettingsError};
