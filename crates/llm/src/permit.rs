//! A caller's say before each request: what is asked for may have been answered elsewhere since the call began.

use std::pin::Pin;

use crate::chat::Paid;

/// Asked before every single request that a [`crate::Permitted`] model sends: the first, each retry, each repair. It is asked last, after
/// any wait for a slot, a rate or a pause, so that its answer is as fresh as it can be. It may take its time.
pub trait Permit: Send + Sync {
    /// Whether the request may be sent. A no ends the call with [`crate::ModelError::Withheld`].
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// Whether the caller can pay for one more request beside those that are paid for or may be. Without room a failed request is not
    /// repeated, an answer is not repaired, and no second request is sent beside one that hangs: the call ends with what it has.
    fn has_room(&self) -> bool {
        true
    }

    /// The call begins (or no longer has) to wait for a slot, a rate or the end of a pause that the endpoint asked for, before a request.
    fn waits_for_limits(&self, _begins: bool) {}

    /// A request is about to be sent. [`Permit::ended`] follows, unless the whole call is dropped before.
    fn sending(&self) {}

    /// A request has ended, one call for each of [`Permit::sending`].
    fn ended(&self, _paid: Paid) {}
}
