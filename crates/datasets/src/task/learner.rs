//! The `[learner]` table: the form of the learner's answers.

use super::{place::Source, schema::LearnerTable};
use crate::{data::text, error::LoadError};
use std::path::{Component, Path};

/// Longest schema, in bytes of compact JSON: it goes along with every answer.
const LONGEST_SCHEMA: usize = 64 * 1024;

/// The JSON Schema of the answers as compact JSON; none where answers are text.
pub(super) fn read(source: &Source, table: &LearnerTable) -> Result<Option<String>, LoadError> {
    let Some(name) = &table.schema else {
        return Ok(None);
    };
    let refuse = |problem: String, advice: &str| source.at(&["learner", "schema"], problem, advice);
    let below = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if name.is_empty() || !below {
        return Err(refuse(
            format!("`{name}` is not a path below the task's folder"),
            "Put the schema beside the task file, and name it relative to that",
        ));
    }
    let json: serde_json::Value = serde_json::from_str(&text(&source.resolve(name, None))?)
        .map_err(|error| refuse(format!("`{name}` is not JSON: {error}"), "Correct the file"))?;
    if !json.is_object() {
        return Err(refuse(
            format!("`{name}` is no JSON Schema: it is not an object"),
            "Write a schema such as {\"type\": \"object\", \"properties\": {..}}",
        ));
    }
    jsonschema::validator_for(&json)
        .map_err(|error| refuse(format!("`{name}` is no JSON Schema: {error}"), "Correct the file"))?;
    let compact = json.to_string();
    if compact.len() > LONGEST_SCHEMA {
        return Err(refuse(
            format!(
                "`{name}` has {} bytes, at most {LONGEST_SCHEMA} are allowed",
                compact.len()
            ),
            "It goes along with every question: shorten it",
        ));
    }
    Ok(Some(compact))
}
