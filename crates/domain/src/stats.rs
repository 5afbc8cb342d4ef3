//! The statistics of an honest report: intervals, a paired test, percentiles.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, ContinuousCDF as _, DiscreteCDF, Normal};

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % Wilson score interval of a fraction (Wilson 1927); none for `total` = 0.
pub fn wilson(right: u32, total: u32) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let n = f64::from(total);
    let p = f64::from(right.min(total)) / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

/// The `q`-quantile of the standard normal distribution; none for a `q` outside 0..1.
pub fn normal_quantile(q: f64) -> Option<f64> {
    let normal = Normal::new(0.0, 1.0).ok()?;
    (q > 0.0 && q < 1.0).then(|| normal.inverse_cdf(q))
}

/// Exact two-sided McNemar test on the discordant pairs of two paired arms: the p-value under "both directions are as likely".
pub fn mcnemar(gained: u32, lost: u32) -> f64 {
    let pairs = u64::from(gained) + u64::from(lost);
    match Binomial::new(0.5, pairs) {
        Ok(coin) if pairs > 0 => (2.0 * coin.cdf(u64::from(gained.min(lost)))).min(1.0),
        _ => 1.0,
    }
}

/// 95 % interval of the mean of paired differences by the percentile bootstrap (Efron 1979); none for no pairs. The same seed
/// gives the same interval.
pub fn paired_bootstrap(differences: &[f64], resamples: u32, seed: u64) -> Option<(f64, f64)> {
    if differences.is_empty() || resamples == 0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = differences.len();
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            let drawn = (0..count).filter_map(|_| differences.get(rng.random_range(0..count)));
            drawn.sum::<f64>() / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some((percentile(&means, 0.025)?, percentile(&means, 0.975)?))
}

/// The `q`-quantile, q in 0..=1, of values sorted upwards, with linear interpolation; none for no values.
pub fn percentile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 5e-4
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20.
        for (right, total, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
        ] {
            let (l, h) = wilson(right, total).unwrap();
            assert!(near(l, low) && near(h, high), "{right}/{total}: {l} {h}");
        }
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn mcnemar_agrees_with_the_binomial_sum() {
        assert!(near(mcnemar(1, 5), 0.21875));
        assert!(near(mcnemar(10, 0), 2.0 / 1024.0));
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 3), 1.0);
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_estimate(right in 0u32..200, more in 0u32..200) {
            let total = right + more;
            if let Some((low, high)) = wilson(right, total) {
                let p = f64::from(right) / f64::from(total);
                prop_assert!(0.0 <= low && low <= p + 1e-12 && p <= high + 1e-12 && high <= 1.0);
            }
        }

        #[test]
        fn the_test_is_symmetric_and_a_probability(gained in 0u32..400, lost in 0u32..400) {
            let p = mcnemar(gained, lost);
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert!((p - mcnemar(lost, gained)).abs() < 1e-12);
        }

        #[test]
        fn the_bootstrap_is_repeatable_and_stays_within_the_values(
            values in prop::collection::vec(-1i8..=1, 1..60), seed: u64
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let interval = paired_bootstrap(&values, 200, seed).unwrap();
            prop_assert_eq!(Some(interval), paired_bootstrap(&values, 200, seed));
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least <= interval.0 && interval.0 <= interval.1 && interval.1 <= most);
        }
    }
}
