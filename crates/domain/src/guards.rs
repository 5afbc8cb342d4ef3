//! Guards on candidate prompts: what must hold of a text before a single answer is bought with it.

use crate::{
    form::PromptForm,
    prompt::PLACEHOLDER,
    similarity::{TextFeatures, runs},
};
use std::collections::BTreeMap;

/// A shared run of this many words is a leak, as it is no coincidence.
const LEAK_WORDS: usize = 8;

/// A run of words that stands in this many examples belongs to the form of the questions, not to one of them.
const FORM_EXAMPLES: u32 = 3;

/// The guards of one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Guards<'a> {
    /// The seed prompt: says whether there must be a placeholder.
    pub seed: &'a str,
    /// The text that the candidate was written from.
    pub parent: &'a str,
    /// Every text that was tried before, rejected ones too.
    pub tried: &'a [&'a str],
    /// Inputs of every example that the optimizer may have seen.
    pub inputs: &'a [&'a str],
    /// The longest prompt, in characters.
    pub max_chars: usize,
    /// The task's messages and protected parts.
    pub form: &'a PromptForm,
}

impl Guards<'_> {
    /// Says what is wrong with a candidate, in words that help the next one.
    pub fn check(&self, candidate: &str) -> Result<(), String> {
        let length = candidate.chars().count();
        let fences = |text: &str| text.matches("```").count() % 2;
        // Where there are messages, `{input}` is text like any other.
        let places = |text: &str| self.form.messages.is_empty() && text.contains(PLACEHOLDER);
        if candidate.trim().is_empty() {
            Err("the prompt is empty".into())
        } else if length > self.max_chars {
            Err(format!(
                "the prompt has {length} characters, at most {} are allowed",
                self.max_chars
            ))
        } else if fences(candidate) > fences(self.parent) {
            Err("the prompt is cut off: a code fence is never closed".into())
        } else if places(self.seed) && !places(candidate) {
            Err(format!("the prompt lost its placeholder {PLACEHOLDER}"))
        } else if !places(self.seed) && places(candidate) {
            Err(format!(
                "the prompt has a placeholder {PLACEHOLDER} that the seed prompt does not have"
            ))
        } else if same(candidate, self.parent) {
            Err("the prompt was not changed".into())
        } else if self.tried.iter().any(|tried| same(candidate, tried)) {
            Err("the same prompt was tried before".into())
        } else {
            self.form.check(candidate)?;
            self.check_leak(candidate)
        }
    }

    /// No run of eight words out of one example's input, other than what the parent already says and what many inputs share.
    fn check_leak(&self, candidate: &str) -> Result<(), String> {
        let parent = runs(self.parent, LEAK_WORDS);
        let new: Vec<_> = runs(candidate, LEAK_WORDS)
            .into_iter()
            .filter(|run| !parent.contains(run))
            .collect();
        let mut found: BTreeMap<&[String], u32> = BTreeMap::new();
        for input in self.inputs {
            let input = runs(&self.form.readable(input), LEAK_WORDS);
            for run in new.iter().filter(|run| input.contains(*run)) {
                *found.entry(run).or_default() += 1;
            }
        }
        match found.into_iter().find(|(_, examples)| *examples < FORM_EXAMPLES) {
            Some((run, _)) => Err(format!("the prompt repeats an example: \"{}\"", run.join(" "))),
            None => Ok(()),
        }
    }
}

/// The same wording; the exact text, not the words alone, where a text has no words.
fn same(left: &str, right: &str) -> bool {
    left.trim() == right.trim() || (left.len() == right.len() && TextFeatures::of(left).same(&TextFeatures::of(right)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "Alice had nine red marbles and gave two of them to Bob. How many has she left?";

    fn check(seed: &str, parent: &str, candidate: &str) -> Result<(), String> {
        Guards {
            seed,
            parent,
            tried: &["Tried."],
            inputs: &[EXAMPLE],
            max_chars: 300,
            form: &PromptForm::default(),
        }
        .check(candidate)
    }

    #[test]
    fn each_guard_says_what_is_wrong() {
        assert_eq!(check("S", "P", "Count every item with care."), Ok(()));
        for (candidate, word) in [
            (" ", "empty"),
            (&"x".repeat(301) as &str, "at most 300"),
            ("Answer in\n```\nA", "cut off"),
            ("P ", "not changed"),
            ("Tried.", "tried before"),
            ("Answer {input} now", "does not have"),
        ] {
            let refusal = check("S", "P", candidate).unwrap_err();
            assert!(refusal.contains(word), "{candidate}: {refusal}");
        }
        assert!(
            check("Q: {input}", "P", "Count.")
                .unwrap_err()
                .contains("lost its placeholder")
        );
    }

    #[test]
    fn an_example_may_not_be_copied_unless_the_parent_holds_it_already() {
        let copied = format!("Count. For instance: {EXAMPLE} Seven.");
        assert!(check("S", "P", &copied).unwrap_err().contains("repeats an example"));
        assert_eq!(check("S", &format!("Be brief. {EXAMPLE}"), &copied), Ok(()));
    }

    #[test]
    fn what_all_questions_share_is_form_and_may_be_quoted() {
        let inputs: Vec<String> = (0..4)
            .map(|n| format!("If you follow these instructions, do you return to the starting point? Take {n} steps."))
            .collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let guards = Guards {
            seed: "S",
            parent: "P",
            tried: &[],
            inputs: &inputs,
            max_chars: 1000,
            form: &PromptForm::default(),
        };
        let candidate =
            "You are asked: if you follow these instructions, do you return to the starting point? Track x and y.";
        assert_eq!(guards.check(candidate), Ok(()));
    }

    proptest! {
        #[test]
        fn a_copied_run_of_words_is_always_found(words in prop::collection::vec("[a-z]{3,7}", 8..20), before in "[a-z ]{0,20}") {
            let input = words.join(" ");
            let guards = Guards { seed: "S", parent: "P", tried: &[], inputs: &[&input], max_chars: 10_000, form: &PromptForm::default() };
            let candidate = format!("{before}. {}", words.join(", "));
            prop_assert!(guards.check(&candidate).is_err());
        }
    }
}
