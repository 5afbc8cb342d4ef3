//! Forms of numbers that are rewritten in plain ones before numbers are looked for: LaTeX, grouped digits, scales, shares of a whole. A
//! form that is known and has no value here (`\sqrt{2}`, `2\pi`, `1,5`) leaves no number behind: it is read whole or not at all.

use super::text::pattern;
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

/// Between a rating and the whole that it is out of.
pub(super) const OUT_OF: char = '⁄';
/// Stands for what is known to be no plain number.
const UNREAD: &str = "□";

static IRRATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:\d[\d.,]*\s*(?:\\cdot|\*|×)?\s*)?(?:\\sqrt\s*(?:\[\d+\])?\s*(?:\{[^{}]*\}|\d+)|√\s*\(?\d+\)?|\\pi\b|π)(?:\s*/\s*\d+)?",
    )
});
static SUBSCRIPT: LazyLock<Regex> = LazyLock::new(|| pattern(r"([A-Za-z])_(?:\{\w{1,8}\}|\d+)"));
static OF_A_LETTER: LazyLock<Regex> = LazyLock::new(|| pattern(r"([A-Za-z)\]}])\s?\^\s?(?:\{?\s?[-−]?\d+\s?\}?)"));
static POWER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:(×|x|\*|\\times|\\cdot)\s*)?(\d+(?:\.\d+)?)\s?\^\s?\{?\s?([-−]?\d{1,4})\s?\}?"));
static FRACTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\d+(?:\.\d+)?)?\s*\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"));
static GROUPED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\d{1,3}(?:(?: \d{3})+|(?:\x{a0}\d{3})+|(?:\x{2009}\d{3})+|(?:\x{202f}\d{3})+|(?:['’]\d{3})+|(?:_\d{3})+)|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d{1,2}",
    )
});
static DECIMAL_COMMA: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:,\d+)+"));
static THOUSANDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{1,3}(?:,\d{3})+$"));
static SCALED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\d)(?:(k|K|M|B|Mn|mn|mln|Bn|bn|bln|trn)| (k|mn|mln|bn|bln|trn))\b"));
static MONEY_T: LazyLock<Regex> = LazyLock::new(|| pattern(r"([$€£¥]\s?\d+(?:\.\d+)?)T\b"));
static SHARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(\d+(?:\.\d+)?|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten)\b)(?:\s+[a-z]+){0,2}?\s+\(?(?:out\s+of|on\s+a\s+scale\s+(?:of|from)\s+(?:\d+\s*(?:to|[-–])\s*)?)\s*(?:a\s+(?:possible|maximum)\s+(?:of\s+)?)?(?:the\s+)?(\d+(?:\.\d+)?|five|ten|hundred)\b(?:\s+(?:stars?|points?)\b)?",
    )
});
static STARS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(\d+(?:\.\d+)?)\s+of\s+(\d+)\s+(?:stars?|points?)\b|\b(\d+(?:\.\d+)?)[- ]stars?\b")
});
static GLYPHS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[★⭐]\u{fe0f}?(?:\s?[★⭐]\u{fe0f}?)*"));

/// The text with its numbers in plain forms.
pub(super) fn plain_numbers(text: &str) -> String {
    let text = glyphs(text);
    let text = text
        .replace("\\ ", " ")
        .replace("{,}", ",")
        .replace("\\,", "")
        .replace("\\!", "");
    let text = IRRATIONAL.replace_all(&text, UNREAD);
    let text = OF_A_LETTER.replace_all(&text, "$1");
    let text = SUBSCRIPT.replace_all(&text, "$1");
    let text = POWER.replace_all(&text, power);
    let text = FRACTION.replace_all(&text, fraction);
    let text = checked(&GROUPED, &text, grouped);
    let text = checked(&DECIMAL_COMMA, &text, |hit| {
        if THOUSANDS.is_match(hit) || hit.matches(',').count() > 1 {
            hit.to_owned()
        } else {
            UNREAD.to_owned()
        }
    });
    let text = SCALED.replace_all(&text, |hit: &Captures| format!("{} {}", part(hit, 1), scale(hit)));
    let text = MONEY_T.replace_all(&text, "$1 trillion");
    let text = SHARE.replace_all(&text, |hit: &Captures| {
        format!("{}{OUT_OF}{}", digits(part(hit, 1)), digits(part(hit, 2)))
    });
    STARS
        .replace_all(&text, |hit: &Captures| match part(hit, 3) {
            "" => format!("{}{OUT_OF}{}", part(hit, 1), part(hit, 2)),
            stars => format!("{stars} stars"),
        })
        .into_owned()
}

/// Digits of other scripts, superscripts, vulgar fractions and stars in the plain form.
fn glyphs(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut raised = false;
    for c in text.chars() {
        if let Some(digit) = superscript(c) {
            if !raised {
                out.push('^');
            }
            out.push(digit);
            raised = true;
            continue;
        }
        raised = false;
        if let Some((above, below)) = vulgar(c) {
            if out.ends_with(|last: char| last.is_ascii_digit()) {
                out.push(' ');
            }
            out.push_str(&format!("{above}/{below}"));
        } else if c == OUT_OF {
            out.push('/');
        } else {
            out.push(ascii_digit(c).unwrap_or(c));
        }
    }
    Cow::Owned(
        GLYPHS
            .replace_all(&out, |hit: &Captures| {
                part(hit, 0)
                    .chars()
                    .filter(|c| matches!(c, '★' | '⭐'))
                    .count()
                    .to_string()
            })
            .into_owned(),
    )
}

