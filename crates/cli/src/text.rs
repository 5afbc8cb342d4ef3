//! Text of models made harmless, and numbers made readable.

use std::time::Duration;

/// Text of a model or a server made harmless for a terminal: control characters are shown escaped; line feeds and tabs stay.
/// So are the marks that reorder text, because they can make a line read as something that it is not.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            c if c.is_control() || reorders(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

/// As [`clean`], on one line: white space of any kind becomes one space.
pub fn clean_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The first `limit` characters of a cleaned line, with an ellipsis where something is left out.
pub fn short(text: &str, limit: usize) -> String {
    let line = clean_line(text);
    if line.chars().count() <= limit {
        return line;
    }
    let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A count with thousands separated: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `2 calls`.
pub fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Billionths of a US dollar as dollars: two places from a cent up, four below.
pub fn dollars(nano_usd: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with at most four places")]
    let usd = nano_usd as f64 / 1e9;
    if nano_usd == 0 || usd >= 0.01 {
        format!("${usd:.2}")
    } else {
        format!("${usd:.4}")
    }
}

/// A fraction as a percentage with one place: `93.3 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// Seconds as `48s`, `3m 5s` or `2h 7m`.
pub fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Unix milliseconds as a local date and time; a dash for none.
pub fn when(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) if unix_ms > 0 => time
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_a_model_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2J\tb\nc\r"), "a\\u{1b}[2J\tb\nc\\u{d}");
        assert_eq!(clean("\u{9b}31m\u{202e}evil"), "\\u{9b}31m\\u{202e}evil");
        assert_eq!(clean_line("two\r\n  lines\n"), "two lines");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(plural(1, "call"), "1 call");
        assert_eq!(plural(2000, "call"), "2,000 calls");
        assert_eq!(dollars(0), "$0.00");
        assert_eq!(dollars(1_230_000_000), "$1.23");
        assert_eq!(dollars(1_200_000), "$0.0012");
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(185), "3m 5s");
        assert_eq!(duration(7_620), "2h 7m");
    }
}
