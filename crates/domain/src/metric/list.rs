//! The lists of options in a question: on lines of their own, within one line, or as bullets under a heading.

use super::{
    rules::Rules,
    text::{normalise, pattern},
};
use regex::Regex;
use std::sync::LazyLock;

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Letter or number; none for a bullet.
    pub(super) mark: Option<String>,
    /// Normalised text; empty where only the mark is known.
    pub(super) text: String,
    /// The text as it is written.
    pub(super) raw: String,
    /// Whether the text names other options of the list by their marks.
    pub(super) names_others: bool,
}

impl Choice {
    pub(super) fn marked(mark: &str, text: &str, rules: Rules) -> Choice {
        Choice {
            mark: Some(mark.to_owned()),
            ..Choice::bare(text, rules)
        }
    }

    pub(super) fn bare(text: &str, rules: Rules) -> Choice {
        Choice {
            mark: None,
            text: normalise(text, rules),
            raw: text.to_owned(),
            names_others: false,
        }
    }
}

static MARKED_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*(?:[-*•]\s*)?[(\[]?([A-Za-z]|\d{1,2})(?:[)\]]\s*|[.:]\s+)(\S.*)$"));
/// The same with Roman numbers.
static ANY_MARKED_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\s*(?:[-*•]\s*)?[(\[]?([A-Za-z]|\d{1,2}|[ivx]{2,5}|[IVX]{2,5})(?:[)\]]\s*|[.:]\s+)(\S.*)$")
});
static BULLET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*[-*•]\s+(\S.*)$"));
static HEADING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:options|choices|possible answers|alternatives)\W*$"));
static INLINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\(([A-Z])\)\s*"));
/// Marks within a line, one form at a time: a list keeps to its form.
static WITHIN: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    [
        r"\(([A-Za-z]|\d{1,2}|[ivx]{2,5}|[IVX]{2,5})\)\s*",
        r"\[([A-Za-z]|\d{1,2}|[ivx]{2,5}|[IVX]{2,5})\]\s*",
        r"(?:^|[\s,;|/])([A-Za-z]|\d{1,2}|[ivx]{2,5}|[IVX]{2,5})\)\s*",
        r"(?:^|[\s,;|/])([A-Z]|\d{1,2}|[IVX]{2,5})\.\s+",
        r"(?:^|[\s,;|/])([A-Z]|\d{1,2}|[IVX]{2,5}):\s+",
    ]
    .map(pattern)
});
static ENDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:[\s,;|/]|\b(?:or|and)\s*$)+$"));
static ASKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:options?|choices?|answers?|alternatives|pick|choose|select|which)\b[^.!]{0,40}[:?]\s*$")
});

/// Lettered lines, letters in brackets within one line, or bullets under a heading. The last list counts.
pub(super) fn in_input(input: &str, rules: Rules) -> Option<Vec<Choice>> {
    marked_lines(input, rules)
        .or_else(|| inline(input, rules))
        .or_else(|| bullets(input, rules))
}

/// `A, B, C, ..` (or `a, b, ..`, `1, 2, ..`): the mark that opens a list, and the one that follows a mark. Later rules also know
/// `0, 1, ..`, `i, ii, ..` and `I, II, ..`.
fn follows(last: Option<&str>, mark: &str, rules: Rules) -> bool {
    match last {
        None if rules.first() => matches!(mark, "A" | "a" | "1"),
        None => matches!(mark, "A" | "a" | "1" | "0" | "i" | "I"),
        Some(last) => match (last.parse::<u32>(), mark.parse::<u32>()) {
            (Ok(last), Ok(mark)) => mark == last + 1,
            _ => {
                let letters = last.len() == 1
                    && mark.len() == 1
                    && last.bytes().next().map(|byte| byte + 1) == mark.bytes().next();
                let same_case = last.chars().all(char::is_uppercase) == mark.chars().all(char::is_uppercase);
                letters || !rules.first() && same_case && roman(last).is_some_and(|at| roman(mark) == Some(at + 1))
            }
        },
    }
}

/// The place of a Roman number, from 1 to 20.
fn roman(mark: &str) -> Option<usize> {
    const ROMAN: [&str; 20] = [
        "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii",
        "xviii", "xix", "xx",
    ];
    ROMAN
        .iter()
        .position(|known| known.eq_ignore_ascii_case(mark))
        .map(|at| at + 1)
}

/// Digits and Roman numbers also count steps and premises: they are options only where the text says so.
fn needs_heading(mark: &str, last: Option<&str>) -> bool {
    mark.starts_with(|c: char| c.is_ascii_digit())
        || mark.len() > 1
        || last.is_none() && matches!(mark, "i" | "I")
        || last.is_some_and(|last| roman(last).is_some() && roman(mark) == roman(last).map(|at| at + 1))
}

