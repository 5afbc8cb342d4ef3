//! What the examples of a task must be, each refusal with its place: not too long, told apart by their ids, markable by the metric, and
//! let through by the task's own gates.

use super::{place::Source, set};
use crate::{
    data::SourcedExample,
    error::{LoadError, shorten},
};
use regex::Regex;
use sipdo_domain::{Metric, PromptForm, TaskGates};
use std::collections::HashSet;

pub(super) fn check_lengths(all: &[SourcedExample], most: usize) -> Result<(), LoadError> {
    for sourced in all {
        let length = sourced.example.input.chars().count();
        if length > most {
            let advice = "Shorten it, exclude it with `[data] where`, or raise `[data] max_input_chars` if the models accept longer inputs";
            return Err(bad(
                sourced,
                format!("the input has {length} characters; at most {most} are allowed"),
                advice.into(),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_ids<'a>(all: impl Iterator<Item = &'a SourcedExample>) -> Result<(), LoadError> {
    let mut seen = HashSet::new();
    for sourced in all {
        let id = &sourced.example.id;
        if id.is_empty() || !seen.insert(id) {
            return Err(bad(
                sourced,
                format!("the id `{id}` is empty or not unique"),
                "Ids must be unique; without `[data] id` examples are numbered".into(),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_metric<'a>(
    metric: &Metric,
    form: &PromptForm,
    all: impl Iterator<Item = &'a SourcedExample>,
) -> Result<(), LoadError> {
    for sourced in all {
        if let Err(problem) = metric.check_example(&form.readable_example(&sourced.example)) {
            let advice = format!(
                "The target is `{}`: check `[data] target` and `[metric] kind`",
                shorten(&sourced.example.target)
            );
            return Err(bad(sourced, problem, advice));
        }
    }
    Ok(())
}

/// A gate that refuses the user's own examples would refuse every synthetic one like them.
pub(super) fn check_gates(
    source: &Source,
    gates: &TaskGates,
    form: &PromptForm,
    train: &[SourcedExample],
) -> Result<(), LoadError> {
    for sourced in train {
        let example = &form.readable_example(&sourced.example);
        for (key, pattern, text) in [
            ("input_pattern", &gates.input_pattern, &example.input),
            ("target_pattern", &gates.target_pattern, &example.target),
        ] {
            let refused = pattern
                .as_ref()
                .and_then(|pattern| Regex::new(pattern).ok())
                .is_some_and(|regex| !regex.is_match(text));
            if refused {
                let problem = format!(
                    "`{key}` does not match your example at {}: `{}`",
                    set::place(sourced),
                    shorten(text)
                );
                return Err(source.at(
                    &["gates", key],
                    problem,
                    "Loosen the pattern: synthetic examples must look like yours",
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn bad(sourced: &SourcedExample, problem: String, advice: String) -> LoadError {
    LoadError::Data {
        path: sourced.path.clone(),
        place: Some(sourced.place.clone()),
        problem,
        advice,
    }
}
