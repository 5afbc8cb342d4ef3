//! The prompt in whatever form the task file gives it.

use super::{learner, messages, place::Source, prompt, schema::File};
use crate::error::LoadError;
use sipdo_domain::PromptForm;

/// The seed prompt, and what the task says of its form.
pub(super) fn read(
    source: &Source,
    file: &File,
    warnings: &mut Vec<String>,
) -> Result<(String, PromptForm), LoadError> {
    let answer_schema = learner::read(source, &file.learner)?;
    if let Some(messages) = messages::read(source, file, warnings)? {
        let form = PromptForm {
            messages,
            kept: Vec::new(),
            answer_schema,
        };
        return Ok((form.prompt().unwrap_or_default(), form));
    }
    let (prompt, kept) = prompt::read(source, &file.task, warnings)?;
    let form = PromptForm {
        messages: Vec::new(),
        kept,
        answer_schema,
    };
    Ok((prompt, form))
}
