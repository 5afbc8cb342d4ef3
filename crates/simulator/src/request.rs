//! Reading a chat request: its messages, what kind of reply it wants, its sections, and whose work it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::draw::Draw;

/// A chat completion request, as far as the simulator looks at it.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Sampling temperature; part of the request's identity only.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Sampling seed; part of the request's identity only.
    #[serde(default)]
    pub seed: Option<serde_json::Number>,
    /// Most tokens of the answer.
    #[serde(default)]
    pub max_tokens: Option<u64>,
    /// The newer name of `max_tokens`.
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
    /// Asks for JSON, with or without a schema.
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    /// Whether the reply is wanted as a stream of events.
    #[serde(default)]
    pub stream: Option<bool>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// Text, or a list of parts.
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
    #[default]
    None,
}

/// The wanted form of the reply.
#[derive(Debug, Deserialize)]
pub struct ResponseFormat {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    #[serde(default)]
    name: String,
    #[serde(default)]
    schema: Value,
}

/// Whose work a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Answers a question with a prompt.
    Learner,
    /// Writes a new example.
    Generator,
    /// Solves a question blind.
    Checker,
    /// Judges a synthetic example.
    Verifier,
    /// Grades an answer.
    Judge,
    /// Carries out a step of a strategy.
    Optimizer,
}

/// What the reply must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Plain text.
    Text,
    /// A JSON object of this schema; `Null` when only its kind is known.
    Json(Value),
    /// JSON that was asked for in words, with these properties.
    Told(Vec<String>),
}

impl ChatMessage {
    /// The text of the message; text parts are joined.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
                texts.join("\n")
            }
            Content::None => String::new(),
        }
    }
}

impl ChatRequest {
    /// All messages of this speaker, joined.
    #[must_use]
    pub fn said_by(&self, roles: &[&str]) -> String {
        let texts: Vec<String> = self
            .messages
            .iter()
            .filter(|m| roles.contains(&m.role.as_str()))
            .map(ChatMessage::text)
            .collect();
        texts.join("\n\n")
    }

    /// The limit on the answer's tokens.
    #[must_use]
    pub fn token_limit(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The source of all random choices for this request.
    #[must_use]
    pub fn draw(&self, server_seed: u64) -> Draw {
        let mut parts: Vec<Vec<u8>> = vec![self.model.clone().into_bytes()];
        for message in &self.messages {
            parts.push(message.role.clone().into_bytes());
            parts.push(message.text().into_bytes());
        }
        parts.push(
            self.seed
                .as_ref()
                .map_or_else(Vec::new, |seed| seed.to_string().into_bytes()),
        );
        parts.push(self.temperature.unwrap_or(-1.0).to_le_bytes().to_vec());
        parts.push(self.schema_name().unwrap_or_default().as_bytes().to_vec());
        Draw::new(server_seed, parts.iter().map(Vec::as_slice))
    }

    /// Whose work this is, and the form of the reply.
    #[must_use]
    pub fn task(&self) -> (Role, Form) {
        if let Some(schema) = self
            .response_format
            .as_ref()
            .and_then(|format| format.json_schema.as_ref())
        {
            let properties = property_names(&schema.schema);
            let role = role_of(&schema.name, &properties);
            return (role, Form::Json(schema.schema.clone()));
        }
        let wants_json = self
            .response_format
            .as_ref()
            .is_some_and(|format| format.kind == "json_object");
        let fenced = self.messages.iter().any(|message| match &message.content {
            Content::Text(text) => text.contains("\n<<<"),
            _ => message.text().contains("\n<<<"),
        });
        if !wants_json && !fenced {
            return (Role::Learner, Form::Text);
        }
        let instructions = self.said_by(&["system", "developer"]);
        let instructions = if instructions.is_empty() {
            self.said_by(&["user"])
        } else {
            instructions
        };
        let keys = named_keys(&instructions);
        if !keys.is_empty() {
            let names: Vec<&str> = keys.iter().map(String::as_str).collect();
            return (role_of("", &names), Form::Told(keys));
        }
        let edits = fenced && instructions.to_lowercase().contains("prompt");
        match (edits, wants_json) {
            (true, _) => (Role::Optimizer, Form::Text),
            (false, true) => (Role::Learner, Form::Told(vec!["answer".into()])),
            (false, false) => (Role::Learner, Form::Text),
        }
    }

    /// The name of the schema, when one came with the request.
    #[must_use]
    pub fn schema_name(&self) -> Option<&str> {
        self.response_format
            .as_ref()?
            .json_schema
            .as_ref()
            .map(|schema| schema.name.as_str())
    }

    /// The titled sections of the user's messages.
    #[must_use]
    pub fn sections(&self) -> Sections {
        Sections::read(&self.said_by(&["user"]))
    }
}

impl Role {
    /// The role's name, as it stands in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Generator => "generator",
            Self::Checker => "checker",
            Self::Verifier => "verifier",
            Self::Judge => "judge",
            Self::Optimizer => "optimizer",
        }
    }
}

/// Sections by title in lower case.
#[derive(Debug, Default)]
pub struct Sections(BTreeMap<String, String>);

