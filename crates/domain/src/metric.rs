//! Metrics: when is an answer right, and when do two answers agree?
//!
//! Marking has two steps. The *extraction* takes one answer out of what the model wrote; the *comparison* holds that answer
//! against the target. Both are pure, and strict in both directions: an answer given in another form (`Answer: (B)`, `**B**`, a
//! sentence, a code fence, `\boxed{}`) is right, and a text that merely mentions the right answer among others is wrong.
//! The rules in words are in `docs/answers.md`; tables of cases are in the tests of this module and in `tests/answers`.

mod check;
mod choice;
mod courtesy;
mod explain;
mod extract;
mod json;
mod list;
mod number;
mod partial;
mod rewrite;
mod rules;
#[cfg(test)]
mod tests;
mod text;

use crate::{
    example::Example,
    measured::{Mark, NotMeasured, Reason},
};
use choice::Options;
pub use explain::Taken;
pub use extract::Extraction;
use extract::{Span, one_answer};
use regex::Regex;
pub use rules::NEWEST;
use rules::{Rules, without_thinking};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How answers are marked: where the answer stands in the model's text, and how it is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// How the answer is compared with the target.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// How the answer is taken out of the model's text.
    #[serde(default, skip_serializing_if = "is_auto")]
    pub extract: Extraction,
    /// The reading rules, up to [`NEWEST`]. A run keeps those that it began with; 0, those of runs that say nothing of rules.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reading: u32,
}

/// How an answer is compared with a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Comparison {
    /// The same characters; white space at the ends, wrapping (quotes, Markdown, a final period) and its amount inside aside.
    Exact,
    /// The same words: case, articles and punctuation aside; whole numbers in digits or words are the same (`five`, `5`).
    Normalized,
    /// The same option, by its letter or its text. The options are read from the example's input, else they are `options`.
    Choice {
        /// The options where the input lists none; the loader fills in the label space.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
    /// The same number: |answer − target| ≤ max(absolute, relative·|target|).
    Numeric {
        /// Absolute tolerance, in the target's unit.
        #[serde(default)]
        absolute: f64,
        /// Relative tolerance, as a fraction of the target.
        #[serde(default)]
        relative: f64,
    },
    /// F1 of the normalised words reaches the threshold.
    #[serde(alias = "token-f1")]
    TokenF1 {
        /// In 0..=1.
        #[serde(default = "half")]
        threshold: f64,
    },
    /// The answer matches a regular expression somewhere (anchor it where all must match).
    Regex {
        /// The expression, with `{target}` where the target stands (taken literally). None: the target is the expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
    },
    /// The same JSON value: order of keys and form of numbers aside.
    Json {
        /// Whether an answer also has a credit in 0..=1: the share of its fields that are right.
        #[serde(default, skip_serializing_if = "is_false")]
        partial: bool,
        /// The credit from which on an answer is right, in 0..=1, above 0. Needs `partial`.
        #[serde(default = "whole", skip_serializing_if = "is_whole")]
        right_from: f64,
    },
    /// The target's words stand in the answer, one after the other.
    Contains,
    /// A model decides, in the role of the verifier.
    Judge {
        /// What counts as right, in the user's words; may be empty.
        #[serde(default)]
        criteria: String,
    },
}

impl From<Comparison> for Metric {
    fn from(comparison: Comparison) -> Metric {
        Metric {
            comparison,
            extract: Extraction::Auto,
            reading: NEWEST,
        }
    }
}

impl Metric {
    /// The metric `exact` with automatic extraction.
    pub fn exact() -> Metric {
        Comparison::Exact.into()
    }

    /// The metric `normalized` with automatic extraction.
    pub fn normalized() -> Metric {
        Comparison::Normalized.into()
    }

    /// The metric `choice` with automatic extraction; the options are those of each input.
    pub fn choice() -> Metric {
        Comparison::Choice { options: Vec::new() }.into()
    }

    /// The metric `numeric` without tolerance and with automatic extraction.
    pub fn numeric() -> Metric {
        Comparison::Numeric {
            absolute: 0.0,
            relative: 0.0,
        }
        .into()
    }

