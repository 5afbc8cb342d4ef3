//! The generator: writes synthetic examples that are aimed at the current prompt's weaknesses.
//!
//! The instruction follows the nine guidelines of SIPDO (arXiv 2505.19514 v4, section 4.2) in our own words, with what the paper's
//! text demands and its template leaves out: the current prompt and what went wrong with it.

use serde_json::{Map, Value, json};
use sipdo_agent::role::{
    Form, InvalidReply, Material, ModelOutput, Overhead, Plan, Request, RoleAgent, SECTION_BYTES, explaining, not_mine,
    required, wrong_form,
};
use sipdo_domain::{Ask, Draft, GenerateRequest, Measured, NotMeasured, Reason, Reply, Role, fence, record};
use sipdo_llm::{Message, Schema, SchemaError};
use std::sync::Arc;

/// Longest question that is accepted, in characters. A task's own gate may be tighter.
const MAX_INPUT: usize = 48_000;
/// Longest answer that is accepted, in characters.
const MAX_TARGET: usize = 8_000;
/// Longest rationale that a reply holds, in characters.
const MAX_RATIONALE: usize = 24_000;

/// Sections of a request.
const SECTIONS: usize = 11;
/// Bytes of a text within JSON for one of its own: `"` and line feeds are escaped.
const JSON_GROWTH: u32 = 2;
/// Bytes of the JSON around examples, as far as their growth does not cover it.
const EXAMPLES: usize = 2_000;

const INSTRUCTION: &str = "\
You are an expert in writing questions and answers for the task that you are given. You write one new example of it: an input \
and its target, the right answer. The example will be solved by a model that follows the current prompt, and is meant to \
find out where that prompt fails.

Keep to these guidelines:
1. The new example differs from all past ones in substance, not only in names and numbers.
2. Its wording is clear. It has exactly one right answer, and everything needed to find it is in the input.
3. Its logic is no more tangled than its difficulty calls for: hard because of what must be thought through, not because of tricks.
4. Its content may be inventive, but its form and its logic are those of the examples that you are shown.
5. You write one example, not several.
6. Input and target have exactly the form of the examples and of the answer format. Where labels are listed, the target is one \
of them, letter for letter. The input never gives the answer away.
7. Difficulty rises from level to level; write at the level that is asked for, harder than past examples of lower levels.
8. It has no logical errors: solve your own question step by step in the rationale before you write the target, and if the \
result is not the target that is asked for, change the question until it is.
9. It challenges the reasoning of a model that follows the current prompt: aim at the known weaknesses where there are any.

Where a target answer is given, write a question whose right answer it is. Where a passage is given, the question must be \
answered from that passage and say all of it that is needed. Where refused drafts are listed, avoid what was wrong with them.";

/// What is said of inputs where they have columns.
const COLUMNS: &str = "\n\nAn input of this task consists of columns. Fill in every column: no column says what another one should, and \
none gives the answer away.";

const COLUMNS_FORM: &str = "Reply with one JSON object and nothing else: {\"input\": an object with the same columns as the inputs of \
the examples, each a string, \"rationale\": its solution step by step, \"target\": the right answer alone}. Rationale and target are \
strings.";

const FORM: &str = "Reply with one JSON object and nothing else: {\"input\": the question as the model will see it, \
\"rationale\": its solution step by step, \"target\": the right answer alone}. All three are strings.";

/// The role. Answers [`Ask::Synthesize`].
#[derive(Debug)]
pub struct Generator {
    schema: Arc<Schema>,
}

impl Generator {
    /// Prepares the schema of its answers.
    ///
    /// # Errors
    /// Never with the schema that is written here.
    pub fn new() -> Result<Self, SchemaError> {
        // The rationale stands before the target, so that a model that writes in this order reasons before it labels.
        let schema = schema(json!({"type": "string", "description": "The question as the model will see it"}))?;
        Ok(Self {
            schema: Arc::new(schema),
        })
    }

