//! Numbers as models write them: `1,234`, `$5.00`, `-3`, `3/4`, `\frac{1}{2}`, `1.2 × 10^5`, `twenty-one`, `2 million`.

#[cfg(test)]
mod tests;

use super::{
    extract::Span,
    rewrite::{OUT_OF, plain_numbers},
    rules::Rules,
    text::pattern,
};
use regex::Regex;
use std::sync::LazyLock;

/// A number in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    start: usize,
    end: usize,
    value: f64,
    /// Written in digits rather than in words.
    digits: bool,
    /// What it is out of, where it is a rating or a share, and how that is written.
    of: Option<Whole>,
}

/// `8/10`, `8 out of 10`: the number above, the one below.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Whole {
    above: f64,
    below: f64,
    /// In words, rather than with a stroke.
    told: bool,
}

/// The number that a text comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    value: f64,
    of: Option<Whole>,
}

impl Number {
    /// Whether this answer means the number that is wanted, by `same` (answer, wanted). A rating (`8/10`, `8 out of 10`) means what it is
    /// out of its whole where a whole number is wanted, else either: `8.5/10` is 8.5 and 0.85.
    pub(super) fn means(self, wanted: Number, same: impl Fn(f64, f64) -> bool) -> bool {
        let target = match wanted.of {
            Some(whole) if whole.told => whole.above,
            _ => wanted.value,
        };
        let Some(whole) = self.of else {
            return same(self.value, target);
        };
        if wanted
            .of
            .is_some_and(|of| of.above == whole.above && of.below == whole.below)
        {
            return true;
        }
        same(whole.above, target) || target.fract() != 0.0 && same(self.value, target)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.of {
            Some(whole) => write!(f, "{} out of {}", whole.above, whole.below),
            None => write!(f, "{}", self.value),
        }
    }
}

impl From<Found> for Number {
    fn from(found: Found) -> Number {
        // with a stroke only what is usual for ratings is one: 3/4 is three quarters
        let rates = |whole: &Whole| {
            whole.above >= 0.0
                && whole.above <= whole.below
                && (whole.told || [5.0, 10.0, 100.0].contains(&whole.below))
        };
        Number {
            value: found.value,
            of: found.of.filter(rates),
        }
    }
}

static DIGITS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"));
static POWER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*(?:×|x|\*|\\times|\\cdot)\s*10\s*\^\s*\{?([-−]?\d+)\}?"));
static SCALE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\s+(hundred|thousand|million|billion|trillion)\b"));
static MORE_SCALES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\s+(dozen|hundred|thousand|lakh|million|crore|billion|trillion)s?\b"));
static DENOMINATOR: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s?[/⁄]\s?(\d+(?:\.\d+)?)"));
static FRACTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\d?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}"));
static SIGN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?:^|[\s(\[{=:*$])[-−–][$€£¥]?$|(?:^|[=:(]|\bis)\s*(?:[-−–]|minus\b|negative\b)\s*[$€£¥]?\s*$")
});
static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\([^()]*\)"));
static WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[a-z]+"));
static VERB: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\b(?:is|are|was|were|has|have|had|equals?|totals?|makes?|costs?|needs?|gets?|earns?|gives?|leaves?|total of)\b|:)",
    )
});

/// The number that an answer comes to, if it comes to one.
///
/// A stated answer ("the answer is ..."): the number after the last `=`, else the first one. A free text: the last line that holds a
/// number; there, the number after the last `=`, else the only one, else the first after the last verb ("she has 20 dollars left
/// after 3 days"), else the last one.
pub(super) fn in_answer(span: &Span, rules: Rules) -> Option<Number> {
    let text = plain(&span.text, rules);
    let numbers = |text: &str| numbers(text, rules);
    if span.stated {
        let first = text.lines().find(|line| !numbers(line).is_empty())?;
        return after_equals(first, rules).or_else(|| numbers(first).first().copied().map(Number::from));
    }
    let line = text.lines().rev().find(|line| !numbers(line).is_empty())?;
    after_equals(line, rules).or_else(|| in_sentence(last_sentence(line, rules), rules))
}

/// The number that a whole text is, units and currency aside: for targets.
pub(super) fn target(text: &str, rules: Rules) -> Result<Number, String> {
    match numbers(&plain(text, rules), rules).as_slice() {
        [only] => Ok((*only).into()),
        [] => Err("it holds no number".into()),
        several => Err(format!("it holds {} numbers where one is needed", several.len())),
    }
}

