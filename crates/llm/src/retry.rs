//! When to try again: pauses that grow, with jitter, and what Retry-After says.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::complaint::duration;
use crate::endpoint::RetrySettings;

/// Refusals for the rate are tried so many times more often than failures: a quota comes back within its time.
const RATE_SHARE: usize = 4;

/// Why a call pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The endpoint failed.
    OfFailure,
    /// The endpoint asks for fewer requests.
    OfRate,
}

/// The pauses of one call: those after failures and those after refusals for the rate, each growing on its own.
pub(crate) struct Patience {
    of_failures: ExponentialBackoff,
    of_rate: ExponentialBackoff,
}

impl Patience {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        let more = settings.attempts.saturating_sub(1) as usize;
        Self {
            of_failures: pauses(settings, more),
            of_rate: pauses(settings, RATE_SHARE * more),
        }
    }

    /// The next pause of its kind, in which the call waits; `None` when the attempts are used up.
    pub(crate) fn next(&mut self, kind: Pause) -> Option<Duration> {
        match kind {
            Pause::OfFailure => self.of_failures.next(),
            Pause::OfRate => self.of_rate.next(),
        }
    }
}

fn pauses(settings: &RetrySettings, most: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs_f64(settings.first_delay_seconds))
        .with_max_delay(Duration::from_secs_f64(settings.max_delay_seconds))
        .with_max_times(most)
        .with_jitter()
        .build()
}

/// What the headers of a refusal ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How long to wait.
    pub(crate) wait: Option<Duration>,
    /// Whether to try again at all, where the endpoint says so (`x-should-retry`).
    pub(crate) again: Option<bool>,
}

/// LiteLLM's proxy passes the headers of the provider behind it on under this prefix.
const PROXIED: &str = "llm_provider-";

/// Headers that tell when a limit is free again, and the header that tells how much of it is left.
const RESETS: [(&str, &str); 9] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    (
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-requests-remaining",
    ),
    (
        "anthropic-ratelimit-input-tokens-reset",
        "anthropic-ratelimit-input-tokens-remaining",
    ),
    (
        "anthropic-ratelimit-output-tokens-reset",
        "anthropic-ratelimit-output-tokens-remaining",
    ),
    (
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
    ),
    ("x-ratelimit-reset-after", "x-ratelimit-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
];

/// What a reply asks for: `retry-after-ms`, `Retry-After` in seconds, as a duration or as an HTTP date, or else the reset of the limit
/// that is used up; each also under the name that a proxy gives it.
pub(crate) fn asked(headers: &HeaderMap, now: SystemTime) -> Asked {
    let text = |name: &str| {
        let value = headers.get(name).or_else(|| headers.get(format!("{PROXIED}{name}")));
        value.and_then(|value| value.to_str().ok()).map(str::trim)
    };
    let milliseconds = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    let told = milliseconds
        .and_then(|number| seconds(number / 1000.0))
        .or_else(|| moment(text(RETRY_AFTER.as_str())?, now));
    let again = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    Asked {
        wait: told.or_else(|| reset(&text, now)),
        again,
    }
}

/// The reset of the limits that are used up; where none is said to be, the nearest one.
fn reset<'a>(text: &impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let told = RESETS.iter().filter_map(|(reset, left)| {
        let used_up = text(left)
            .and_then(|left| left.parse::<f64>().ok())
            .map(|left| left <= 0.0);
        Some((moment(text(reset)?, now)?, used_up))
    });
    let told: Vec<(Duration, Option<bool>)> = told.collect();
    let used_up = told
        .iter()
        .filter(|(_, used_up)| *used_up == Some(true))
        .map(|(wait, _)| *wait)
        .max();
    used_up.or_else(|| told.iter().map(|(wait, _)| *wait).min())
}

fn seconds(number: f64) -> Option<Duration> {
    (number.is_finite() && number >= 0.0).then(|| Duration::from_secs_f64(number.min(86_400.0)))
}

