//! The model client: one small trait, [`ChatModel`], over every provider sipdo can talk to.
//!
//! An operator describes an [`Endpoint`] (provider, base URL, where its key is, limits, prices); [`EndpointClient`]
//! holds what all calls to it share (connections, key, limits); [`Model`] is one model on it with its settings. A call
//! takes a [`ChatRequest`] and gives an [`Outcome`]: a whole answer or a typed [`ModelError`], and every attempt made,
//! so that a budget can be honest about retries; a [`Permit`] is asked before each, where the caller has one.
//! [`structured`] asks for JSON of a given [`Schema`].
//!
//! What holds here:
//! * a cut-off, empty, refused or malformed answer is an error that still carries what was paid for;
//! * usage and cost that are not known are `None`, never zero;
//! * an option that an endpoint cannot honour is left out knowingly and named in [`Completion::dropped`];
//! * keys appear in no error, no `Debug` and no log;
//! * this crate knows nothing of NATS, jobs or strategies.

mod abilities;
mod address;
mod anthropic;
mod call;
mod chat;
mod client;
mod complaint;
mod completion;
mod endpoint;
mod error;
mod gemini;
mod http;
mod identity;
mod in_words;
mod json;
mod key;
mod lenient;
mod limit;
mod openai;
mod permit;
mod price;
mod probe;
mod provider;
mod refused;
mod retry;
mod schema;
mod stream;
mod structured;
mod text;
mod wire;

pub use abilities::Abilities;
pub use call::Permitted;
pub use chat::{AttemptRecord, ChatModel, ChatRequest, Message, Outcome, Output, Paid, Role, Sampling};
pub use client::{EndpointClient, Model};
pub use completion::{Completion, Finish, Usage};
pub use endpoint::{ConfigError, Effort, Endpoint, ModelSettings, RetrySettings};
pub use error::ModelError;
pub use identity::{RequestKey, request_key};
pub use permit::Permit;
pub use price::{Price, UsdPerMillion};
pub use probe::{Probe, Spend};
pub use provider::Provider;
pub use schema::{Schema, SchemaError};
pub use structured::{Structured, structured};

/// Installs the one TLS crypto provider of this project (ring) for the process.
///
/// [`EndpointClient::new`] does this itself. Call it in a `main` or test that builds an HTTP client of its own first:
/// without it even a plain-http client panics inside the HTTP library. Calling it again is harmless.
pub fn install_crypto_provider() {
    // An error only says that a provider is installed already, which is all that is asked for.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
