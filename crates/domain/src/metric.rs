//! Metrics: when is an answer right, and when do two answers agree?
//!
//! Marking has two steps. The *extraction* takes one answer out of what the model wrote; the *comparison* holds that answer
//! against the target. Both are pure, and strict in both directions: an answer given in another form (`Answer: (B)`, `**B**`, a
//! sentence, a code fence, `\boxed{}`) is right, and a text that merely mentions the right answer among others is wrong.
//! The rules in words are in `docs/tasks.md`; the table of cases is in the tests of this module.

mod choice;
mod extract;
mod number;
mod partial;
#[cfg(test)]
mod tests;
mod text;

use crate::{
    example::Example,
    measured::{Mark, NotMeasured, Reason},
};
use choice::Options;
pub use extract::Extraction;
use extract::{Span, found_json, json, one_answer};
use regex::Regex;
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
        let of = |target: &str| json_credit(&self.span(answer)?, answer, target);
        Some(example.targets().filter_map(of).fold(0.0, f64::max))
    }

    /// Whether two answers to one input mean the same, whatever their form: the claims and solutions of voters. Symmetric, and
    /// more lenient than [`Metric::mark`] about form (one of the two may be a whole sentence). For `judge` and free text it can
    /// only compare words; a caller that needs more asks the verifier.
    pub fn agree(&self, a: &str, b: &str, input: &str) -> bool {
        let (Some(left), Some(right)) = (self.span(a), self.span(b)) else {
            // a claim may lack the marker that the extraction asks of a learner
            return same_words(a, b);
        };
        match &self.comparison {
            Comparison::Exact => same_form(&left, &right),
            Comparison::Choice { options } => match options_of(input, options) {
                Some(options) => match (options.chosen(&left), options.chosen(&right)) {
                    (Some(left), Some(right)) => left == right,
                    (None, None) => same_words(&left.text, &right.text),
                    _ => false,
                },
                None => same_choice(&left, &right),
            },
            Comparison::Numeric { absolute, relative } => match (number::in_answer(&left), number::in_answer(&right)) {
                (Some(left), Some(right)) => {
                    within(left, right, *absolute, *relative) || within(right, left, *absolute, *relative)
                }
                (None, None) => same_words(&left.text, &right.text),
                _ => false,
            },
            Comparison::Json { .. } => match (json(a), json(b)) {
                (Some(left), Some(right)) => same_json(&left, &right),
                (None, None) => same_words(a, b),
                _ => false,
            },
            Comparison::Regex { pattern: None } => {
                let hits = |pattern: &str, text: &str| Regex::new(pattern).is_ok_and(|regex| regex.is_match(text));
                a.trim() == b.trim() || hits(a.trim(), &right.text) || hits(b.trim(), &left.text)
            }
            Comparison::TokenF1 { threshold } => best_f1(&left, &right) >= *threshold,
            Comparison::Contains => {
                let (left, right) = (&left.text, &right.text);
                text::contains_words(left, right) || text::contains_words(right, left)
            }
            Comparison::Judge { .. } => any_form(&left, &right, same_words) || best_f1(&left, &right) >= 0.8,
            Comparison::Normalized | Comparison::Regex { .. } => any_form(&left, &right, same_words),
        }
    }

    /// The label that a text means, as it is written in the label space; none where it means none, or several.
    pub fn label_of(&self, text: &str, labels: &[String]) -> Option<String> {
        if let Some(same) = labels.iter().find(|label| label.trim() == text.trim()) {
            return Some(same.clone());
        }
        let span = self.span(text).unwrap_or(Span {
            text: text.trim().to_owned(),
            stated: false,
        });
        if let Comparison::Numeric { absolute, relative } = self.comparison {
            let value = number::in_answer(&span)?;
            return labels
                .iter()
                .find(|label| number::target(label).is_ok_and(|of| within(value, of, absolute, relative)))
                .cloned();
        }
        let chosen = Options::of_labels(labels).and_then(|options| options.chosen(&span));
        if let Some(label) = chosen.and_then(|at| labels.get(at)) {
            return Some(label.clone());
        }
        let mut meant = labels.iter().filter(|label| {
            text::forms(one_answer(&span))
                .iter()
                .any(|form| same_words(form, label))
        });
        meant.next().filter(|_| meant.next().is_none()).cloned()
    }

    /// Refuses a target that this metric could never accept, in words.
    pub fn check_target(&self, target: &str) -> Result<(), String> {
        if target.trim().is_empty() {
            return Err("the target is empty".into());
        }
        match &self.comparison {
            Comparison::Numeric { .. } => number::target(target).map(drop).map_err(|why| {
                format!("the metric `numeric` cannot mark this target: {why}. Cut the number out in `[data] target`, or use another metric")
            }),
            Comparison::Json { .. } => serde_json::from_str::<Value>(target).map(drop).map_err(|error| {
                format!("the metric `json` cannot mark this target: it is not JSON ({error})")
            }),
            Comparison::Regex { pattern: None } => Regex::new(target).map(drop).map_err(|error| {
                format!("the metric `regex` without a `pattern` takes the target for a regular expression, which this one is not: {error}")
            }),
            Comparison::TokenF1 { .. } | Comparison::Contains if !target.chars().any(char::is_alphanumeric) => {
                Err(format!("the metric `{}` compares words, and this target has none; use `exact`", self.name()))
            }
            Comparison::Choice { .. } if target.lines().count() > 1 => {
                Err("the metric `choice` expects one option's letter or text, and this target has several lines".into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses an example that this metric could never mark right: [`Metric::check_target`] for each target, and for `choice` a target
    /// that is none of the options.
    pub fn check_example(&self, example: &Example) -> Result<(), String> {
        for target in example.targets() {
            self.check_target(target)?;
            if let Comparison::Choice { options } = &self.comparison
                && let Some(options) = options_of(&example.input, options)
                && options.named(target).is_none()
            {
                return Err(
                    "the metric `choice` cannot mark this target: it is none of the options in the input".into(),
                );
            }
        }
        Ok(())
    }

    /// Refuses a metric whose own settings cannot work, in words that name the key.
    pub fn check(&self) -> Result<(), String> {
        self.extract.check()?;
        let in_range = |name: &str, value: f64, most: f64| {
            let fits = value.is_finite() && (0.0..=most).contains(&value);
            if fits {
                Ok(())
            } else {
                Err(format!("`{name}` is {value}: it must lie in 0..={most}"))
            }
        };
        match &self.comparison {
            Comparison::Numeric { absolute, relative } => {
                in_range("absolute", *absolute, f64::MAX)?;
                in_range("relative", *relative, 1.0)
            }
            Comparison::TokenF1 { threshold } => in_range("threshold", *threshold, 1.0),
            Comparison::Json { partial, right_from } => {
                in_range("right_from", *right_from, 1.0)?;
                if *right_from <= 0.0 {
                    Err("`right_from` is 0: every answer would be right".into())
                } else if !partial && !is_whole(right_from) {
                    Err("`right_from` needs `partial = true`".into())
                } else {
                    Ok(())
                }
            }
            Comparison::Regex { pattern: Some(source) } if !source.contains("{target}") => {
                Err("`pattern` must hold `{target}`, or every target would be marked alike".into())
            }
            Comparison::Regex { pattern: Some(source) } => Regex::new(&source.replace("{target}", "x"))
                .map(drop)
                .map_err(|error| format!("`pattern` is not a regular expression: {error}")),
            _ => Ok(()),
        }
    }

    /// What `auto` means depends on the comparison: some look at the whole text.
    fn span(&self, answer: &str) -> Option<Span> {
        let whole = matches!(
            self.comparison,
            Comparison::Contains | Comparison::Regex { .. } | Comparison::Judge { .. }
        );
        match &self.extract {
            Extraction::Auto if whole => Extraction::Whole.span(answer),
            extract => extract.span(answer),
        }
        .filter(|span| !span.text.trim().is_empty())
    }

    fn right(&self, span: &Span, answer: &str, target: &str, input: &str) -> bool {
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
                .any(|form| same_words(form, target)),
            Comparison::Choice { options } => match options_of(input, options) {
                Some(options) => {
                    options
                        .named(target)
                        .is_some_and(|wanted| options.chosen(span) == Some(wanted))
                        || options.named(target).is_none() && same_words(one_answer(span), target)
                }
                None => same_choice(
                    span,
                    &Span {
                        text: target.to_owned(),
                        stated: true,
                    },
                ),
            },
            Comparison::Numeric { absolute, relative } => {
                let (Some(value), Ok(wanted)) = (number::in_answer(span), number::target(target)) else {
                    return false;
                };
                within(value, wanted, *absolute, *relative)
            }
            Comparison::TokenF1 { threshold } => self
                .candidates(span, answer)
                .iter()
                .any(|form| text::f1(form, target) >= *threshold),
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
            } => json_credit(span, answer, target).is_some_and(|credit| credit + SLACK >= *right_from),
            Comparison::Json { .. } => found_json(span, answer)
                .is_some_and(|found| serde_json::from_str(target).is_ok_and(|wanted| same_json(&found, &wanted))),
            Comparison::Contains => text::contains_words(&span.text, target),
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
}

fn is_auto(extract: &Extraction) -> bool {
    *extract == Extraction::Auto
}

/// What a share of fields may lose in binary.
const SLACK: f64 = 1e-9;

/// The credit of the JSON in an answer against one target; none without JSON.
fn json_credit(span: &Span, answer: &str, target: &str) -> Option<f64> {
    let (found, wanted) = (found_json(span, answer)?, serde_json::from_str(target).ok()?);
    Some(partial::credit(&found, &wanted, same_json))
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

fn options_of(input: &str, fallback: &[String]) -> Option<Options> {
    Options::in_input(input).or_else(|| Options::of_labels(fallback))
}

fn same_words(a: &str, b: &str) -> bool {
    text::normalise(a) == text::normalise(b)
        || matches!((number::integer(a), number::integer(b)), (Some(a), Some(b)) if a == b)
}

/// Letters compared where the options are unknown: `(B)`, `B.`, `option b`; else the words.
fn same_choice(a: &Span, b: &Span) -> bool {
    let letters: Vec<String> = ('A'..='Z').map(|letter| format!("({letter})")).collect();
    let chosen = |span: &Span| Options::of_labels(&letters).and_then(|options| options.chosen(span));
    match (chosen(a), chosen(b)) {
        (Some(a), Some(b)) => a == b,
        _ => any_form(a, b, same_words),
    }
}

fn any_form(a: &Span, b: &Span, same: fn(&str, &str) -> bool) -> bool {
    // the plain form of one against every form of the other: two sentences never meet in a part that both happen to hold
    let (left, right) = (text::forms(one_answer(a)), text::forms(one_answer(b)));
    let (plain_left, plain_right) = (text::unwrap(one_answer(a)), text::unwrap(one_answer(b)));
    left.iter().any(|form| same(form, plain_right))
        || right.iter().any(|form| same(form, plain_left))
        || same(&a.text, &b.text)
}

fn best_f1(a: &Span, b: &Span) -> f64 {
    text::f1(&a.text, &b.text).max(text::f1(one_answer(a), one_answer(b)))
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

fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => a == b,
    }
}
