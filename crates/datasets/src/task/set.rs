//! The examples as a set: duplicates, contradictions, labels, and the split into train and test.

use super::schema::Resolve;
use crate::{
    data::SourcedExample,
    error::{LoadError, shorten},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sipdo_domain::{Comparison, Metric};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Most labels of a closed label space that is inferred rather than given.
const MOST_LABELS: usize = 12;
/// A target longer than this is no label.
const LONGEST_LABEL: usize = 60;

/// Where an example stands, for messages.
pub(super) fn place(of: &SourcedExample) -> String {
    let file = of
        .path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!("{file}, {}", of.place)
}

/// Examples with the same input count once; where their targets differ, the set is refused (or they are all dropped).
pub(super) fn unique(
    all: Vec<SourcedExample>,
    resolve: Resolve,
    warnings: &mut Vec<String>,
) -> Result<Vec<SourcedExample>, LoadError> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<Option<SourcedExample>> = Vec::with_capacity(all.len());
    let (mut duplicates, mut contradictions) = (Vec::new(), Vec::new());
    for sourced in all {
        let key = spaced(&sourced.example.input);
        let Some(&at) = first.get(&key) else {
            first.insert(key, kept.len());
            kept.push(Some(sourced));
            continue;
        };
        // a contradiction was dropped there before
        let Some(other) = kept.get(at).and_then(Option::as_ref) else {
            continue;
        };
        if sourced
            .example
            .targets()
            .any(|target| other.example.targets().any(|known| known == target))
        {
            duplicates.push(place(&sourced));
            continue;
        }
        if resolve == Resolve::Refuse {
            return Err(LoadError::Examples {
                path: sourced.path.clone(),
                problem: format!(
                    "{} and {} have the same input (`{}`) and different targets: `{}` and `{}`",
                    place(other),
                    place(&sourced),
                    shorten(&sourced.example.input),
                    shorten(&other.example.target),
                    shorten(&sourced.example.target)
                ),
                advice: "Correct one, give several right answers with `[data] targets`, or exclude both: `[data] contradictions = \"drop\"`".into(),
            });
        }
        contradictions.push(place(&sourced));
        if let Some(slot) = kept.get_mut(at) {
            *slot = None;
        }
    }
    if !duplicates.is_empty() {
        warnings.push(format!(
            "{} dropped because their input and target occur earlier: {}",
            count(duplicates.len(), "duplicate"),
            some(&duplicates)
        ));
    }
    if !contradictions.is_empty() {
        warnings.push(format!(
            "{} dropped, on both sides: {}",
            count(contradictions.len(), "contradiction"),
            some(&contradictions)
        ));
    }
    Ok(kept.into_iter().flatten().collect())
}

/// Inputs in both sets (case and white space aside) are refused, or dropped from the train set.
pub(super) fn disjoint(
    train: Vec<SourcedExample>,
    test: &[SourcedExample],
    resolve: Resolve,
    warnings: &mut Vec<String>,
) -> Result<Vec<SourcedExample>, LoadError> {
    let held: HashMap<String, &SourcedExample> = test
        .iter()
        .map(|sourced| (folded(&sourced.example.input), sourced))
        .collect();
    let (shared, kept): (Vec<SourcedExample>, Vec<SourcedExample>) = train
        .into_iter()
        .partition(|sourced| held.contains_key(&folded(&sourced.example.input)));
    let Some(one) = shared.first() else { return Ok(kept) };
    if resolve == Resolve::Drop {
        let places: Vec<String> = shared.iter().map(place).collect();
        warnings.push(format!(
            "{} dropped from train because they are in the test set too: {}",
            count(shared.len(), "example"),
            some(&places)
        ));
        return Ok(kept);
    }
    let other = held
        .get(&folded(&one.example.input))
        .map(|other| place(other))
        .unwrap_or_default();
    Err(LoadError::Examples {
        path: one.path.clone(),
        problem: format!("train and test share {}, such as {} and {other}: `{}`", count(shared.len(), "input"), place(one), shorten(&one.example.input)),
        advice: "A held-out test must not be seen in training: use other files, or set `[data] overlap = \"drop\"` to exclude them from train".into(),
    })
}

