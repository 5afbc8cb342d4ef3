//! Comparing answers as the simulated judge and verifier do.

use std::collections::HashSet;

/// The share of the reference's content words that a free-text answer must hold to count as right.
const ENOUGH: f64 = 0.7;
/// From how many content words on a reference is free text.
const FREE_TEXT: usize = 6;

/// Whether the answer says the same as the reference.
///
/// Short references are compared whole, after taking off marks of emphasis and "Answer:"; long ones by the share of their content
/// words that the answer holds.
#[must_use]
pub fn agree(answer: &str, reference: &str) -> bool {
    let (said, wanted) = (plain(answer), plain(reference));
    if said == wanted {
        return !wanted.is_empty();
    }
    if let (Ok(said), Ok(wanted)) = (
        said.replace(',', "").parse::<f64>(),
        wanted.replace(',', "").parse::<f64>(),
    ) {
        return (said - wanted).abs() < 1e-9;
    }
    let wanted_words = content_words(reference);
    if wanted_words.len() < FREE_TEXT {
        return last_line(answer) == wanted && !wanted.is_empty();
    }
    let said_words = content_words(answer);
    let held = wanted_words.iter().filter(|word| said_words.contains(*word)).count();
    held as f64 / wanted_words.len() as f64 >= ENOUGH
}

/// The answer in lower case without brackets around a letter, emphasis, final stop and lead-in.
fn plain(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let text = ["final answer:", "answer:", "the answer is"]
        .iter()
        .find_map(|lead| text.strip_prefix(lead))
        .unwrap_or(&text);
    let text = text.trim_matches(|c: char| c.is_whitespace() || "*`\"'.".contains(c));
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map(|(letter, _)| letter);
    inner.filter(|letter| letter.len() == 1).unwrap_or(text).to_owned()
}

fn last_line(text: &str) -> String {
    plain(text.trim().lines().next_back().unwrap_or_default())
}

fn content_words(text: &str) -> HashSet<String> {
    const EMPTY: &[&str] = &[
        "the", "and", "that", "for", "with", "from", "its", "into", "are", "was", "were", "which", "whose", "this",
        "them", "they", "each", "one", "two", "all", "without", "whatever", "example",
    ];
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.len() > 2 && !EMPTY.contains(&word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_answers_are_compared_whole() {
        assert!(agree("**(B)**", "(B)"));
        assert!(agree("Some thought.\nThe answer is 5.", "5"));
        assert!(agree("1,000", "1000.0"));
        assert!(!agree("15", "5"));
        assert!(!agree("", ""));
    }

    #[test]
    fn long_answers_are_compared_by_their_words() {
        let whole = "A cache is a small fast store that keeps recently used data near its user.";
        assert!(agree(
            "It is a small and fast store keeping recently used data; it keeps them near the user, the cache.",
            whole
        ));
        assert!(!agree("A cache is a store.", whole));
    }
}
