//! Which stored answers a run may reuse, as flags.

use clap::Args;
use std::time::Duration;

/// Which stored answers a run may reuse.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Reuse {
    /// Buy every answer anew: reuse none that an earlier run bought, however old
    #[arg(long)]
    pub fresh: bool,
    /// Reuse stored answers of a model that tells no revision up to this age; longer ago another model may have answered under its name
    /// [default: 1h]
    #[arg(long, value_name = "TIME", env = "SIPDO_REUSE_WITHIN", value_parser = humantime::parse_duration)]
    pub reuse_within: Option<Duration>,
}

impl Reuse {
    /// The age in milliseconds, as a request states it.
    pub fn within_ms(&self) -> Option<u64> {
        self.reuse_within
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }
}
