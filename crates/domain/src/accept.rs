//! `[accept]`: what the held-out test must show before a found prompt replaces the one that the user has.

use crate::{
    outcome::{Gain, Shown},
    stats,
};
use serde::{Deserialize, Serialize};

/// The rule of a task. A task without one, as versions before it made them, keeps any prompt whose score is higher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// How the arms are compared.
    pub test: Test,
    /// What is compared. Left out of what is stored where it is the accuracy, as in versions that knew nothing else.
    #[serde(skip_serializing_if = "Objective::is_accuracy")]
    pub objective: Objective,
    /// A difference counts as shown where its p-value is at most this, in 0..0.5.
    pub alpha: f64,
    /// The least gain that is worth a new prompt, in 0..1: 0.02 is two points.
    pub min_gain: f64,
    /// Which verdicts keep the found prompt.
    pub keep: Keep,
}

/// What decides whether a prompt is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The share of right answers.
    #[default]
    Accuracy,
    /// The mean of the labels' F1: each label counts alike, however rare.
    #[serde(rename = "macro-f1")]
    MacroF1,
}

impl Objective {
    fn is_accuracy(&self) -> bool {
        *self == Objective::Accuracy
    }
}

/// How two arms are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The exact test over all test examples (McNemar).
    #[default]
    Exact,
}

/// Which verdicts keep the found prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Only one that is shown to be better.
    #[default]
    Better,
    /// Any that is not shown to be worse.
    NotWorse,
    /// Any.
    Always,
}

impl Default for Accept {
    fn default() -> Self {
        Accept {
            test: Test::Exact,
            objective: Objective::Accuracy,
            alpha: 0.05,
            min_gain: 0.0,
            keep: Keep::Better,
        }
    }
}

