//! What a metric refuses before anything is spent.

use super::{Comparison, Metric, choice::Options, is_whole, number, rules::NEWEST};
use crate::example::Example;
use regex::Regex;
use serde_json::Value;

impl Metric {
    /// Refuses a target that this metric could never accept, in words.
    pub fn check_target(&self, target: &str) -> Result<(), String> {
        if target.trim().is_empty() {
            return Err("the target is empty".into());
        }
        match &self.comparison {
            Comparison::Numeric { .. } => number::target(target, self.rules()).map(drop).map_err(|why| {
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
                && let Some(options) = Options::of(&example.input, options, self.rules())
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
        if self.reading > NEWEST {
            let newest = format!("this version knows the reading rules up to {NEWEST}");
            return Err(format!(
                "the task asks for the reading rules {}, and {newest}: use a newer one",
                self.reading
            ));
        }
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
}
