//! How much of a held-out test may be not measured before its scores count as no success.

use clap::Args;

/// The share that is allowed unless the user says otherwise.
pub const USUAL: f64 = 0.2;

/// Flag of the commands that take a held-out test.
#[derive(Debug, Clone, Copy, Args)]
pub struct Missing {
    /// Exit with code 10 if a larger share of a prompt's answers is not measured: 0.2 or 20%
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = share)]
    pub max_not_measured: f64,
}

/// A share, or a percentage.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map(|number| number / whole);
    match share {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share of 0 to 1, or a percentage: 0.2 or 20%".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        assert_eq!(
            (share("20%"), share("0.2"), share("0"), share("100 %")),
            (Ok(0.2), Ok(0.2), Ok(0.0), Ok(1.0))
        );
        for bad in ["20", "-1%", "NaN", "many", "101%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
