//! The judge: grades an answer against a reference.

use serde_json::{Map, Value, json};

use super::Turn;
use crate::answers;

/// The reply: `correct`, `reason`.
pub(super) fn grade(turn: &Turn<'_>) -> Map<String, Value> {
    let reference = turn.sections.get("reference answer");
    let agrees = answers::agree(turn.sections.get("answer"), reference);
    let correct = agrees != turn.draw.chance("judge error", turn.rates.judge_error);
    let reason = if correct {
        "It says what the reference says."
    } else {
        "It leaves out or contradicts what the reference says."
    };
    let mut object = Map::new();
    object.insert("correct".into(), json!(correct));
    object.insert("reason".into(), json!(reason));
    object
}
