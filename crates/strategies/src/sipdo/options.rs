//! Options of the strategy `sipdo`: the method as published, our departures from it, and every switch that an ablation needs.

use serde::{Deserialize, Serialize};
use sipdo_domain::{Rule, curriculum::Curriculum, pool::check_name};

/// See each field; the defaults are a sound run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Steps of the curriculum, and the highest level (the paper: 10, for hard tasks 25).
    pub levels: u32,
    /// Synthetic examples wanted at each level. The paper writes 1; more of them, asked for at once, find more weaknesses.
    pub examples_per_level: u32,
    /// Drafts for each example, of which the one is kept that is hardest for the learner (the paper's objective, as a choice
    /// among k: `argmax loss - label_penalty_weight * rise of KL(accepted labels || prior)`).
    pub candidates_per_level: u32,
    /// Rounds of drafts at a level before it is left with what it has.
    pub attempts_per_level: u32,
    /// Weight of the label penalty: the paper's 1/lambda, so that more weight means more penalty.
    pub label_penalty_weight: f64,
    /// How difficulty goes from one level to the next.
    pub curriculum: Curriculum,
    /// Whether checkers and verifier vote on each example. Off: the generator's word is taken (a program keeps its veto).
    pub voters: bool,
    /// What the votes must come to.
    pub rule: Rule,
    /// How many checkers solve each example blind. With named pools, one of each pool solves it, whatever this says.
    pub checkers: u32,
    /// Pools of checkers, each with a model of its own: one checker of each solves every example. Empty: the checkers that belong
    /// to no pool.
    pub checker_pools: Vec<String>,
    /// Fraction of claims that are falsified on purpose before the vote, in 0..=1: for measuring the consensus.
    pub label_noise: f64,
    /// What a candidate must confirm.
    pub confirmation: Confirmation,
    /// When a confirmed candidate becomes the current prompt.
    pub acceptance: Acceptance,
    /// From which text the next revision is written after a rejection.
    pub base: Base,
    /// Whether a new error, and anything that a revision seems to break, is asked once more before it counts. A model that errs now
    /// and then would else break something with every revision.
    pub second_look: bool,
    /// Whether each error is tried with the prompt that is to be repaired, and given its second look, before a repair phase takes it on.
    /// Off, as in runs of older versions, an error that no earlier phase had room for keeps the verdict of an older prompt.
    pub try_before_repair: bool,
    /// Most train examples that a global confirmation asks again, out of those that were right.
    pub confirm_seed_sample: u32,
    /// How a revision is thought out.
    pub analysis: Analysis,
    /// Whether the seed prompt's errors on the train examples are repaired before level 1. Our addition; off, the loop learns from
    /// synthetic examples alone, as in the paper.
    pub repair_seed_errors: bool,
    /// Failed repairs in a row before the run goes back to the last accepted prompt and on to the next level.
    pub repairs_per_level: u32,
    /// Failed repairs that a synthetic example outlives before its label is voted on again.
    pub repairs_before_review: u32,
    /// Train examples shown to the generator with each brief (the paper: 2).
    pub shown: u32,
    /// Latest synthetic examples listed in each brief.
    pub past: u32,
    /// Longest prompt, in characters.
    pub max_prompt_chars: u32,
    /// Rounds in a row without an accepted example after which the curriculum ends; 0 is never.
    pub empty_levels: u32,
    /// Whether a role none of whose answers is measured ends the curriculum, and a voter that never dissents is named in a warning.
    pub watch_roles: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            levels: 10,
            examples_per_level: 3,
            candidates_per_level: 1,
            attempts_per_level: 4,
            label_penalty_weight: 1.0,
            curriculum: Curriculum::Gradient,
            voters: true,
            rule: Rule::Unanimous,
            checkers: 1,
            checker_pools: Vec::new(),
            label_noise: 0.0,
            confirmation: Confirmation::LocalGlobal,
            acceptance: Acceptance::Progress,
            base: Base::Revised,
            second_look: true,
            try_before_repair: true,
            confirm_seed_sample: 30,
            analysis: Analysis::Full,
            repair_seed_errors: true,
            repairs_per_level: 4,
            repairs_before_review: 2,
            shown: 2,
            past: 30,
            max_prompt_chars: 8000,
            empty_levels: 2,
            watch_roles: true,
        }
    }
}

/// What a candidate must confirm before it is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// The current errors, then the whole synthetic history and train examples that were right.
    #[default]
    #[serde(rename = "local+global")]
    LocalGlobal,
    /// The current errors only.
    #[serde(rename = "local")]
    Local,
    /// Nothing: every candidate that passes the guards is accepted.
    #[serde(rename = "none")]
    None,
}