/// How long it is from `now` to what a header says: seconds, a duration, seconds or milliseconds since 1970, an HTTP date, or a moment
/// in the form of RFC 3339.
fn moment(text: &str, now: SystemTime) -> Option<Duration> {
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            _ if (1e11..1e15).contains(&number) => seconds((number / 1000.0 - since_1970).max(0.0)),
            _ if (1e8..1e11).contains(&number) => seconds((number - since_1970).max(0.0)),
            _ => seconds(number),
        };
    }
    if let Some(wait) = duration(text) {
        return Some(wait);
    }
    let date = httpdate::parse_http_date(text).ok().or_else(|| rfc3339(text))?;
    Some(
        date.duration_since(now)
            .unwrap_or(Duration::ZERO)
            .min(Duration::from_secs(86_400)),
    )
}

/// `2026-11-30T12:00:00Z`, with a fraction or an offset or both.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let after = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match after.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes = after.get(1..3)?.parse::<i64>().ok()? * 60 + after.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days since 1970 of the proleptic Gregorian calendar (H. Hinnant, "days_from_civil").
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &[(&'static str, &str)]) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.insert(*name, value.parse().unwrap());
        }
        super::asked(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
    }

    fn asked(name: &'static str, value: &str) -> Option<Duration> {
        all(&[(name, value)]).wait
    }

    #[test]
    fn a_proxys_name_and_the_resets_of_limits_are_read() {
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(asked("llm_provider-retry-after", "30"), seconds(30));
        assert_eq!(asked("llm_provider-x-ratelimit-reset", "9"), seconds(9));
        assert_eq!(asked("x-ratelimit-reset-requests", "6m0s"), seconds(360));
        assert_eq!(
            asked("x-ratelimit-reset", "784111777"),
            seconds(7),
            "seconds since 1970"
        );
        assert_eq!(
            asked("x-ratelimit-reset", "784111777000"),
            seconds(7),
            "milliseconds since 1970"
        );
        assert_eq!(
            asked("anthropic-ratelimit-requests-reset", "1994-11-06T08:49:37Z"),
            seconds(7)
        );
        assert_eq!(
            asked("anthropic-ratelimit-requests-reset", "1994-11-06T09:49:37.5+01:00"),
            seconds(7)
        );
        let two = [("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "9s")];
        assert_eq!(all(&two).wait, seconds(1), "nobody says which one is used up");
        let of_tokens = [
            two[0],
            two[1],
            ("x-ratelimit-remaining-requests", "5"),
            ("x-ratelimit-remaining-tokens", "0"),
        ];
        assert_eq!(all(&of_tokens).wait, seconds(9));
        assert_eq!(
            all(&[two[1], ("retry-after", "3")]).wait,
            seconds(3),
            "Retry-After goes first"
        );
        assert_eq!(all(&[("x-should-retry", "false")]).again, Some(false));
        assert_eq!(all(&[("x-should-retry", "perhaps")]).again, None);
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(asked("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(
            asked("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            asked("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"),
            Some(Duration::ZERO)
        );
        for nonsense in ["soon", "-1", "NaN", ""] {
            assert_eq!(asked("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(asked("retry-after", "1e99"), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn pauses_grow_and_end_with_the_attempts() {
        let settings = RetrySettings {
            attempts: 4,
            first_delay_seconds: 1.0,
            max_delay_seconds: 2.0,
            ..Default::default()
        };
        let mut patience = Patience::new(&settings);
        let of_rate = std::iter::from_fn(|| patience.next(Pause::OfRate)).count();
        let list: Vec<_> = std::iter::from_fn(|| patience.next(Pause::OfFailure))
            .map(|pause| pause.as_secs_f64())
            .collect();
        assert_eq!((list.len(), of_rate), (3, 12));
        let never = RetrySettings {
            attempts: 1,
            ..settings
        };
        assert_eq!(Patience::new(&never).next(Pause::OfRate), None, "one attempt is one");
        for (pause, least) in list.iter().zip([1.0, 2.0, 2.0]) {
            assert!((least..=2.0 * least).contains(pause), "{list:?}");
        }
    }
}
