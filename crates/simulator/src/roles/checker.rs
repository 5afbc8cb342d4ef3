//! The checker: solves a question blind.

use serde_json::{Map, Value, json};

use super::{Turn, fallback, wrong_answer};
use crate::families;
use crate::request::plain;

/// The reply: `working`, `answer`.
pub(super) fn solution(turn: &Turn<'_>) -> Map<String, Value> {
    let (working, answer) = solve(turn);
    [("working", working), ("answer", answer)]
        .into_iter()
        .map(|(key, text)| (key.to_owned(), json!(text)))
        .collect()
}

fn solve(turn: &Turn<'_>) -> (String, String) {
    let asked = turn.sections.get("question");
    let whole = if asked.is_empty() {
        turn.request.said_by(&["user"])
    } else {
        plain(asked)
    };
    let errs = turn.draw.chance("checker error", turn.rates.checker_error);
    if let Some((known, range)) = families::find(&whole) {
        let question = whole.get(range).unwrap_or_default();
        return match known.solve(question) {
            Some(right) => {
                let answer = if errs {
                    wrong_answer(known, question, &right, &turn.draw, "checker slip")
                } else {
                    right
                };
                (
                    format!(
                        "I applied the rules of {} part by part and came to {answer}.",
                        known.name()
                    ),
                    answer,
                )
            }
            None => (
                "The question cannot be solved from what it says.".to_owned(),
                "unsolvable".to_owned(),
            ),
        };
    }
    let answer = unknown(turn, &whole);
    (format!("The words of the text speak for {answer}."), answer)
}

/// The answer to a question of no known family, by the rules that the generator uses as well.
pub(super) fn unknown(turn: &Turn<'_>, question: &str) -> String {
    let told: Vec<String> = turn
        .sections
        .get("labels")
        .lines()
        .map(|line| line.trim_start_matches("- ").trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect();
    let mut labels = if told.len() > 1 {
        told
    } else {
        fallback::labels_in(turn.sections.get("answer format"))
    };
    labels.sort();
    if labels.len() > 1 {
        fallback::classify(question, &labels)
    } else {
        fallback::open_answer(question)
    }
}
