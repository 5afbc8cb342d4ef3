//! The verifier: judges synthetic examples, and grades answers where the metric is `judge`.
//!
//! Both verdicts are constrained: a word of a fixed few, or yes and no. What it judges is fenced, so that a question that claims to be
//! right stays a question.

use serde_json::{Value, json};
use sipdo_agent::role::{
    Form, InvalidReply, Material, ModelOutput, Overhead, Plan, Request, RoleAgent, SECTION_BYTES, explaining, not_mine,
    required, wrong_form,
};
use sipdo_domain::{
    Ask, Grade, GradeRequest, JudgeRequest, Measured, NotMeasured, Reason, Reply, Role, Verdict, VerdictKind, fence,
};
use sipdo_llm::{Message, Schema, SchemaError};
use std::sync::Arc;

/// Longest answer that is accepted, in characters.
const MAX_ANSWER: usize = 8_000;
/// Longest reasons that a reply holds, in characters.
const MAX_REASONS: usize = 16_000;

/// Most sections of a request.
const SECTIONS: usize = 7;

const JUDGE: &str = "\
You are a strict reviewer of questions and their answers. You are given a task, one question of it, the working and the answer of \
somebody who solved it without knowing the claimed answer, and the claimed answer. Decide whether question and claimed answer can \
be used to test others.

Solve the question yourself first. Then look at the working: is each step right, and is none missing? It is evidence, not proof, and \
it may be wrong, as the claimed answer may be. Then look at the question: can it be read in more than one way, does it lack \
something, does it contradict itself or plain facts, does it break the task's form?

Your verdict is one of:
- valid: the question is sound and the claimed answer is right;
- wrong_label: the question is sound, but the claimed answer is not the right one;
- ambiguous: more than one answer can be defended;
- unsolvable: no answer can be found from what is given.
When in doubt between valid and another, do not say valid.";

const JUDGE_FORM: &str = "Reply with one JSON object and nothing else: {\"reasons\": your own solution and what you found, \
\"answer\": your own answer alone, in the task's form (empty if there is none), \
\"verdict\": \"valid\", \"wrong_label\", \"ambiguous\" or \"unsolvable\"}.";

const GRADE: &str = "\
You are a fair grader. You are given a task, one question of it, a reference answer that is right, and an answer to be graded. Decide \
whether the answer is right: it must say what the reference says in everything that the question asks. Other words, another order \
and more detail are no faults; a contradiction, a missing part or an answer to another question is one. Where criteria are \
given, they decide. The length and the confidence of an answer say nothing about it.";

const GRADE_FORM: &str = "Reply with one JSON object and nothing else: {\"reason\": in a sentence or two, why, \
\"correct\": true or false}.";

/// The role. Answers [`Ask::Judge`] and [`Ask::Grade`].
#[derive(Debug)]
pub struct Verifier {
    verdict: Arc<Schema>,
    grade: Arc<Schema>,
}

impl Verifier {
    /// Prepares the schemas of its answers.
    ///
    /// # Errors
    /// Never with the schemas that are written here.
    pub fn new() -> Result<Self, SchemaError> {
        // Reasons stand first in both, so that a model that writes in this order reasons before it decides.
        let verdict = Schema::new(
            "verdict",
            json!({
                "type": "object",
                "properties": {
                    "reasons": {"type": "string", "description": "Its own solution, and what was found"},
                    "answer": {"type": "string", "description": "Its own answer alone, in the task's form"},
                    "verdict": {"type": "string", "enum": ["valid", "wrong_label", "ambiguous", "unsolvable"]},
                },
                "required": ["reasons", "answer", "verdict"],
                "additionalProperties": false,
            }),
        )?;
        let grade = Schema::new(
            "grade",
            json!({
                "type": "object",
                "properties": {
                    "reason": {"type": "string", "description": "Why, in a sentence or two"},
                    "correct": {"type": "boolean"},
                },
                "required": ["reason", "correct"],
                "additionalProperties": false,
            }),
        )?;
        Ok(Self {
            verdict: Arc::new(verdict),
            grade: Arc::new(grade),
        })
    }
}

