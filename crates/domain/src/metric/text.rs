//! Plain text forms of an answer: unwrapped, normalised, cut into tokens.

use super::rules::Rules;
use regex::Regex;
use std::{collections::HashMap, sync::LazyLock};
use unicode_normalization::UnicodeNormalization;

/// A pattern of this module's own; a test compiles each.
#[expect(clippy::expect_used, reason = "patterns are literals, compiled by the tests")]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a literal pattern compiles")
}

/// Removes what wraps an answer and says nothing: Markdown emphasis, quotes, code ticks, dollar signs of formulas, a final period.
pub(super) fn unwrap(text: &str) -> &str {
    const PAIRS: [(&str, &str); 11] = [
        ("**", "**"),
        ("__", "__"),
        ("*", "*"),
        ("`", "`"),
        ("\"", "\""),
        ("'", "'"),
        ("“", "”"),
        ("‘", "’"),
        ("\\(", "\\)"),
        ("\\text{", "}"),
        ("\\boxed{", "}"),
    ];
    let mut text = text.trim();
    loop {
        let before = text;
        for (open, close) in PAIRS {
            let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            if let Some(inner) = inner.filter(|inner| !inner.is_empty() && !inner.contains(open)) {
                text = inner.trim();
            }
        }
        // a formula, not an amount of money: "$x$"
        if let Some(inner) = text.strip_prefix('$').and_then(|rest| rest.strip_suffix('$')) {
            text = inner.trim_matches('$').trim();
        }
        if let Some(rest) = text.strip_suffix(['.', '。']) {
            // an ellipsis is no period
            if !rest.is_empty() && !rest.ends_with('.') {
                text = rest.trim_end();
            }
        }
        if text == before {
            return text;
        }
    }
}

/// White space runs become one space; compatibility forms and typographic quotes their plain form.
pub(super) fn tidy(text: &str) -> String {
    let plain: String = text.nfkc().map(plain_char).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lower case, without articles and without the punctuation that carries no meaning.
///
/// Kept, because they tell answers apart: a minus sign before a digit, a decimal point, symbols inside a word (`c++`, `it&t`).
/// A text that would vanish (`] ]`) is kept as it is, tidied.
pub(super) fn normalise(text: &str, rules: Rules) -> String {
    let words = tokens(text, rules);
    if words.is_empty() {
        tidy(text).to_lowercase()
    } else {
        words.join(" ")
    }
}

/// The words of the normalised text.
pub(super) fn tokens(text: &str, rules: Rules) -> Vec<String> {
    let text = match rules {
        Rules::First => text.into(),
        Rules::Second => signs_kept(text),
    };
    let lower = tidy(&text).to_lowercase().replace("**", "").replace("__", "");
    let chars: Vec<char> = lower.chars().collect();
    let mut out = String::with_capacity(lower.len());
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|i| chars.get(i)).copied().unwrap_or(' ');
        let after = chars.get(at + 1).copied().unwrap_or(' ');
        match c {
            // thousands stay together, lists come apart
            ',' if before.is_ascii_digit() && after.is_ascii_digit() => {}
            '.' if after.is_ascii_digit() => out.push(c),
            '-' if after.is_ascii_digit() && !before.is_alphanumeric() => out.push(c),
            '\'' if before.is_alphanumeric() && after.is_alphanumeric() => {}
            ',' | ';' | ':' | '!' | '?' | '.' | '-' | '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '*'
            | '_' => {
                out.push(' ');
            }
            '。' | '、' | '؟' | '،' | '।' if !rules.first() => out.push(' '),
            KEPT_MINUS => out.push('-'),
            KEPT_STAR => out.push('*'),
            _ => out.push(c),
        }
    }
    let all: Vec<String> = out.split_whitespace().map(str::to_owned).collect();
    let kept: Vec<String> = all
        .iter()
        .filter(|word| !matches!(word.as_str(), "a" | "an" | "the"))
        .cloned()
        .collect();
    if kept.is_empty() { all } else { kept }
}

/// Stand for a minus sign or a star that says something: `A-`, `A*`.
const KEPT_MINUS: char = '\u{e000}';
const KEPT_STAR: char = '\u{e001}';

