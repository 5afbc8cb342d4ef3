//! Cheap, deterministic gates that a synthetic example passes before anyone is asked to vote on it.

use crate::{
    ask::Draft,
    example::Example,
    fence, record,
    similarity::{TextFeatures, words},
    task::Task,
};
use regex::{Regex, RegexBuilder};

/// The longest synthetic input where the task sets no limit, in characters.
const MAX_INPUT_CHARS: usize = 4000;

/// The longest synthetic target, in characters.
const MAX_TARGET_CHARS: usize = 2000;

/// A target of at least this many words that stands in the question word for word gives the answer away, unless the user's own
/// examples do so too.
const TELLING_WORDS: usize = 6;

/// A gate that an example did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRejection {
    /// Which gate: `schema`, `length`, `labels`, `pattern`, `leak`, `duplicate`.
    pub gate: &'static str,
    /// Why, in words that help the generator to do better.
    pub reason: String,
}

/// A task's gates. They remember what was let through, so that the next example must differ from it.
#[derive(Debug)]
pub struct Gates<'a> {
    task: &'a Task,
    input_pattern: Option<Regex>,
    target_pattern: Option<Regex>,
    /// The user's own inputs hold their targets word for word (extractive questions): no leak in this task.
    quotes: bool,
    /// The user's own inputs list their targets as options, `(A)`: so must ours.
    options: bool,
    seen: Vec<(String, TextFeatures, String)>,
}

impl<'a> Gates<'a> {
    /// The gates of a task; fails, naming the key, where one of its patterns is not a regular expression.
    pub fn new(task: &'a Task) -> Result<Self, String> {
        let pattern = |key: &str, pattern: &Option<String>| match pattern {
            None => Ok(None),
            Some(text) => RegexBuilder::new(text)
                .size_limit(1 << 20)
                .build()
                .map(Some)
                .map_err(|error| format!("`gates.{key}` is not a regular expression: {error}")),
        };
        let train = &task.train;
        let seen = train.iter().map(|example| {
            (
                example.id.clone(),
                TextFeatures::of(&task.form.readable(&example.input)),
                example.target.clone(),
            )
        });
        Ok(Gates {
            task,
            input_pattern: pattern("input_pattern", &task.gates.input_pattern)?,
            target_pattern: pattern("target_pattern", &task.gates.target_pattern)?,
            quotes: train
                .iter()
                .any(|example| quoted(&task.form.readable(&example.input), &example.target)),
            options: !train.is_empty()
                && train
                    .iter()
                    .all(|example| lists_option(&task.form.readable(&example.input), &example.target)),
            seen: seen.collect(),
        })
    }

    /// Lets a draft through as an example of this id, its target brought to the label space's own spelling, or names the gate that
    /// it did not pass. What is let through is remembered.
    ///
    /// A target other than the one that was asked for passes, if it is a label at all: the example is sound, and the next draw of
    /// a label makes good for it.
    pub fn admit(&mut self, draft: &Draft, id: &str) -> Result<Example, GateRejection> {
        let input = fence::clean(&draft.input).trim().to_owned();
        let target = fence::clean(&draft.target).trim().to_owned();
        self.check_columns(&input)?;
        let readable = self.task.form.readable(&input);
        self.check_schema(readable.trim(), &target)?;
        let target = self.label(target)?;
        self.check_pattern("input", &self.input_pattern, &readable)?;
        self.check_pattern("target", &self.target_pattern, &target)?;
        self.check_leak(&readable, &target)?;
        let shape = TextFeatures::of(&readable);
        self.check_duplicate(&shape, &target)?;
        self.seen.push((id.to_owned(), shape, target.clone()));
        Ok(Example {
            id: id.to_owned(),
            input,
            target,
            aliases: Vec::new(),
        })
    }

    /// The same columns as the user's examples, in the same order: they all become one prompt.
    fn check_columns(&self, input: &str) -> Result<(), GateRejection> {
        let columns = self.task.form.columns();
        if columns.is_empty() {
            return Ok(());
        }
        let found = record::read(input).unwrap_or_default();
        match found.iter().map(|(name, _)| name).eq(columns.iter()) {
            true => Ok(()),
            false => refuse(
                "schema",
                format!("the question does not have the columns {}", columns.join(", ")),
            ),
        }
    }

