//! The optimizer: carries out one step of a strategy (analyse errors, recommend, refine, paraphrase, ...).
//!
//! The texts belong to the strategy, which sends them. This role adds the form of the answer, and holds the text to the length that the
//! strategy allows: too long, and the model is asked once more, for a shorter one.

use serde_json::json;
use sipdo_agent::role::{Form, InvalidReply, ModelOutput, Plan, Request, RoleAgent, not_mine, required, wrong_form};
use sipdo_domain::{Ask, Edit, EditRequest, Measured, NotMeasured, Reason, Reply, Role, fence};
use sipdo_llm::{Message, Schema};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Schemas that are kept prepared. A strategy has a handful of steps; the bound is for whoever asks for countless ones.
const KEPT_SCHEMAS: usize = 64;

/// The role. Answers [`Ask::Edit`].
#[derive(Debug, Default)]
pub struct Optimizer {
    schemas: Mutex<HashMap<(String, String), Arc<Schema>>>,
}

impl Optimizer {
    /// With no schema prepared: steps are known only when they are asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// The schema of a step: one object with one text.
    fn schema(&self, step: &str, field: &str) -> Measured<Arc<Schema>> {
        let key = (step.to_owned(), field.to_owned());
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = schemas.get(&key) {
            return Ok(Arc::clone(schema));
        }
        let json = json!({
            "type": "object",
            "properties": {field: {"type": "string"}},
            "required": [field],
            "additionalProperties": false,
        });
        let schema =
            Schema::new(step, json).map_err(|error| NotMeasured::new(Reason::Misconfigured, error.to_string()))?;
        let schema = Arc::new(schema);
        if schemas.len() >= KEPT_SCHEMAS {
            schemas.clear();
        }
        schemas.insert(key, Arc::clone(&schema));
        Ok(schema)
    }
}

impl RoleAgent for Optimizer {
    fn role(&self) -> Role {
        Role::Optimizer
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        let Ask::Edit(edit) = ask else {
            return Err(not_mine(Role::Optimizer, ask));
        };
        let schema = self.schema(&edit.step, &edit.field)?;
        Ok(Plan::Model(Request {
            messages: vec![Message::system(instruction(edit)), Message::user(edit.material.clone())],
            form: Form::Json(schema),
            temperature: edit.temperature,
        }))
    }

    fn read(&self, ask: &Ask, said: ModelOutput) -> Result<Reply, InvalidReply> {
        let (Ask::Edit(edit), ModelOutput::Json(value)) = (ask, said) else {
            return Err(wrong_form().into());
        };
        let most = usize::try_from(edit.max_chars).unwrap_or(usize::MAX);
        required(&value, &edit.field, most).map(|text| Edit { text }.into()).map_err(|why| {
            let ask_again = (why.reason == Reason::TooLarge).then(|| {
                format!(
                    "That is too long: at most {most} characters are taken. Say the same in fewer words: keep every rule that \
                     matters, drop repetition and examples. Reply with the whole of it again as one JSON object with the \
                     property \"{}\".",
                    edit.field
                )
            });
            InvalidReply { why, ask_again }
        })
    }
}

/// The strategy's own instruction, and below it the form of the answer.
fn instruction(edit: &EditRequest) -> String {
    let role = "You carry out one step of improving a prompt. Its instruction:";
    let limit = if edit.max_chars > 0 {
        format!(", at most {} characters", edit.max_chars)
    } else {
        String::new()
    };
    format!(
        "{role}\n\n{}\n\n{}\n\nReply with one JSON object and nothing else, with the one property \"{}\": a string{limit}.",
        edit.instruction,
        fence::NOTICE,
        edit.field
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit() -> EditRequest {
        EditRequest {
            step: "refinement".into(),
            instruction: "Rewrite the prompt.".into(),
            material: fence::section("Current prompt", "Count."),
            field: "prompt".into(),
            temperature: 0.7,
            max_chars: 10,
        }
    }

    #[test]
    fn the_step_names_the_schema_and_its_one_property() {
        let optimizer = Optimizer::new();
        let Ok(Plan::Model(request)) = optimizer.plan(&Ask::Edit(edit())) else {
            panic!("a model is asked")
        };
        let Form::Json(schema) = &request.form else {
            panic!("a JSON object is asked for")
        };
        assert_eq!(schema.name(), "refinement");
        assert_eq!(schema.json()["required"], json!(["prompt"]));
        assert_eq!(request.temperature, 0.7);
        assert_eq!(
            request.messages[1].text,
            edit().material,
            "the material is sent as it is"
        );
        assert!(
            request.messages[0].text.contains("Rewrite the prompt.")
                && request.messages[0].text.contains(fence::NOTICE)
        );
    }

    #[test]
    fn a_step_with_an_impossible_name_is_not_measured() {
        let why = Optimizer::new()
            .plan(&Ask::Edit(EditRequest {
                step: "two words".into(),
                ..edit()
            }))
            .unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
    }

    #[test]
    fn a_text_that_is_too_long_is_asked_for_again_shorter() {
        let optimizer = Optimizer::new();
        let read = |text: &str| optimizer.read(&Ask::Edit(edit()), ModelOutput::Json(json!({"prompt": text})));
        assert_eq!(
            read("Count all.").unwrap(),
            Reply::Edit(Edit {
                text: "Count all.".into()
            })
        );
        let unfit = read("Count all of them.").unwrap_err();
        assert_eq!(unfit.why.reason, Reason::TooLarge);
        assert!(unfit.ask_again.unwrap().contains("at most 10 characters"));
        let unfit = read(" ").unwrap_err();
        assert_eq!((unfit.why.reason, unfit.ask_again), (Reason::Empty, None));
    }

    #[test]
    fn countless_steps_do_not_fill_the_memory() {
        let optimizer = Optimizer::new();
        for number in 0..200 {
            optimizer.schema(&format!("step-{number}"), "text").unwrap();
        }
        assert!(optimizer.schemas.lock().unwrap().len() <= KEPT_SCHEMAS);
    }
}
