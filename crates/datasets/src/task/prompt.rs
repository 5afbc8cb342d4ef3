//! The seed prompt: its text and its placeholder.

use super::{place::Source, schema::TaskTable};
use crate::{
    data::text,
    error::{LoadError, shorten},
};
use regex::Regex;
use sipdo_domain::{prompt::PLACEHOLDER, template};

/// Names that stand for the input in other tools' prompts.
const USUAL: [&str; 12] = [
    "question",
    "text",
    "query",
    "input",
    "inputs",
    "problem",
    "sentence",
    "example",
    "x",
    "q",
    "user_input",
    "prompt",
];

/// The text without its marks, and the parts that they protect.
pub(super) fn read(
    source: &Source,
    table: &TaskTable,
    warnings: &mut Vec<String>,
) -> Result<(String, Vec<String>), LoadError> {
    let (key, text) = match (&table.prompt, &table.prompt_file) {
        (Some(prompt), None) => ("prompt", prompt.clone()),
        (None, Some(file)) => ("prompt_file", text(&source.resolve(file, None))?),
        (Some(_), Some(_)) => {
            return Err(source.at(
                &["task", "prompt_file"],
                "both `prompt` and `prompt_file` are given",
                "Keep one of them",
            ));
        }
        (None, None) => {
            let advice = "Add `prompt = \"...\"`: one line such as \"Answer the question.\" is enough to start from; or add \
                          `[[prompt.messages]]`";
            return Err(source.at(&["task"], "`[task]` has no prompt", advice));
        }
    };
    let (text, kept) = template::unmark(text.trim()).map_err(|problem| {
        let advice = "Protected text is written <keep>..</keep>, and marks are not nested";
        source.at(&["task", key], problem, advice)
    })?;
    let text = text.trim().to_owned();
    check(&text, warnings).map_err(|(problem, advice)| source.at(&["task", key], problem, advice))?;
    Ok((text, kept))
}

/// The rules of the placeholder: at most one `{input}`, and nothing that looks like another.
fn check(text: &str, warnings: &mut Vec<String>) -> Result<(), (String, String)> {
    if text.is_empty() {
        return Err((
            "the prompt is empty".into(),
            "One line such as \"Answer the question.\" is enough to start from".into(),
        ));
    }
    let doubled = ["{{input}}", "{{ input }}", "{{input }}", "{{ input}}", "{ input }"]
        .into_iter()
        .find(|form| text.contains(form));
    if let Some(form) = doubled {
        return Err((
            format!("the prompt contains `{form}`"),
            format!("Write the input's placeholder as `{PLACEHOLDER}`, with single braces"),
        ));
    }
    let times = text.matches(PLACEHOLDER).count();
    if times > 1 {
        return Err((
            format!("the prompt contains `{PLACEHOLDER}` {times} times"),
            "The input is inserted once: keep one".into(),
        ));
    }
    for (form, name) in lookalikes(text) {
        let meant = USUAL.contains(&name.to_lowercase().as_str());
        if meant && times == 0 {
            let advice = format!("Write the input's placeholder as `{PLACEHOLDER}`: no other placeholder is replaced");
            return Err((
                format!("the prompt contains `{form}`, which looks like a placeholder for the input"),
                advice,
            ));
        }
        warnings.push(format!(
            "the prompt contains `{}`, which is sent unchanged: only `{PLACEHOLDER}` is replaced",
            shorten(&form)
        ));
    }
    Ok(())
}

/// `{name}`, `{{ name }}`, `{{name}}`: not `{input}` itself, and no JSON.
fn lookalikes(text: &str) -> Vec<(String, String)> {
    let Ok(pattern) = Regex::new(r"\{\{?\s*([A-Za-z_]\w*)\s*\}?\}") else {
        return Vec::new();
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for hit in pattern.captures_iter(text) {
        if let (Some(form), Some(name)) = (hit.get(0), hit.get(1))
            && form.as_str() != PLACEHOLDER
            && !found.iter().any(|(known, _)| known == form.as_str())
            // \boxed{x} and \text{x} are formulas
            && !text.get(..form.start()).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric()))
        {
            found.push((form.as_str().to_owned(), name.as_str().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn placeholders_are_told_from_braces() {
        let refused = [
            "",
            "Q: {{input}}",
            "Q: {question}\nA:",
            "{{ question }}",
            "{input} and {input}",
            "Solve {x}.",
        ];
        for text in refused {
            assert!(check(text, &mut Vec::new()).is_err(), "{text}");
        }
        let fine = [
            "Answer.",
            "Q: {input}\nA:",
            "Reply as {\"answer\": \"...\"}.",
            r"End with \boxed{answer}.",
            "Use {} for sets.",
        ];
        for text in fine {
            let mut warnings = Vec::new();
            assert!(
                check(text, &mut warnings).is_ok() && warnings.is_empty(),
                "{text}: {warnings:?}"
            );
        }
        let mut warnings = Vec::new();
        assert!(check("Dear {name}, answer {input}", &mut warnings).is_ok());
        assert_eq!(warnings.len(), 1);
    }
}
