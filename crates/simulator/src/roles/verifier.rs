//! The verifier: says whether a question is sound and its claimed answer right.

use serde_json::{Map, Value, json};

use super::{Turn, checker, wrong_answer};
use crate::answers;
use crate::families::{self, Shape};
use crate::request::plain;

/// The reply: `verdict`, `answer`, `reasons`.
pub(super) fn verdict(turn: &Turn<'_>) -> Map<String, Value> {
    let (verdict, answer, reasons) = judge(turn);
    let mut object = Map::new();
    object.insert("verdict".into(), json!(verdict));
    object.insert("answer".into(), json!(answer));
    object.insert("reasons".into(), json!(reasons));
    object
}

fn judge(turn: &Turn<'_>) -> (&'static str, String, String) {
    let question = plain(turn.sections.get("question"));
    let question = question.as_str();
    let claim = turn.sections.get("claimed answer");
    let errs = turn.draw.chance("verifier error", turn.rates.verifier_error);
    let Some((known, range)) = families::find(question) else {
        let own = checker::unknown(turn, question);
        return weigh(answers::agree(claim, &own) != errs, own);
    };
    let question = question.get(range).unwrap_or_default();
    let Some(right) = known.solve(question) else {
        return (
            "unsolvable",
            String::new(),
            "The question does not lead to exactly one answer.".to_owned(),
        );
    };
    let same = match known.shape() {
        Shape::Words => claim.split_whitespace().eq(right.split_whitespace()),
        _ => answers::agree(claim, &right),
    };
    match (same, errs) {
        (same, false) => weigh(same, right),
        (true, true) => weigh(
            false,
            wrong_answer(known, question, &right, &turn.draw, "verifier slip"),
        ),
        (false, true) => weigh(true, claim.to_owned()),
    }
}

fn weigh(valid: bool, own: String) -> (&'static str, String, String) {
    if valid {
        (
            "valid",
            own,
            "The question is clear, and solving it leads to the claimed answer.".to_owned(),
        )
    } else {
        let reasons = format!("Solving the question leads to {own}, not to the claimed answer.");
        ("wrong_label", own, reasons)
    }
}