impl RoleAgent for Verifier {
    fn role(&self) -> Role {
        Role::Verifier
    }

    fn overhead(&self) -> Overhead {
        let words = (JUDGE.len() + JUDGE_FORM.len()).max(GRADE.len() + GRADE_FORM.len());
        let instructions = words + fence::NOTICE.len() + SECTIONS * SECTION_BYTES;
        Overhead::json(instructions, [self.verdict.as_ref(), self.grade.as_ref()])
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        match ask {
            Ask::Judge(request) => Ok(model_plan([JUDGE, JUDGE_FORM], judge_material(request), &self.verdict)),
            Ask::Grade(request) => Ok(model_plan([GRADE, GRADE_FORM], grade_material(request), &self.grade)),
            other => Err(not_mine(Role::Verifier, other)),
        }
    }

    fn read(&self, ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        let ModelOutput::Json(value) = output else {
            return Err(wrong_form().into());
        };
        match ask {
            Ask::Judge(_) => Ok(verdict(&value)?.into()),
            Ask::Grade(_) => Ok(grade(&value)?.into()),
            other => Err(not_mine(Role::Verifier, other).into()),
        }
    }
}

fn model_plan([instruction, form]: [&str; 2], user: String, schema: &Arc<Schema>) -> Plan {
    let system = format!("{instruction}\n\n{}\n\n{form}", fence::NOTICE);
    Plan::Model(Request {
        messages: vec![Message::system(system), Message::user(user)],
        form: Form::Json(Arc::clone(schema)),
        temperature: 0.0,
    })
}

fn judge_material(request: &JudgeRequest) -> String {
    Material::of(&request.task)
        .section("Question", &request.input)
        .section("Checker's working", &request.working)
        .section("Checker's answer", &request.checked)
        .section("Claimed answer", &request.claim)
        .finish()
}

fn grade_material(request: &GradeRequest) -> String {
    Material::new()
        .section("Task", &request.task.description)
        .section("Question", &request.input)
        .section("Reference answer", &request.target)
        .section("Answer", &request.answer)
        .unless_empty("Criteria", &request.criteria)
        .finish()
}

fn verdict(value: &Value) -> Measured<Verdict> {
    let verdict = match value.get("verdict").and_then(Value::as_str) {
        Some("valid") => VerdictKind::Valid,
        Some("wrong_label") => VerdictKind::WrongLabel,
        Some("ambiguous") => VerdictKind::Ambiguous,
        Some("unsolvable") => VerdictKind::Unsolvable,
        _ => {
            return Err(NotMeasured::new(
                Reason::Malformed,
                "`verdict` is none of the four words",
            ));
        }
    };
    // Only where an answer can be found does the verdict need one.
    let answer = match verdict {
        VerdictKind::Valid | VerdictKind::WrongLabel => required(value, "answer", MAX_ANSWER)?,
        VerdictKind::Ambiguous | VerdictKind::Unsolvable => explaining(value, "answer", MAX_ANSWER),
    };
    Ok(Verdict {
        verdict,
        answer,
        reasons: explaining(value, "reasons", MAX_REASONS),
    })
}

