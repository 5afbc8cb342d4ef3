//! The statistics of an honest report: intervals, a paired test, percentiles.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::{
    distribution::{Binomial, ContinuousCDF as _, DiscreteCDF, Normal},
    function::factorial::ln_factorial,
};

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % Wilson score interval of a fraction (Wilson 1927); none for `total` = 0.
pub fn wilson(right: u32, total: u32) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let n = f64::from(total);
    Some(wilson_of(f64::from(right.min(total)) / n, n))
}

/// 95 % interval of the mean of `shares`, each the share of right answers among the repeats of one example, of `answers` answers in all;
/// none for no shares. Wilson's interval with the effective number of answers: what the variance between the examples says that they are
/// worth (Kish 1965), at least one for each example, and at most all of them.
pub fn wilson_of_shares(shares: &[f64], answers: u32) -> Option<(f64, f64)> {
    if shares.is_empty() {
        return None;
    }
    let n = shares.len() as f64;
    let mean = shares.iter().sum::<f64>() / n;
    let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (n * (n - 1.0).max(1.0));
    let worth = if variance > 0.0 {
        mean * (1.0 - mean) / variance
    } else {
        n
    };
    Some(wilson_of(mean, worth.clamp(n, f64::from(answers).max(n))))
}

fn wilson_of(p: f64, n: f64) -> (f64, f64) {
    let scale = 1.0 + Z * Z / n;
    let middle = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
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

/// Exact two-sided test of Fisher on two unpaired shares, `(hits, misses)` each: the p-value under "both shares are the same", the sum over
/// the tables that are no likelier than the one seen (Fisher 1935). 1 where one of them counts nothing.
pub fn fisher(first: (u32, u32), second: (u32, u32)) -> f64 {
    let (first, second) = (
        (u64::from(first.0), u64::from(first.1)),
        (u64::from(second.0), u64::from(second.1)),
    );
    let (one, two, hits) = (first.0 + first.1, second.0 + second.1, first.0 + second.0);
    if one == 0 || two == 0 {
        return 1.0;
    }
    let choose = |of: u64, some: u64| ln_factorial(of) - ln_factorial(some) - ln_factorial(of - some);
    let likelihood = |first: u64| choose(one, first) + choose(two, hits - first) - choose(one + two, hits);
    let seen = likelihood(first.0);
    let tables = hits.saturating_sub(two)..=hits.min(one);
    // A little more than as likely: logarithms of equal products differ in their last digits.
    let rarer = tables.map(likelihood).filter(|table| *table <= seen + 1e-9);
    rarer.map(f64::exp).sum::<f64>().min(1.0)
}

/// Permutations of [`paired`].
const PERMUTATIONS: u32 = 10_000;

/// Two-sided test of paired differences in -1..=1: the p-value under "each difference might as well have the other sign". Exact where
/// every difference is -1, 0 or 1, which is McNemar's test; else a permutation test of the mean with 10,000 draws (p as (b + 1) / (m + 1)
/// of Phipson and Smyth 2010), whose value the seed fixes.
pub fn paired(differences: &[f64], seed: u64) -> f64 {
    let whole = |wanted: f64| differences.iter().filter(|one| **one == wanted).count() as u32;
    let (gained, lost, same) = (whole(1.0), whole(-1.0), whole(0.0));
    if (gained + lost + same) as usize == differences.len() {
        return mcnemar(gained, lost);
    }
    let seen: f64 = differences.iter().sum::<f64>().abs() - 1e-12;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = || {
        let signed = differences.iter().map(|one| if rng.random() { *one } else { -one });
        signed.sum::<f64>().abs()
    };
    let as_far = (0..PERMUTATIONS).filter(|_| drawn() >= seen).count() as u32;
    f64::from(as_far + 1) / f64::from(PERMUTATIONS + 1)
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
    fn repeats_are_worth_between_one_answer_for_each_example_and_all() {
        let near = |one: Option<(f64, f64)>, other: Option<(f64, f64)>| {
            let ((a, b), (c, d)) = (one.unwrap(), other.unwrap());
            (a - c).abs() < 0.02 && (b - d).abs() < 0.02
        };
        // Each example always has the same answer: 30 answers are worth 10.
        let alike = [vec![1.0; 7], vec![0.0; 3]].concat();
        assert!(near(wilson_of_shares(&alike, 30), wilson(7, 10)));
        // Examples do not differ at all: 40 answers are worth 40.
        let even: Vec<f64> = (0..10).map(|n| if n % 2 == 0 { 0.5 } else { 0.501 }).collect();
        assert!(near(wilson_of_shares(&even, 40), wilson(20, 40)));
        // All right: the interval says how few examples there are.
        assert_eq!(wilson_of_shares(&[1.0; 10], 30), wilson(10, 10));
        assert_eq!(wilson_of_shares(&[], 0), None);
    }

    #[test]
    fn mcnemar_agrees_with_the_binomial_sum() {
        assert!(near(mcnemar(1, 5), 0.21875));
        assert!(near(mcnemar(10, 0), 2.0 / 1024.0));
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 3), 1.0);
    }

    #[test]
    fn fisher_agrees_with_published_values() {
        // Fisher's tea: 3 of 4 against 1 of 4 is 34/70; Agresti 1992: 3 of 4 and 1 of 4, two-sided 0.4857.
        assert!(near(fisher((3, 1), (1, 3)), 34.0 / 70.0));
        // R: fisher.test(matrix(c(10, 2, 3, 15), 2)): p = 0.0005367.
        assert!(near(fisher((10, 2), (3, 15)), 0.000_536_7));
        assert_eq!(fisher((0, 0), (3, 1)), 1.0);
        assert!(near(fisher((5, 5), (5, 5)), 1.0));
    }

    #[test]
    fn whole_differences_are_tested_exactly_and_shares_by_permutation() {
        let whole = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0];
        assert_eq!(paired(&whole, 1), mcnemar(5, 1));
        // Six differences of one sign: 2 of 64 assignments are as far.
        let thirds = [1.0 / 3.0; 6];
        assert!(
            (paired(&thirds, 1) - 2.0 / 64.0).abs() < 0.006,
            "{}",
            paired(&thirds, 1)
        );
        assert_eq!(paired(&thirds, 7), paired(&thirds, 7));
        // Few large gains against many small losses: the mean decides, and it shows nothing.
        let mixed: Vec<f64> = [vec![1.0; 2], vec![-0.1; 14]].concat();
        assert!(paired(&mixed, 1) > 0.1);
        assert_eq!(paired(&[], 1), 1.0);
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
