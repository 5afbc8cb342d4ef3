//! The generator: writes a new example, the harder the level the more aimed at what the current prompt does not teach.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

use super::{Turn, fallback, wrong_answer};
use crate::draw::Rng;
use crate::families::{self, Known, Level, SkillSet};
use crate::request::plain;

/// How many questions are drafted at most before the best of them is taken.
const DRAFTS: usize = 80;

/// An example as (input, target).
type Pair = (String, String);

/// The reply: `input`, `target`, `rationale`.
pub(super) fn example(turn: &Turn<'_>) -> Map<String, Value> {
    let shown = pairs(turn, "examples");
    let past = pairs(turn, "past synthetic examples");
    let mut rng = turn.draw.rng("generator");
    let like = shown
        .iter()
        .chain(&past)
        .map(|(input, _)| input.as_str())
        .find(|input| families::find(input).is_some());
    let ((input, target), rationale) = match like.and_then(|like| Some((like, families::find(like)?.0))) {
        Some((like, known)) => {
            let input = best_question(turn, known, like, &[&shown[..], &past].concat(), &mut rng);
            let right = known.solve(&input).unwrap_or_default();
            let errs = turn.draw.chance("label error", turn.rates.label_error);
            let target = if errs {
                wrong_answer(known, &input, &right, &turn.draw, "wrong label")
            } else {
                right
            };
            let rationale = format!(
                "Working through a question of the kind {} leads to {target}.",
                known.name()
            );
            ((input, target), rationale)
        }
        None => {
            let made = variation(turn, &shown, &past, &mut rng);
            (made, "The words of the text decide.".to_owned())
        }
    };
    let input = match columns(turn) {
        Some(columns) => in_columns(&columns, &input),
        None => json!(input),
    };
    [
        ("input", input),
        ("target", json!(target)),
        ("rationale", json!(rationale)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The columns of the first example, where inputs have columns.
fn columns(turn: &Turn<'_>) -> Option<Map<String, Value>> {
    let shown = turn.sections.json_lines("examples");
    shown.first()?.get("input")?.as_object().cloned()
}

/// A question in the columns of an example: paragraph by paragraph, the last column takes the rest.
fn in_columns(like: &Map<String, Value>, question: &str) -> Value {
    let mut parts = question
        .splitn(like.len().max(1), "\n\n")
        .collect::<Vec<_>>()
        .into_iter()
        .rev();
    let mut filled: Vec<(String, Value)> = like
        .keys()
        .rev()
        .map(|name| (name.clone(), json!(parts.next().unwrap_or(""))))
        .collect();
    filled.reverse();
    Value::Object(filled.into_iter().collect())
}

fn pairs(turn: &Turn<'_>, title: &str) -> Vec<Pair> {
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(plain(&other.to_string())),
        None => None,
    };
    turn.sections
        .json_lines(title)
        .iter()
        .filter_map(|value| Some((text(value, "input")?, text(value, "target")?)))
        .collect()
}

/// "level 3 of 10", or "extreme".
fn level(turn: &Turn<'_>) -> Level {
    let said = turn.sections.get("difficulty").to_lowercase();
    let numbers: Vec<u32> = said
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [at, of, ..] => Level::new(at, of),
        [at] => Level::new(at, 10),
        [] if said.contains("extreme") => Level::new(10, 10),
        [] => Level::new(5, 10),
    }
}

/// Drafts questions and takes the first that is new, has the wanted answer and shows the weakness aimed at; else the best.
fn best_question(turn: &Turn<'_>, known: &Known, like: &str, seen: &[Pair], rng: &mut Rng) -> String {
    let level = level(turn);
    let wanted = turn.sections.get("target answer");
    let taught = known.taught(turn.sections.get("current prompt"));
    let aim = aim(turn, known, taught, level);
    let mut best: Option<(u8, String)> = None;
    for _ in 0..DRAFTS {
        let question = known.generate(rng, level, like);
        let Some(answer) = known.solve(&question) else { continue };
        let new = !seen.iter().any(|(input, _)| *input == question);
        let fits = wanted.is_empty() || wanted == answer;
        let errs = |taught: SkillSet| known.weak_solve(&question, taught).as_deref() != Some(&answer);
        let tells = aim.is_none_or(|skill| errs(taught) && errs(SkillSet::ALL.without(skill)));
        let worth = 4 * u8::from(new) + 2 * u8::from(fits) + u8::from(tells);
        if best.as_ref().is_none_or(|(most, _)| worth > *most) {
            best = Some((worth, question));
        }
        if worth == 7 {
            break;
        }
    }
    best.map_or_else(|| known.generate(rng, level, like), |(_, question)| question)
}

/// The untaught skill that the question shall call for; at low levels often none. Known weaknesses go first.
fn aim(turn: &Turn<'_>, known: &Known, taught: SkillSet, level: Level) -> Option<usize> {
    if !turn.draw.chance("aims", 0.35 + 0.65 * level.fraction()) {
        return None;
    }
    let missing: Vec<usize> = known.missing(taught).collect();
    let named = known.mentioned(turn.sections.get("known weaknesses"));
    let named: Vec<usize> = missing.iter().copied().filter(|skill| named.has(*skill)).collect();
    let pool = if !named.is_empty() && turn.draw.chance("named weakness", 0.5) {
        named
    } else {
        missing
    };
    pool.get(turn.draw.below("aim", pool.len())).copied()
}

/// A variation of the examples of a task of no known family.
fn variation(turn: &Turn<'_>, shown: &[Pair], past: &[Pair], rng: &mut Rng) -> Pair {
    let labels = labels(turn, shown);
    let wanted = turn.sections.get("target answer");
    let mut made = String::new();
    for _ in 0..DRAFTS {
        made = compose(shown, turn.sections.get("passage"), rng);
        let answer = target_of(&made, &labels);
        let new = !shown.iter().chain(past).any(|(input, _)| *input == made);
        if new && (wanted.is_empty() || wanted == answer) {
            return (made, answer);
        }
    }
    let answer = target_of(&made, &labels);
    (made, answer)
}

fn target_of(question: &str, labels: &[String]) -> String {
    if labels.is_empty() {
        fallback::open_answer(question)
    } else {
        fallback::classify(question, labels)
    }
}

/// The labels as told, else the targets of the examples where they repeat.
fn labels(turn: &Turn<'_>, shown: &[Pair]) -> Vec<String> {
    let mut told: Vec<String> = turn
        .sections
        .get("labels")
        .lines()
        .map(|line| line.trim_start_matches("- ").trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect();
    told.sort();
    if told.len() > 1 {
        told
    } else {
        fallback::labels_in(turn.sections.get("answer format"))
    }
    .into_iter()
    .filter(|label| label.len() <= 40 || shown.iter().any(|(_, target)| target == label))
    .collect()
}

/// A text made of sentences of two examples, an opening, and other numbers.
fn compose(shown: &[Pair], passage: &str, rng: &mut Rng) -> String {
    const OPENINGS: &[&str] = &[
        "",
        "This happened last week.",
        "A short report.",
        "Here is what I saw.",
        "To be plain about it:",
        "My impression was mixed at first.",
        "A colleague told me about it.",
        "I waited before writing this.",
        "It was my second time.",
    ];
    const CLOSINGS: &[&str] = &[
        "",
        "I would gladly come back.",
        "It was a waste of time.",
        "Everything was excellent.",
        "The service was slow and rude.",
        "That is all there is to say.",
        "Nothing else happened.",
        "My friends were pleased.",
        "It arrived broken and late.",
    ];
    let sentences = |rng: &mut Rng| -> Vec<String> {
        let text = shown.choose(rng).map_or("A plain note.", |(input, _)| input.as_str());
        text.split_inclusive(['.', '!', '?', '\n'])
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()
    };
    let (one, other) = (sentences(rng), sentences(rng));
    let mut parts: Vec<String> = Vec::new();
    parts.push(OPENINGS.choose(rng).map_or_else(String::new, |text| (*text).to_owned()));
    parts.extend(one.iter().take(1 + one.len() / 2).map(|part| other_numbers(part, rng)));
    parts.extend(
        other
            .last()
            .map(|part| other_numbers(part, rng))
            .filter(|part| !parts.contains(part)),
    );
    parts.extend(
        passage
            .split('.')
            .next()
            .filter(|text| !text.trim().is_empty())
            .map(|text| format!("{}.", text.trim())),
    );
    parts.push(CLOSINGS.choose(rng).map_or_else(String::new, |text| (*text).to_owned()));
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn other_numbers(text: &str, rng: &mut Rng) -> String {
    let change = |word: &str, rng: &mut Rng| match word.parse::<u32>() {
        Ok(_) => rng.random_range(2..60u32).to_string(),
        Err(_) => word.to_owned(),
    };
    text.split(' ')
        .map(|word| change(word, rng))
        .collect::<Vec<_>>()
        .join(" ")
}