    /// The metric's name, as in `kind`.
    pub fn name(&self) -> &'static str {
        match self.comparison {
            Comparison::Exact => "exact",
            Comparison::Normalized => "normalized",
            Comparison::Choice { .. } => "choice",
            Comparison::Numeric { .. } => "numeric",
            Comparison::TokenF1 { .. } => "token_f1",
            Comparison::Regex { .. } => "regex",
            Comparison::Json { .. } => "json",
            Comparison::Contains => "contains",
            Comparison::Judge { .. } => "judge",
        }
    }

    /// Whether a model must decide; then [`Metric::mark`] cannot.
    pub fn needs_judge(&self) -> bool {
        matches!(self.comparison, Comparison::Judge { .. })
    }

    /// What a model that decides is shown of an answer: all of it but its reasoning, where anything else is left. By the first reading rules
    /// all of it.
    pub fn shown_to_judge<'a>(&self, answer: &'a str) -> &'a str {
        match self.rules() {
            Rules::First => answer,
            rules => Some(without_thinking(answer, rules))
                .filter(|rest| !rest.is_empty())
                .unwrap_or(answer),
        }
    }

    /// Marks a model's answer to an example. An answer in which nothing can be found is wrong: the model answered, badly. Not
    /// measured only where a model must decide ([`Metric::needs_judge`]).
    pub fn mark(&self, answer: &str, example: &Example) -> Mark {
        if self.needs_judge() {
            return Mark::NotMeasured(NotMeasured::new(
                Reason::Undecided,
                "the metric `judge` is decided by a model",
            ));
        }
        let Some(span) = self.span(answer) else {
            return Mark::Wrong;
        };
        Mark::from_bool(
            example
                .targets()
                .any(|target| self.right(&span, answer, target, &example.input)),
        )
    }

    /// The credit of a model's answer in 0..=1, the best over all targets; none where the metric gives none. An answer in which nothing
    /// can be found has no credit at all: 0.
    pub fn credit(&self, answer: &str, example: &Example) -> Option<f64> {
        if !matches!(self.comparison, Comparison::Json { partial: true, .. }) {
            return None;
        }
        let of = |target: &str| json_credit(&self.span(answer)?, answer, target, self.rules());
        Some(example.targets().filter_map(of).fold(0.0, f64::max))
    }

    /// Whether two answers to one input mean the same, whatever their form: the claims and solutions of voters. Symmetric, and
    /// more lenient than [`Metric::mark`] about form (one of the two may be a whole sentence). For `judge` and free text it can
    /// only compare words; a caller that needs more asks the verifier.
    pub fn agree(&self, a: &str, b: &str, input: &str) -> bool {
        let (Some(left), Some(right)) = (self.span(a), self.span(b)) else {
            // a claim may lack the marker that the extraction asks of a learner
            return self.same_words(a, b);
        };
        let rules = self.rules();
        let same_words = |a: &str, b: &str| self.same_words(a, b);
        match &self.comparison {
            Comparison::Exact => same_form(&left, &right),
            Comparison::Choice { options } => match Options::of(input, options, rules) {
                Some(options) => match (options.chosen(&left), options.chosen(&right)) {
                    (Some(left), Some(right)) => left == right,
                    (None, None) => same_words(&left.text, &right.text),
                    _ => false,
                },
                None => self.same_choice(&left, &right),
            },
            Comparison::Numeric { absolute, relative } => {
                match (number::in_answer(&left, rules), number::in_answer(&right, rules)) {
                    (Some(left), Some(right)) => {
                        let same = |a: f64, b: f64| within(a, b, *absolute, *relative);
                        left.means(right, same) || right.means(left, same)
                    }
                    (None, None) => same_words(&left.text, &right.text),
                    _ => false,
                }
            }
            Comparison::Json { .. } => match (json::json(a, rules), json::json(b, rules)) {
                (Some(left), Some(right)) => json::same(&left, &right, rules),
                (None, None) => same_words(a, b),
                _ => false,
            },
            Comparison::Regex { pattern: None } => {
                let hits = |pattern: &str, text: &str| Regex::new(pattern).is_ok_and(|regex| regex.is_match(text));
                a.trim() == b.trim() || hits(a.trim(), &right.text) || hits(b.trim(), &left.text)
            }
            Comparison::TokenF1 { threshold } => best_f1(&left, &right, rules) >= *threshold,
            Comparison::Contains => {
                let (left, right) = (&left.text, &right.text);
                text::contains_words(left, right, rules) || text::contains_words(right, left, rules)
            }
            Comparison::Judge { .. } => any_form(&left, &right, same_words) || best_f1(&left, &right, rules) >= 0.8,
            Comparison::Normalized | Comparison::Regex { .. } => any_form(&left, &right, same_words),
        }
    }

    /// The label that a text means, as it is written in the label space; none where it means none, or several.
    pub fn label_of(&self, text: &str, labels: &[String]) -> Option<String> {
        if let Some(same) = labels.iter().find(|label| label.trim() == text.trim()) {
            return Some(same.clone());
        }
        let rules = self.rules();
        let span = self.span(text).unwrap_or(Span::free(text.trim(), ""));
        if let Comparison::Numeric { absolute, relative } = self.comparison {
            let value = number::in_answer(&span, rules)?;
            let same = |a: f64, b: f64| within(a, b, absolute, relative);
            return labels
                .iter()
                .find(|label| number::target(label, rules).is_ok_and(|of| value.means(of, same)))
                .cloned();
        }
        let chosen = Options::of_labels(labels, rules).and_then(|options| options.chosen(&span));
        if let Some(label) = chosen.and_then(|at| labels.get(at)) {
            return Some(label.clone());
        }
        let mut meant = labels.iter().filter(|label| {
            text::forms(one_answer(&span))
                .iter()
                .any(|form| self.same_words(form, label))
        });
        meant.next().filter(|_| meant.next().is_none()).cloned()
    }

    /// What `auto` means depends on the comparison: some look at the whole text.
    fn span(&self, answer: &str) -> Option<Span> {
        let whole = matches!(
            self.comparison,
            Comparison::Contains | Comparison::Regex { .. } | Comparison::Judge { .. }
        );
        let rules = self.rules();
        let field = match (&self.comparison, &self.extract) {
            // a field beside the answer may say anything
            (Comparison::Contains, Extraction::Auto) if !rules.first() => {
                json::whole_reply(without_thinking(answer, rules))
            }
            _ => None,
        };
        match (&self.extract, field) {
            (_, Some(field)) => Some(Span::stated(field, "a JSON object's answer")),
            (Extraction::Auto, None) if whole => Extraction::Whole.span(answer, rules),
            (extract, None) => extract.span(answer, rules),
        }
        .filter(|span| !span.text.trim().is_empty())
    }

    fn rules(&self) -> Rules {
        Rules::of(self.reading)
    }

    fn right(&self, span: &Span, answer: &str, target: &str, input: &str) -> bool {
        let rules = self.rules();
        match &self.comparison {
            Comparison::Exact => {
                let target = text::tidy(target);
                self.candidates(span, answer)
                    .iter()
                    .any(|form| text::tidy(form) == target)
            }
            Comparison::Normalized => self
                .candidates(span, answer)
                .iter()
                .any(|form| self.same_words(form, target)),
            Comparison::Choice { options } => match Options::of(input, options, rules) {
                Some(options) => {
                    options
                        .named(target)
                        .is_some_and(|wanted| options.chosen(span) == Some(wanted))
                        || options.named(target).is_none() && self.same_words(one_answer(span), target)
                }
                None => self.same_choice(span, &Span::stated(target, "")),
            },
            Comparison::Numeric { absolute, relative } => {
                let (Some(value), Ok(wanted)) = (number::in_answer(span, rules), number::target(target, rules)) else {
                    return false;
                };
                value.means(wanted, |a, b| within(a, b, *absolute, *relative))
            }
            Comparison::TokenF1 { threshold } => self
                .candidates(span, answer)
                .iter()
                .any(|form| text::f1(form, target, rules) >= *threshold),
            Comparison::Regex { pattern } => {
                let source = pattern.as_ref().map_or_else(
                    || target.to_owned(),
                    |source| source.replace("{target}", &regex::escape(target)),
                );
                Regex::new(&source).is_ok_and(|regex| regex.is_match(&span.text))
            }
            Comparison::Json {
                partial: true,
                right_from,
            } => json_credit(span, answer, target, rules).is_some_and(|credit| credit + SLACK >= *right_from),
            Comparison::Json { .. } => {
                json_pair(span, answer, target, rules).is_some_and(|(found, wanted)| json::same(&found, &wanted, rules))
            }
            Comparison::Contains => text::contains_words(&span.text, target, rules),
            Comparison::Judge { .. } => false,
        }
    }

    /// The forms of the answer for comparisons of whole texts: the extracted one, and under `auto` the text as it came.
    fn candidates(&self, span: &Span, answer: &str) -> Vec<String> {
        let mut forms = text::forms(one_answer(span));
        if self.extract == Extraction::Auto {
            forms.push(answer.trim().to_owned());
        }
        forms.push(span.text.clone());
        forms
    }

    fn same_words(&self, a: &str, b: &str) -> bool {
        let rules = self.rules();
        text::normalise(a, rules) == text::normalise(b, rules)
            || matches!((number::integer(a), number::integer(b)), (Some(a), Some(b)) if a == b)
    }

    /// Letters compared where the options are unknown: `(B)`, `B.`, `option b`; else the words.
    fn same_choice(&self, a: &Span, b: &Span) -> bool {
        let letters: Vec<String> = ('A'..='Z').map(|letter| format!("({letter})")).collect();
        let options = Options::of_labels(&letters, self.rules());
        let chosen = |span: &Span| options.as_ref().and_then(|options| options.chosen(span));
        match (chosen(a), chosen(b)) {
            (Some(a), Some(b)) => a == b,
            _ => any_form(a, b, |a, b| self.same_words(a, b)),
        }
    }
}

