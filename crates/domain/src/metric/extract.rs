//! Taking the answer out of what a model wrote.

use super::{
    courtesy,
    json::{FENCE, answer_object, json},
    rules::{Rules, without_thinking},
    text::{pattern, unwrap},
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// How the answer is taken out of the model's text. What is reasoning is always dropped first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extraction {
    /// The last stated answer (`Answer: ..`, `the answer is ..`, `\boxed{..}`, `#### ..`, `<answer>..</answer>`, a JSON object's `answer`);
    /// where none is stated, what the metric finds by its own rules.
    #[default]
    Auto,
    /// The last line that is not empty.
    LastLine,
    /// The whole text.
    Whole,
    /// What follows the last occurrence of this text (upper and lower case alike), to the end of its line, or the next line.
    After(String),
    /// The last match of this regular expression: its first group, or all of it where it has none.
    Regex(String),
    /// The value at this JSON pointer (`/answer`) of the JSON in the text.
    Json(String),
}

/// The part of a text that holds the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The part.
    pub text: String,
    /// The model, or the user's extraction, marks it as the answer; else it is running text in which the answer is yet to be found.
    pub stated: bool,
    /// The rule by which it was found, for people.
    pub rule: &'static str,
}

impl Span {
    pub(super) fn stated(text: impl Into<String>, rule: &'static str) -> Span {
        Span {
            text: text.into(),
            stated: true,
            rule,
        }
    }

    pub(super) fn free(text: impl Into<String>, rule: &'static str) -> Span {
        Span {
            text: text.into(),
            stated: false,
            rule,
        }
    }
}

/// An answer that the text states, with the rule that found it.
type Statement = (String, &'static str);

impl Extraction {
    /// The span that holds the answer; none where the text does not have what the extraction asks for.
    pub(super) fn span(&self, text: &str, rules: Rules) -> Option<Span> {
        let text = without_thinking(text, rules);
        match self {
            Extraction::Auto => Some(automatic(text, rules)),
            Extraction::LastLine => {
                text.lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .map(|line| match statement(line, rules) {
                        Some((found, rule)) => Span::stated(found, rule),
                        None => Span::free(line.trim(), "the last line"),
                    })
            }
            Extraction::Whole => Some(Span::free(text.trim(), "the whole text")),
            Extraction::After(marker) => after_last(text, marker).map(|found| Span::stated(found, "after the marker")),
            Extraction::Regex(source) => {
                let regex = Regex::new(source).ok()?;
                let last = regex.captures_iter(text).last()?;
                last.get(1)
                    .or_else(|| last.get(0))
                    .map(|found| Span::stated(found.as_str().trim(), "the regular expression"))
            }
            Extraction::Json(pointer) => {
                let value = json(text, rules)?;
                let found = value.pointer(pointer)?;
                Some(Span::stated(
                    found.as_str().map_or_else(|| found.to_string(), str::to_owned),
                    "the JSON pointer",
                ))
            }
        }
    }

    /// Refuses what can never extract anything, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Extraction::Regex(source) => Regex::new(source)
                .map(drop)
                .map_err(|error| format!("`extract` is not a regular expression: {error}")),
            Extraction::After(marker) if marker.trim().is_empty() => {
                Err("`extract.after` is empty: give the marker's text".into())
            }
            Extraction::Json(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => Err(format!(
                "`extract.json` is a JSON pointer such as `/answer`, not `{pointer}`"
            )),
            _ => Ok(()),
        }
    }
}

fn automatic(text: &str, rules: Rules) -> Span {
    let text = match rules {
        Rules::First => text,
        Rules::Second => courtesy::without(text),
    };
    match statement(text, rules) {
        Some((found, rule)) => Span::stated(found, rule),
        None => Span::free(body(text), "free text"),
    }
}

static STATED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?:answers?|ans|(?:correct|right|best|final) (?:option|choice|label|statement|result|output|solution|response|verdict))",
        r"(?:\s+(?:to|for) (?:the|this|your) (?:\w+\s?){1,4}?)?(?:\s*\([^()\n]{2,40}\))?",
        r"[*_]*\s*(?:\bis\b(?:\s+(?:therefore|thus|then|hence|simply|indeed))?|\bare\b|\bwould be\b|\bmust be\b|\bshould be\b|=|:|：|->|→)[*_]*",
        r"(?:\s*(?::|：)[*_]*)?"
    ))
});
/// Words before "answer is" that make it no statement.
static HYPOTHETICAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:if|whether|suppose|assume|assuming|what|why|unless|say|until|that|once|think)\s+(?:that\s+)?(?:the|my|an|our|one)?\s*(?:final|correct|right|best)?\s*$",
    )
});
static HASHES: LazyLock<Regex> = LazyLock::new(|| pattern(r"####\s*"));
static TAGGED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?is)<(?:final_?)?answer>(.*?)</(?:final_?)?answer>"));
static EXPLANATION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[\s#*_>-]*(?:(?:explanation|reasoning|rationale|justification|reason|working|steps|notes?)\W*(?::|$)|here'?s (?:why|how)|this is because|let me explain)",
    )
});

