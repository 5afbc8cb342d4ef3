//! Taking the answer out of what a model wrote.

use super::text::{pattern, unwrap};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::LazyLock;

/// How the answer is taken out of the model's text. A reasoning block (`<think>..</think>`) is always dropped first.
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
}

impl Span {
    fn stated(text: impl Into<String>) -> Span {
        Span {
            text: text.into(),
            stated: true,
        }
    }

    fn free(text: impl Into<String>) -> Span {
        Span {
            text: text.into(),
            stated: false,
        }
    }
}

impl Extraction {
    /// The span that holds the answer; none where the text does not have what the extraction asks for.
    pub(super) fn span(&self, text: &str) -> Option<Span> {
        let text = without_thinking(text);
        match self {
            Extraction::Auto => Some(statement(text).map_or_else(|| Span::free(body(text)), Span::stated)),
            Extraction::LastLine => text
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .map(|line| statement(line).map_or_else(|| Span::free(line.trim()), Span::stated)),
            Extraction::Whole => Some(Span::free(text.trim())),
            Extraction::After(marker) => after_last(text, marker).map(Span::stated),
            Extraction::Regex(source) => {
                let regex = Regex::new(source).ok()?;
                let last = regex.captures_iter(text).last()?;
                last.get(1)
                    .or_else(|| last.get(0))
                    .map(|found| Span::stated(found.as_str().trim()))
            }
            Extraction::Json(pointer) => {
                let value = json(text)?;
                let found = value.pointer(pointer)?;
                Some(Span::stated(
                    found.as_str().map_or_else(|| found.to_string(), str::to_owned),
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

/// The text after a reasoning model's thoughts.
pub(super) fn without_thinking(text: &str) -> &str {
    let rest = ["</think>", "</thinking>", "</reasoning>"]
        .iter()
        .filter_map(|tag| text.rfind(tag).and_then(|at| text.get(at + tag.len()..)));
    match rest.min_by_key(|rest| rest.len()) {
        Some(rest) if !rest.trim().is_empty() => rest.trim(),
        _ => text.trim(),
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
static FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```[\w+-]*[ \t]*\n?(.*?)```"));
static EXPLANATION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[\s#*_>-]*(?:(?:explanation|reasoning|rationale|justification|reason|working|steps|notes?)\W*(?::|$)|here'?s (?:why|how)|this is because|let me explain)",
    )
});

/// The last answer that the text states as such.
fn statement(text: &str) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    let mut offer = |at: usize, found: String| {
        let found = found.trim();
        if has_content(found) && best.as_ref().is_none_or(|(last, _)| at >= *last) {
            best = Some((at, found.to_owned()));
        }
    };
    for hit in STATED.find_iter(text) {
        let line = text
            .get(..hit.start())
            .and_then(|before| before.lines().last().filter(|_| !before.ends_with('\n')));
        let thinks =
            line.is_some_and(|line| HYPOTHETICAL.is_match(line)) && !hit.as_str().trim_end().ends_with([':', '*']);
        if !thinks {
            offer(hit.start(), following(text, hit.end()).unwrap_or_default());
        }
    }
    for hit in HASHES.find_iter(text) {
        // a Markdown heading says no answer: only a short rest of a line does
        let rest = text
            .get(hit.end()..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default();
        if !rest.trim_end().ends_with(':') && rest.split_whitespace().count() <= 6 {
            offer(hit.start(), rest.to_owned());
        }
    }
    for (at, open) in text.match_indices("\\boxed{") {
        offer(
            at,
            text.get(at + open.len()..)
                .and_then(balanced)
                .unwrap_or_default()
                .to_owned(),
        );
    }
    for hit in TAGGED.captures_iter(text) {
        if let (Some(whole), Some(inner)) = (hit.get(0), hit.get(1)) {
            offer(whole.start(), inner.as_str().to_owned());
        }
    }
    match best {
        Some((_, found)) if !found.starts_with('{') => Some(found),
        _ => json_answer(text).or(best.map(|(_, found)| found)),
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

/// The JSON of a text: all of it, a code fence, or the last object or list in it.
pub(super) fn json(text: &str) -> Option<Value> {
    let text = without_thinking(text);
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let fenced: Vec<&str> = FENCE
        .captures_iter(text)
        .filter_map(|fence| fence.get(1))
        .map(|inner| inner.as_str())
        .collect();
    if let Some(value) = fenced
        .iter()
        .rev()
        .find_map(|inner| serde_json::from_str(inner.trim()).ok())
    {
        return Some(value);
    }
    embedded(text)
}

/// The last outermost object or list that stands in running text.
fn embedded(text: &str) -> Option<Value> {
    let (mut last, mut at, mut tries) = (None, 0, 0);
    while let Some(open) = text.get(at..).and_then(|rest| rest.find(['{', '['])) {
        let start = at + open;
        tries += 1;
        let mut parsed = text
            .get(start..)
            .map(|rest| serde_json::Deserializer::from_str(rest).into_iter::<Value>())?;
        match parsed.next() {
            Some(Ok(value)) => {
                at = start + parsed.byte_offset().max(1);
                last = Some(value);
            }
            _ => at = start + 1,
        }
        if tries > 200 {
            break;
        }
    }
    last
}

/// The answer in a JSON object that holds one under a usual name.
fn json_answer(text: &str) -> Option<String> {
    if !text.contains('{') {
        return None;
    }
    let value = json(text)?;
    let object = value.as_object()?;
    let found = [
        "answer",
        "final_answer",
        "label",
        "choice",
        "result",
        "target",
        "output",
    ]
    .iter()
    .find_map(|key| object.get(*key))?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(found.to_string()),
        _ => None,
    }
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

/// The JSON in an answer, preferably in its stated part.
pub(super) fn found_json(span: &Span, answer: &str) -> Option<Value> {
    if span.stated {
        json(&span.text).or_else(|| json(answer))
    } else {
        json(answer)
    }
}
