//! Answers of a given shape: asked for by schema, read with tolerance, validated always, repaired at most a few times.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::{AttemptRecord, ChatModel, ChatRequest, Message, Outcome, Output};
use crate::completion::Completion;
use crate::error::ModelError;
use crate::in_words::INSTRUCTION;
use crate::json;
use crate::schema::{MAX_FINDING_BYTES, Schema};

/// How a structured request went.
#[derive(Debug)]
pub struct Structured {
    /// A value that satisfies the schema, or why there is none.
    pub result: Result<Value, ModelError>,
    /// Every completion that was paid for, useless ones included, in order: the one place to count from. Each names its
    /// request among `attempts`.
    pub completions: Vec<Completion>,
    /// Every request sent, repairs included.
    pub attempts: Vec<AttemptRecord>,
    /// How many repairs were asked for.
    pub repairs: u32,
    /// Most input tokens of the longest request: a repair sends more than the request that it repairs.
    pub most_input_tokens: u64,
}

/// Longest part of a wrong answer that is shown to the model again, in bytes.
const SHOWN_BYTES: usize = 8 * 1024;

/// Asks `model` for JSON of `schema` (whatever `request.output` was).
///
/// An answer that holds no JSON, or JSON that does not satisfy the schema, is shown to the model again with what is
/// wrong, at most `max_repairs` times and while the model has room for another request. A cut-off, empty or refused answer is not repaired: the same would come again.
pub async fn structured<M: ChatModel>(
    model: &M,
    mut request: ChatRequest,
    schema: &Arc<Schema>,
    max_repairs: u32,
) -> Structured {
    request.output = Output::Json(Arc::clone(schema));
    let asked = request.messages.len();
    let (mut completions, mut attempts, mut repairs) = (Vec::new(), Vec::new(), 0);
    let mut most_input_tokens = 0;
    let result = loop {
        most_input_tokens = request.most_input_tokens().max(most_input_tokens);
        let Outcome { result, attempts: sent } = model.complete(&request).await;
        let before = attempts.len();
        attempts.extend(sent);
        let placed = |completion: Completion| Completion {
            attempt: before + completion.attempt,
            ..completion
        };
        let completion = match result {
            Ok(completion) => placed(completion),
            Err(error) => {
                completions.extend(error.paid().cloned().map(placed));
                break Err(error);
            }
        };
        let finding = match accept(&completion.text, schema) {
            Ok(value) => {
                completions.push(completion);
                break Ok(value);
            }
            Err(finding) => finding,
        };
        completions.push(completion.clone());
        if repairs == max_repairs || !model.has_room() {
            let detail = crate::text::scrub(&format!("after {repairs} repairs: {finding}"), None);
            break Err(ModelError::Malformed {
                detail,
                completion: Some(Box::new(completion)),
            });
        }
        // Only the last wrong answer is shown again: earlier ones would cost tokens and mislead.
        request.messages.truncate(asked);
        request
            .messages
            .push(Message::assistant(crate::text::clip(&completion.text, SHOWN_BYTES)));
        request.messages.push(Message::user(complaint(&finding, schema)));
        repairs += 1;
    };
    Structured {
        result,
        completions,
        attempts,
        repairs,
        most_input_tokens,
    }
}

/// The likeliest value in `text` that satisfies the schema, or what is wrong with the likeliest that is there.
fn accept(text: &str, schema: &Schema) -> Result<Value, String> {
    let mut first_finding = None;
    for candidate in json::candidates(text) {
        match schema.check(candidate) {
            Ok(value) => return Ok(value),
            Err(finding) => {
                first_finding.get_or_insert(finding);
            }
        }
    }
    Err(first_finding.unwrap_or_else(|| "it holds no JSON object or array".to_owned()))
}

/// What is said around the finding, in front of the schema.
const COMPLAINT: [&str; 2] = [
    "That reply cannot be used: ",
    "\nReply again with one corrected JSON value and nothing else. It must satisfy this JSON Schema:\n",
];

fn complaint(finding: &str, schema: &Schema) -> String {
    let [before, after] = COMPLAINT;
    format!("{before}{finding}{after}{}", schema.text())
}

impl Schema {
    /// Most bytes that it adds to a request, whether the endpoint enforces it or is told of it in words.
    pub fn request_bytes(&self) -> usize {
        let told = INSTRUCTION.len() + "\n\n".len() + self.text().len();
        let enforced = self.name().len() + self.strict().to_string().len();
        told.max(enforced)
    }

    /// Most bytes of the message that asks for a repair.
    pub fn repair_bytes(&self) -> usize {
        let words: usize = COMPLAINT.iter().map(|words| words.len()).sum();
        words + MAX_FINDING_BYTES + self.text().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Paid, Sampling};
    use crate::completion::{Finish, Usage};
    use serde_json::json;
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    /// Says its lines in order and remembers what it was asked.
    struct Script {
        lines: Mutex<VecDeque<Result<&'static str, ModelError>>>,
        asked: Mutex<Vec<ChatRequest>>,
    }

    impl Script {
        fn new(lines: impl IntoIterator<Item = Result<&'static str, ModelError>>) -> Self {
            Self {
                lines: Mutex::new(lines.into_iter().collect()),
                asked: Mutex::default(),
            }
        }
    }