fn ascii_digit(c: char) -> Option<char> {
    const ZEROS: [u32; 8] = [0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50, 0xFF10, 0x0AE6, 0x0BE6];
    let value = ZEROS
        .iter()
        .find_map(|zero| (c as u32).checked_sub(*zero).filter(|value| *value < 10))?;
    char::from_digit(value, 10)
}

fn superscript(c: char) -> Option<char> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    match c {
        '⁻' => Some('-'),
        _ => RAISED
            .chars()
            .position(|raised| raised == c)
            .and_then(|at| char::from_digit(at as u32, 10)),
    }
}

fn vulgar(c: char) -> Option<(u32, u32)> {
    const ALL: [(char, u32, u32); 18] = [
        ('½', 1, 2),
        ('⅓', 1, 3),
        ('⅔', 2, 3),
        ('¼', 1, 4),
        ('¾', 3, 4),
        ('⅕', 1, 5),
        ('⅖', 2, 5),
        ('⅗', 3, 5),
        ('⅘', 4, 5),
        ('⅙', 1, 6),
        ('⅚', 5, 6),
        ('⅐', 1, 7),
        ('⅛', 1, 8),
        ('⅜', 3, 8),
        ('⅝', 5, 8),
        ('⅞', 7, 8),
        ('⅑', 1, 9),
        ('⅒', 1, 10),
    ];
    ALL.iter()
        .find(|(known, ..)| *known == c)
        .map(|(_, above, below)| (*above, *below))
}

fn part<'a>(hit: &'a Captures, at: usize) -> &'a str {
    hit.get(at).map_or("", |found| found.as_str())
}

fn power(hit: &Captures) -> String {
    let (times, base, exponent) = (part(hit, 1), part(hit, 2), part(hit, 3).replace('−', "-"));
    // "1.2 × 10^5" is one number: its reader takes the power
    if !times.is_empty() && base == "10" {
        return part(hit, 0).to_owned();
    }
    let value = base.parse::<f64>().ok().zip(exponent.parse::<i32>().ok());
    let value = value
        .map(|(base, exponent)| base.powi(exponent))
        .filter(|value| value.is_finite());
    let gap = if times.is_empty() {
        String::new()
    } else {
        format!("{times} ")
    };
    value.map_or_else(|| UNREAD.to_owned(), |value| format!("{gap}{value}"))
}

fn fraction(hit: &Captures) -> String {
    let number = |at: usize| {
        let text = if part(hit, at).is_empty() {
            part(hit, at + 1)
        } else {
            part(hit, at)
        };
        text.replace([',', ' ', '$'], "").replace('−', "-").parse::<f64>().ok()
    };
    let (Some(above), Some(below)) = (number(2), number(4).filter(|below| *below != 0.0)) else {
        return UNREAD.to_owned();
    };
    let (above, below) = if below < 0.0 { (-above, -below) } else { (above, below) };
    match part(hit, 1) {
        "" => format!("{above}/{below}"),
        // "5\frac{1}{2}" is five and a half; "5\frac{-1}{2}" is no number
        whole if above >= 0.0 && !whole.contains('.') => format!("{whole} {above}/{below}"),
        _ => UNREAD.to_owned(),
    }
}

/// Replaces the hits that no digit, point or comma goes on.
fn checked(regex: &Regex, text: &str, to: impl Fn(&str) -> String) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for hit in regex.find_iter(text) {
        let before = text.get(..hit.start()).unwrap_or_default();
        let after = text.get(hit.end()..).unwrap_or_default();
        let mut next = after.chars();
        let (first, second) = (next.next().unwrap_or(' '), next.next().unwrap_or(' '));
        let goes_on = first.is_ascii_digit()
            || matches!(first, ',' | ' ' | '/') && second.is_ascii_digit()
            || first == '.' && second.is_ascii_digit() && hit.as_str().contains('.');
        let begun = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '/'))
            || before.ends_with(' ') && before.trim_end().ends_with(|c: char| c.is_ascii_digit());
        out.push_str(text.get(at..hit.start()).unwrap_or_default());
        out.push_str(&if goes_on || begun {
            hit.as_str().to_owned()
        } else {
            to(hit.as_str())
        });
        at = hit.end();
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// One number in grouped digits, as plain ones: two points or more group, as does a point before a comma.
fn grouped(hit: &str) -> String {
    let decimals = hit.rsplit_once(',').filter(|_| hit.contains('.'));
    let (whole, rest) = decimals.map_or((hit, None), |(whole, rest)| (whole, Some(rest)));
    let bare: String = whole.chars().filter(char::is_ascii_digit).collect();
    rest.map_or(bare.clone(), |rest| format!("{bare}.{rest}"))
}

fn scale(hit: &Captures) -> &'static str {
    let mark = if part(hit, 2).is_empty() {
        part(hit, 3)
    } else {
        part(hit, 2)
    };
    match mark {
        "k" | "K" => "thousand",
        "M" | "Mn" | "mn" | "mln" => "million",
        "trn" => "trillion",
        _ => "billion",
    }
}

fn digits(word: &str) -> &str {
    const WORDS: [&str; 11] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    const DIGITS: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    if word.eq_ignore_ascii_case("hundred") {
        return "100";
    }
    let at = WORDS.iter().position(|known| known.eq_ignore_ascii_case(word));
    at.and_then(|at| DIGITS.get(at)).copied().unwrap_or(word)
}
