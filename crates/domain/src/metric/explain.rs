//! What a metric takes for the answer, told to people.

use super::{Comparison, Metric, choice::Options, number};
use crate::example::Example;

/// What was taken for the answer in a model's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The part of the text; empty where nothing is found.
    pub text: String,
    /// The rule that found it: `a stated answer`, `free text`, .. (`docs/answers.md`); `nothing is found` where none did.
    pub rule: &'static str,
    /// What the part was read as, where that is not its words: the number, the option.
    pub read_as: Option<String>,
}

impl Metric {
    /// What [`Metric::mark`] takes for the answer to an example, and by which rule.
    pub fn taken(&self, answer: &str, example: &Example) -> Taken {
        let Some(span) = self.span(answer) else {
            return Taken {
                text: String::new(),
                rule: "nothing is found",
                read_as: None,
            };
        };
        let rules = self.rules();
        let read_as = match &self.comparison {
            Comparison::Numeric { .. } => Some(match number::in_answer(&span, rules) {
                Some(number) => number.to_string(),
                None => "no number".to_owned(),
            }),
            Comparison::Choice { options } => Options::of(&example.input, options, rules).map(|options| {
                let chosen = options.chosen(&span).map(|at| options.name(at));
                chosen.unwrap_or_else(|| "no option".to_owned())
            }),
            _ => None,
        };
        Taken {
            text: span.text,
            rule: span.rule,
            read_as,
        }
    }
}