    /// The schema of the answer: the input is one text, or an object of the task's columns.
    fn schema_for(&self, columns: &[String]) -> Measured<Arc<Schema>> {
        if columns.is_empty() {
            return Ok(Arc::clone(&self.schema));
        }
        let property = |name: &String| (name.clone(), json!({"type": "string"}));
        let properties: Map<String, Value> = columns.iter().map(property).collect();
        let input = json!({
            "type": "object",
            "properties": properties,
            "required": columns,
            "additionalProperties": false,
        });
        let made = schema(input).map_err(|error| NotMeasured::new(Reason::Misconfigured, error.to_string()));
        made.map(Arc::new)
    }
}

fn schema(input: Value) -> Result<Schema, SchemaError> {
    Schema::new(
        "synthetic_example",
        json!({
            "type": "object",
            "properties": {
                "input": input,
                "rationale": {"type": "string", "description": "The question's solution, step by step"},
                "target": {"type": "string", "description": "The right answer alone"},
            },
            "required": ["input", "rationale", "target"],
            "additionalProperties": false,
        }),
    )
}

impl RoleAgent for Generator {
    fn role(&self) -> Role {
        Role::Generator
    }

    fn overhead(&self) -> Overhead {
        let instructions = INSTRUCTION.len() + fence::NOTICE.len() + FORM.len() + SECTIONS * SECTION_BYTES;
        // What columns add, the ask itself counts (`pb::Ask::reserved_bytes`).
        Overhead::json(instructions + EXAMPLES, [self.schema.as_ref()]).growing(JSON_GROWTH)
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        let Ask::Synthesize(request) = ask else {
            return Err(not_mine(Role::Generator, ask));
        };
        let system = match request.columns.is_empty() {
            true => format!("{INSTRUCTION}\n\n{}\n\n{FORM}", fence::NOTICE),
            false => format!("{INSTRUCTION}{COLUMNS}\n\n{}\n\n{COLUMNS_FORM}", fence::NOTICE),
        };
        Ok(Plan::Model(Request {
            messages: vec![Message::system(system), Message::user(material(request))],
            form: Form::Json(self.schema_for(&request.columns)?),
            temperature: 0.5,
        }))
    }

    fn read(&self, ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        let ModelOutput::Json(value) = output else {
            return Err(wrong_form().into());
        };
        let input = match ask {
            Ask::Synthesize(request) if !request.columns.is_empty() => columns_of(&value, &request.columns)?,
            _ => required(&value, "input", MAX_INPUT)?,
        };
        let target = required(&value, "target", MAX_TARGET)?;
        Ok(Draft {
            input,
            target,
            rationale: explaining(&value, "rationale", MAX_RATIONALE),
        }
        .into())
    }
}

/// The record of the columns that the model wrote, cleaned. A column may be empty, an input may not.
fn columns_of(value: &Value, columns: &[String]) -> Measured<String> {
    let input = value.get("input").unwrap_or(&Value::Null);
    let texts: Vec<String> = columns
        .iter()
        .map(|name| fence::clean(input.get(name).and_then(Value::as_str).unwrap_or_default()))
        .collect();
    if texts.iter().all(|text| text.trim().is_empty()) {
        return Err(NotMeasured::new(
            Reason::Empty,
            "the model left every column of `input` empty",
        ));
    }
    let length: usize = texts.iter().map(|text| text.chars().count()).sum();
    if length > MAX_INPUT {
        let detail = format!("`input` has {length} characters; the limit is {MAX_INPUT}");
        return Err(NotMeasured::new(Reason::TooLarge, detail));
    }
    Ok(record::write(
        columns
            .iter()
            .zip(&texts)
            .map(|(name, text)| (name.as_str(), text.trim())),
    ))
}

/// An input as the model is shown it: a text, or the object of its columns.
fn shown_input(request: &GenerateRequest, input: &str) -> Value {
    let record = match request.columns.is_empty() {
        true => None,
        false => serde_json::from_str(input).ok(),
    };
    record.unwrap_or_else(|| Value::from(input))
}

