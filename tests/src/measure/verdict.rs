//! What the exact test promises: the chance that a comparison shows a gain, from the chances of each example.

use sipdo_domain::{Accept, Shown, outcome::Gain, stats};

/// The chances of one example of a comparison, each in 0..=1; together at most 1.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// That only the second prompt answers it.
    pub gained: f64,
    /// That only the first does.
    pub lost: f64,
}

/// The chance that the rule shows the second prompt to be better: the sum over all numbers of gained and lost examples.
#[must_use]
pub fn chance_of_better(pairs: &[Pair], rule: &Accept) -> f64 {
    let chances = discordant(pairs);
    let mut better = 0.0;
    for (gained, row) in (0u32..).zip(&chances) {
        for (lost, chance) in (0u32..).zip(row) {
            if *chance > 0.0 && rule.shown(&gain(gained, lost, pairs.len())) == Shown::Better {
                better += chance;
            }
        }
    }
    better
}

/// The chance of each number of gained and of lost examples, one example after the other.
fn discordant(pairs: &[Pair]) -> Vec<Vec<f64>> {
    let size = pairs.len() + 1;
    let mut chances = vec![vec![0.0; size]; size];
    if let Some(none) = chances.first_mut().and_then(|row| row.first_mut()) {
        *none = 1.0;
    }
    for pair in pairs {
        let before = chances;
        let at = |gained: Option<usize>, lost: Option<usize>| {
            let row = gained.and_then(|gained| before.get(gained));
            row.zip(lost)
                .and_then(|(row, lost)| row.get(lost))
                .copied()
                .unwrap_or(0.0)
        };
        let same = 1.0 - pair.gained - pair.lost;
        chances = (0..size)
            .map(|gained| {
                (0..size)
                    .map(|lost| {
                        same * at(Some(gained), Some(lost))
                            + pair.gained * at(gained.checked_sub(1), Some(lost))
                            + pair.lost * at(Some(gained), lost.checked_sub(1))
                    })
                    .collect()
            })
            .collect();
    }
    chances
}

fn gain(gained: u32, lost: u32, pairs: usize) -> Gain {
    Gain {
        difference: (f64::from(gained) - f64::from(lost)) / pairs as f64,
        interval: (-1.0, 1.0),
        p_value: stats::mcnemar(gained, lost),
        pairs: u32::try_from(pairs).unwrap_or(u32::MAX),
        gained,
        lost,
        macro_f1: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_sure_gains_are_shown_and_five_are_not() {
        let sure = |examples| vec![Pair { gained: 1.0, lost: 0.0 }; examples];
        // Two-sided: 2 / 2^6 = 0.031, and 2 / 2^5 = 0.0625.
        assert!((chance_of_better(&sure(6), &Accept::default()) - 1.0).abs() < 1e-12);
        assert!(chance_of_better(&sure(5), &Accept::default()) < 1e-12);
    }

    #[test]
    fn the_chances_of_all_numbers_sum_to_one() {
        let pairs = vec![Pair { gained: 0.3, lost: 0.2 }; 20];
        let sum: f64 = discordant(&pairs).iter().flatten().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_gain_is_shown_by_chance_in_less_than_half_of_alpha_where_there_is_none() {
        let equal = vec![
            Pair {
                gained: 0.1275,
                lost: 0.1275
            };
            60
        ];
        let by_chance = chance_of_better(&equal, &Accept::default());
        assert!(by_chance > 0.005 && by_chance <= 0.025, "{by_chance}");
    }
}