    impl ChatModel for Script {
        async fn complete(&self, request: &ChatRequest) -> Outcome {
            self.asked.lock().unwrap().push(request.clone());
            let line = self
                .lines
                .lock()
                .unwrap()
                .pop_front()
                .expect("asked more often than scripted");
            Outcome {
                result: line.map(completion),
                attempts: vec![attempt(503), attempt(200)],
            }
        }
    }

    fn attempt(status: u16) -> AttemptRecord {
        AttemptRecord {
            started: SystemTime::UNIX_EPOCH,
            latency: Duration::ZERO,
            status: Some(status),
            kind: "ok",
            retry_after: None,
            paid: Paid::Yes,
        }
    }

    fn completion(text: &str) -> Completion {
        Completion {
            text: text.to_owned(),
            finish: Finish::Stop,
            usage: Usage {
                input_tokens: Some(10),
                output_tokens: Some(2),
                ..Usage::default()
            },
            cost_nano_usd: None,
            cost_by_gateway: false,
            model_reported: None,
            response_id: None,
            system_fingerprint: None,
            attempt: 1,
            latency: Duration::ZERO,
            dropped: Vec::new(),
        }
    }

    async fn ask(script: &Script, max_repairs: u32) -> Structured {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let schema = Arc::new(Schema::new("number", schema).unwrap());
        let sampling = Sampling {
            temperature: Some(0.0),
            top_p: None,
            max_tokens: 50,
            seed: None,
        };
        let request = ChatRequest::text(vec![Message::user("a number")], sampling);
        structured(script, request, &schema, max_repairs).await
    }

    #[tokio::test]
    async fn the_candidate_that_fits_is_taken_without_a_repair() {
        let script = Script::new([Ok(r#"As in [1], {"m": 2} is wrong, so {"n": 3}."#)]);
        let done = ask(&script, 2).await;
        assert_eq!(
            (done.result.unwrap(), done.repairs, done.completions.len()),
            (json!({"n": 3}), 0, 1)
        );
    }

    #[tokio::test]
    async fn the_last_value_that_fits_is_taken_and_no_draft() {
        for text in [
            r#"{"n": 1} or not</think>{"n": 3}"#,
            r#"[THINK]{"n": 1}[/THINK]{"n": 3}"#,
            "```json\n{\"n\": 1}\n```\nBetter:\n```json\n{\"n\": 3}\n```",
            r#"{"n": 3} and not {"m": 1}"#,
        ] {
            let done = ask(&Script::new([Ok(text)]), 0).await;
            assert_eq!(done.result.unwrap(), json!({"n": 3}), "{text}");
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_is_shown_again_with_what_is_wrong() {
        let script = Script::new([Ok("no idea"), Ok(r#"{"n": "x"}"#), Ok(r#"{"n": 3}"#)]);
        let done = ask(&script, 2).await;
        assert_eq!(
            (done.result.unwrap(), done.repairs, done.completions.len()),
            (json!({"n": 3}), 2, 3)
        );
        let asked = script.asked.lock().unwrap();
        assert_eq!(asked.iter().map(|r| r.messages.len()).collect::<Vec<_>>(), [1, 3, 3]);
        let last = &asked[2].messages;
        assert_eq!(last[1], Message::assistant(r#"{"n": "x"}"#));
        assert!(last[2].text.contains("/n"), "{}", last[2].text);
    }

    #[tokio::test]
    async fn each_completion_names_its_own_request_among_all() {
        let script = Script::new([
            Ok("no idea"),
            Err(ModelError::Empty {
                completion: Box::new(completion("")),
            }),
        ]);
        let done = ask(&script, 2).await;
        let named: Vec<usize> = done.completions.iter().map(|completion| completion.attempt).collect();
        assert_eq!((named, done.attempts.len()), (vec![1, 3], 4));
        assert!(
            done.completions
                .iter()
                .all(|completion| done.attempts[completion.attempt].status == Some(200))
        );
    }

    #[tokio::test]
    async fn no_repair_says_more_than_is_stated() {
        let long = format!("{{\"{}\": 1}}", "ä".repeat(5_000));
        let wrong: &'static str = Box::leak(long.into_boxed_str());
        let json = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false});
        let schema = Arc::new(Schema::new("number", json).unwrap());
        let finding = accept(wrong, &schema).unwrap_err();
        assert!(complaint(&finding, &schema).len() <= schema.repair_bytes(), "{finding}");
        assert!(finding.len() > 160, "the finding quotes the answer: {finding}");
    }

    #[tokio::test]
    async fn repairs_end_and_everything_paid_is_counted() {
        let script = Script::new([Ok("a"), Ok("b"), Ok("c")]);
        let done = ask(&script, 2).await;
        assert_eq!(done.result.unwrap_err().kind(), "malformed");
        assert_eq!(done.completions.len(), 3);
    }

    #[tokio::test]
    async fn a_cut_off_answer_is_never_read_though_it_holds_valid_json() {
        let cut = ModelError::Truncated {
            max_tokens: 50,
            completion: Box::new(completion(r#"{"n": 3}"#)),
        };
        let script = Script::new([Err(cut)]);
        let done = ask(&script, 2).await;
        assert_eq!(done.result.unwrap_err().kind(), "truncated");
        assert_eq!(done.completions.len(), 1, "it was paid for");
    }
}