/// The integer that a whole text is, in digits or words; none for anything that looks like a code (`007`) or has a point.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let found = numbers(text, Rules::First);
    let [only] = found.as_slice() else { return None };
    let bare: String = text.chars().filter(|c| c.is_ascii_digit()).collect();
    let coded = bare.len() > 1 && bare.starts_with('0');
    let rest = format!(
        "{}{}",
        text.get(..only.start).unwrap_or("?"),
        text.get(only.end..).unwrap_or("?")
    );
    let alone = rest.trim().is_empty() || matches!(rest.trim(), "-" | "−" | "$");
    (alone && !coded && !text.contains(['.', '/']) && only.value.fract() == 0.0 && only.value.abs() < 9e15)
        .then_some(only.value as i64)
}

fn last_sentence(line: &str, rules: Rules) -> &str {
    line.rmatch_indices(". ")
        .filter_map(|(at, _)| line.get(at + 2..))
        .find(|rest| !numbers(rest, rules).is_empty())
        .unwrap_or(line)
}

fn in_sentence(line: &str, rules: Rules) -> Option<Number> {
    // "5 (2 flutes, 3 drums)": what stands in brackets explains
    let outside = BRACKETS.replace_all(line, " ");
    let line = if numbers(&outside, rules).is_empty() {
        line
    } else {
        &outside
    };
    let mut found = numbers(line, rules);
    if found.iter().any(|number| number.digits) {
        found.retain(|number| number.digits);
    }
    if let [only] = found.as_slice() {
        return Some((*only).into());
    }
    let verbs: Vec<usize> = VERB.find_iter(line).map(|verb| verb.end()).collect();
    let after_verb = verbs.iter().rev().find_map(|&at| {
        found
            .iter()
            .find(|number| number.start >= at && number.start <= at + 24)
    });
    after_verb.or(found.last()).copied().map(Number::from)
}

fn after_equals(line: &str, rules: Rules) -> Option<Number> {
    let at = line.rfind('=')?;
    numbers(line.get(at + 1..)?, rules).first().copied().map(Number::from)
}

/// LaTeX and Markdown taken off.
fn plain(text: &str, rules: Rules) -> String {
    let text = match rules {
        Rules::First => text.replace(OUT_OF, "∕"),
        Rules::Second => plain_numbers(text),
    };
    let text = &text;
    let text = FRACTION.replace_all(text, "$1/$2");
    text.replace("{,}", ",")
        .replace("\\,", "")
        .replace("\\!", "")
        .replace("\\$", "$")
        .replace("\\%", "%")
        .replace("**", "")
        .replace('_', " ")
        .replace("\\text{", " ")
        .replace("\\boxed{", " ")
}

fn numbers(text: &str, rules: Rules) -> Vec<Found> {
    let mut found = digits(text, rules);
    found.extend(
        words(text, rules)
            .into_iter()
            .filter(|word| {
                // "2 million" is read with its digits
                !found
                    .iter()
                    .any(|number| number.start < word.end && word.start < number.end)
            })
            .collect::<Vec<_>>(),
    );
    found.sort_by_key(|number| number.start);
    found
}

fn digits(text: &str, rules: Rules) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let mut skip = 0;
    for hit in DIGITS.find_iter(text) {
        if hit.start() < skip {
            continue;
        }
        let before = text.get(..hit.start()).unwrap_or_default();
        let after = text.get(hit.end()..).unwrap_or_default();
        let version = hit.as_str().starts_with('.') && before.ends_with(|c: char| c.is_ascii_digit());
        if version || !stands_alone(before, after) {
            continue;
        }
        let Ok(mut value) = hit.as_str().replace(',', "").parse::<f64>() else {
            continue;
        };
        let (mut end, mut whole_of) = (hit.end(), None);
        let scales = if rules.first() { &SCALE } else { &MORE_SCALES };
        if let Some(part) = DENOMINATOR.captures(after) {
            let Some(of) = part
                .get(1)
                .and_then(|of| of.as_str().parse::<f64>().ok())
                .filter(|of| *of != 0.0)
            else {
                continue;
            };
            end += part.get(0).map_or(0, |whole| whole.len());
            if text.get(end..).is_some_and(|rest| rest.starts_with('/')) {
                skip = end + 5; // a date
                continue;
            }
            if !rules.first() {
                whole_of = Some(Whole {
                    above: value,
                    below: of,
                    told: part.get(0).is_some_and(|part| part.as_str().contains(OUT_OF)),
                });
            }
            value /= of;
            // "1 1/2"
            if let Some(whole) =
                all.pop_if(|last| text.get(last.end..hit.start()) == Some(" ") && last.value.fract() == 0.0)
            {
                whole_of = None;
                // of "-1 1/2" both parts are below zero
                value = if whole.value < 0.0 && !rules.first() {
                    whole.value - value
                } else {
                    whole.value + value
                };
            }
        }
        if let Some(power) = text.get(end..).and_then(|rest| POWER.captures(rest)) {
            let exponent = power
                .get(1)
                .and_then(|e| e.as_str().replace('−', "-").parse::<i32>().ok())
                .unwrap_or(0);
            value *= 10f64.powi(exponent);
            end += power.get(0).map_or(0, |whole| whole.len());
        } else if let Some(scale) = text.get(end..).and_then(|rest| scales.captures(rest)) {
            value *= scale
                .get(1)
                .and_then(|word| magnitude(&word.as_str().to_lowercase()))
                .unwrap_or(1.0);
            end += scale.get(0).map_or(0, |whole| whole.len());
        }
        if SIGN.is_match(before) {
            value = -value;
            whole_of = None;
        }
        skip = end;
        if value.is_finite() {
            all.push(Found {
                start: hit.start(),
                end,
                value,
                digits: true,
                of: whole_of,
            });
        }
    }
    all
}

