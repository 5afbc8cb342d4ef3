//! A look at a data file, to propose columns and a metric. Only a look: the task's own loader decides what is right.

use std::{collections::BTreeSet, path::Path};

use sipdo_datasets::{Kind, Look, LookColumn};

use crate::{failure::Failure, output};

/// Kinds of metric.
pub const METRICS: [&str; 9] = [
    "exact",
    "normalized",
    "choice",
    "numeric",
    "token_f1",
    "regex",
    "json",
    "contains",
    "judge",
];
/// Names that such columns usually have, layouts_for first.
const INPUTS: [&str; 9] = [
    "input", "question", "prompt", "text", "query", "problem", "sentence", "x", "q",
];
const TARGETS: [&str; 10] = [
    "target", "answer", "label", "output", "gold", "expected", "class", "response", "y", "a",
];

/// Columns and first rows of a data file.
///
/// # Errors
/// The file cannot be read as data: with its place, and what to do.
pub fn look(path: &Path) -> Result<Look, Failure> {
    sipdo_datasets::look(path).map_err(|error| Failure::usage(output::clean(&error.to_string())))
}

/// What is proposed, and why, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Proposal {
    /// A column or a template.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// Names that a column of options usually has.
const OPTIONS: [&str; 3] = ["choices", "options", "answers"];

/// The input and the target: by their names, or by elimination. Where there is a list of options the input shows it and the target is
/// its letter.
pub fn propose(look: &Look) -> (Option<Proposal>, Option<Proposal>) {
    let names: Vec<String> = look.columns.iter().map(|column| column.name.clone()).collect();
    let (input, target) = propose_columns(&names);
    let column = |name: Option<&str>| look.columns.iter().find(|column| Some(column.name.as_str()) == name);
    let options = OPTIONS.iter().find_map(|name| {
        let named = |column: &&LookColumn| column.kind == Kind::List && column.name.eq_ignore_ascii_case(name);
        look.columns.iter().find(named)
    });
    let plain = |column: &LookColumn| Proposal {
        text: column.name.clone(),
        reason: "by its name".into(),
    };
    let (input, target) = (column(input), column(target));
    let (Some(options), Some(asked)) = (
        options.filter(|options| is_word(&options.name)),
        input.filter(|input| is_word(&input.name)),
    ) else {
        return (input.map(plain), target.map(plain));
    };
    let shown = Proposal {
        text: format!(
            "{{{{ {} }}}}\nOptions:\n{{{{ {} | lettered }}}}",
            asked.name, options.name
        ),
        reason: format!("`{}` holds the options of each row", options.name),
    };
    let chosen = target.map(|target| letter(target, options).unwrap_or_else(|| plain(target)));
    (Some(shown), chosen)
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The letter of the right option, where the target is its number or its text in every row that was looked at.
fn letter(target: &LookColumn, options: &LookColumn) -> Option<Proposal> {
    let rows = || target.texts.iter().zip(&options.lists);
    if !is_word(&target.name) || target.texts.is_empty() {
        return None;
    }
    let number = |text: &String| text.parse::<usize>().ok();
    if rows().all(|(text, list)| list.contains(text)) {
        return Some(Proposal {
            text: format!("{{{{ {} | letter_of({}) }}}}", options.name, target.name),
            reason: format!("`{}` is the text of one of `{}`", target.name, options.name),
        });
    }
    let longest = options.lists.iter().map(Vec::len).max().unwrap_or_default();
    if longest <= 26 && rows().all(|(text, list)| number(text).is_some_and(|at| at < list.len())) {
        return Some(Proposal {
            text: format!("({{{{ 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[{} | int] }}}})", target.name),
            reason: format!("`{}` is the number of one of `{}`, from 0", target.name, options.name),
        });
    }
    None
}

pub fn propose_columns(columns: &[String]) -> (Option<&str>, Option<&str>) {
    let named = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| columns.iter().find(|column| column.eq_ignore_ascii_case(name)))
            .map(String::as_str)
    };
    let (input, target) = (named(&INPUTS), named(&TARGETS));
    match (columns, input, target) {
        // With two columns the one that is known tells the other.
        ([one, other], Some(input), None) => (Some(input), Some(if one == input { other } else { one })),
        ([one, other], None, Some(target)) => (Some(if one == target { other } else { one }), Some(target)),
        ([one, other], None, None) => (Some(one), Some(other)),
        _ => (input, target),
    }
}