impl Accept {
    /// Refuses values that make no rule, naming the key.
    ///
    /// # Errors
    /// The key and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return Err(format!("`alpha` is {}; it must lie between 0 and 0.5", self.alpha));
        }
        if !(0.0..1.0).contains(&self.min_gain) {
            return Err(format!(
                "`min_gain` is {}; it must lie in 0..1, as 0.02 for two points",
                self.min_gain
            ));
        }
        if self.min_gain > 0.0 && self.keep != Keep::Better {
            return Err("`min_gain` is of use only with `keep = \"better\"`: remove one of the two".into());
        }
        Ok(())
    }

    /// Refuses an objective that does not fit the labels of a task, naming the key.
    ///
    /// # Errors
    /// The key, and what to do.
    pub fn check_labels(&self, labels: &[String]) -> Result<(), String> {
        match self.objective {
            Objective::MacroF1 if labels.len() < 2 => Err(
                "`objective` is \"macro-f1\", which needs a closed set of labels, and this task has none: name them in `[task] labels`, or use \"accuracy\""
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// What a gain shows by this rule.
    pub fn shown(&self, gain: &Gain) -> Shown {
        let (difference, p_value) = match (self.objective, &gain.macro_f1) {
            (Objective::Accuracy, _) => (gain.difference, gain.p_value),
            (Objective::MacroF1, Some(gain)) => (gain.difference, gain.p_value),
            (Objective::MacroF1, None) => return Shown::Nothing,
        };
        match p_value <= self.alpha {
            true if difference < 0.0 => Shown::Worse,
            true if difference > 0.0 && difference >= self.min_gain => Shown::Better,
            _ => Shown::Nothing,
        }
    }

    /// Whether a found prompt is kept.
    pub fn keeps(&self, shown: Shown) -> bool {
        match self.keep {
            Keep::Better => shown == Shown::Better,
            Keep::NotWorse => shown != Shown::Worse,
            Keep::Always => true,
        }
    }

    /// About how many more test examples would show a gain of the size that was seen, with a power of 80 % (Connor 1987: the sample
    /// size of a paired comparison). None where nothing more is to be shown, no gain was seen, or the objective is not the accuracy, for
    /// which no such formula is known.
    pub fn more_examples(&self, gain: &Gain) -> Option<u32> {
        if !self.objective.is_accuracy() {
            return None;
        }
        let difference = gain.difference;
        if self.shown(gain) != Shown::Nothing || difference <= 0.0 || difference < self.min_gain || gain.pairs == 0 {
            return None;
        }
        let discordant = f64::from(gain.gained + gain.lost) / f64::from(gain.pairs);
        let (error, power) = (
            stats::normal_quantile(1.0 - self.alpha / 2.0)?,
            stats::normal_quantile(0.8)?,
        );
        let spread = (discordant - difference * difference).max(0.0).sqrt();
        let needed = ((error * discordant.sqrt() + power * spread) / difference)
            .powi(2)
            .ceil();
        Some((needed.min(1e7) as u32).saturating_sub(gain.pairs).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::MacroF1Gain;
    use proptest::prelude::*;

    fn gain(pairs: u32, gained: u32, lost: u32) -> Gain {
        Gain {
            difference: (f64::from(gained) - f64::from(lost)) / f64::from(pairs),
            interval: (0.0, 0.0),
            p_value: stats::mcnemar(gained, lost),
            pairs,
            gained,
            lost,
            macro_f1: None,
        }
    }

    #[test]
    fn the_objective_decides() {
        let rule = Accept {
            objective: Objective::MacroF1,
            ..Accept::default()
        };
        let by_f1 = |difference, p_value| Gain {
            macro_f1: Some(MacroF1Gain { difference, p_value }),
            ..gain(100, 10, 1)
        };
        assert_eq!(
            rule.shown(&by_f1(-0.2, 0.01)),
            Shown::Worse,
            "though more answers are right"
        );
        assert_eq!(rule.shown(&by_f1(0.2, 0.01)), Shown::Better);
        assert_eq!(rule.shown(&by_f1(0.2, 0.2)), Shown::Nothing);
        assert_eq!(rule.shown(&gain(100, 10, 1)), Shown::Nothing, "nothing is known of it");
        assert_eq!(rule.more_examples(&by_f1(0.2, 0.2)), None);
        assert_eq!(Accept::default().shown(&by_f1(-0.2, 0.01)), Shown::Better);
    }

    #[test]
    fn an_objective_of_labels_needs_labels_and_the_old_one_is_stored_as_before() {
        let rule: Accept = serde_json::from_str(r#"{"objective": "macro-f1"}"#).unwrap();
        let labels = ["Yes".to_owned(), "No".to_owned()];
        assert!(rule.check_labels(&[]).unwrap_err().contains("`objective`"));
        assert!(rule.check_labels(&labels).is_ok() && Accept::default().check_labels(&[]).is_ok());
        let stored = serde_json::to_string(&Accept::default()).unwrap();
        assert_eq!(
            stored,
            r#"{"test":"exact","alpha":0.05,"min_gain":0.0,"keep":"better"}"#
        );
        assert!(
            serde_json::to_string(&rule)
                .unwrap()
                .contains(r#""objective":"macro-f1""#)
        );
    }

    #[test]
    fn a_difference_counts_where_it_is_shown_and_large_enough() {
        let rule = Accept::default();
        assert_eq!(rule.shown(&gain(100, 10, 1)), Shown::Better);
        assert_eq!(rule.shown(&gain(100, 1, 10)), Shown::Worse);
        assert_eq!(rule.shown(&gain(100, 5, 3)), Shown::Nothing);
        assert_eq!(rule.shown(&gain(100, 0, 0)), Shown::Nothing);
        let demanding = Accept {
            min_gain: 0.1,
            ..Accept::default()
        };
        assert_eq!(demanding.shown(&gain(100, 10, 1)), Shown::Nothing, "nine points of ten");
        assert_eq!(
            demanding.shown(&gain(100, 1, 10)),
            Shown::Worse,
            "whatever gain is wanted"
        );
    }

    #[test]
    fn what_is_kept_is_chosen() {
        let kept = |keep| {
            let rule = Accept {
                keep,
                ..Accept::default()
            };
            [Shown::Better, Shown::Nothing, Shown::Worse].map(|shown| rule.keeps(shown))
        };
        assert_eq!(kept(Keep::Better), [true, false, false]);
        assert_eq!(kept(Keep::NotWorse), [true, true, false]);
        assert_eq!(kept(Keep::Always), [true, true, true]);
    }

    #[test]
    fn a_rule_that_is_none_names_its_key() {
        let error = |text: &str| {
            let rule: Accept = serde_json::from_str(text).unwrap();
            rule.check().unwrap_err()
        };
        assert!(error(r#"{"alpha": 0.5}"#).contains("`alpha`"));
        assert!(error(r#"{"alpha": 0}"#).contains("`alpha`"));
        assert!(error(r#"{"min_gain": 2}"#).contains("`min_gain`"));
        assert!(error(r#"{"min_gain": 0.1, "keep": "always"}"#).contains("`keep"));
        assert!(serde_json::from_str::<Accept>(r#"{"aplha": 0.1}"#).is_err());
        assert!(Accept::default().check().is_ok());
    }

    #[test]
    fn the_examples_that_are_missing_agree_with_the_theory() {
        // 10 gained and 4 lost of 100: discordant 0.14, difference 0.06; by Connor's formula (1.96 sqrt(.14) + .8416 sqrt(.1364))^2
        // / .0036 = 302.9: 303 examples.
        assert_eq!(Accept::default().more_examples(&gain(100, 10, 4)), Some(203));
        assert_eq!(Accept::default().more_examples(&gain(100, 10, 1)), None, "it is shown");
        assert_eq!(
            Accept::default().more_examples(&gain(100, 2, 3)),
            None,
            "nothing was gained"
        );
    }

    proptest! {
        #[test]
        fn the_two_directions_are_judged_alike(gained in 0u32..60, lost in 0u32..60) {
            let (rule, pairs) = (Accept::default(), 120);
            let mirrored = match rule.shown(&gain(pairs, lost, gained)) {
                Shown::Better => Shown::Worse,
                Shown::Worse => Shown::Better,
                Shown::Nothing => Shown::Nothing,
            };
            prop_assert_eq!(rule.shown(&gain(pairs, gained, lost)), mirrored);
        }
    }
}
