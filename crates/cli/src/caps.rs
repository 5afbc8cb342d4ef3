//! Caps of a run, as flags.

use clap::Args;

/// Caps of a run.
#[derive(Debug, Clone, Default, Args)]
pub struct Caps {
    /// Maximum number of model calls
    #[arg(long = "budget-calls", value_name = "N", help_heading = "Budget")]
    pub calls: Option<u64>,
    /// Maximum number of tokens, input and output
    #[arg(long = "budget-tokens", value_name = "N", help_heading = "Budget")]
    pub tokens: Option<u64>,
    /// Maximum cost in US dollars; requires a price for every model
    #[arg(long = "budget-usd", value_name = "USD", value_parser = nano_usd, help_heading = "Budget")]
    pub nano_usd: Option<u64>,
    /// Maximum number of seconds since the run was created
    #[arg(long = "budget-seconds", value_name = "N", help_heading = "Budget")]
    pub seconds: Option<u64>,
}

impl Caps {
    /// These caps, and where one is not set, that of `base`.
    pub fn over(&self, base: sipdo_domain::Budget) -> sipdo_domain::Budget {
        sipdo_domain::Budget {
            calls: self.calls.or(base.calls),
            tokens: self.tokens.or(base.tokens),
            nano_usd: self.nano_usd.or(base.nano_usd),
            seconds: self.seconds.or(base.seconds),
        }
    }
}

/// US dollars with up to nine decimals, as billionths.
fn nano_usd(text: &str) -> Result<u64, String> {
    text.parse::<sipdo_llm::UsdPerMillion>()
        .map(|usd| usd.0)
        .map_err(|_| format!("{text:?} is not an amount in US dollars, such as 2.50"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        assert_eq!(nano_usd("2.5"), Ok(2_500_000_000));
        assert_eq!(nano_usd("0.000000001"), Ok(1));
        assert!(nano_usd("-1").is_err() && nano_usd("1e3").is_err() && nano_usd("").is_err());
    }

    #[test]
    fn a_cap_that_is_not_named_stays() {
        let caps = Caps {
            calls: Some(5),
            ..Caps::default()
        };
        let base = sipdo_domain::Budget {
            calls: Some(1),
            tokens: Some(2),
            ..Default::default()
        };
        assert_eq!(
            caps.over(base),
            sipdo_domain::Budget {
                calls: Some(5),
                tokens: Some(2),
                ..Default::default()
            }
        );
    }
}
