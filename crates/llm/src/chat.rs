//! The words of a model call: what is asked, and how the call went.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::completion::Completion;
use crate::error::ModelError;
use crate::schema::Schema;

/// Anything that can answer a chat request: the one seam between sipdo and language models.
pub trait ChatModel: Send + Sync {
    /// Answers `request`, retrying what is worth retrying. Never panics on what a provider sends; dropping the future
    /// abandons the call (which may still be billed).
    fn complete(&self, request: &ChatRequest) -> impl Future<Output = Outcome> + Send;

    /// Whether one more request may be sent for the same purpose, as a repair is: see [`crate::Permit::has_room`].
    fn has_room(&self) -> bool {
        true
    }
}

impl<M: ChatModel> ChatModel for Arc<M> {
    fn complete(&self, request: &ChatRequest) -> impl Future<Output = Outcome> + Send {
        M::complete(self, request)
    }

    fn has_room(&self) -> bool {
        M::has_room(self)
    }
}

/// One request: messages, sampling and the form the answer should have.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The conversation, oldest first; the last one is the user's.
    pub messages: Vec<Message>,
    /// How the answer is drawn.
    pub sampling: Sampling,
    /// Free text, or JSON of a schema.
    pub output: Output,
}

impl ChatRequest {
    /// A request for free text.
    pub fn text(messages: Vec<Message>, sampling: Sampling) -> Self {
        Self {
            messages,
            sampling,
            output: Output::Text,
        }
    }

    /// A request for JSON that satisfies `schema`. Use it with [`crate::structured`], which also validates the answer.
    pub fn json(messages: Vec<Message>, sampling: Sampling, schema: Arc<Schema>) -> Self {
        Self {
            messages,
            sampling,
            output: Output::Json(schema),
        }
    }

    /// A rough count of input tokens (a quarter of the bytes, and a few per message), for pacing and for reservations.
    /// It is an estimate: what a call really used is in [`Completion::usage`].
    pub fn estimated_input_tokens(&self) -> u64 {
        let schema = match &self.output {
            Output::Text => 0,
            Output::Json(schema) => schema.text().len(),
        };
        ((self.text_bytes() + schema) / 4 + 8 * self.messages.len() + 8) as u64
    }

    /// Most tokens of the input: a token is at least one byte of the text or of the output schema, and an earlier answer of the model
    /// has at most `max_tokens` tokens.
    pub fn most_input_tokens(&self) -> u64 {
        let schema = match &self.output {
            Output::Text => 0,
            Output::Json(schema) => schema.request_bytes() as u64,
        };
        let most = |message: &Message| match message.role {
            Role::Assistant => (message.text.len() as u64).min(u64::from(self.sampling.max_tokens)),
            _ => message.text.len() as u64,
        };
        self.messages.iter().map(most).sum::<u64>() + schema
    }

    fn text_bytes(&self) -> usize {
        self.messages.iter().map(|message| message.text.len()).sum()
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, sent verbatim.
    pub text: String,
}

impl Message {
    /// A system message.
    pub fn system(text: impl Into<String>) -> Self {
        Self {
            role: Role::System,
            text: text.into(),
        }
    }

    /// A user message.
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            text: text.into(),
        }
    }

    /// A message of the model itself.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            text: text.into(),
        }
    }
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions above the conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name providers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Every setting that changes which answer is drawn. All of them are part of [`crate::request_key`].
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0.0 to 2.0; `None` leaves it to the provider, whose default is usually 1.0.
    pub temperature: Option<f64>,
    /// Nucleus sampling, above 0.0 and up to 1.0.
    pub top_p: Option<f64>,
    /// Most tokens the model may write, reasoning included.
    pub max_tokens: u32,
    /// Asks the provider to repeat itself for the same seed, where it can.
    pub seed: Option<u64>,
}

/// The form of the answer.
#[derive(Debug, Clone)]
pub enum Output {
    /// Whatever the model writes.
    Text,
    /// JSON of this schema: constrained by the endpoint where it can, instructed elsewhere.
    Json(Arc<Schema>),
}

/// How a call went, whole: its result, and every attempt that led there.
#[derive(Debug)]
pub struct Outcome {
    /// A whole answer, or why there is none.
    pub result: Result<Completion, ModelError>,
    /// Every request that was sent (or tried), in order. Empty if none was, as with a wrong configuration.
    pub attempts: Vec<AttemptRecord>,
}

/// One HTTP request of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// When it was sent, after any wait for a slot.
    pub started: SystemTime,
    /// How long it took.
    pub latency: Duration,
    /// HTTP status, if there was a reply.
    pub status: Option<u16>,
    /// `"ok"`; [`ModelError::kind`] of what went wrong; or `"corrected"`: the endpoint rejected an option or a key, and
    /// the request was sent again at once without that option or with the key that has just replaced it.
    pub kind: &'static str,
    /// What the provider asked us to wait.
    pub retry_after: Option<Duration>,
    /// Whether it may appear on the bill.
    pub paid: Paid,
}

/// Whether an attempt costs money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paid {
    /// It was not carried out: refused by status, or never connected.
    No,
    /// It was answered.
    Yes,
    /// It was cut off or timed out: the provider may have done the work. A budget should charge its worst case.
    Unknown,
}