fn marked_lines(input: &str, rules: Rules) -> Option<Vec<Choice>> {
    let (mut best, mut run): (Option<Vec<Choice>>, Vec<Choice>) = (None, Vec::new());
    let (mut gap, mut headed) = (0, false);
    let line_form = if rules.first() {
        &*MARKED_LINE
    } else {
        &*ANY_MARKED_LINE
    };
    for line in input.lines() {
        headed |= HEADING.is_match(line);
        let Some(found) = line_form.captures(line) else {
            gap += usize::from(!line.trim().is_empty());
            continue;
        };
        let (mark, text) = (
            found.get(1).map_or("", |mark| mark.as_str()),
            found.get(2).map_or("", |text| text.as_str()),
        );
        let last = run.last().and_then(|choice| choice.mark.as_deref());
        // numbered lines are options only under a heading that says so: else they are steps or premises
        let counts = if rules.first() {
            mark.starts_with(|c: char| c.is_ascii_digit())
        } else {
            needs_heading(mark, last)
        };
        if counts && !headed {
            continue;
        }
        if gap > 2 || !follows(last, mark, rules) {
            run.clear();
            if !follows(None, mark, rules) {
                continue;
            }
        }
        gap = 0;
        run.push(Choice::marked(mark, text, rules));
        if run.len() > 1 {
            best = Some(run.clone());
        }
    }
    best
}

fn inline(input: &str, rules: Rules) -> Option<Vec<Choice>> {
    input.lines().rev().find_map(|line| {
        let hits: Vec<(usize, usize, &str)> = INLINE
            .captures_iter(line)
            .filter_map(|hit| Some((hit.get(0)?.start(), hit.get(0)?.end(), hit.get(1)?.as_str())))
            .collect();
        let mut choices: Vec<Choice> = Vec::new();
        for (at, (_, end, mark)) in hits.iter().enumerate() {
            if !follows(choices.last().and_then(|choice| choice.mark.as_deref()), mark, rules) {
                return None;
            }
            let stop = hits.get(at + 1).map_or(line.len(), |(start, _, _)| *start);
            choices.push(Choice::marked(mark, line.get(*end..stop)?, rules));
        }
        // "(A) and (B)" in running text is no list
        let real = rules.first() || choices.iter().all(|choice| !empty(&choice.raw));
        (choices.len() > 1 && real).then_some(choices)
    })
}

/// A list within one line in any of its forms: `A) red B) blue`, `(1) red (2) blue`. Numbers need words that ask for a choice before
/// them. A mark that does not follow belongs to the text before it: "(C) Both (A) and (B)".
pub(super) fn within_a_line(input: &str) -> Option<Vec<Choice>> {
    let lines: Vec<&str> = input.lines().collect();
    (0..lines.len()).rev().find_map(|at| {
        let above = at
            .checked_sub(1)
            .and_then(|above| lines.get(above))
            .copied()
            .unwrap_or_default();
        let line = lines.get(at)?;
        WITHIN.iter().find_map(|form| last_list(line, above, form))
    })
}

fn last_list(line: &str, above: &str, form: &Regex) -> Option<Vec<Choice>> {
    let hits: Vec<(usize, usize, &str)> = form
        .captures_iter(line)
        .filter_map(|hit| Some((hit.get(0)?.start(), hit.get(0)?.end(), hit.get(1)?.as_str())))
        .collect();
    (0..hits.len()).rev().find_map(|first| {
        let mut run: Vec<(usize, usize, &str)> = Vec::new();
        for hit in hits.get(first..)? {
            if follows(run.last().map(|(_, _, mark)| *mark), hit.2, Rules::Second) {
                run.push(*hit);
            }
        }
        let (start, _, mark) = *run.first()?;
        let before = line.get(..start).unwrap_or_default();
        let asked =
            ASKS.is_match(before) || HEADING.is_match(before) || before.trim().is_empty() && ASKS.is_match(above);
        if run.len() < 2 || needs_heading(mark, None) && !asked {
            return None;
        }
        let text = |at: usize| {
            let stop = run.get(at + 1).map_or(line.len(), |(start, _, _)| *start);
            let text = line.get(run.get(at)?.1..stop)?;
            Some(ENDS.replace(text, "").into_owned())
        };
        let texts: Vec<String> = (0..run.len()).map(text).collect::<Option<_>>()?;
        let list = run
            .iter()
            .zip(&texts)
            .map(|((_, _, mark), text)| Choice::marked(mark, text, Rules::Second));
        (!texts.iter().any(|text| empty(text))).then(|| list.collect())
    })
}

/// Nothing that could be an option: no letter or digit, or only a word between two marks.
fn empty(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    bare.is_empty() || matches!(bare.as_str(), "and" | "or" | "nor" | "but" | "to")
}

fn bullets(input: &str, rules: Rules) -> Option<Vec<Choice>> {
    let (mut best, mut run): (Option<Vec<Choice>>, Option<Vec<Choice>>) = (None, None);
    for line in input.lines() {
        if HEADING.is_match(line) {
            run = Some(Vec::new());
        } else if let (Some(list), Some(text)) = (run.as_mut(), BULLET.captures(line).and_then(|found| found.get(1))) {
            list.push(Choice::bare(text.as_str(), rules));
            if list.len() > 1 {
                best = Some(list.clone());
            }
        } else if !line.trim().is_empty() {
            run = None;
        }
    }
    best
}
