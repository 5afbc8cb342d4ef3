//! Closed label sets: how often each label is met, given and right, what a guess would score, and whether two arms differ in macro-F1.

use crate::{example::Example, measured::Mark, metric::Metric};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// One answer to an example of a closed label set, as places in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The example's label.
    pub target: usize,
    /// The label that was given; none where the answer means no label, or several.
    pub given: Option<usize>,
}

/// Counts of every label against every label. Shape: labels × (labels + 1); the last column is "no label".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    counts: Vec<Vec<u32>>,
}

/// How one label did. Each is none where it is a fraction of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// Of those given this label, the share that have it.
    pub precision: Option<f64>,
    /// Of those that have this label, the share that were given it.
    pub recall: Option<f64>,
    /// The harmonic mean of the two, 2·right / (given + targets).
    pub f1: Option<f64>,
    /// Examples that have it.
    pub targets: u32,
}

impl Answered {
    /// An answer with its mark, as places in `labels`. None where it was not measured, or the example's target is no label. The mark goes
    /// before the text: an answer that is right means the target, and one that is wrong does not.
    pub fn of(metric: &Metric, labels: &[String], example: &Example, answer: &str, mark: &Mark) -> Option<Self> {
        let place = |text: &str| {
            let label = metric.label_of(text, labels)?;
            labels.iter().position(|known| *known == label)
        };
        let target = place(&example.target)?;
        let given = match mark {
            Mark::Right => Some(target),
            Mark::Wrong => place(answer).filter(|given| *given != target),
            Mark::NotMeasured(_) => return None,
        };
        Some(Answered { target, given })
    }
}

impl Confusion {
    /// Counts answers to examples of `labels` labels.
    pub fn of(labels: usize, answers: &[Answered]) -> Self {
        let mut confusion = Confusion {
            counts: vec![vec![0; labels + 1]; labels],
        };
        for answer in answers {
            confusion.add(*answer);
        }
        confusion
    }

    fn add(&mut self, answer: Answered) {
        let column = answer.given.unwrap_or(self.counts.len());
        let row = self.counts.get_mut(answer.target);
        if let Some(count) = row.and_then(|row| row.get_mut(column)) {
            *count += 1;
        }
    }

    /// The counts, a row for each label of the examples; the last column is "no label".
    pub fn rows(&self) -> &[Vec<u32>] {
        &self.counts
    }

    /// How a label did.
    pub fn label(&self, label: usize) -> LabelScore {
        let row = self.counts.get(label);
        let right = row.and_then(|row| row.get(label)).copied().unwrap_or(0);
        let targets: u32 = row.into_iter().flatten().sum();
        let given: u32 = self.counts.iter().filter_map(|row| row.get(label)).sum();
        let share = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
        LabelScore {
            precision: share(right, given),
            recall: share(right, targets),
            f1: share(2 * right, given + targets),
            targets,
        }
    }

    /// The mean F1 of the labels that an example has; none where there is no example.
    pub fn macro_f1(&self) -> Option<f64> {
        let scores = (0..self.counts.len())
            .map(|label| self.label(label))
            .filter(|score| score.targets > 0);
        let f1: Vec<f64> = scores.filter_map(|score| score.f1).collect();
        (!f1.is_empty()).then(|| f1.iter().sum::<f64>() / f1.len() as f64)
    }

    /// The label that most examples have, and the accuracy of whoever always gives it.
    pub fn majority(&self) -> Option<(usize, f64)> {
        let targets: Vec<u32> = self.counts.iter().map(|row| row.iter().sum()).collect();
        let all: u32 = targets.iter().sum();
        // The first among equals.
        let (label, most) = targets.iter().enumerate().rev().max_by_key(|(_, count)| **count)?;
        (all > 0).then(|| (label, f64::from(*most) / f64::from(all)))
    }
}

/// Permutations of [`macro_f1_test`].
const PERMUTATIONS: u32 = 10_000;

/// The answers of two arms to one example. Each has one for each repeat that was measured.
pub type Pair = (Vec<Answered>, Vec<Answered>);

/// Whether two arms on the same examples differ in macro-F1: the difference, second minus first, and the two-sided p-value of the paired
/// permutation test, under which the answers of each example are exchanged or not by a coin (Fisher 1935; p as (b + 1) / (m + 1) of
/// Phipson and Smyth 2010). None without examples. The same seed gives the same value.
pub fn macro_f1_test(labels: usize, pairs: &[Pair], seed: u64) -> Option<(f64, f64)> {
    permuted(labels, pairs, seed, PERMUTATIONS)
}