/// The last answer that the text states as such. What stands inside a JSON object that holds an answer is none of its own.
fn statement(text: &str, rules: Rules) -> Option<Statement> {
    let mut best: Option<(usize, Statement)> = None;
    let mut offer = |at: usize, found: String, rule: &'static str| {
        let found = found.trim();
        if has_content(found) && best.as_ref().is_none_or(|(last, _)| at >= *last) {
            best = Some((at, (found.to_owned(), rule)));
        }
    };
    for hit in STATED.find_iter(text) {
        let line = text
            .get(..hit.start())
            .and_then(|before| before.lines().last().filter(|_| !before.ends_with('\n')));
        let thinks =
            line.is_some_and(|line| HYPOTHETICAL.is_match(line)) && !hit.as_str().trim_end().ends_with([':', '*']);
        if !thinks {
            offer(
                hit.start(),
                following(text, hit.end()).unwrap_or_default(),
                "a stated answer",
            );
        }
    }
    for hit in HASHES.find_iter(text) {
        // a Markdown heading says no answer: only a short rest of a line does
        let rest = text
            .get(hit.end()..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default();
        if !rest.trim_end().ends_with(':') && rest.split_whitespace().count() <= 6 {
            offer(hit.start(), rest.to_owned(), "after ####");
        }
    }
    for (at, open) in text.match_indices("\\boxed{") {
        offer(
            at,
            text.get(at + open.len()..)
                .and_then(balanced)
                .unwrap_or_default()
                .to_owned(),
            "\\boxed{}",
        );
    }
    for hit in TAGGED.captures_iter(text) {
        if let (Some(whole), Some(inner)) = (hit.get(0), hit.get(1)) {
            offer(whole.start(), inner.as_str().to_owned(), "the tag <answer>");
        }
    }
    let object = answer_object(text, rules);
    match (best, object) {
        (Some((_, found)), _) if rules.first() && !found.0.starts_with('{') => Some(found),
        // the last one counts: the object, unless something is stated behind it
        (Some((at, found)), Some((end, _))) if !rules.first() && at >= end => Some(found),
        (_, Some((_, found))) => Some((found, "a JSON object's answer")),
        (best, None) => best.map(|(_, found)| found),
    }
}

/// What follows a marker: the rest of its line, else the fence or the line that comes next.
fn following(text: &str, at: usize) -> Option<String> {
    let rest = text.get(at..)?;
    let line = rest.lines().next().unwrap_or_default();
    if has_content(line) && !line.trim_start().starts_with("```") {
        return Some(close_emphasis(line));
    }
    if let Some(fence) = FENCE.captures(rest).filter(|fence| {
        fence
            .get(0)
            .is_some_and(|whole| rest.get(..whole.start()).is_some_and(|gap| !has_content(gap)))
    }) {
        return fence.get(1).map(|inner| inner.as_str().to_owned());
    }
    rest.lines().find(|line| has_content(line)).map(close_emphasis)
}

/// `(B)**` is what remains of `**Answer: (B)**`.
fn close_emphasis(line: &str) -> String {
    let line = line.trim();
    for mark in ["**", "__", "*", "\""] {
        if let Some(inner) = line
            .strip_suffix(mark)
            .filter(|inner| inner.matches(mark).count() % 2 == 0)
        {
            return inner.trim_end().to_owned();
        }
    }
    line.to_owned()
}

fn after_last(text: &str, marker: &str) -> Option<String> {
    // lower-casing may change lengths outside ASCII: only ASCII letters are folded
    let at = text.to_ascii_lowercase().rfind(&marker.to_ascii_lowercase())?;
    following(text, at + marker.len())
}

/// A free text without a lone code fence's marks, and without an explanation that follows the answer.
fn body(text: &str) -> &str {
    // a quotation in Markdown; without words `>` is part of the answer
    let text = text
        .strip_prefix("> ")
        .filter(|quoted| quoted.contains(char::is_alphanumeric))
        .unwrap_or(text);
    let mut fences = FENCE.captures_iter(text);
    if let (Some(only), None) = (fences.next(), fences.next())
        && let Some(inner) = only.get(1)
    {
        return inner.as_str().trim();
    }
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let before = text.get(..at).unwrap_or_default();
        // an answer of a line or two: after more than that it is a step of the reasoning
        let lines = before.lines().filter(|line| has_content(line)).count();
        if EXPLANATION.is_match(line) && (1..=2).contains(&lines) {
            return before.trim();
        }
        at += line.len();
    }
    text
}

fn has_content(text: &str) -> bool {
    text.chars()
        .any(|c| !c.is_whitespace() && !matches!(c, '*' | '_' | ':' | '`' | '#'))
}

/// The text up to the brace that closes one opened before it.
fn balanced(text: &str) -> Option<&str> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(..at);
        }
    }
    None
}

/// The span as one line where the metric compares whole answers: a free text of several lines gives its last one.
pub(super) fn one_answer(span: &Span) -> &str {
    let text = span.text.trim();
    if span.stated {
        return text;
    }
    text.lines()
        .rev()
        .map(unwrap)
        .find(|line| !line.is_empty())
        .unwrap_or(text)
}