/// What the model is told of the example to write.
fn material(request: &GenerateRequest) -> String {
    let shown = lines(
        request
            .shown
            .iter()
            .map(|(input, target)| json!({"input": shown_input(request, input), "target": target})),
    );
    let past = request
        .past
        .iter()
        .map(|past| json!({"level": past.level, "input": shown_input(request, &past.input), "target": past.target}));
    let difficulty = if request.extreme {
        "extreme".to_owned()
    } else {
        format!("level {} of {}", request.level, request.max_level)
    };
    Material::of(&request.task)
        .section("Examples", &shown)
        .section("Past synthetic examples", &lines(past))
        .section("Difficulty", &difficulty)
        .unless_empty("Target answer", request.target.as_deref().unwrap_or_default())
        .section("Current prompt", &request.prompt)
        .unless_empty("Known weaknesses", &list(&request.weaknesses))
        .unless_empty("Passage", request.passage.as_deref().unwrap_or_default())
        .unless_empty("Refused drafts", &list(&request.refused))
        .finish()
}

/// JSON values, one to a line.
fn lines(values: impl Iterator<Item = serde_json::Value>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join("\n")
}

/// A list of texts, each behind a dash.
fn list(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| format!("- {}", text.trim()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::{PastExample, TaskBrief};
    use sipdo_protocol::pb;

    fn request() -> GenerateRequest {
        GenerateRequest {
            task: TaskBrief {
                description: "Count.".into(),
                answer_format: "a number".into(),
                labels: vec![],
            },
            shown: vec![("a \"b\"\nc".into(), "3".into())],
            past: vec![PastExample {
                level: 2,
                input: "x y".into(),
                target: "2".into(),
            }],
            level: 3,
            max_level: 10,
            prompt: "Count words.".into(),
            ..GenerateRequest::default()
        }
    }

    fn user_message(request: GenerateRequest) -> String {
        let Ok(Plan::Model(request)) = Generator::new().unwrap().plan(&Ask::Synthesize(request)) else {
            panic!("a model is asked")
        };
        request.messages[1].text.clone()
    }

    fn titles(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
    }

    #[test]
    fn only_what_is_known_is_told() {
        let text = user_message(request());
        let expected = [
            "Task",
            "Answer format",
            "Examples",
            "Past synthetic examples",
            "Difficulty",
            "Current prompt",
        ];
        assert_eq!(titles(&text), expected);
        assert!(
            text.contains("\n{\"input\":\"a \\\"b\\\"\\nc\",\"target\":\"3\"}\n"),
            "one JSON object to a line: {text}"
        );
        assert!(
            text.contains("\n{\"level\":2,\"input\":\"x y\",\"target\":\"2\"}\n"),
            "{text}"
        );
        assert!(text.contains("\nlevel 3 of 10\n"), "{text}");
    }

    #[test]
    fn weaknesses_target_passage_and_refusals_are_told_in_order() {
        let text = user_message(GenerateRequest {
            extreme: true,
            target: Some("4".into()),
            weaknesses: vec!["drops plurals".into()],
            passage: Some("Four birds.".into()),
            refused: vec!["a duplicate".into()],
            task: TaskBrief {
                labels: vec!["3".into(), "4".into()],
                ..request().task
            },
            ..request()
        });
        let expected = [
            "Task",
            "Answer format",
            "Labels",
            "Examples",
            "Past synthetic examples",
            "Difficulty",
            "Target answer",
            "Current prompt",
            "Known weaknesses",
            "Passage",
            "Refused drafts",
        ];
        assert_eq!(titles(&text), expected);
        assert!(
            text.contains("\nextreme\n") && text.contains("\n- drops plurals\n"),
            "{text}"
        );
    }

    #[test]
    fn the_solution_is_written_before_the_label() {
        let Ok(Plan::Model(request)) = Generator::new().unwrap().plan(&Ask::Synthesize(request())) else {
            panic!("a model is asked")
        };
        let Form::Json(schema) = request.form else {
            panic!("a JSON object is asked for")
        };
        let order: Vec<_> = schema.json()["properties"].as_object().unwrap().keys().collect();
        assert_eq!(order, ["input", "rationale", "target"]);
        assert_eq!(schema.name(), "synthetic_example");
        assert_eq!(request.temperature, 0.5);
        assert!(request.messages[0].text.contains(fence::NOTICE));
    }

    #[test]
    fn a_draft_is_read_and_half_a_draft_is_not() {
        let generator = Generator::new().unwrap();
        let read = |value| generator.read(&Ask::Synthesize(request()), ModelOutput::Json(value));
        let reply = read(json!({"input": "p\u{7} q", "rationale": "two", "target": "2"})).unwrap();
        assert_eq!(
            reply,
            Reply::Draft(Draft {
                input: "p q".into(),
                target: "2".into(),
                rationale: "two".into()
            })
        );
        let why = read(json!({"input": "p q", "rationale": "two", "target": ""}))
            .unwrap_err()
            .why;
        assert_eq!(why.reason, Reason::Empty);
        assert!(why.detail.contains("target"), "{}", why.detail);
    }

    #[test]
    fn a_request_is_never_larger_than_the_role_states() {
        let generator = Generator::new().unwrap();
        for text in ["x", "a plain question", "{\"a\": \"b\"}\n"] {
            let many = |count: usize| vec![text.to_owned(); count];
            let past = PastExample {
                level: 10,
                input: text.into(),
                target: text.into(),
            };
            let request = GenerateRequest {
                task: TaskBrief {
                    description: text.into(),
                    answer_format: text.into(),
                    labels: many(50),
                },
                shown: vec![(text.into(), text.into()); 50],
                past: vec![past; 50],
                target: Some(text.into()),
                weaknesses: many(50),
                passage: Some(text.into()),
                refused: many(50),
                ..request()
            };
            for columns in [0, 1, 2, 32] {
                let ask = Ask::Synthesize(GenerateRequest {
                    columns: (0..columns).map(|n| format!("column {n}")).collect(),
                    ..request.clone()
                });
                let size = pb::Ask::from(ask.clone()).reserved_bytes();
                let Ok(Plan::Model(request)) = generator.plan(&ask) else {
                    panic!("a model is asked")
                };
                assert_eq!(generator.overhead().check(&request, size), Ok(()), "{columns} columns");
            }
        }
    }

    /// A request of a task whose inputs have the columns `subject` and `body`.
    fn with_columns() -> GenerateRequest {
        GenerateRequest {
            shown: vec![(r#"{"subject":"a","body":"b \"c\""}"#.into(), "billing".into())],
            columns: vec!["subject".into(), "body".into()],
            ..request()
        }
    }

    #[test]
    fn columns_become_the_schema_of_the_input() {
        let Ok(Plan::Model(planned)) = Generator::new().unwrap().plan(&Ask::Synthesize(with_columns())) else {
            panic!("a model is asked")
        };
        let Form::Json(schema) = planned.form else {
            panic!("a JSON object is asked for")
        };
        assert_eq!(schema.name(), "synthetic_example");
        let input = &schema.json()["properties"]["input"];
        let names: Vec<_> = input["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["subject", "body"]);
        assert_eq!(input["required"], json!(["subject", "body"]));
        assert_eq!(input["additionalProperties"], json!(false));
        assert!(
            planned.messages[0].text.contains(COLUMNS_FORM),
            "{}",
            planned.messages[0].text
        );
        let shown = "\n{\"input\":{\"subject\":\"a\",\"body\":\"b \\\"c\\\"\"},\"target\":\"billing\"}\n";
        assert!(planned.messages[1].text.contains(shown), "{}", planned.messages[1].text);
    }

    #[test]
    fn a_draft_with_columns_is_their_record_in_the_order_of_the_task() {
        let generator = Generator::new().unwrap();
        let read = |input| {
            let value = json!({"input": input, "rationale": "r", "target": "billing"});
            generator.read(&Ask::Synthesize(with_columns()), ModelOutput::Json(value))
        };
        let Reply::Draft(draft) = read(json!({"body": " b\u{7} ", "subject": "s", "more": "x"})).unwrap() else {
            panic!("a draft")
        };
        assert_eq!(draft.input, r#"{"subject":"s","body":"b"}"#);
        for empty in [json!({}), json!({"subject": " ", "body": ""}), json!("text")] {
            assert_eq!(read(empty).unwrap_err().why.reason, Reason::Empty);
        }
    }
}