impl Sections {
    /// Reads `## Title` sections, fenced by a nonce or running to the next title.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut sections = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(title) = line.strip_prefix("## ") else {
                continue;
            };
            let mut body = Vec::new();
            match lines
                .next_if(|line| line.starts_with("<<<"))
                .and_then(|open| open.strip_prefix("<<<"))
            {
                Some(nonce) => {
                    let close = format!("{}>>>", nonce.trim());
                    body.extend(lines.by_ref().take_while(|line| line.trim_end() != close));
                }
                None => {
                    while let Some(line) = lines.next_if(|line| !line.starts_with("## ")) {
                        body.push(line);
                    }
                }
            }
            let title = title.trim().trim_end_matches(':').to_lowercase();
            sections.insert(title, body.join("\n").trim().to_owned());
        }
        Self(sections)
    }

    /// The section of this title (lower case), or nothing.
    #[must_use]
    pub fn get(&self, title: &str) -> &str {
        self.0.get(title).map_or("", String::as_str)
    }

    /// The section as JSON values, one to a line; lines that are none are left out.
    #[must_use]
    pub fn json_lines(&self, title: &str) -> Vec<Value> {
        self.get(title)
            .lines()
            .filter_map(|line| serde_json::from_str(line.trim()).ok())
            .collect()
    }

    /// All sections other than these, joined.
    #[must_use]
    pub fn others(&self, titles: &[&str]) -> String {
        let texts: Vec<&str> = self
            .0
            .iter()
            .filter(|(title, _)| !titles.contains(&title.as_str()))
            .map(|(_, text)| text.as_str())
            .collect();
        texts.join("\n")
    }
}

/// An input as a person reads it: of an object of columns their texts, one below the other; else the text itself.
#[must_use]
pub fn plain(input: &str) -> String {
    let columns = match serde_json::from_str(input) {
        Ok(Value::Object(columns)) => columns,
        _ => return input.to_owned(),
    };
    let texts: Vec<&str> = columns.values().filter_map(Value::as_str).collect();
    if texts.is_empty() {
        input.to_owned()
    } else {
        texts.join("\n")
    }
}

/// The names of a schema's properties.
#[must_use]
pub fn property_names(schema: &Value) -> Vec<&str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map_or_else(Vec::new, |all| all.keys().map(String::as_str).collect())
}

fn role_of(schema: &str, properties: &[&str]) -> Role {
    let has = |name: &str| properties.contains(&name);
    match schema {
        "synthetic_example" => Role::Generator,
        "solution" => Role::Checker,
        "verdict" => Role::Verifier,
        "grade" => Role::Judge,
        "learner_answer" => Role::Learner,
        _ if has("input") && has("target") => Role::Generator,
        _ if has("verdict") => Role::Verifier,
        _ if has("working") && has("answer") => Role::Checker,
        _ if has("correct") => Role::Judge,
        _ if has("answer") => Role::Learner,
        _ => Role::Optimizer,
    }
}

/// Properties that the instructions name in quotation marks, out of those that our roles use.
fn named_keys(instructions: &str) -> Vec<String> {
    const KEYS: &[&str] = &[
        "input",
        "target",
        "rationale",
        "working",
        "verdict",
        "answer",
        "reasons",
        "correct",
        "reason",
        "analysis",
        "recommendation",
        "prompt",
        "critique",
        "feedback",
        "prompts",
    ];
    let named = |key: &str| instructions.contains(&format!("\"{key}\"")) || instructions.contains(&format!("`{key}`"));
    KEYS.iter()
        .filter(|key| named(key))
        .map(|key| (*key).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(value: Value) -> ChatRequest {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn sections_end_at_their_own_fence() {
        let text = "## Question\n<<<ab12\n## Not a title\ncd34>>>\n\nab12>>>\n\n## Answer\nplain\ntext\n## Next\nx";
        let sections = Sections::read(text);
        assert_eq!(sections.get("question"), "## Not a title\ncd34>>>");
        assert_eq!(sections.get("answer"), "plain\ntext");
        assert_eq!(sections.others(&["question", "answer"]), "x");
    }

    #[test]
    fn roles_are_told_apart() {
        let schema = |name: &str, properties: &[&str]| {
            let map: serde_json::Map<_, _> = properties
                .iter()
                .map(|p| ((*p).to_owned(), json!({"type": "string"})))
                .collect();
            json!({"model": "m", "messages": [], "response_format": {"type": "json_schema",
                   "json_schema": {"name": name, "schema": {"type": "object", "properties": map}}}})
        };
        assert_eq!(request(schema("synthetic_example", &[])).task().0, Role::Generator);
        assert_eq!(request(schema("x", &["working", "answer"])).task().0, Role::Checker);
        assert_eq!(request(schema("x", &["verdict", "answer"])).task().0, Role::Verifier);
        assert_eq!(request(schema("paraphrase", &["text"])).task().0, Role::Optimizer);
        assert_eq!(request(schema("reply", &["answer"])).task().0, Role::Learner);
        let told = request(json!({"model": "m", "messages": [
            {"role": "system", "content": "You are the checker. Reply with JSON: {\"working\": .., \"answer\": ..}."},
            {"role": "user", "content": [{"type": "text", "text": "## Question\n<<<aa\n1 + 1\naa>>>"}]}]}));
        assert_eq!(
            told.task(),
            (Role::Checker, Form::Told(vec!["working".into(), "answer".into()]))
        );
        let plain = request(json!({"model": "m", "messages": [{"role": "user", "content": "Give {\"answer\": ..}"}]}));
        assert_eq!(plain.task(), (Role::Learner, Form::Text));
    }
}