/// Most labels of a closed label space, and the longest of them in characters.
const LABELS: usize = 12;
const LONGEST_LABEL: usize = 60;

/// The metric that fits the targets, and why.
pub fn propose_metric(targets: &[String]) -> (&'static str, &'static str) {
    let all = |test: fn(&str) -> bool| !targets.is_empty() && targets.iter().all(|target| test(target));
    let letter = |target: &str| {
        let inner = target.trim_matches(['(', ')', '.', ' ']);
        inner.len() == 1 && inner.chars().all(|c| c.is_ascii_uppercase())
    };
    let long = targets.iter().map(|target| target.chars().count()).sum::<usize>() > 80 * targets.len();
    let distinct: BTreeSet<&String> = targets.iter().collect();
    // The loader's own rule for a closed label space: such answers are options, however they are said.
    let closed = distinct.len() <= LABELS && targets.len() >= 4 * distinct.len();
    if all(letter) && distinct.len() <= 10 {
        ("choice", "the targets are letters of options")
    } else if all(|target| target.replace(',', "").parse::<f64>().is_ok()) {
        ("numeric", "the targets are numbers")
    } else if closed && all(|target| target.chars().count() <= LONGEST_LABEL) {
        ("choice", "the targets are a few labels that recur")
    } else if long {
        ("judge", "the targets are long texts")
    } else {
        ("normalized", "the targets are short texts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_proposed_by_name_or_by_elimination() {
        let by_name = |names: &[&str]| {
            let columns: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let (input, target) = propose_columns(&columns);
            (input.map(str::to_owned), target.map(str::to_owned))
        };
        let both = |input: &str, target: &str| (Some(input.to_owned()), Some(target.to_owned()));
        assert_eq!(by_name(&["id", "Question", "Answer"]), both("Question", "Answer"));
        assert_eq!(by_name(&["statement", "label"]), both("statement", "label"));
        assert_eq!(by_name(&["a1", "b1"]), both("a1", "b1"));
        assert_eq!(by_name(&["id", "foo", "bar"]), (None, None));
    }

    #[test]
    fn the_metric_follows_the_targets() {
        let metric = |targets: &[&str]| propose_metric(&targets.iter().map(|&t| t.to_owned()).collect::<Vec<_>>()).0;
        assert_eq!(metric(&["(A)", "B", "C."]), "choice");
        assert_eq!(metric(&["1", "-2.5", "1,000"]), "numeric");
        assert_eq!(
            metric(&["yes", "no"]),
            "normalized",
            "two answers are no label space yet"
        );
        assert_eq!(metric(&["yes", "no"].repeat(4)), "choice");
        assert_eq!(metric(&[&"long ".repeat(40)]), "judge");
        assert_eq!(metric(&[]), "normalized");
    }

    #[test]
    fn options_are_shown_and_the_target_is_their_letter() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let (input, target) = propose(&look(&path).unwrap());
            (input.unwrap().text, target.unwrap().text)
        };
        let shown = "{{ question }}\nOptions:\n{{ choices | lettered }}".to_owned();
        assert_eq!(
            of("a.jsonl", r#"{"question": "q", "choices": ["x", "y"], "answer": 1}"#),
            (
                shown.clone(),
                "({{ 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[answer | int] }})".into()
            )
        );
        assert_eq!(
            of("a.csv", "question;choices;answer\nq;['x', 'y'];y\n"),
            (shown.clone(), "{{ choices | letter_of(answer) }}".into())
        );
        assert_eq!(
            of("b.jsonl", r#"{"question": "q", "choices": ["x", "y"], "answer": "B"}"#),
            (shown, "answer".into())
        );
        assert_eq!(
            of(
                "c.json",
                r#"{"a": [[1]], "rows": [{"q": "1", "a": "2"}, {"q": "2", "a": "3"}]}"#
            ),
            ("q".into(), "a".into())
        );
    }
}