    fn check_schema(&self, input: &str, target: &str) -> Result<(), GateRejection> {
        if input.is_empty() || target.is_empty() {
            let missing = if input.is_empty() { "question" } else { "answer" };
            return refuse("schema", format!("the {missing} is empty"));
        }
        let limit = match self.task.gates.max_input_chars {
            0 => MAX_INPUT_CHARS,
            limit => limit as usize,
        };
        for (part, text, limit) in [("question", input, limit), ("answer", target, MAX_TARGET_CHARS)] {
            let length = text.chars().count();
            if length > limit {
                return refuse(
                    "length",
                    format!("the {part} has {length} characters, at most {limit} are allowed"),
                );
            }
        }
        Ok(())
    }

    fn label(&self, target: String) -> Result<String, GateRejection> {
        let labels = &self.task.brief.labels;
        if labels.is_empty() {
            return Ok(target);
        }
        match self.task.metric.label_of(&target, labels) {
            Some(label) => Ok(label),
            None => refuse(
                "labels",
                format!("`{}` is none of: {}", shorten(&target), labels.join(", ")),
            ),
        }
    }

    fn check_pattern(&self, part: &str, pattern: &Option<Regex>, text: &str) -> Result<(), GateRejection> {
        match pattern {
            Some(pattern) if !pattern.is_match(text) => refuse(
                "pattern",
                format!("the {part} does not have the form that the task demands: {pattern}"),
            ),
            _ => Ok(()),
        }
    }

    fn check_leak(&self, input: &str, target: &str) -> Result<(), GateRejection> {
        if self.options && !lists_option(input, target) {
            return refuse("labels", format!("the question lists no option {target}"));
        }
        if announced(input, target) {
            return refuse("leak", "the question announces its own answer".to_owned());
        }
        if !self.quotes && quoted(input, target) {
            return refuse("leak", "the answer stands in the question word for word".to_owned());
        }
        Ok(())
    }

    fn check_duplicate(&self, shape: &TextFeatures, target: &str) -> Result<(), GateRejection> {
        // Two questions that look nearly alike but are answered differently show a contrast, which teaches; the same question
        // answered differently is a contradiction.
        let alike = |(_, seen, answer): &&(String, TextFeatures, String)| {
            seen.same(shape) || (answer == target && seen.nearly(shape))
        };
        match self.seen.iter().find(alike) {
            Some((id, ..)) => refuse("duplicate", format!("it is (nearly) the same question as {id}")),
            None => Ok(()),
        }
    }
}

