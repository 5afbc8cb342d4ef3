//! The optimizer: carries out one step of a strategy (analyse errors, recommend, refine, paraphrase, ...).
//!
//! The texts belong to the strategy, which sends them. This role adds the form of the answer, and holds the text to the length that the
//! strategy allows: too long, and the model is asked once more, for a shorter one.

use serde_json::json;
use sipdo_agent::role::{
    Form, InvalidReply, ModelOutput, Overhead, Plan, Request, RoleAgent, not_mine, required, wrong_form,
};
use sipdo_domain::{Ask, Edit, Measured, NotMeasured, Reason, Reply, Role, fence};
use sipdo_llm::{Message, Schema};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most schemas that are kept prepared. A strategy has a handful of steps; the bound protects from asks with countless ones.
const MAX_SCHEMAS: usize = 64;

/// Longest name of a step and of its property, in bytes.
const MAX_NAME: usize = 64;

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
        if schemas.len() >= MAX_SCHEMAS {
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

    fn overhead(&self) -> Overhead {
        let longest = "n".repeat(MAX_NAME);
        let schema = self.schema(&longest, &longest).ok();
        let complaint = shorter(usize::MAX, &longest).len();
        let words = instruction("", &longest, u32::MAX);
        Overhead::json(words.len(), schema.as_deref()).complaining(complaint)
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        let Ask::Edit(edit) = ask else {
            return Err(not_mine(Role::Optimizer, ask));
        };
        if edit.field.len() > MAX_NAME {
            let detail = format!("the property of a step has a name of at most {MAX_NAME} bytes");
            return Err(NotMeasured::new(Reason::Misconfigured, detail));
        }
        let schema = self.schema(&edit.step, &edit.field)?;
        Ok(Plan::Model(Request {
            messages: vec![
                Message::system(instruction(&edit.instruction, &edit.field, edit.max_chars)),
                Message::user(edit.material.clone()),
            ],
            form: Form::Json(schema),
            temperature: edit.temperature,
        }))
    }

    fn read(&self, ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        let (Ask::Edit(edit), ModelOutput::Json(value)) = (ask, output) else {
            return Err(wrong_form().into());
        };
        let most = usize::try_from(edit.max_chars).unwrap_or(usize::MAX);
        required(&value, &edit.field, most)
            .map(|text| Edit { text }.into())
            .map_err(|why| {
                let ask_again = (why.reason == Reason::TooLarge).then(|| shorter(most, &edit.field));
                InvalidReply { why, ask_again }
            })
    }
}

/// Asks for the same text within the limit.
fn shorter(most: usize, field: &str) -> String {
    format!(
        "That is too long: at most {most} characters are taken. Say the same in fewer words: keep every rule that \
         matters, drop repetition and examples. Reply with the whole of it again as one JSON object with the \
         property \"{field}\"."
    )
}

/// The strategy's own instruction, and below it the form of the answer.
fn instruction(step: &str, field: &str, max_chars: u32) -> String {
    let role = "You carry out one step of improving a prompt. Its instruction:";
    let limit = if max_chars > 0 {
        format!(", at most {max_chars} characters")
    } else {
        String::new()
    };
    format!(
        "{role}\n\n{step}\n\n{}\n\nReply with one JSON object and nothing else, with the one property \"{field}\": a string{limit}.",
        fence::NOTICE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use sipdo_domain::EditRequest;
    use sipdo_protocol::pb;

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
        assert!(optimizer.schemas.lock().unwrap().len() <= MAX_SCHEMAS);
    }

    #[test]
    fn a_request_is_never_larger_than_the_role_states() {
        let optimizer = Optimizer::new();
        let longest = "n".repeat(MAX_NAME);
        let most = EditRequest {
            step: longest.clone(),
            field: longest,
            max_chars: u32::MAX,
            ..edit()
        };
        for ask in [Ask::Edit(edit()), Ask::Edit(most.clone())] {
            let size = pb::Ask::from(ask.clone()).encoded_len();
            let Ok(Plan::Model(request)) = optimizer.plan(&ask) else {
                panic!("a model is asked")
            };
            assert_eq!(optimizer.overhead().check(&request, size), Ok(()));
        }
        let endless = EditRequest {
            field: "n".repeat(MAX_NAME + 1),
            ..most
        };
        assert_eq!(
            optimizer.plan(&Ask::Edit(endless)).unwrap_err().reason,
            Reason::Misconfigured
        );
    }
}
