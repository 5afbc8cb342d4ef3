//! The form of a task's prompt: one text, or several chat messages in which the columns of an example are filled in.
//!
//! A strategy knows the prompt as one text. Where a task has messages, that text is the messages that may be optimized: alone as it
//! stands, several one after the other, each below a line `[[message 2: user]]`. [`PromptForm::split`] reads such a text back.

#[cfg(test)]
mod tests;

use crate::{example::Example, record, template};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// Title of the note with the parts that may not change.
pub const PROTECTED: &str = "Protected text";
/// Title of the note with the placeholders that must stay.
pub const PLACEHOLDERS: &str = "Placeholders";
/// Title of the note with the messages that stay as they are.
pub const FIXED: &str = "Fixed messages";

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The instructions.
    System,
    /// The question.
    User,
    /// An answer, to show how one looks.
    Assistant,
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        })
    }
}

/// One message as the learner gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Speaker,
    /// Its whole text.
    pub text: String,
}

/// One message of a task, before an example's columns are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Speaker,
    /// Its text, without marks, trimmed; `{{column}}` stands for a column.
    pub text: String,
    /// Whether a strategy may rewrite it.
    pub optimize: bool,
    /// Parts of the text that a strategy may not change, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// What a task says of its prompt beyond the text. `Default` is one text without protected parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptForm {
    /// The messages in their order; empty where the prompt is one text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<PromptMessage>,
    /// Protected parts of a prompt that is one text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// JSON Schema of the learner's answers, as compact JSON; none where answers are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_schema: Option<String>,
}

impl PromptForm {
    /// One text, nothing protected, answers as text: what every task of an older version has.
    pub fn is_plain(&self) -> bool {
        *self == PromptForm::default()
    }