/// The label space that the targets form, or none where answers are open: at most 12 distinct targets, each seen at least twice and on
/// average four times, short, and not plain numbers (a count is not a class).
pub(super) fn closed_labels(all: &[SourcedExample], metric: &Metric) -> Vec<String> {
    if !matches!(
        metric.comparison,
        Comparison::Exact | Comparison::Normalized | Comparison::Choice { .. }
    ) {
        return Vec::new();
    }
    let counts = counts(all);
    let closed = counts.len() >= 2
        && counts.len() <= MOST_LABELS
        && all.len() >= 4 * counts.len()
        && counts.values().all(|count| *count >= 2)
        && counts
            .keys()
            .all(|label| label.chars().count() <= LONGEST_LABEL && !label.contains('\n'))
        && all.iter().all(|sourced| sourced.example.aliases.is_empty())
        && !counts.keys().all(|label| is_plain_number(label));
    if closed {
        counts.into_keys().map(str::to_owned).collect()
    } else {
        Vec::new()
    }
}

/// Refuses a set that teaches nothing.
pub(super) fn check_variety(path: &Path, all: &[SourcedExample], metric: &Metric) -> Result<(), LoadError> {
    // a pattern or a judge's criteria may hold for every example alike
    let may_be_alike = matches!(
        metric.comparison,
        Comparison::Judge { .. } | Comparison::Regex { .. } | Comparison::Contains
    );
    let counts = counts(all);
    let mut labels = counts.keys();
    match (labels.next(), labels.next()) {
        (Some(only), None) if all.len() > 1 && !may_be_alike => Err(LoadError::Examples {
            path: path.into(),
            problem: format!("all {} examples have the same target, `{}`", all.len(), shorten(only)),
            advice: "A prompt that always gives this answer would be perfect: check `[data] target`, or add examples with other targets".into(),
        }),
        _ => Ok(()),
    }
}

/// Takes `train` and `test` examples, by lot but fixed by `seed`. Where the targets are few, each set has them in the proportions of the
/// whole (largest remainders).
pub(super) fn split(
    all: Vec<SourcedExample>,
    train: usize,
    test: usize,
    seed: u64,
) -> (Vec<SourcedExample>, Vec<SourcedExample>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let stratified = counts(&all).len() <= 26;
    let mut groups: BTreeMap<String, Vec<SourcedExample>> = BTreeMap::new();
    for sourced in all {
        let key = if stratified {
            sourced.example.target.clone()
        } else {
            String::new()
        };
        groups.entry(key).or_default().push(sourced);
    }
    let mut groups: Vec<Vec<SourcedExample>> = groups.into_values().collect();
    for group in &mut groups {
        group.shuffle(&mut random);
    }
    // the test set first: it must not depend on the size of the train set
    let mut take = |wanted: usize| {
        let shares = shares(&groups.iter().map(Vec::len).collect::<Vec<_>>(), wanted);
        let mut taken: Vec<SourcedExample> = Vec::with_capacity(wanted);
        for (group, share) in groups.iter_mut().zip(shares) {
            taken.extend(group.drain(..share));
        }
        taken.shuffle(&mut random);
        taken
    };
    let test = take(test);
    (take(train), test)
}

/// How many to take of groups of these sizes so that `wanted` come together in proportion.
fn shares(sizes: &[usize], wanted: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let wanted = wanted.min(total);
    if total == 0 {
        return vec![0; sizes.len()];
    }
    let mut shares: Vec<usize> = sizes.iter().map(|size| size * wanted / total).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    let remainder = |at: usize| sizes.get(at).map_or(0, |size| size * wanted % total);
    order.sort_by_key(|&at| (std::cmp::Reverse(remainder(at)), at));
    let missing = wanted - shares.iter().sum::<usize>();
    for at in order.into_iter().take(missing) {
        if let Some(share) = shares.get_mut(at) {
            *share += 1;
        }
    }
    shares
}

fn counts(all: &[SourcedExample]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for sourced in all {
        *counts.entry(sourced.example.target.as_str()).or_default() += 1;
    }
    counts
}

fn is_plain_number(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '$' | '%' | '/' | ' '))
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn folded(text: &str) -> String {
    spaced(text).to_lowercase()
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn some(places: &[String]) -> String {
    let more = if places.len() > 3 { ", .." } else { "" };
    format!(
        "{}{more}",
        places.iter().take(3).cloned().collect::<Vec<_>>().join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_proportion_and_complete() {
        assert_eq!(shares(&[145, 105], 30), vec![17, 13]);
        assert_eq!(shares(&[1, 1, 1], 2), vec![1, 1, 0]);
        assert_eq!(shares(&[2, 3], 9), vec![2, 3]);
        assert_eq!(shares(&[], 3), Vec::<usize>::new());
    }
}
