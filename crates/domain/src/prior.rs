//! The estimated label prior p*(y), and how accepted labels are held to it (SIPDO section 3.1).
//!
//! Drawing labels from p*(y) makes the *wanted* labels follow the prior, but voters and gates refuse some labels more often than
//! others. So the divergence is taken over **accepted** labels, and the next label is drawn from what is still missing.

use rand::Rng;

/// p*(y) over a closed label space, estimated with Laplace's add-one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelPrior {
    labels: Vec<String>,
    probability: Vec<f64>,
}

impl LabelPrior {
    /// Estimates the prior from targets; those outside `labels` are not counted. None where the label space has fewer than two
    /// labels: answers are open, and there is nothing to balance.
    pub fn estimate<'a>(labels: &[String], targets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        if labels.len() < 2 {
            return None;
        }
        let mut counts = LabelCounts::default();
        for target in targets {
            counts.add(labels, target);
        }
        Some(LabelPrior {
            labels: labels.to_vec(),
            probability: counts.smoothed(labels.len()),
        })
    }

    /// The label space, in the user's order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// p*(y); 0 for what is no label.
    pub fn probability(&self, label: &str) -> f64 {
        let position = self.labels.iter().position(|known| known == label);
        position.and_then(|at| self.probability.get(at)).copied().unwrap_or(0.0)
    }

    /// Counts one more accepted label.
    pub fn count(&self, accepted: &mut LabelCounts, label: &str) {
        accepted.add(&self.labels, label);
    }

    /// Draws the next target label with a chance in proportion to what is missing of it: `max(0, p*(y) (n + 1) - count(y))` for n
    /// accepted labels. The first draw therefore follows p*(y) itself, and no label ever runs ahead of its share by one or more.
    pub fn draw(&self, accepted: &LabelCounts, rng: &mut impl Rng) -> String {
        let next = f64::from(accepted.total() + 1);
        let missing: Vec<f64> = (self.probability.iter().enumerate())
            .map(|(at, share)| (share * next - f64::from(accepted.at(at))).max(0.0))
            .collect();
        // The deficits sum to at least one: shares sum to n + 1 and counts to n.
        let mut left = rng.random::<f64>() * missing.iter().sum::<f64>();
        let mut drawn = None;
        for (label, weight) in self.labels.iter().zip(&missing) {
            if *weight > 0.0 {
                drawn = Some(label);
                left -= weight;
                if left <= 0.0 {
                    break;
                }
            }
        }
        drawn.or(self.labels.first()).cloned().unwrap_or_default()
    }

    /// KL(accepted ‖ prior) in nats, with the accepted labels smoothed by Laplace's rule; never negative.
    pub fn divergence(&self, accepted: &LabelCounts) -> f64 {
        let accepted = accepted.smoothed(self.labels.len());
        let terms = accepted.iter().zip(&self.probability).map(|(q, p)| q * (q / p).ln());
        terms.sum::<f64>().max(0.0)
    }

    /// By how much one more accepted `label` raises the divergence (below zero where it lowers it).
    pub fn divergence_rise(&self, accepted: &LabelCounts, label: &str) -> f64 {
        let mut after = accepted.clone();
        self.count(&mut after, label);
        self.divergence(&after) - self.divergence(accepted)
    }
}

/// How often each label was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelCounts {
    counts: Vec<u32>,
}

impl LabelCounts {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn at(&self, label: usize) -> u32 {
        self.counts.get(label).copied().unwrap_or(0)
    }

    fn add(&mut self, labels: &[String], label: &str) {
        if self.counts.len() < labels.len() {
            self.counts.resize(labels.len(), 0);
        }
        let position = labels.iter().position(|known| known == label);
        if let Some(count) = position.and_then(|at| self.counts.get_mut(at)) {
            *count += 1;
        }
    }

    fn smoothed(&self, labels: usize) -> Vec<f64> {
        let total = f64::from(self.total()) + labels as f64;
        (0..labels).map(|label| f64::from(self.at(label) + 1) / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("label-{n}")).collect()
    }

    #[test]
    fn open_answers_have_no_prior() {
        assert_eq!(LabelPrior::estimate(&[], ["7"]), None);
        assert_eq!(LabelPrior::estimate(&labels(1), ["label-0"]), None);
    }

    #[test]
    fn a_label_never_seen_keeps_a_chance() {
        let prior = LabelPrior::estimate(&labels(2), ["label-0", "label-0", "elsewhere"]).unwrap();
        assert_eq!(prior.probability("label-0"), 0.75);
        assert_eq!(prior.probability("label-1"), 0.25);
        assert_eq!(prior.probability("elsewhere"), 0.0);
    }

    #[test]
    fn the_first_draw_follows_the_prior() {
        let prior = LabelPrior::estimate(&labels(2), ["label-0"; 8]).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let draws = 4000;
        let first = (0..draws)
            .filter(|_| prior.draw(&LabelCounts::default(), &mut rng) == "label-0")
            .count();
        assert!((first as f64 / f64::from(draws) - 0.9).abs() < 0.02, "{first}");
    }

    #[test]
    fn a_label_that_is_already_too_frequent_raises_the_divergence() {
        let prior = LabelPrior::estimate(&labels(2), ["label-0", "label-1"]).unwrap();
        let mut accepted = LabelCounts::default();
        for _ in 0..4 {
            prior.count(&mut accepted, "label-0");
        }
        assert!(prior.divergence_rise(&accepted, "label-0") > 0.0);
        assert!(prior.divergence_rise(&accepted, "label-1") < 0.0);
        assert_eq!(prior.divergence(&LabelCounts::default()), 0.0);
    }

    proptest! {
        /// Drawn and accepted again and again, every label stays within one of its share from above, whatever the prior.
        #[test]
        fn accepted_labels_track_the_prior(seen in prop::collection::vec(0usize..5, 0..40), seed: u64) {
            let names = labels(5);
            let prior = LabelPrior::estimate(&names, seen.iter().map(|at| names[*at].as_str())).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut accepted = LabelCounts::default();
            for n in 1..60 {
                let label = prior.draw(&accepted, &mut rng);
                prior.count(&mut accepted, &label);
                prop_assert_eq!(accepted.total(), n);
                for (at, name) in names.iter().enumerate() {
                    let share = prior.probability(name) * f64::from(n);
                    prop_assert!(f64::from(accepted.at(at)) < share + 1.0 + 1e-9);
                }
            }
            prop_assert!(prior.divergence(&accepted) < 0.1);
        }

        #[test]
        fn the_divergence_is_never_negative(counts in prop::collection::vec(0usize..4, 0..50)) {
            let names = labels(4);
            let prior = LabelPrior::estimate(&names, ["label-1", "label-1", "label-3"]).unwrap();
            let mut accepted = LabelCounts::default();
            for at in counts { prior.count(&mut accepted, &names[at]); }
            prop_assert!(prior.divergence(&accepted) >= 0.0);
        }
    }
}
