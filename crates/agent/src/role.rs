//! What a role is to its process: how an ask becomes a request to a model, and how the model's output becomes a reply.
//!
//! A role does no I/O. It owns its instructions and its reading; buying, storing and publishing are the same for every role.

use serde_json::Value;
use sipdo_domain::{Ask, CheckRequest, Measured, NotMeasured, Reason, Reply, Role, TaskBrief, fence};
use sipdo_llm::{Message, Schema};
use std::sync::Arc;

/// Most repairs of an answer that is not of the asked shape.
pub(crate) const MAX_REPAIRS: u32 = 2;

/// One role's instructions and parsing.
pub trait RoleAgent: Send + Sync + 'static {
    /// The role that it plays.
    fn role(&self) -> Role;

    /// Whether its answers are JSON objects, which may take repairs, and not free text.
    fn structured(&self) -> bool {
        true
    }

    /// What its requests hold beyond the asks, at most. Budget is reserved by it, and a longer request is not sent.
    fn overhead(&self) -> Overhead;

    /// What to do for `ask`. An ask that belongs to another role, or cannot be put to a model, is not measured.
    ///
    /// # Errors
    /// Why nothing can be asked.
    fn plan(&self, ask: &Ask) -> Measured<Plan>;

    /// Reads the model's output.
    ///
    /// # Errors
    /// Why it is no reply, and what to tell the model once to get a better one.
    fn read(&self, ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply>;
}

/// Most bytes of a section of [`Material`] beyond its text: its title and its fence.
pub const SECTION_BYTES: usize = 80;
/// Bytes that stand for the tokens by which a provider separates messages.
const SEPARATORS: usize = 64;

/// What a role's requests hold beyond the asks, at most, in bytes: a token is at least one byte of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes of the first request beyond the ask.
    pub request: usize,
    /// Bytes of the request for one byte of the ask.
    pub growth: u32,
    /// Bytes that a repair adds beyond the answer that it repairs.
    pub repair: usize,
}

impl Overhead {
    /// Of a role whose answers are text, with so many bytes of instructions.
    pub fn text(instructions: usize) -> Self {
        Overhead {
            request: instructions + SEPARATORS,
            growth: 1,
            repair: SEPARATORS,
        }
    }

    /// Of a role whose answers have one of these schemas.
    pub fn json<'a>(instructions: usize, schemas: impl IntoIterator<Item = &'a Schema>) -> Self {
        let add = |most: Overhead, schema: &Schema| Overhead {
            request: most.request.max(instructions + SEPARATORS + schema.request_bytes()),
            repair: most.repair.max(SEPARATORS + schema.repair_bytes()),
            ..most
        };
        schemas.into_iter().fold(Overhead::text(instructions), add)
    }

    /// Of a role that writes so many bytes for one of the ask.
    #[must_use]
    pub fn growing(self, growth: u32) -> Self {
        Overhead { growth, ..self }
    }

    /// Of a role that also says so many bytes to have an answer again.
    #[must_use]
    pub fn complaining(self, bytes: usize) -> Self {
        let repair = self.repair.max(SEPARATORS + bytes);
        Overhead { repair, ..self }
    }

    /// Whether the first request for an ask of `ask_bytes` holds no more than is stated here. Budget was reserved by that statement,
    /// so a longer request is not sent.
    ///
    /// # Errors
    /// It is too large.
    pub fn check(&self, request: &Request, ask_bytes: usize) -> Measured<()> {
        let text: usize = request.messages.iter().map(|message| message.text.len()).sum();
        let schema = match &request.form {
            Form::Text => 0,
            Form::Json(schema) => schema.request_bytes(),
        };
        let bytes = text + schema;
        let most = ask_bytes
            .saturating_mul(self.growth as usize)
            .saturating_add(self.request);
        if bytes <= most {
            return Ok(());
        }
        let detail = format!("the request has {bytes} bytes, and budget is reserved for {most}");
        Err(NotMeasured::new(Reason::TooLarge, detail))
    }
}

/// What an ask takes.
#[derive(Debug, Clone)]
pub enum Plan {
    /// A completion.
    Model(Request),
    /// A program that the operator allows. Buys nothing.
    Program(CheckRequest),
}

/// One request, before the model and its settings are known.
#[derive(Debug, Clone)]
pub struct Request {
    /// The conversation; the last message is the user's.
    pub messages: Vec<Message>,
    /// The form of the answer.
    pub form: Form,
    /// The temperature that the method prescribes. A temperature that an operator or a run sets explicitly goes before it.
    pub temperature: f64,
}

