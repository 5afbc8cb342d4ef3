//! A caller's say before each request: what is asked for may have been answered elsewhere since the call began.

use std::pin::Pin;

/// Asked before every single request that a [`crate::Permitted`] model sends: the first, each retry, each repair. It is asked last, after
/// any wait for a slot, a rate or a pause, so that its answer is as fresh as it can be. It may take its time.
pub trait Permit: Send + Sync {
    /// Whether the request may be sent. A no ends the call with [`crate::ModelError::Withheld`].
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}
