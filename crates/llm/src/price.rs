//! What tokens cost. Money is a whole number of 10⁻⁹ USD; an unknown price is `None`, never zero.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::completion::Usage;

/// Operator-supplied prices of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// USD per million input tokens.
    pub input_per_million: UsdPerMillion,
    /// USD per million output tokens (reasoning is output).
    pub output_per_million: UsdPerMillion,
    /// USD per million input tokens read from the provider's cache; the input price if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_per_million: Option<UsdPerMillion>,
    /// USD per million input tokens written to the provider's cache; the input price if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_input_per_million: Option<UsdPerMillion>,
}

impl Price {
    /// Cost of a completion in 10⁻⁹ USD, rounded up; `None` if the provider did not say how many tokens it took.
    pub fn cost(&self, usage: &Usage) -> Option<u64> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let cached = usage.cached_input_tokens.unwrap_or(0).min(input);
        let written = usage.cache_write_input_tokens.unwrap_or(0).min(input - cached);
        let plain = input - cached - written;
        let parts = [
            (plain, self.input_per_million),
            (cached, self.cached_input_per_million.unwrap_or(self.input_per_million)),
            (
                written,
                self.cache_write_input_per_million.unwrap_or(self.input_per_million),
            ),
            (output, self.output_per_million),
        ];
        let millionths: u128 = parts
            .iter()
            .map(|(tokens, price)| u128::from(*tokens) * u128::from(price.0))
            .sum();
        Some(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The price of the dearest kind of input tokens: which of them a request will be charged for is known only afterwards.
    pub fn dearest_input(&self) -> UsdPerMillion {
        [self.cached_input_per_million, self.cache_write_input_per_million]
            .into_iter()
            .flatten()
            .fold(self.input_per_million, UsdPerMillion::max)
    }

    /// Most that a request of `input` tokens with `max_output` tokens to write can cost, in 10⁻⁹ USD: what to reserve.
    pub fn worst_case(&self, input: u64, max_output: u64) -> u64 {
        let dearest_input = self.dearest_input();
        let millionths = u128::from(input) * u128::from(dearest_input.0)
            + u128::from(max_output) * u128::from(self.output_per_million.0);
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// A sum that somebody else tells in USD, in 10⁻⁹ USD, rounded up. `None` for what is no sum of money.
pub(crate) fn usd_to_nano(usd: f64) -> Option<u64> {
    // Sums are small: the bound keeps nonsense out and the float exact to a nano.
    (usd.is_finite() && (0.0..1e6).contains(&usd)).then(|| (usd * 1e9 - 1e-3).ceil().max(0.0) as u64)
}

/// A price in 10⁻⁹ USD per million tokens. Written in a file as USD: `0.15` or `"0.15"`, exact to nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsdPerMillion(pub u64);

impl FromStr for UsdPerMillion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a price in USD per million tokens, such as 0.15");
        let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        whole
            .checked_mul(1_000_000_000)
            .and_then(|nanos| nanos.checked_add(fraction))
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for UsdPerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for UsdPerMillion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsdPerMillion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = UsdPerMillion;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price in USD per million tokens, such as 0.15")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UsdPerMillion, E> {
                text.parse().map_err(E::custom)
            }
            // The shortest decimal that reads back as this float is what the operator wrote.
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<UsdPerMillion, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<UsdPerMillion, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<UsdPerMillion, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: &str, output: &str, cached: Option<&str>) -> Price {
        Price {
            input_per_million: input.parse().unwrap(),
            output_per_million: output.parse().unwrap(),
            cached_input_per_million: cached.map(|text| text.parse().unwrap()),
            cache_write_input_per_million: None,
        }
    }

    #[test]
    fn cost_counts_each_kind_of_token_once() {
        let usage = Usage {
            input_tokens: Some(1_000),
            output_tokens: Some(100),
            cached_input_tokens: Some(400),
            ..Usage::default()
        };
        // 600 × 2.50 + 400 × 1.25 + 100 × 10 USD per million = 0.003 USD
        assert_eq!(price("2.5", "10", Some("1.25")).cost(&usage), Some(3_000_000));
        assert_eq!(price("2.5", "10", None).cost(&usage), Some(3_500_000));
    }

    #[test]
    fn unknown_usage_has_no_cost_and_zero_price_costs_zero() {
        let only_input = Usage {
            input_tokens: Some(5),
            ..Usage::default()
        };
        assert_eq!(price("1", "1", None).cost(&only_input), None);
        let both = Usage {
            output_tokens: Some(5),
            ..only_input
        };
        assert_eq!(price("0", "0", None).cost(&both), Some(0));
    }

    #[test]
    fn a_fraction_of_a_nano_is_rounded_up_and_nothing_overflows() {
        let one = Usage {
            input_tokens: Some(1),
            output_tokens: Some(0),
            ..Usage::default()
        };
        assert_eq!(price("0.000000001", "0", None).cost(&one), Some(1));
        let vast = Usage {
            input_tokens: Some(u64::MAX),
            output_tokens: Some(u64::MAX),
            ..Usage::default()
        };
        assert_eq!(price("999999", "999999", None).cost(&vast), Some(u64::MAX));
    }

    #[test]
    fn the_worst_case_is_never_below_the_cost() {
        let price = Price {
            cache_write_input_per_million: Some("3.75".parse().unwrap()),
            ..price("3", "15", Some("0.3"))
        };
        let usage = Usage {
            input_tokens: Some(1_000),
            output_tokens: Some(50),
            cache_write_input_tokens: Some(900),
            ..Usage::default()
        };
        assert!(price.worst_case(1_000, 50) >= price.cost(&usage).unwrap());
    }

    #[test]
    fn sums_of_a_gateway_are_read_in_nanos() {
        assert_eq!(usd_to_nano(0.000_028_5), Some(28_500));
        assert_eq!(usd_to_nano(1.5e-9), Some(2));
        assert_eq!(usd_to_nano(0.0), Some(0));
        assert_eq!(
            (usd_to_nano(-1.0), usd_to_nano(f64::NAN), usd_to_nano(1e9)),
            (None, None, None)
        );
    }

    #[test]
    fn prices_are_read_from_numbers_and_text_exactly() {
        for (text, nanos) in [
            ("0.15", 150_000_000),
            ("3", 3_000_000_000),
            ("0.000000001", 1),
            ("10.0", 10_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(UsdPerMillion(nanos)), "{text}");
            let read: UsdPerMillion = serde_json::from_str(text).unwrap();
            assert_eq!(read, UsdPerMillion(nanos), "{text}");
        }
        for wrong in ["-1", "", "1e3", "0.0000000001", "free", "99999999999999999999"] {
            assert!(wrong.parse::<UsdPerMillion>().is_err(), "{wrong}");
        }
        assert_eq!(UsdPerMillion(150_000_000).to_string(), "0.15");
    }
}
