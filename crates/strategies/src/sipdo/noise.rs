//! Labels falsified on purpose, before the vote: what share of them does the consensus catch?

use rand::{Rng, seq::IndexedRandom};
use sipdo_domain::{Example, Task};

/// A wrong target that looks like a right one: another label that the question offers, a number next to it, the same words in
/// another order, or some other example's target. None where nothing of the kind exists.
pub fn falsify(task: &Task, example: &Example, rng: &mut impl Rng) -> Option<String> {
    let target = example.target.as_str();
    let labels = &task.brief.labels;
    if !labels.is_empty() {
        let others: Vec<&String> = labels.iter().filter(|label| *label != target).collect();
        let offered: Vec<&String> = others
            .iter()
            .copied()
            .filter(|label| example.input.contains(*label))
            .collect();
        let choice = if offered.is_empty() { others } else { offered };
        return choice.choose(rng).map(|label| (*label).clone());
    }
    if let Ok(number) = target.parse::<i64>() {
        let step = rng.random_range(1..=3);
        let shifted = if rng.random() {
            number.checked_add(step)
        } else {
            number.checked_sub(step)
        };
        return shifted.map(|number| number.to_string());
    }
    let mut words: Vec<&str> = target.split_whitespace().collect();
    let differing: Vec<usize> = words
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair.first() != pair.last())
        .map(|(at, _)| at)
        .collect();
    if let Some(at) = differing.choose(rng) {
        words.swap(*at, at + 1);
        return Some(words.join(" "));
    }
    let others: Vec<&str> = task
        .train
        .iter()
        .map(|other| other.target.as_str())
        .filter(|other| *other != target)
        .collect();
    others.choose(rng).map(|other| (*other).to_owned())
}

#[cfg(test)]
mod tests {
    use super::falsify;
    use crate::testing::task;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use sipdo_domain::Example;

    fn falsified(labels: &[&str], input: &str, target: &str, seed: u64) -> String {
        let mut task = task();
        task.brief.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let example = Example {
            id: "synthetic-1".into(),
            input: input.into(),
            target: target.into(),
            aliases: Vec::new(),
        };
        falsify(&task, &example, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    proptest! {
        #[test]
        fn a_falsified_target_is_wrong_and_plausible(seed: u64) {
            let letter = falsified(&["(A)", "(B)", "(C)"], "Which?\n(A) one\n(B) two", "(A)", seed);
            prop_assert_eq!(letter, "(B)", "the only other option that is offered");
            let number: i64 = falsified(&[], "2+2?", "4", seed).parse().unwrap();
            prop_assert!((1..=3).contains(&(number - 4).abs()));
            prop_assert_eq!(falsified(&[], "Sort: b a", "a b", seed), "b a");
        }
    }
}