fn refuse<T>(gate: &'static str, reason: String) -> Result<T, GateRejection> {
    Err(GateRejection { gate, reason })
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// `Answer: 7`, `the correct answer is (B)`, `solution = x`: with the very target after it.
fn announced(input: &str, target: &str) -> bool {
    let pattern = format!(
        r"\b(?:answer|solution|result|target|label)\b\s*(?:is|:|=|=>|->)+\s*[`\x22'*(]*{}(?:\W|$)",
        regex::escape(target.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'))
    );
    let bare = target.chars().any(char::is_alphanumeric);
    bare && RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .build()
        .is_ok_and(|leak| leak.is_match(input))
}

/// A long target stands in the input, word for word.
fn quoted(input: &str, target: &str) -> bool {
    let (input, target) = (words(input), words(target));
    target.len() >= TELLING_WORDS && input.windows(target.len()).any(|window| window == target)
}

/// The target is a letter in brackets, and the input offers it.
fn lists_option(input: &str, target: &str) -> bool {
    let mut chars = target.chars();
    let letter = matches!((chars.next(), chars.next(), chars.next(), chars.next()), (Some('('), Some(c), Some(')'), None) if c.is_alphanumeric());
    letter && input.contains(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ask::TaskBrief, form::PromptForm, metric::Metric, task::TaskGates};
    use proptest::prelude::*;

    fn task(labels: &[&str], train: &[(&str, &str)]) -> Task {
        let train = train.iter().enumerate().map(|(n, (input, target))| Example {
            id: format!("train-{n}"),
            input: (*input).into(),
            target: (*target).into(),
            aliases: Vec::new(),
        });
        Task {
            name: "t".into(),
            brief: TaskBrief {
                labels: labels.iter().map(|label| (*label).into()).collect(),
                ..TaskBrief::default()
            },
            prompt: "Answer.".into(),
            metric: Metric::exact(),
            train: train.collect(),
            test: Vec::new(),
            gates: TaskGates::default(),
            corpus: Vec::new(),
            form: PromptForm::default(),
            seed: 1,
            accept: None,
        }
    }

    fn gate(task: &Task, input: &str, target: &str) -> &'static str {
        let draft = Draft {
            input: input.into(),
            target: target.into(),
            rationale: String::new(),
        };
        Gates::new(task)
            .unwrap()
            .admit(&draft, "synthetic-1")
            .map_or_else(|refusal| refusal.gate, |_| "passed")
    }

    #[test]
    fn empty_long_and_foreign_are_refused() {
        let mut task = task(&["Yes", "No"], &[("Is it so?", "Yes")]);
        assert_eq!(gate(&task, " ", "Yes"), "schema");
        assert_eq!(gate(&task, "Is it?", "\u{200b}"), "schema");
        assert_eq!(gate(&task, &"x".repeat(4001), "Yes"), "length");
        assert_eq!(gate(&task, "Is it?", "Perhaps"), "labels");
        assert_eq!(gate(&task, "Is it?", "yes"), "passed");
        task.gates.input_pattern = Some("^Q: ".into());
        assert_eq!(gate(&task, "Is it?", "Yes"), "pattern");
        task.gates.input_pattern = Some("(".into());
        assert!(Gates::new(&task).unwrap_err().contains("gates.input_pattern"));
    }

    #[test]
    fn a_question_may_hold_its_options_and_small_answers_but_not_announce_the_answer() {
        let task = task(&[], &[("2+2?", "4")]);
        assert_eq!(gate(&task, "I have 7 pears and no 3. How many pears?", "7"), "passed");
        assert_eq!(gate(&task, "How many pears? (The answer is 7.)", "7"), "leak");
        assert_eq!(gate(&task, "How many pears?\nAnswer: 7", "7"), "leak");
        assert_eq!(
            gate(&task, "Is the answer 70 or 7? The answer is 70 here.", "7"),
            "passed"
        );
        assert_eq!(
            gate(
                &task,
                "We know that all of them went home early. Why?",
                "all of them went home early"
            ),
            "leak"
        );
    }

    #[test]
    fn questions_that_quote_by_nature_may_quote() {
        let train = [("Sort: a b c d e f", "a b c d e f"), ("Sort: b a", "a b")];
        let task = task(&[], &train);
        assert_eq!(gate(&task, "Sort: g h i j k l", "g h i j k l"), "passed");
    }

    #[test]
    fn multiple_choice_must_offer_its_answer() {
        let train = [
            ("Which?\n(A) one\n(B) two", "(B)"),
            ("And?\n(A) three\n(B) four", "(A)"),
        ];
        let task = task(&["(A)", "(B)", "(C)"], &train);
        assert_eq!(gate(&task, "What now?\n(A) five\n(B) six", "(B)"), "passed");
        assert_eq!(gate(&task, "What now?\n(A) five\n(B) six", "(C)"), "labels");
    }

    #[test]
    fn what_was_let_through_is_remembered() {
        let task = task(&[], &[("How many pears do I have if I had 2 and ate 1?", "1")]);
        let mut gates = Gates::new(&task).unwrap();
        let mut admit = |input: &str, target: &str| {
            let draft = Draft {
                input: input.into(),
                target: target.into(),
                rationale: String::new(),
            };
            gates.admit(&draft, "synthetic-1").map_err(|refusal| refusal.gate)
        };
        assert_eq!(
            admit("how many pears do i have if I had 2 and ate 1", "1").unwrap_err(),
            "duplicate"
        );
        assert!(admit("How many pears do I have if I had 9 and ate 1?", "8").is_ok());
        assert_eq!(
            admit("How many pears do I have if I had 9 and ate 1?", "7").unwrap_err(),
            "duplicate"
        );
    }

    proptest! {
        #[test]
        fn no_draft_upsets_the_gates(input in any::<String>(), target in any::<String>()) {
            let task = task(&[], &[("2+2?", "4")]);
            let _ = gate(&task, &input, &target);
        }

        #[test]
        fn no_question_passes_twice(input in "[a-z0-9 +]{1,40}") {
            let task = task(&[], &[("2+2?", "4")]);
            let mut gates = Gates::new(&task).unwrap();
            let draft = Draft { input, target: "5".into(), rationale: String::new() };
            let _ = gates.admit(&draft, "synthetic-1");
            prop_assert!(gates.admit(&draft, "synthetic-2").is_err());
        }
    }
}
