//! The `[budget]` table: amounts as users write them.

use super::{place::Source, schema::BudgetTable};
use crate::error::LoadError;
use sipdo_domain::Budget;

pub(super) fn read(source: &Source, table: &BudgetTable) -> Result<Budget, LoadError> {
    for (key, value) in [
        ("calls", table.calls),
        ("tokens", table.tokens),
        ("seconds", table.seconds),
    ] {
        if value == Some(0) {
            return Err(source.at(
                &["budget", key],
                format!("`{key}` is 0: the run could not make a single call"),
                "Omit the key for no cap",
            ));
        }
    }
    if table.seconds.is_some() && table.time.is_some() {
        return Err(source.at(
            &["budget", "time"],
            "both `seconds` and `time` are given",
            "Keep one of them",
        ));
    }
    let nano_usd = match &table.usd {
        None => None,
        Some(value) => Some(nano(value).ok_or_else(|| {
            let advice = "Write an amount above 0 with at most nine decimals, such as \"1.50\"";
            source.at(
                &["budget", "usd"],
                format!("`usd = {value}` is not an amount of US dollars"),
                advice,
            )
        })?),
    };
    let seconds = match &table.time {
        None => table.seconds,
        Some(text) => Some(duration(text).ok_or_else(|| {
            source.at(
                &["budget", "time"],
                format!("`time = \"{text}\"` is not a duration"),
                "Write it as \"90s\", \"45m\", \"2h\" or \"1h30m\"",
            )
        })?),
    };
    Ok(Budget {
        calls: table.calls,
        tokens: table.tokens,
        nano_usd,
        seconds,
    })
}

/// US dollars as billionths; from the decimal digits, so that no cent is lost in binary.
fn nano(value: &toml::Value) -> Option<u64> {
    let text = match value {
        toml::Value::String(text) => text.trim().trim_start_matches('$').to_owned(),
        toml::Value::Integer(whole) => whole.to_string(),
        toml::Value::Float(real) => format!("{real}"),
        _ => return None,
    };
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    if whole.is_empty() || part.len() > 9 || !(whole.to_owned() + part).chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let nanos: u64 = format!("{part:0<9}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(nanos)
        .filter(|amount| *amount > 0)
}

/// `90s`, `45m`, `2h`, `1h30m`, in whole seconds.
fn duration(text: &str) -> Option<u64> {
    let duration = humantime::parse_duration(text).ok()?;
    let whole = duration.subsec_nanos() == 0;
    Some(duration.as_secs()).filter(|seconds| whole && *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        let text = |text: &str| nano(&toml::Value::String(text.into()));
        assert_eq!(text("1.50"), Some(1_500_000_000));
        assert_eq!(text("$0.000000001"), Some(1));
        assert_eq!(nano(&toml::Value::Float(0.1)), Some(100_000_000));
        assert_eq!(nano(&toml::Value::Integer(3)), Some(3_000_000_000));
        for bad in ["", "-1", "one", "0", "1.0000000001", ".5.", "1e3"] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h30m"), Some(5400));
        assert_eq!(duration("90s"), Some(90));
        assert_eq!(duration(" 1 h 30 m"), Some(5400));
        assert_eq!(duration("1d2h"), Some(93_600));
        assert_eq!(duration("2 weeks"), Some(1_209_600));
        for bad in ["", "2", "h", "2 walks", "0s", "1500ms", "-1s", "1h30"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
