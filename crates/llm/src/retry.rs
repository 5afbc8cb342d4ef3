//! When to try again: pauses that grow, with jitter, and what Retry-After says.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::endpoint::RetrySettings;

/// The pauses of one call, in order; ends when its attempts are used up.
pub(crate) fn pauses(settings: &RetrySettings) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs_f64(settings.first_delay_seconds))
        .with_max_delay(Duration::from_secs_f64(settings.max_delay_seconds))
        .with_max_times(settings.attempts.saturating_sub(1) as usize)
        .with_jitter()
        .build()
}

/// What a reply asks us to wait: `Retry-After` in seconds or as an HTTP date, or the finer `retry-after-ms`.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds =
        |number: f64| (number.is_finite() && number >= 0.0).then(|| Duration::from_secs_f64(number.min(86_400.0)));
    if let Some(milliseconds) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return seconds(milliseconds / 1000.0);
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(now)
            .unwrap_or(Duration::ZERO)
            .min(Duration::from_secs(86_400)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
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
        let list: Vec<_> = pauses(&settings).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(list.len(), 3);
        for (pause, least) in list.iter().zip([1.0, 2.0, 2.0]) {
            assert!((least..=2.0 * least).contains(pause), "{list:?}");
        }
    }
}
