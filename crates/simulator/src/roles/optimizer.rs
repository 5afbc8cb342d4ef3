//! The optimizer: analyses errors, recommends what to teach, and rewrites prompts.
//!
//! It finds out which skills explain the failures by trying them on the weak solver, and it speaks of them in plain words, from which
//! the next step has to read them again.

use serde_json::Value;

use super::{Turn, rewrite};
use crate::families::{self, Known, SkillSet};
use crate::request::plain;

/// Sections that hold material and no advice.
const MATERIAL: &[&str] = &[
    "task",
    "answer format",
    "labels",
    "current prompt",
    "protected text",
    "placeholders",
    "fixed messages",
    "failed examples",
    "tried before",
];

const VAGUE: &[&str] = &[
    "The model seems to be careless; it should think harder about such questions.",
    "The answers are often not right, so the prompt should ask for more attention and precision.",
    "Try to make the prompt clearer and more encouraging.",
];

/// A failed question with the answer that counts as right.
struct Failure {
    question: String,
    correct: String,
}

/// A step that it can carry out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Analysis,
    Recommendation,
    Refinement,
    Paraphrase,
}

impl Step {
    /// The step of a request: the schema's name states it, and its properties where it has several. Only these names are known.
    fn of(schema: &str, property: &str) -> Option<Self> {
        match (schema, property) {
            (_, "analysis") => Some(Self::Analysis),
            (_, "recommendation") => Some(Self::Recommendation),
            ("error_analysis", _) => Some(Self::Analysis),
            ("recommendation", _) => Some(Self::Recommendation),
            ("paraphrase", _) | (_, "paraphrase") => Some(Self::Paraphrase),
            ("refinement", _) | (_, "prompt") => Some(Self::Refinement),
            _ => None,
        }
    }
}

/// The text for a property of this name.
pub(super) fn text(turn: &Turn<'_>, property: &str) -> String {
    match Step::of(turn.request.schema_name().unwrap_or_default(), property) {
        Some(Step::Analysis) => analysis(turn),
        Some(Step::Recommendation) => recommendation(turn),
        Some(Step::Refinement) => refinement(turn),
        Some(Step::Paraphrase) => rewrite::paraphrase(turn, known(turn, &failures(turn))),
        None => "The simulated optimizer does not know this step.".to_owned(),
    }
}

/// Names the mistakes that explain the failures.
fn analysis(turn: &Turn<'_>) -> String {
    let failures = failures(turn);
    if vague(turn) {
        return vague_text(turn);
    }
    let Some(known) = known(turn, &failures) else {
        return unknown_analysis();
    };
    let blamed = blamed(turn, known, &failures);
    if blamed.is_empty() {
        return "No general mistake explains these failures: working the questions out leads to other answers than those given as \
                correct, or the prompt already says what is needed."
            .to_owned();
    }
    let entries = blamed.iter().filter_map(|skill| known.skills().get(*skill)).enumerate();
    let lines: Vec<String> = entries
        .map(|(place, skill)| format!("{}. {} The prompt says nothing about it.", place + 1, skill.symptom))
        .collect();
    lines.join("\n")
}

/// Says which procedures to add.
fn recommendation(turn: &Turn<'_>) -> String {
    if vague(turn) {
        return vague_text(turn);
    }
    let failures = failures(turn);
    let Some(known) = known(turn, &failures) else {
        return "Name all possible answers in the prompt, and ask for exactly one of them and nothing else.".to_owned();
    };
    let advised = advised(turn, known, &failures);
    let lines: Vec<String> = known
        .skills()
        .iter()
        .enumerate()
        .filter(|(index, _)| advised.has(*index))
        .map(|(_, skill)| format!("- Add this rule: {}", rewrite::wording(turn, skill.name, skill.rules)))
        .collect();
    if lines.is_empty() {
        vague_text(turn)
    } else {
        lines.join("\n")
    }
}

/// The whole new prompt.
fn refinement(turn: &Turn<'_>) -> String {
    let failures = failures(turn);
    let known = known(turn, &failures);
    let answers: Vec<&str> = failures.iter().map(|failure| failure.correct.as_str()).collect();
    let Some(known) = known else {
        return rewrite::with_labels(turn, &answers);
    };
    let taught = known.taught(turn.sections.get("current prompt"));
    let advice = turn.sections.others(MATERIAL);
    let mut added = known.mentioned(&advice);
    if added.is_empty() {
        added = guess(turn, known, taught);
    }
    let harmful = turn.draw.chance("harmful advice", turn.rates.harmful_advice)
        || (known.mentioned(&advice).is_empty() && turn.draw.chance("blind harm", 0.2));
    rewrite::refined(turn, known, added, harmful)
}