static INITIALS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\b\p{L}\.\s?){2,}|\b\p{L}\.\p{L}\b"));
static GRADE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(^|[\s(\[\x22'“:])([A-Z]{1,2}|Cl|Br)([-−‐‑*])($|[\s)\]\x22'”.,;:!?])"));

/// Abbreviations in one word (`U.S.`, `J. K.`), and the sign behind a grade, a blood group or an ion (`A-`, `A*`, `Cl-`) marked as kept.
fn signs_kept(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['.', '-', '−', '‐', '‑', '*']) {
        return text.into();
    }
    let text = GRADE.replace_all(text, |hit: &regex::Captures| {
        let part = |at: usize| hit.get(at).map_or("", |found| found.as_str());
        let sign = if part(3) == "*" { KEPT_STAR } else { KEPT_MINUS };
        format!("{}{}{sign}{}", part(1), part(2), part(4))
    });
    let joined = INITIALS.replace_all(&text, |hit: &regex::Captures| {
        let whole = hit.get(0).map_or("", |found| found.as_str());
        let letters: String = whole.chars().filter(|c| c.is_alphanumeric()).collect();
        if whole.ends_with(char::is_whitespace) {
            letters + " "
        } else {
            letters
        }
    });
    joined.into_owned().into()
}

/// Token F1 of two texts, in 0..=1: harmonic mean of precision and recall over the multiset of tokens (as for SQuAD).
pub(super) fn f1(a: &str, b: &str, rules: Rules) -> f64 {
    let (a, b) = (tokens(a, rules), tokens(b, rules));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &b {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0.0;
    for word in &a {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1.0;
        }
    }
    if common == 0.0 {
        0.0
    } else {
        2.0 * common / (a.len() + b.len()) as f64
    }
}

/// Whether `part` stands in `whole` as whole words, both normalised. Beside a letter of a script without spaces between words a word
/// may begin and end anywhere.
pub(super) fn contains_words(whole: &str, part: &str, rules: Rules) -> bool {
    let (whole, part) = (normalise(whole, rules), normalise(part, rules));
    if part.is_empty() || rules.first() {
        return !part.is_empty() && format!(" {whole} ").contains(&format!(" {part} "));
    }
    let ends = |inner: Option<char>, outer: Option<char>| {
        let free = |c: Option<char>| c.is_some_and(unspaced);
        outer.is_none_or(char::is_whitespace) || free(inner) || free(outer)
    };
    whole.match_indices(&part).any(|(at, _)| {
        let (before, after) = (whole.get(..at), whole.get(at + part.len()..));
        ends(part.chars().next(), before.and_then(|text| text.chars().next_back()))
            && ends(part.chars().next_back(), after.and_then(|text| text.chars().next()))
    })
}

/// Han, kana, Thai, Lao, Khmer, Burmese: scripts that put no space between words.
fn unspaced(c: char) -> bool {
    matches!(c as u32, 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0x20000..=0x2FA1F)
}

static EMPHASISED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"\*\*([^*]+)\*\*|`([^`\n]+)`|"([^"\n]+)"|“([^”\n]+)”"#));
static SENTENCE_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.!?]\s+[A-Z(*]|\n"));
static LEADING_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)^\W*(yes|no|true|false|valid|invalid|plausible|implausible|unknown|uncertain)\W*?[,.;:!\n—–]")
});
static LABELLED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z][A-Za-z ()']{0,50}:\**\s+(\S.*)$"));
static COPULA: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i).*\b(?:is|are|was|were|equals|to)\s+(\S.*)$"));
static CONCLUSION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(?:.*[.!?]\s+)?(?:so|therefore|thus|hence)\b,?:?\s+(\S.*)$"));
static NEGATION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(not|never|neither|nor|rather than|instead of)\b|n't\b"));

/// The forms in which one answer may be meant, the plainest first. All are cut from the same span, so that two different answers
/// in one text never both count.
pub(super) fn forms(span: &str) -> Vec<String> {
    let mut forms = vec![span.trim().to_owned(), unwrap(span).to_owned()];
    let first = SENTENCE_END
        .find(span)
        .map_or(span, |end| span.get(..end.start()).unwrap_or(span));
    forms.push(unwrap(first).to_owned());
    if let Some(lead) = LEADING_WORD.captures(span).and_then(|found| found.get(1)) {
        forms.push(lead.as_str().to_owned());
    }
    if let Some(rest) = LABELLED.captures(first.trim()).and_then(|found| found.get(1)) {
        forms.push(unwrap(rest.as_str()).to_owned());
    }
    if let Some(rest) = CONCLUSION.captures(span.trim()).and_then(|found| found.get(1)) {
        forms.push(unwrap(rest.as_str()).to_owned());
    }
    if !NEGATION.is_match(first) {
        let mut strong = EMPHASISED.captures_iter(first);
        if let (Some(only), None) = (strong.next(), strong.next()) {
            forms.extend(
                only.iter()
                    .skip(1)
                    .flatten()
                    .map(|part| unwrap(part.as_str()).to_owned()),
            );
        }
        if let Some(rest) = COPULA.captures(first.trim()).and_then(|found| found.get(1)) {
            forms.push(unwrap(rest.as_str()).to_owned());
        }
    }
    forms.retain(|form| !form.is_empty());
    forms.dedup();
    forms
}

fn plain_char(c: char) -> char {
    match c {
        '‘' | '’' | 'ʼ' => '\'',
        '“' | '”' => '"',
        '−' | '–' | '—' | '‐' | '‑' => '-',
        other => other,
    }
}
