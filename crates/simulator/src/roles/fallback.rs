//! Questions of no known family: deterministic rules of thumb, so that any task runs through.
//!
//! With labels to choose from, a keyword classifier; else a made-up but stable answer. All roles use the same rules, so they agree.

use super::Turn;
use crate::draw::{fnv, mix};

const GOOD: &str = "good great love excellent happy nice best wonderful enjoy delicious fast friendly helpful perfect recommend amazing \
fantastic pleased superb gladly thanks brilliant comfortable clean worth glad impressed";
const BAD: &str = "bad terrible hate awful poor worst slow broken rude boring disappoint refund never dirty waste horrible problem fail \
late cold noisy crash angry annoyed defective unusable cheap wrong";

/// What the learner says.
pub(super) fn answer(turn: &Turn<'_>, texts: &[String]) -> String {
    let question = texts.last().map_or("", String::as_str);
    // Labels are looked for from the end, but the prompt may stand before or around the question.
    let labels = texts
        .iter()
        .rev()
        .map(|text| labels_in(text))
        .find(|labels| labels.len() > 1)
        .unwrap_or_default();
    match (labels.is_empty(), question.trim().is_empty()) {
        (false, _) => classify(question, &labels),
        (true, true) => "I am not sure.".to_owned(),
        (true, false) if turn.draw.below("unsure", 3) == 0 => "I am not sure.".to_owned(),
        (true, false) => open_answer(question),
    }
}

/// The labels that a text offers: "one of: a, b", "labels: a, b or c", "either a or b"; sorted, so that all readers agree.
pub(super) fn labels_in(text: &str) -> Vec<String> {
    const LEADS: &[&str] = &[
        "one of:",
        "labels:",
        "one of the labels",
        "one of the following:",
        "either ",
        "one of ",
    ];
    let lower = text.to_lowercase();
    for lead in LEADS {
        let Some(at) = lower.rfind(lead) else { continue };
        let rest = text.get(at + lead.len()..).unwrap_or_default();
        let line = rest.split(['\n', '.', ';']).next().unwrap_or_default();
        let mut labels: Vec<String> = line
            .replace(" or ", ",")
            .split([',', '|', '/'])
            .map(|label| {
                label
                    .trim()
                    .trim_matches(['"', '`', '\'', ':', '*', '(', ')'])
                    .trim()
                    .to_owned()
            })
            .filter(|label| !label.is_empty() && label.len() <= 40)
            .collect();
        labels.sort();
        labels.dedup();
        if labels.len() > 1 {
            return labels;
        }
    }
    Vec::new()
}

/// The label that the words of the text speak for.
pub(super) fn classify(text: &str, labels: &[String]) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 2)
        .map(str::to_lowercase)
        .collect();
    let named = labels.iter().find(|label| words.contains(&label.to_lowercase()));
    if let Some(named) = named {
        return named.clone();
    }
    let mood = mood(&words);
    let moods = [("pos", mood > 0), ("neg", mood < 0), ("neu", mood == 0)];
    let wanted = moods.iter().find(|(_, holds)| *holds).map_or("neu", |(start, _)| start);
    let sentiment = labels.iter().any(|label| label.to_lowercase().starts_with("pos"));
    let by_mood = labels
        .iter()
        .find(|label| sentiment && label.to_lowercase().starts_with(wanted));
    let score = |label: &&String| {
        words
            .iter()
            .map(|word| mix(fnv([word.as_bytes(), label.as_bytes()])) % 16)
            .sum::<u64>()
    };
    by_mood
        .or_else(|| labels.iter().max_by_key(score))
        .cloned()
        .unwrap_or_default()
}

/// A stable answer to an open question.
pub(super) fn open_answer(question: &str) -> String {
    (mix(fnv([question.trim().as_bytes()])) % 100).to_string()
}

fn mood(words: &[String]) -> i32 {
    let count = |list: &str| {
        let list: Vec<&str> = list.split_whitespace().collect();
        words
            .iter()
            .filter(|word| list.iter().any(|cue| word.starts_with(cue)))
            .count() as i32
    };
    count(GOOD) - count(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_words() {
        assert_eq!(
            labels_in("Answer with one of: positive, negative."),
            ["negative", "positive"]
        );
        assert_eq!(labels_in("Labels: `spam` or `ham`"), ["ham", "spam"]);
        assert!(labels_in("Answer the question.").is_empty());
    }

    #[test]
    fn moods_and_names_decide() {
        let labels = ["negative".to_owned(), "positive".to_owned()];
        assert_eq!(classify("A wonderful, friendly place", &labels), "positive");
        assert_eq!(classify("Slow and rude", &labels), "negative");
        let other = ["billing".to_owned(), "shipping".to_owned()];
        assert_eq!(classify("About my billing", &other), "billing");
        assert_eq!(classify("xyz abc", &other), classify("xyz abc", &other));
    }
}