fn permuted(labels: usize, pairs: &[Pair], seed: u64, permutations: u32) -> Option<(f64, f64)> {
    let difference = |one: &Confusion, two: &Confusion| Some(two.macro_f1()? - one.macro_f1()?);
    let all = |side: fn(&Pair) -> &Vec<Answered>| -> Vec<Answered> { pairs.iter().flat_map(side).copied().collect() };
    let seen = difference(
        &Confusion::of(labels, &all(|pair| &pair.0)),
        &Confusion::of(labels, &all(|pair| &pair.1)),
    )?;
    // An exchange of equal answers changes nothing: they are counted once.
    let (equal, differing): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.0 == pair.1);
    let equal: Vec<Answered> = equal.iter().flat_map(|pair| &pair.0).copied().collect();
    let equal = Confusion::of(labels, &equal);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut as_far = 0;
    for _ in 0..permutations {
        let (mut one, mut two) = (equal.clone(), equal.clone());
        for (first, second) in &differing {
            let (to_one, to_two) = if random.random() {
                (first, second)
            } else {
                (second, first)
            };
            to_one.iter().for_each(|answer| one.add(*answer));
            to_two.iter().for_each(|answer| two.add(*answer));
        }
        // A little less than as far: sums in another order differ in their last digits.
        if difference(&one, &two)?.abs() >= seen.abs() - 1e-12 {
            as_far += 1;
        }
    }
    Some((seen, f64::from(as_far + 1) / f64::from(permutations + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(pairs: &[(usize, Option<usize>)]) -> Vec<Answered> {
        pairs
            .iter()
            .map(|(target, given)| Answered {
                target: *target,
                given: *given,
            })
            .collect()
    }

    /// The answers of two arms, example by example.
    fn pairs(first: &[Answered], second: &[Answered]) -> Vec<Pair> {
        let pair = |(one, two): (&Answered, &Answered)| (vec![*one], vec![*two]);
        first.iter().zip(second).map(pair).collect()
    }

    #[test]
    fn scores_agree_with_a_worked_example() {
        // Label 0: three examples, two right, one given to 1. Label 1: two examples, one right, one without a label.
        let confusion = Confusion::of(
            2,
            &answers(&[(0, Some(0)), (0, Some(0)), (0, Some(1)), (1, Some(1)), (1, None)]),
        );
        assert_eq!(confusion.rows(), [[2, 1, 0], [0, 1, 1]]);
        let (zero, one) = (confusion.label(0), confusion.label(1));
        assert_eq!(
            (zero.precision, zero.recall, zero.f1),
            (Some(1.0), Some(2.0 / 3.0), Some(0.8))
        );
        assert_eq!((one.precision, one.recall, one.f1), (Some(0.5), Some(0.5), Some(0.5)));
        assert!((confusion.macro_f1().unwrap() - 0.65).abs() < 1e-12);
        assert_eq!(confusion.majority(), Some((0, 0.6)));
    }

    #[test]
    fn a_label_that_nobody_has_is_no_zero() {
        let confusion = Confusion::of(3, &answers(&[(0, Some(0)), (1, Some(1))]));
        assert_eq!(confusion.label(2).f1, None);
        assert_eq!(confusion.macro_f1(), Some(1.0));
        assert_eq!(Confusion::of(2, &[]).macro_f1(), None);
        assert_eq!(Confusion::of(2, &[]).majority(), None);
    }

    #[test]
    fn a_clear_difference_is_seen_and_none_is_not() {
        let right: Vec<Answered> = (0..40)
            .map(|n| Answered {
                target: n % 2,
                given: Some(n % 2),
            })
            .collect();
        let guess: Vec<Answered> = (0..40)
            .map(|n| Answered {
                target: n % 2,
                given: Some(0),
            })
            .collect();
        let (difference, p) = permuted(2, &pairs(&guess, &right), 1, 1000).unwrap();
        assert!(difference > 0.6 && p < 0.01, "{difference} {p}");
        let (difference, p) = permuted(2, &pairs(&right, &right), 1, 1000).unwrap();
        assert_eq!((difference, p), (0.0, 1.0));
        assert_eq!(macro_f1_test(2, &[], 1), None);
    }

    #[test]
    fn the_mark_goes_before_the_text() {
        let labels: Vec<String> = ["Yes", "No"].map(String::from).into();
        let example = Example {
            id: "e".into(),
            input: "?".into(),
            target: "No".into(),
            aliases: vec!["Never".into()],
        };
        let of = |answer: &str, mark: Mark| Answered::of(&Metric::exact(), &labels, &example, answer, &mark);
        let no = |given| Some(Answered { target: 1, given });
        assert_eq!(of("No", Mark::Right), no(Some(1)));
        assert_eq!(
            of("Never", Mark::Right),
            no(Some(1)),
            "another target that is right too"
        );
        assert_eq!(of("Yes", Mark::Wrong), no(Some(0)));
        assert_eq!(
            of("No", Mark::Wrong),
            no(None),
            "the metric asked for more than the label"
        );
        assert_eq!(of("perhaps", Mark::Wrong), no(None));
        let lost = crate::NotMeasured::new(crate::Reason::Timeout, "60 s");
        assert_eq!(of("No", Mark::NotMeasured(lost)), None);
    }

    proptest! {
        #[test]
        fn the_test_is_symmetric_in_its_arms(
            pairs in prop::collection::vec((0usize..3, 0usize..4, 0usize..4), 1..20)
        ) {
            let arm = |which: fn(&(usize, usize, usize)) -> usize| -> Vec<Answered> {
                pairs.iter().map(|pair| Answered { target: pair.0, given: Some(which(pair)).filter(|label| *label < 3) }).collect()
            };
            let (one, two) = (arm(|pair| pair.1), arm(|pair| pair.2));
            let (there, back) = (super::tests::pairs(&one, &two), super::tests::pairs(&two, &one));
            let (there, back) = (permuted(3, &there, 5, 100).unwrap(), permuted(3, &back, 5, 100).unwrap());
            prop_assert!((there.0 + back.0).abs() < 1e-12);
            prop_assert!((there.1 - back.1).abs() < 1e-12);
        }
    }
}
