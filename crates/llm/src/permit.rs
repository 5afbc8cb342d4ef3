//! A caller's say before each request: what is asked for may have been answered elsewhere since the call began.

use std::pin::Pin;

use crate::{ChatModel, ChatRequest, Model, Outcome};

/// Asked before every single request that a [`Permitted`] model sends: the first, each retry, each repair. It is asked last, after
/// any wait for a slot, a rate or a pause, so that its answer is as fresh as it can be. It may take its time.
pub trait Permit: Send + Sync {
    /// Whether the request may be sent. A no ends the call with [`crate::ModelError::Withheld`].
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// A model that sends nothing without leave.
#[derive(Clone, Copy)]
pub struct Permitted<'a> {
    model: &'a Model,
    permit: &'a dyn Permit,
}

impl Model {
    /// This model, asking `permit` before each request.
    pub fn permitted<'a>(&'a self, permit: &'a dyn Permit) -> Permitted<'a> {
        Permitted { model: self, permit }
    }
}

impl ChatModel for Permitted<'_> {
    async fn complete(&self, request: &ChatRequest) -> Outcome {
        self.model.complete_with(request, Some(self.permit)).await
    }
}