fn is_auto(extract: &Extraction) -> bool {
    *extract == Extraction::Auto
}

/// What a share of fields may lose in binary.
const SLACK: f64 = 1e-9;

/// The JSON in an answer, and the target's.
fn json_pair(span: &Span, answer: &str, target: &str, rules: Rules) -> Option<(Value, Value)> {
    let wanted = json::target(target, rules)?;
    let stated = span.stated.then_some(span.text.as_str());
    Some((json::found(stated, answer, &wanted, rules)?, wanted))
}

/// The credit of the JSON in an answer against one target; none without JSON.
fn json_credit(span: &Span, answer: &str, target: &str, rules: Rules) -> Option<f64> {
    let (found, wanted) = json_pair(span, answer, target, rules)?;
    Some(partial::credit(&found, &wanted, |a, b| json::same(a, b, rules)))
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn whole() -> f64 {
    1.0
}

fn is_whole(value: &f64) -> bool {
    (*value - 1.0).abs() < f64::EPSILON
}

fn half() -> f64 {
    0.5
}

fn any_form(a: &Span, b: &Span, same: impl Fn(&str, &str) -> bool) -> bool {
    // the plain form of one against every form of the other: two sentences never meet in a part that both happen to hold
    let (left, right) = (text::forms(one_answer(a)), text::forms(one_answer(b)));
    let (plain_left, plain_right) = (text::unwrap(one_answer(a)), text::unwrap(one_answer(b)));
    left.iter().any(|form| same(form, plain_right))
        || right.iter().any(|form| same(form, plain_left))
        || same(&a.text, &b.text)
}

fn best_f1(a: &Span, b: &Span, rules: Rules) -> f64 {
    text::f1(&a.text, &b.text, rules).max(text::f1(one_answer(a), one_answer(b), rules))
}

/// Equal but for wrapping; a single word may differ in case.
fn same_form(a: &Span, b: &Span) -> bool {
    any_form(a, b, |a, b| {
        let (a, b) = (text::tidy(a), text::tidy(b));
        a == b || (!a.contains(' ') && a.chars().all(char::is_alphabetic) && a.to_lowercase() == b.to_lowercase())
    })
}

/// A small slack covers what decimal fractions lose in binary.
fn within(value: f64, wanted: f64, absolute: f64, relative: f64) -> bool {
    let slack = 1e-9 * wanted.abs().max(1.0);
    (value - wanted).abs() <= absolute.max(relative * wanted.abs()) + slack
}
