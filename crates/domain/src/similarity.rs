//! How alike two texts are, and which runs of words they share: for near-duplicates and for leaks.
//!
//! Questions of one family are often made from one template and differ in a number, a name or one operator, and are different
//! questions all the same. So the order of words counts (bigrams), operators are words, and numbers are held against each other.

use std::collections::{BTreeMap, BTreeSet};

/// From this likeness on two texts count as near-duplicates.
pub const NEAR: f64 = 0.95;

/// Texts with fewer words than this are near-duplicates only when they are the same: one word of a short text is a great part of it.
const SHORT: usize = 12;

/// A text as the comparison sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFeatures {
    words: Vec<String>,
    bigrams: BTreeMap<(String, String), u32>,
    numbers: Vec<String>,
}

impl TextFeatures {
    /// Takes a text apart.
    pub fn of(text: &str) -> Self {
        let words = words(text);
        let mut bigrams = BTreeMap::new();
        for pair in words.windows(2) {
            if let [left, right] = pair {
                *bigrams.entry((left.clone(), right.clone())).or_insert(0) += 1;
            }
        }
        let mut numbers: Vec<String> = words
            .iter()
            .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .cloned()
            .collect();
        numbers.sort();
        TextFeatures {
            words,
            bigrams,
            numbers,
        }
    }

    /// The same words in the same order: case, white space and punctuation aside.
    pub fn same(&self, other: &TextFeatures) -> bool {
        self.words == other.words
    }

    /// Dice's coefficient on bigrams, in 0..=1.
    pub fn likeness(&self, other: &TextFeatures) -> f64 {
        if self.same(other) {
            return 1.0;
        }
        let shared: u32 = (self.bigrams.iter())
            .map(|(pair, count)| other.bigrams.get(pair).map_or(0, |theirs| *count.min(theirs)))
            .sum();
        let all: u32 = self.bigrams.values().chain(other.bigrams.values()).sum();
        if all == 0 {
            0.0
        } else {
            2.0 * f64::from(shared) / f64::from(all)
        }
    }

    /// The same, or so alike that the one teaches nothing that the other does not: nearly the same words, the very same numbers.
    pub fn nearly(&self, other: &TextFeatures) -> bool {
        let long = self.words.len().min(other.words.len()) >= SHORT;
        self.same(other) || (long && self.numbers == other.numbers && self.likeness(other) >= NEAR)
    }
}

/// Words in lower case: runs of letters and digits (with what stands inside a word or number, such as `it's` or `3.5`), and every
/// operator or bracket by itself. Other punctuation is dropped.
pub fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let mut words = Vec::new();
    let mut word = String::new();
    for (at, c) in chars.iter().copied().enumerate() {
        let inside = matches!(c, '\'' | '’' | '.' | '_' | '&')
            && !word.is_empty()
            && chars.get(at + 1).is_some_and(|next| next.is_alphanumeric());
        if c.is_alphanumeric() || inside {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if "+-*/=<>()[]{}^%|~".contains(c) {
            words.push(c.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Every run of `n` words of letters and digits, brackets and operators left out.
pub fn runs(text: &str, n: usize) -> BTreeSet<Vec<String>> {
    let words: Vec<String> = words(text)
        .into_iter()
        .filter(|word| word.starts_with(char::is_alphanumeric))
        .collect();
    words.windows(n.max(1)).map(<[String]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nearly(left: &str, right: &str) -> bool {
        TextFeatures::of(left).nearly(&TextFeatures::of(right))
    }

    #[test]
    fn case_space_and_punctuation_make_no_new_question() {
        assert!(nearly("How many fruits do I have?", "how many  fruits, do I have"));
        assert!(TextFeatures::of("It's 3.5!").same(&TextFeatures::of("it's 3.5")));
    }

    #[test]
    fn one_template_gives_many_questions() {
        let walk = "If you follow these instructions, do you return to the starting point? Take 9 steps. Turn left. Turn left. \
                    Take 9 steps. Turn around. Take 4 steps. Turn right. Take 2 steps.\nOptions:\n- Yes\n- No";
        assert!(!nearly(walk, &walk.replacen("Take 4", "Take 5", 1)), "a number differs");
        assert!(
            nearly(walk, &walk.replacen("If you follow", "When you follow", 1)),
            "one idle word differs"
        );
        assert!(!nearly("not ( True ) and ( True ) is", "not ( True ) or ( True ) is"));
        assert!(!nearly("((8 + 9 - 4) * 2) =", "((8 + 9 + 4) * 2) ="));
        assert!(!nearly("((8 + 9 - 4) * -2) =", "((8 + 9 - 4) * 2) ="), "a sign differs");
    }

    #[test]
    fn runs_are_of_words_only() {
        assert_eq!(runs("a (b) c", 2).len(), 2);
        assert!(runs("a b", 3).is_empty());
    }

    proptest! {
        #[test]
        fn likeness_is_symmetric_and_a_fraction(left in "[a-e ]{0,60}", right in "[a-e ]{0,60}") {
            let (left, right) = (TextFeatures::of(&left), TextFeatures::of(&right));
            let likeness = left.likeness(&right);
            prop_assert!((0.0..=1.0).contains(&likeness));
            prop_assert_eq!(likeness, right.likeness(&left));
            prop_assert_eq!(left.likeness(&left), 1.0);
            prop_assert_eq!(left.nearly(&right), right.nearly(&left));
        }

        #[test]
        fn any_text_is_taken_apart(text in any::<String>()) {
            let shape = TextFeatures::of(&text);
            prop_assert!(shape.same(&TextFeatures::of(&text.to_uppercase().to_lowercase())) || !text.is_ascii());
        }
    }
}