/// The form of an answer.
#[derive(Debug, Clone)]
pub enum Form {
    /// Whatever the model writes.
    Text,
    /// A JSON object of this schema.
    Json(Arc<Schema>),
}

/// What a model said, in the form that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelOutput {
    /// Whole, as it came.
    Text(String),
    /// Valid by the schema.
    Json(Value),
}

/// An answer of the right form that is no valid reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidReply {
    /// The job's outcome if no better answer comes.
    pub why: NotMeasured,
    /// What to tell the model, once, if the job has a completion left.
    pub ask_again: Option<String>,
}

impl From<NotMeasured> for InvalidReply {
    fn from(why: NotMeasured) -> Self {
        InvalidReply { why, ask_again: None }
    }
}

/// An ask that was sent to the wrong role.
pub fn not_mine(role: Role, ask: &Ask) -> NotMeasured {
    let detail = format!("a {role} was asked to {}, which a {} does", ask.operation(), ask.role());
    NotMeasured::new(Reason::Misconfigured, detail)
}

/// An answer in a form that was not asked for. Cannot come from a model; a role answers it rather than panic.
pub fn wrong_form() -> NotMeasured {
    NotMeasured::new(Reason::Malformed, "the answer does not have the requested form")
}

/// The user message of a request: titled, fenced sections.
#[derive(Debug, Clone, Default)]
pub struct Material(String);

impl Material {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with what every teaching role is told of a task: `Task`, `Answer format`, `Labels`.
    pub fn of(task: &TaskBrief) -> Self {
        Self::new()
            .section("Task", &task.description)
            .unless_empty("Answer format", &task.answer_format)
            .unless_empty("Labels", &task.labels.join("\n"))
    }

    /// Adds a section, empty or not.
    #[must_use]
    pub fn section(mut self, title: &str, text: &str) -> Self {
        self.0.push_str(&fence::section(title, text));
        self
    }

    /// Adds a section if there is something to say.
    #[must_use]
    pub fn unless_empty(self, title: &str, text: &str) -> Self {
        if text.trim().is_empty() {
            self
        } else {
            self.section(title, text)
        }
    }

    /// The message.
    pub fn finish(self) -> String {
        self.0
    }
}

/// The text of `field`, cleaned of characters that show nothing. Anything but a string counts as empty.
fn text_of(value: &Value, field: &str) -> String {
    fence::clean(value.get(field).and_then(Value::as_str).unwrap_or_default())
}

/// A text that the reply cannot do without.
///
/// # Errors
/// Empty, or longer than `max_chars` characters.
pub fn required(value: &Value, field: &str, max_chars: usize) -> Measured<String> {
    let text = text_of(value, field);
    if text.trim().is_empty() {
        return Err(NotMeasured::new(
            Reason::Empty,
            format!("the model left `{field}` empty"),
        ));
    }
    let length = text.chars().count();
    if length > max_chars {
        let detail = format!("`{field}` has {length} characters; the limit is {max_chars}");
        return Err(NotMeasured::new(Reason::TooLarge, detail));
    }
    Ok(text.trim().to_owned())
}

/// A text that explains, cut where it goes on for more than `max_chars` characters: nothing is decided by it.
pub fn explaining(value: &Value, field: &str, max_chars: usize) -> String {
    let text = text_of(value, field);
    let text = text.trim();
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sections_come_in_order_and_empty_ones_are_left_out() {
        let task = TaskBrief {
            description: "Sort.".into(),
            answer_format: String::new(),
            labels: vec!["a".into(), "b".into()],
        };
        let text = Material::of(&task).section("Question", "").finish();
        let titles: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, ["Task", "Labels", "Question"]);
        assert!(text.contains("\na\nb\n"), "{text}");
    }

    #[test]
    fn a_required_text_is_cleaned_and_neither_empty_nor_endless() {
        let value = json!({"input": " a\u{202e}b ", "blank": " \n", "long": "xxxx", "number": 4});
        assert_eq!(required(&value, "input", 10), Ok("ab".into()));
        assert_eq!(required(&value, "blank", 10).unwrap_err().reason, Reason::Empty);
        assert_eq!(required(&value, "missing", 10).unwrap_err().reason, Reason::Empty);
        assert_eq!(required(&value, "long", 3).unwrap_err().reason, Reason::TooLarge);
    }

    #[test]
    fn an_explanation_is_cut_between_characters() {
        assert_eq!(explaining(&json!({"why": "äöü"}), "why", 2), "äö …");
        assert_eq!(explaining(&json!({"why": "äöü"}), "why", 3), "äöü");
    }
}