/// When a candidate that breaks nothing is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceptance {
    /// As soon as it fixes an error. What is still wrong stays an error, for the next repair. Several skills can so be learned
    /// one after the other.
    #[default]
    Progress,
    /// Only when it fixes every error that it was written for (the paper: 100 %).
    All,
}

/// From which text the next revision is written after a rejection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// From the rejected revision: its failures become the new errors (the paper, section 3.2). Where the current prompt is right
    /// by luck, as with two labels, one skill alone breaks as much as it fixes, and only the second one shows the worth of both.
    #[default]
    Revised,
    /// From the last accepted prompt.
    Accepted,
}

/// How a revision is thought out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Analysis {
    /// Error analysis, recommendation, refinement.
    #[default]
    Full,
    /// The optimizer is only told to try again: the ablation.
    TryAgain,
}

impl Options {
    /// How many checkers solve each example.
    pub fn checkers(&self) -> u32 {
        match self.checker_pools.len() {
            0 => self.checkers,
            pools => u32::try_from(pools).unwrap_or(u32::MAX),
        }
    }

    /// The pool of the n-th checker; empty for the checkers that belong to none.
    pub fn pool_of(&self, checker: u32) -> &str {
        let pool = usize::try_from(checker).ok().and_then(|at| self.checker_pools.get(at));
        pool.map(String::as_str).unwrap_or_default()
    }
}

impl crate::Options for Options {
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("levels", self.levels, 1, 1000),
            ("examples_per_level", self.examples_per_level, 1, 100),
            ("candidates_per_level", self.candidates_per_level, 1, 20),
            ("attempts_per_level", self.attempts_per_level, 1, 100),
            ("checkers", self.checkers, 1, 20),
            ("repairs_per_level", self.repairs_per_level, 0, 100),
            ("repairs_before_review", self.repairs_before_review, 1, 100),
            ("shown", self.shown, 0, 50),
            ("past", self.past, 0, 1000),
            ("max_prompt_chars", self.max_prompt_chars, 200, 200_000),
            ("empty_levels", self.empty_levels, 0, 1000),
        ];
        for (key, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return Err(format!("`{key}` is {value}; it must be from {least} to {most}"));
            }
        }
        for (at, pool) in self.checker_pools.iter().enumerate() {
            check_name(pool).map_err(|problem| format!("`checker_pools`: {problem}"))?;
            if self.checker_pools.iter().skip(at + 1).any(|other| other == pool) {
                return Err(format!("`checker_pools` names {pool} twice"));
            }
        }
        if !(0.0..=1.0).contains(&self.label_noise) {
            return Err(format!("`label_noise` is {}; it must be from 0 to 1", self.label_noise));
        }
        if !self.label_penalty_weight.is_finite() || self.label_penalty_weight < 0.0 {
            return Err("`label_penalty_weight` must be a number of at least 0".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options as _, check_options};
    use serde_json::{Value, json};

    #[test]
    fn the_defaults_print_and_read_back() {
        let defaults = super::Options::default();
        let printed = serde_json::to_value(&defaults).unwrap();
        assert_eq!(super::Options::read(&printed), Ok(defaults.clone()));
        assert_eq!(super::Options::read(&Value::Null), Ok(defaults));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |options: Value| check_options("sipdo", &options).unwrap_err();
        let unknown = error(json!({"levles": 3}));
        assert!(
            unknown.contains("levles") && unknown.contains("examples_per_level"),
            "{unknown}"
        );
        assert!(error(json!({"levels": 0})).contains("`levels` is 0"));
        let wrong = error(json!({"voters": true, "checkers": "two"}));
        assert!(wrong.contains("`checkers`: invalid type"), "{wrong}");
        assert!(error(json!({"checker_pools": ["a", "B"]})).contains("lower-case letters"));
        assert!(error(json!({"checker_pools": ["a", "a"]})).contains("twice"));
        assert!(error(json!({"label_noise": 1.5})).contains("label_noise"));
        assert!(error(json!({"confirmation": "global"})).contains("local+global"));
        assert!(check_options("spido", &Value::Null).unwrap_err().contains("sipdo"));
        assert!(
            check_options("none", &json!({"levels": 3}))
                .unwrap_err()
                .contains("levels")
        );
        assert_eq!(
            check_options("sipdo", &json!({"analysis": "try-again", "base": "accepted"})),
            Ok(())
        );
    }
}