fn grade(value: &Value) -> Measured<Grade> {
    let correct = value.get("correct").and_then(Value::as_bool);
    let correct = correct.ok_or_else(|| NotMeasured::new(Reason::Malformed, "`correct` is neither true nor false"))?;
    Ok(Grade {
        correct,
        reason: explaining(value, "reason", MAX_REASONS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use sipdo_domain::TaskBrief;
    use sipdo_protocol::pb;

    fn task() -> TaskBrief {
        TaskBrief {
            description: "Count.".into(),
            answer_format: "a number".into(),
            labels: vec!["2".into(), "3".into()],
        }
    }

    fn judge_ask() -> Ask {
        Ask::Judge(JudgeRequest {
            task: task(),
            input: "a b c".into(),
            claim: "3".into(),
            working: "one two three".into(),
            checked: "3".into(),
        })
    }

    fn grade_ask(criteria: &str) -> Ask {
        Ask::Grade(GradeRequest {
            task: task(),
            input: "a b c".into(),
            target: "3".into(),
            answer: "three".into(),
            criteria: criteria.into(),
        })
    }

    fn asked(ask: &Ask) -> (Vec<String>, String, String) {
        let Ok(Plan::Model(request)) = Verifier::new().unwrap().plan(ask) else {
            panic!("a model is asked")
        };
        let titles = request.messages[1]
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(str::to_owned);
        let Form::Json(schema) = &request.form else {
            panic!("a JSON object is asked for")
        };
        (
            titles.collect(),
            schema.name().to_owned(),
            request.messages[0].text.clone(),
        )
    }

    #[test]
    fn a_case_is_laid_out_with_the_claim_last() {
        let (titles, schema, system) = asked(&judge_ask());
        let expected = [
            "Task",
            "Answer format",
            "Labels",
            "Question",
            "Checker's working",
            "Checker's answer",
            "Claimed answer",
        ];
        assert_eq!(
            (titles, schema.as_str()),
            (expected.map(str::to_owned).to_vec(), "verdict")
        );
        assert!(system.contains(fence::NOTICE));
    }

    #[test]
    fn a_grading_has_criteria_only_where_the_user_wrote_some() {
        let (titles, schema, _) = asked(&grade_ask(""));
        assert_eq!(
            (titles, schema.as_str()),
            (
                ["Task", "Question", "Reference answer", "Answer"]
                    .map(str::to_owned)
                    .to_vec(),
                "grade"
            )
        );
        assert_eq!(
            asked(&grade_ask("Spelling counts.")).0.last().map(String::as_str),
            Some("Criteria")
        );
    }

    #[test]
    fn every_verdict_is_read_and_no_other_word() {
        let verifier = Verifier::new().unwrap();
        let said = |verdict: &str, answer: &str| {
            ModelOutput::Json(json!({"reasons": "r", "answer": answer, "verdict": verdict}))
        };
        for (word, verdict) in [
            ("valid", VerdictKind::Valid),
            ("wrong_label", VerdictKind::WrongLabel),
            ("ambiguous", VerdictKind::Ambiguous),
            ("unsolvable", VerdictKind::Unsolvable),
        ] {
            let reply = verifier.read(&judge_ask(), said(word, "3")).unwrap();
            assert_eq!(
                reply,
                Reply::Verdict(Verdict {
                    verdict,
                    answer: "3".into(),
                    reasons: "r".into()
                })
            );
        }
        assert_eq!(
            verifier.read(&judge_ask(), said("VALID!", "3")).unwrap_err().why.reason,
            Reason::Malformed
        );
        assert!(verifier.read(&judge_ask(), said("unsolvable", "")).is_ok());
        assert_eq!(
            verifier.read(&judge_ask(), said("valid", "")).unwrap_err().why.reason,
            Reason::Empty
        );
    }

    #[test]
    fn a_grade_is_read_by_what_was_asked() {
        let verifier = Verifier::new().unwrap();
        let reply = verifier
            .read(
                &grade_ask(""),
                ModelOutput::Json(json!({"reason": "same", "correct": true})),
            )
            .unwrap();
        assert_eq!(
            reply,
            Reply::Grade(Grade {
                correct: true,
                reason: "same".into()
            })
        );
        let unfit = verifier
            .read(&grade_ask(""), ModelOutput::Json(json!({"reason": "same"})))
            .unwrap_err();
        assert_eq!(unfit.why.reason, Reason::Malformed);
    }

    #[test]
    fn a_request_is_never_larger_than_the_role_states() {
        let verifier = Verifier::new().unwrap();
        for ask in [judge_ask(), grade_ask(""), grade_ask("In full.")] {
            let size = pb::Ask::from(ask.clone()).encoded_len();
            let Ok(Plan::Model(request)) = verifier.plan(&ask) else {
                panic!("a model is asked")
            };
            assert_eq!(verifier.overhead().check(&request, size), Ok(()));
        }
    }
}
