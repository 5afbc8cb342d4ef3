//! What each role replies. A reply is worked out from the request alone.

mod checker;
mod fallback;
mod generator;
mod judge;
mod learner;
mod optimizer;
mod rewrite;
mod style;
mod verifier;

use serde_json::{Map, Value, json};

use crate::draw::Draw;
use crate::families::{Known, Shape, SkillSet};
use crate::request::{ChatRequest, Form, Role, Sections};
use crate::settings::{Ability, Rates};

/// One request as a role sees it.
pub(crate) struct Turn<'a> {
    /// The request itself.
    pub request: &'a ChatRequest,
    /// Whose work it is.
    pub role: Role,
    /// What the reply must look like.
    pub form: Form,
    /// The user message's sections.
    pub sections: Sections,
    /// All random choices.
    pub draw: Draw,
    /// How often each role errs.
    pub rates: &'a Rates,
    /// What the model can do as a learner.
    pub ability: Ability,
}

/// The text of the reply.
pub(crate) fn reply(turn: &Turn<'_>) -> String {
    let object = match turn.role {
        Role::Learner => return learner::answer(turn),
        Role::Generator => generator::example(turn),
        Role::Checker => checker::solution(turn),
        Role::Verifier => verifier::verdict(turn),
        Role::Judge => judge::grade(turn),
        Role::Optimizer => match &turn.form {
            Form::Text => return optimizer::text(turn, turn.request.schema_name().unwrap_or("prompt")),
            Form::Told(keys) => keys
                .iter()
                .map(|key| (key.clone(), json!(optimizer::text(turn, key))))
                .collect(),
            Form::Json(_) => Map::new(),
        },
    };
    match &turn.form {
        Form::Json(schema) => fill(schema, &Value::Object(object), "", turn).to_string(),
        Form::Told(_) if turn.draw.chance("code fence", 0.4) => format!("```json\n{}\n```", Value::Object(object)),
        _ => Value::Object(object).to_string(),
    }
}

/// A value of this schema: what the role has said where it fits, else something of the right type.
fn fill(schema: &Value, said: &Value, name: &str, turn: &Turn<'_>) -> Value {
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        let fits = options.contains(said);
        return if fits {
            said.clone()
        } else {
            options.first().cloned().unwrap_or(Value::Null)
        };
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let object = schema.get("properties").and_then(Value::as_object);
    match kinds.first().copied() {
        Some("object") | None if object.is_some() => {
            let filled = object.into_iter().flatten().map(|(key, schema)| {
                let said = said.get(key).unwrap_or(&Value::Null);
                (key.clone(), fill(schema, said, key, turn))
            });
            Value::Object(filled.collect())
        }
        None if said.is_null() => json!(optimizer::text(turn, name)),
        None => said.clone(),
        Some("object") => {
            if said.is_object() {
                said.clone()
            } else {
                json!({})
            }
        }
        Some("string") => said
            .as_str()
            .map_or_else(|| json!(optimizer::text(turn, name)), |text| json!(text)),
        Some("integer" | "number") if !said.is_number() => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") if !said.is_boolean() => json!(false),
        Some("array") if !said.is_array() => match schema.get("items") {
            Some(items) => json!([fill(items, &Value::Null, name, turn)]),
            None => json!([]),
        },
        Some("null") => Value::Null,
        Some(_) => said.clone(),
    }
}

/// A plausible wrong answer: what an untaught solver says, or else something of the same shape.
pub(crate) fn wrong_answer(known: &Known, question: &str, right: &str, draw: &Draw, topic: &str) -> String {
    let naive = known
        .weak_solve(question, SkillSet::NONE)
        .filter(|answer| answer != right);
    match (naive, known.shape()) {
        (Some(naive), Shape::Words | Shape::Text | Shape::Label) => naive,
        (Some(naive), Shape::Number) if draw.chance(topic, 0.5) && naive.parse::<i64>().is_ok() => naive,
        (_, Shape::Number) => {
            let shift = 1 + draw.below(topic, 3) as i64;
            right
                .parse::<i64>()
                .map_or_else(|_| "0".to_owned(), |number| (number + shift).to_string())
        }
        (_, Shape::Word) => match right {
            "True" => "False",
            "False" => "True",
            "Yes" => "No",
            _ => "Yes",
        }
        .to_owned(),
        (_, Shape::Choice) => {
            let options = question.matches("\n(").count().clamp(2, 26);
            let letter = right.as_bytes().get(1).copied().unwrap_or(b'A').saturating_sub(b'A');
            let other = (usize::from(letter) + 1 + draw.below(topic, options - 1)) % options;
            format!("({})", char::from(b'A' + u8::try_from(other).unwrap_or(0)))
        }
        (None, Shape::Words) => {
            let mut words: Vec<&str> = right.split(' ').collect();
            if words.len() > 1 {
                words.swap(0, 1);
            } else {
                words.push("and");
            }
            words.join(" ")
        }
        (None, Shape::Label) => known.other_label(right).to_owned(),
        (None, Shape::Text) => "I cannot explain that.".to_owned(),
    }
}
