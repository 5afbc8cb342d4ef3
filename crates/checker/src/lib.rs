//! The checker: solves synthetic questions blind, and runs the programs that an operator allows as a veto.
//!
//! Blind: it never sees the claimed answer. [`sipdo_domain::SolveRequest`] has no place for one, and so neither has this role.

use serde_json::json;
use sipdo_agent::role::{
    Form, InvalidReply, Material, ModelOutput, Overhead, Plan, Request, RoleAgent, SECTION_BYTES, explaining, not_mine,
    required, wrong_form,
};
use sipdo_domain::{Ask, Measured, Reply, Role, Solution, SolveRequest, fence};
use sipdo_llm::{Message, Schema, SchemaError};
use std::sync::Arc;

/// Longest answer that is accepted, in characters.
const MAX_ANSWER: usize = 8_000;
/// Longest working that a reply holds, in characters.
const MAX_WORKING: usize = 24_000;

/// Sections of a request.
const SECTIONS: usize = 4;

const INSTRUCTION: &str = "\
You are a careful solver. You are given a task and one question of it. Solve the question on your own, from what it says \
and from common knowledge; nobody has told you what the answer should be.

Work step by step: restate what is given, apply the task's rules one after the other without skipping any, and check the \
result against the question once more before you commit to it. If the question has a flaw, say so in your working and give \
the answer that you can best defend.

The answer must have the form that the task asks for. Where labels are listed, it is exactly one of them, copied letter for \
letter. Write the answer alone: no explanation, no sentence around it.";

const FORM: &str = "Reply with one JSON object and nothing else: \
{\"working\": your steps as text, \"answer\": the answer alone, as a string}.";

/// The role. Answers [`Ask::Solve`] and [`Ask::Check`].
#[derive(Debug)]
pub struct Checker {
    schema: Arc<Schema>,
}

impl Checker {
    /// Prepares the schema of its answers.
    ///
    /// # Errors
    /// Never with the schema that is written here.
    pub fn new() -> Result<Self, SchemaError> {
        let schema = Schema::new(
            "solution",
            json!({
                "type": "object",
                "properties": {
                    "working": {"type": "string", "description": "The steps that lead to the answer"},
                    "answer": {"type": "string", "description": "The answer alone, in the task's form"},
                },
                "required": ["working", "answer"],
                "additionalProperties": false,
            }),
        )?;
        Ok(Self {
            schema: Arc::new(schema),
        })
    }

    fn solve(&self, solve: &SolveRequest) -> Request {
        let system = format!("{INSTRUCTION}\n\n{}\n\n{FORM}", fence::NOTICE);
        let user = Material::of(&solve.task).section("Question", &solve.input).finish();
        Request {
            messages: vec![Message::system(system), Message::user(user)],
            form: Form::Json(Arc::clone(&self.schema)),
            temperature: 0.0,
        }
    }
}

impl RoleAgent for Checker {
    fn role(&self) -> Role {
        Role::Checker
    }

    fn overhead(&self) -> Overhead {
        let instructions = INSTRUCTION.len() + fence::NOTICE.len() + FORM.len() + SECTIONS * SECTION_BYTES;
        Overhead::json(instructions, [self.schema.as_ref()])
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        match ask {
            Ask::Solve(solve) => Ok(Plan::Model(self.solve(solve))),
            Ask::Check(program) => Ok(Plan::Program(program.clone())),
            other => Err(not_mine(Role::Checker, other)),
        }
    }

    fn read(&self, _ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        let ModelOutput::Json(value) = output else {
            return Err(wrong_form().into());
        };
        let answer = required(&value, "answer", MAX_ANSWER)?;
        Ok(Solution {
            working: explaining(&value, "working", MAX_WORKING),
            answer,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use sipdo_domain::{CheckRequest, Reason, TaskBrief};
    use sipdo_protocol::pb;

    fn solve_ask() -> Ask {
        let task = TaskBrief {
            description: "Is the claim true?".into(),
            answer_format: "Yes or No".into(),
            labels: vec!["Yes".into(), "No".into()],
        };
        Ask::Solve(SolveRequest {
            task,
            input: "Is ice cold?".into(),
            pool: String::new(),
        })
    }

    #[test]
    fn the_question_is_fenced_behind_the_task() {
        let checker = Checker::new().unwrap();
        let Ok(Plan::Model(request)) = checker.plan(&solve_ask()) else {
            panic!("a model is asked")
        };
        let [system, user] = request.messages.as_slice() else {
            panic!("two messages")
        };
        assert!(system.text.contains(fence::NOTICE) && system.text.contains("JSON object"));
        let titles: Vec<_> = user.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, ["Task", "Answer format", "Labels", "Question"]);
        assert_eq!(request.temperature, 0.0);
        let Form::Json(schema) = request.form else {
            panic!("a JSON object is asked for")
        };
        assert_eq!(schema.name(), "solution");
    }

    #[test]
    fn a_solution_is_read_and_an_empty_answer_is_not_one() {
        let checker = Checker::new().unwrap();
        let said = |answer: &str| ModelOutput::Json(json!({"working": "Ice is frozen.", "answer": answer}));
        let reply = checker.read(&solve_ask(), said(" Yes\u{200b}\n")).unwrap();
        assert_eq!(
            reply,
            Reply::Solution(Solution {
                working: "Ice is frozen.".into(),
                answer: "Yes".into()
            })
        );
        assert_eq!(
            checker.read(&solve_ask(), said("  ")).unwrap_err().why.reason,
            Reason::Empty
        );
        assert_eq!(
            checker
                .read(&solve_ask(), said(&"y".repeat(9_000)))
                .unwrap_err()
                .why
                .reason,
            Reason::TooLarge
        );
    }

    #[test]
    fn a_program_check_needs_no_model() {
        let program = CheckRequest {
            name: "svg".into(),
            input: "i".into(),
            target: "t".into(),
            pool: String::new(),
        };
        let plan = Checker::new().unwrap().plan(&Ask::Check(program.clone())).unwrap();
        assert!(matches!(plan, Plan::Program(asked) if asked == program));
    }

    #[test]
    fn a_request_is_never_larger_than_the_role_states() {
        let checker = Checker::new().unwrap();
        for text in ["", "x", "\"quoted\"\n\u{1}\u{200b}"] {
            let text = text.repeat(2_000);
            let task = TaskBrief {
                description: text.clone(),
                answer_format: text.clone(),
                labels: vec!["a".into(); 500],
            };
            let ask = Ask::Solve(SolveRequest {
                task,
                input: text,
                pool: String::new(),
            });
            let size = pb::Ask::from(ask.clone()).encoded_len();
            let Ok(Plan::Model(request)) = checker.plan(&ask) else {
                panic!("a model is asked")
            };
            assert_eq!(checker.overhead().check(&request, size), Ok(()));
        }
    }
}