    /// The columns that the messages name, in the order of their first use; empty where the prompt is one text.
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for name in self.messages.iter().flat_map(|message| template::names(&message.text)) {
            if !columns.iter().any(|known| known == name) {
                columns.push(name.to_owned());
            }
        }
        columns
    }

    /// The text of the prompt: the messages that may be optimized. None where the prompt is one text.
    pub fn prompt(&self) -> Option<String> {
        let texts: Vec<&str> = self.optimized().map(|(_, message)| message.text.as_str()).collect();
        (!texts.is_empty()).then(|| self.join(&texts))
    }

    /// Texts of the optimized messages as one text.
    fn join(&self, texts: &[&str]) -> String {
        if let [only] = texts {
            return (*only).to_owned();
        }
        let parts = self.optimized().zip(texts);
        let parts = parts.map(|((number, message), text)| format!("{}\n{text}", header(number, message.role)));
        parts.collect::<Vec<_>>().join("\n\n")
    }

    /// The texts of the optimized messages out of a prompt, in their order.
    ///
    /// # Errors
    /// The prompt does not have each message's line once, in order, or a message is empty; in words for whoever wrote it.
    pub fn split(&self, prompt: &str) -> Result<Vec<String>, String> {
        let wanted: Vec<String> = self
            .optimized()
            .map(|(number, message)| header(number, message.role))
            .collect();
        if let [only] = wanted.as_slice() {
            return match prompt.lines().find(|line| is_header(line)) {
                Some(line) => Err(format!(
                    "the line `{}` separates messages, and {only} is the only one",
                    line.trim()
                )),
                None => Ok(vec![prompt.trim().to_owned()]),
            };
        }
        let mut texts: Vec<String> = Vec::new();
        for line in prompt.lines() {
            if is_header(line) {
                if wanted.get(texts.len()).map(String::as_str) != Some(line.trim()) {
                    return Err(format!(
                        "the line `{}` stands where it does not belong; {}",
                        line.trim(),
                        order(&wanted)
                    ));
                }
                texts.push(String::new());
            } else if let Some(text) = texts.last_mut() {
                text.push_str(line);
                text.push('\n');
            } else if !line.trim().is_empty() {
                return Err(format!("there is text before the first message; {}", order(&wanted)));
            }
        }
        match wanted.get(texts.len()) {
            Some(missing) => Err(format!("the line `{missing}` is missing; {}", order(&wanted))),
            None => Ok(texts.iter().map(|text| text.trim().to_owned()).collect()),
        }
    }

    /// The messages for the learner: this prompt, with the columns of an example filled in. Empty where the prompt is one text.
    ///
    /// # Errors
    /// The prompt does not have the task's messages, or the input is no record of columns.
    pub fn messages(&self, prompt: &str, input: &str) -> Result<Vec<ChatMessage>, String> {
        if self.messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut texts = self.split(prompt)?.into_iter();
        let columns = record::read(input).ok_or("the input is no record of columns")?;
        let value = |name: &str| {
            columns
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let filled = self.messages.iter().map(|message| {
            let own = if message.optimize { texts.next() } else { None };
            let text = own.as_deref().unwrap_or(&message.text);
            ChatMessage {
                role: message.role,
                text: template::fill(text, value),
            }
        });
        // Providers refuse a message without text.
        Ok(filled.filter(|message| !message.text.trim().is_empty()).collect())
    }

    /// The guard on the form of a candidate, message by message: no placeholder lost or added, no protected part altered.
    ///
    /// # Errors
    /// What is wrong, in words that help the next candidate.
    pub fn check(&self, candidate: &str) -> Result<(), String> {
        let marked = template::MARKS.iter().find(|mark| candidate.contains(**mark));
        if let (Some(mark), true) = (marked, self.protects()) {
            return Err(format!(
                "the prompt contains the mark {mark}, which belongs to the task file alone"
            ));
        }
        if self.messages.is_empty() {
            return keeps(&self.kept, candidate).map_err(|why| format!("the prompt {why}"));
        }
        for ((number, message), text) in self.optimized().zip(self.split(candidate)?) {
            check_message(message, &text).map_err(|why| format!("message {number} ({}) {why}", message.role))?;
        }
        Ok(())
    }

    /// Whether a part of the prompt may not change.
    pub fn protects(&self) -> bool {
        !self.kept.is_empty() || self.messages.iter().any(|message| !message.kept.is_empty())
    }

    /// An example's input as a person would read it: the values of its columns, one below the other. Of a prompt that is one text, and
    /// of an input that is no record, the input itself.
    pub fn readable<'a>(&self, input: &'a str) -> Cow<'a, str> {
        let columns = if self.messages.is_empty() {
            None
        } else {
            record::read(input)
        };
        match columns {
            None => Cow::Borrowed(input),
            Some(columns) => {
                let values = columns.into_iter().map(|(_, value)| value);
                Cow::Owned(
                    values
                        .filter(|value| !value.trim().is_empty())
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            }
        }
    }

    /// An example with its input as [`PromptForm::readable`] gives it: what a metric looks into, and patterns.
    pub fn readable_example(&self, example: &Example) -> Example {
        Example {
            input: self.readable(&example.input).into_owned(),
            ..example.clone()
        }
    }

    /// What an optimizer must be shown beside the prompt, as titles and texts for fenced sections: the protected parts, word for word, the
    /// placeholders, and the messages that stay as they are. Empty where the prompt is one text without protected parts.
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        let mut kept: Vec<String> = self.kept.clone();
        let (mut placeholders, mut fixed) = (Vec::new(), Vec::new());
        for (number, message) in (1..).zip(&self.messages) {
            let name = header(number, message.role);
            if message.optimize {
                kept.extend(message.kept.iter().map(|part| format!("{name}\n{part}")));
                let names = unique(&message.text);
                let names: Vec<String> = names.into_iter().map(template::placeholder).collect();
                if !names.is_empty() {
                    placeholders.push(format!("{name}\n{}", names.join("\n")));
                }
            } else {
                fixed.push(format!("{name}\n{}", message.text));
            }
        }
        let notes = [(PROTECTED, kept), (PLACEHOLDERS, placeholders), (FIXED, fixed)];
        let said = notes.into_iter().filter(|(_, parts)| !parts.is_empty());
        said.map(|(title, parts)| (title, parts.join("\n\n"))).collect()
    }

    /// The lines that separate the optimized messages; empty where there is one, or the prompt is one text.
    pub fn headers(&self) -> Vec<String> {
        let headers: Vec<String> = self
            .optimized()
            .map(|(number, message)| header(number, message.role))
            .collect();
        if headers.len() > 1 { headers } else { Vec::new() }
    }

    /// Characters of the messages that stay as they are.
    pub fn fixed_chars(&self) -> usize {
        let fixed = self.messages.iter().filter(|message| !message.optimize);
        fixed.map(|message| message.text.chars().count()).sum()
    }

    /// A prompt that says nothing but `text`: of each optimized message only its placeholders stay, below the text in the first one.
    pub fn bare(&self, text: &str) -> String {
        if self.messages.is_empty() {
            return text.to_owned();
        }
        let mut bare: Vec<String> = self
            .optimized()
            .map(|(_, message)| columns_alone(&message.text))
            .collect();
        if let Some(first) = bare.first_mut() {
            *first = format!("{text}\n\n{first}").trim().to_owned();
        }
        self.join(&bare.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The messages that may be optimized, with their number among all, from 1.
    fn optimized(&self) -> impl Iterator<Item = (usize, &PromptMessage)> {
        (1..).zip(&self.messages).filter(|(_, message)| message.optimize)
    }
}

/// The line above a message in a prompt of several.
fn header(number: usize, role: Speaker) -> String {
    format!("[[message {number}: {role}]]")
}

/// Whether a line separates messages, or looks as if it did.
pub fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("[[message ") && line.ends_with("]]")
}

fn order(wanted: &[String]) -> String {
    format!(
        "the prompt has these lines, each once and in this order: {}",
        wanted.join(" ")
    )
}

fn unique(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in template::names(text) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn check_message(message: &PromptMessage, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    let (wanted, found) = (unique(&message.text), unique(text));
    if let Some(lost) = wanted.iter().find(|name| !found.contains(name)) {
        return Err(format!("lost its placeholder {}", template::placeholder(lost)));
    }
    if let Some(new) = found.iter().find(|name| !wanted.contains(name)) {
        return Err(format!(
            "has a placeholder {} that this message of the seed prompt does not have",
            template::placeholder(new)
        ));
    }
    keeps(&message.kept, text)
}

/// Every protected part stands in the text, word for word and in their order.
fn keeps(kept: &[String], text: &str) -> Result<(), String> {
    let mut rest = text;
    for part in kept {
        let Some((_, behind)) = rest.split_once(part.as_str()) else {
            let shown: String = part.chars().take(80).collect();
            return Err(format!("lost or altered protected text: \"{shown}\""));
        };
        rest = behind;
    }
    Ok(())
}

/// The columns of a message and nothing else; each behind its name where there are several.
fn columns_alone(text: &str) -> String {
    let names = unique(text);
    if let [only] = names.as_slice() {
        return template::placeholder(only);
    }
    let lines = names
        .iter()
        .map(|name| format!("{name}: {}", template::placeholder(name)));
    lines.collect::<Vec<_>>().join("\n")
}
