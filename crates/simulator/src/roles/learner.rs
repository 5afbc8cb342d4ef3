//! The learner: answers a question as well as the prompt has taught it to.

use std::borrow::Cow;

use super::{Turn, fallback, style, wrong_answer};
use crate::families::{self, Known, SkillSet};
use crate::request::ChatMessage;
use crate::settings::Ability;

/// The learner's reply.
pub(super) fn answer(turn: &Turn<'_>) -> String {
    let texts: Vec<String> = turn.request.messages.iter().map(ChatMessage::text).collect();
    let Some((at, known, range)) = texts
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, text)| families::find(text).map(|(known, range)| (at, known, range)))
    else {
        return style::plain(&fallback::answer(turn, &texts), turn);
    };
    let asked = texts.get(at).map_or("", String::as_str);
    let question = asked.get(range.clone()).unwrap_or_default();
    let prompt = prompt_around(&texts, at, range);
    let taught = if turn.ability == Ability::Strong {
        SkillSet::ALL
    } else {
        known.taught(&prompt)
    };
    match known.weak_solve(question, taught) {
        Some(said) => {
            let said = with_noise(turn, known, question, said);
            style::phrase(&said, known.shape(), &prompt, turn)
        }
        None => style::plain("I am not sure.", turn),
    }
}

/// Everything but the question: what may have taught the learner something.
fn prompt_around(texts: &[String], at: usize, question: std::ops::Range<usize>) -> String {
    let mut prompt = String::new();
    for (index, text) in texts.iter().enumerate() {
        let rest: Cow<'_, str> = if index == at {
            let (before, behind) = (
                text.get(..question.start).unwrap_or(""),
                text.get(question.end..).unwrap_or(""),
            );
            Cow::Owned(format!("{before}\n{behind}"))
        } else {
            Cow::Borrowed(text)
        };
        if !rest.trim().is_empty() {
            prompt.push_str(rest.trim());
            prompt.push('\n');
        }
    }
    prompt
}

fn with_noise(turn: &Turn<'_>, known: &Known, question: &str, said: String) -> String {
    if turn.draw.chance("learner noise", turn.rates.learner_noise) {
        wrong_answer(known, question, &said, &turn.draw, "learner slip")
    } else {
        said
    }
}