/// Not part of a word, a date, a time, a version or an ordinal.
fn stands_alone(before: &str, after: &str) -> bool {
    let last = before.chars().next_back().unwrap_or(' ');
    let mut next = after.chars();
    let (first, second) = (next.next().unwrap_or(' '), next.next().unwrap_or(' '));
    let joined = matches!(last, '/' | ':' | '.') && before.chars().rev().nth(1).is_some_and(|c| c.is_ascii_digit());
    let goes_on = matches!(first, ':' | '.') && second.is_ascii_digit();
    let lower = after.to_ascii_lowercase();
    let ordinal = ["st", "nd", "rd", "th"].iter().any(|end| {
        lower
            .strip_prefix(end)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    });
    !last.is_alphabetic() && !joined && !goes_on && !ordinal
}

fn unit(word: &str) -> Option<f64> {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = [
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let at = |list: &[&str]| list.iter().position(|name| *name == word).map(|at| at as f64);
    at(&UNITS).or_else(|| at(&TENS).map(|tens| 20.0 + 10.0 * tens))
}

fn magnitude(word: &str) -> Option<f64> {
    Some(match word {
        "dozen" => 12.0,
        "lakh" => 1e5,
        "crore" => 1e7,
        "hundred" => 1e2,
        "thousand" => 1e3,
        "million" => 1e6,
        "billion" => 1e9,
        "trillion" => 1e12,
        _ => return None,
    })
}

/// Number words, joined by spaces, hyphens or `and`.
fn words(text: &str, rules: Rules) -> Vec<Found> {
    let mut all = Vec::new();
    let mut run: Option<(Found, f64)> = None; // the number so far, and its part below the last magnitude
    for hit in WORDS.find_iter(text) {
        let word = hit.as_str().to_lowercase();
        let gap = run
            .as_ref()
            .and_then(|(found, _)| text.get(found.end..hit.start()))
            .unwrap_or("?");
        let joins = matches!(gap.trim(), "" | "-" | "and") && !gap.contains('\n');
        if !joins && word != "and" {
            all.extend(run.take().map(|(found, _)| found));
        }
        let newer = rules.first() && matches!(word.as_str(), "dozen" | "lakh" | "crore");
        match (unit(&word), magnitude(&word).filter(|_| !newer), run.as_mut()) {
            (Some(value), _, Some((found, part))) if takes(*part, value) => {
                found.value += value;
                *part += value;
                found.end = hit.end();
            }
            (Some(value), _, _) => {
                all.extend(run.take().map(|(found, _)| found));
                let start = hit.start();
                let digit_before = text
                    .get(..start)
                    .unwrap_or_default()
                    .trim_end_matches('-')
                    .ends_with(|c: char| c.is_alphanumeric());
                if !digit_before {
                    let negative = text.get(..start).is_some_and(|before| SIGN.is_match(before));
                    let found = Found {
                        start,
                        end: hit.end(),
                        value: if negative { -value } else { value },
                        digits: false,
                        of: None,
                    };
                    run = Some((found, value));
                }
            }
            (None, Some(times), Some((found, part))) => {
                found.value += *part * (times - 1.0);
                *part = if times > 100.0 { 0.0 } else { *part * times };
                found.end = hit.end();
            }
            (None, _, _) if word == "and" => {}
            _ => all.extend(run.take().map(|(found, _)| found)),
        }
    }
    all.extend(run.map(|(found, _)| found));
    all
}

/// Whether `value` can follow `part` in one number: "twenty" "one", "hundred" "five", "thousand" "two".
fn takes(part: f64, value: f64) -> bool {
    part == 0.0
        || (part % 100.0 == 0.0 && value < 100.0)
        || (part % 10.0 == 0.0 && part % 100.0 >= 20.0 && value > 0.0 && value < 10.0)
}