/// Without any direction, an edit hits upon one of the missing rules now and then.
fn guess(turn: &Turn<'_>, known: &Known, taught: SkillSet) -> SkillSet {
    let missing: Vec<usize> = known.missing(taught).collect();
    match missing.get(turn.draw.below("guess", missing.len())) {
        Some(skill) if turn.draw.chance("lucky guess", 0.2) => SkillSet::NONE.with(*skill),
        _ => SkillSet::NONE,
    }
}

/// The skills that an analysis in the request speaks of; without one, those that explain the failures.
fn advised(turn: &Turn<'_>, known: &Known, failures: &[Failure]) -> SkillSet {
    let told = known.mentioned(&turn.sections.others(MATERIAL));
    let tried_in_vain = !turn.sections.get("tried before").is_empty();
    let found = blamed(turn, known, failures)
        .into_iter()
        .fold(SkillSet::NONE, SkillSet::with);
    match (told.is_empty(), tried_in_vain) {
        (false, false) => told,
        (false, true) => told.union(found),
        (true, _) if turn.sections.get("error analysis").is_empty() => found,
        (true, _) => SkillSet::NONE,
    }
}

/// The untaught skills that explain most failures, the most telling first: two, and one more for each revision tried in vain.
fn blamed(turn: &Turn<'_>, known: &Known, failures: &[Failure]) -> Vec<usize> {
    let taught = known.taught(turn.sections.get("current prompt"));
    let missing: Vec<usize> = known.missing(taught).collect();
    let mut blame: Vec<(u32, usize)> = missing.iter().map(|skill| (0, *skill)).collect();
    for failure in failures {
        let Some((_, range)) = families::find(&failure.question) else {
            continue;
        };
        let question = failure.question.get(range).unwrap_or_default();
        let mends = |taught: SkillSet| known.weak_solve(question, taught).as_deref() == Some(failure.correct.as_str());
        let mending = subsets(&missing)
            .into_iter()
            .find(|subset| mends(taught.union(*subset)))
            .unwrap_or_default();
        for (count, skill) in &mut blame {
            *count += u32::from(mending.has(*skill));
        }
    }
    blame.retain(|(count, _)| *count > 0);
    blame.sort_by_key(|(count, skill)| (std::cmp::Reverse(*count), *skill));
    let most = 2 + turn.sections.get("tried before").lines().count();
    blame.into_iter().take(most).map(|(_, skill)| skill).collect()
}

/// All sets of these skills, the small ones first.
fn subsets(skills: &[usize]) -> Vec<SkillSet> {
    let mut sets = vec![SkillSet::NONE];
    for skill in skills {
        let with: Vec<SkillSet> = sets.iter().map(|set| set.with(*skill)).collect();
        sets.extend(with);
    }
    sets.sort_by_key(|set| set.len());
    sets
}

/// The failed examples, those of revisions tried before among them.
fn failures(turn: &Turn<'_>) -> Vec<Failure> {
    let tried = turn.sections.json_lines("tried before");
    let earlier = tried
        .iter()
        .filter_map(|tried| tried.get("failed")?.as_array())
        .flatten()
        .cloned();
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let all: Vec<Value> = turn
        .sections
        .json_lines("failed examples")
        .into_iter()
        .chain(earlier)
        .collect();
    all.iter()
        .filter_map(|value| {
            Some(Failure {
                question: plain(&text(value, "question")?),
                correct: text(value, "correct_answer")?,
            })
        })
        .collect()
}

/// The family of the failures; without any, of a question somewhere in the request.
fn known(turn: &Turn<'_>, failures: &[Failure]) -> Option<&'static Known> {
    let failed = failures.iter().find_map(|failure| families::find(&failure.question));
    let found = failed.or_else(|| families::find(&turn.sections.others(&[])));
    found
        .map(|(known, _)| known)
        .or_else(|| rewrite::family_of_rules(turn.sections.get("current prompt")))
}

fn vague(turn: &Turn<'_>) -> bool {
    turn.draw.chance("vague advice", turn.rates.vague_advice)
}

fn vague_text(turn: &Turn<'_>) -> String {
    VAGUE
        .get(turn.draw.below("vague words", VAGUE.len()))
        .copied()
        .unwrap_or_default()
        .to_owned()
}

fn unknown_analysis() -> String {
    "1. The answers do not have the form of the correct ones, since the prompt does not name the possible answers."
        .to_owned()
}
