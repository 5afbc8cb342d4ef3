//! What a run came to, in a stable shape; how it is written is in [`render`].

pub mod held_out;
pub mod models;
pub mod render;

use std::collections::BTreeMap;

use serde::Serialize;
use sipdo_protocol::pb::{self, decision};

use held_out::Unmeasured;
use models::{PromptModels, Stint};

use crate::{
    checks::gates::Gate,
    failure::Exit,
    held_out::{labels::Labels, repeats::Repeats},
    missing,
    output::clean_line,
    words::{is_over, reason_words, state_name},
};

/// Said wherever scores of a simulated model are shown.
pub const SIMULATED: &str =
    "These are simulated scores: a program simulated the models, and the numbers say nothing about real models.";

/// A run's end in the shape of `report.json`. Fields may be added, never renamed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// Its task.
    pub task: String,
    /// Its strategy.
    pub strategy: String,
    /// `finished`, `stopped early`, `ended at its budget`, `cancelled`, `failed`, ...
    pub state: String,
    /// Whether it will never go on.
    pub ended: bool,
    /// Why it failed; empty where it did not.
    pub failure: String,
    /// True where any result came from a simulated model.
    pub simulated: bool,
    /// Version of the prompt to use.
    pub best_version: u32,
    /// The strategy's best, before any revert to the seed.
    pub found_version: u32,
    /// The seed is kept because nothing better was found.
    pub reverted: bool,
    /// What the held-out test shows: `better`, `not shown to be better`, `worse`; none where it was not taken.
    pub verdict: Option<&'static str>,
    /// About how many more test examples would show a gain of the size that was seen.
    pub more_examples: Option<u32>,
    /// The prompt to use.
    pub prompt: String,
    /// Held-out scores, in the order measured.
    pub arms: Vec<Arm>,
    /// How each label did in the test, where labels are closed; null where the answers were not read.
    pub labels: Option<Labels>,
    /// Held-out answers that were asked for and not measured; empty where the answers were not read.
    pub unmeasured: Vec<Unmeasured>,
    /// The share of a prompt's answers that may be not measured, in 0..=1.
    #[serde(skip)]
    pub most_not_measured: f64,
    /// How often each example was answered rightly; null where each has one answer.
    pub repeats: Option<Repeats>,
    /// What the gates of `sipdo eval` say; empty where none was asked for.
    pub gates: Vec<Gate>,
    /// Final against seed (or second prompt against first), where both were measured.
    pub gain: Option<Gain>,
    /// Calls, tokens and cost over all roles.
    pub spent: Spent,
    /// The same by role name.
    pub spent_by_role: BTreeMap<String, Spent>,
    /// Models that produced results, by role name.
    pub models: BTreeMap<String, Vec<String>>,
    /// When each of them answered, by role name, in order of first use.
    pub model_stints: BTreeMap<String, Vec<Stint>>,
    /// Whose work each prompt version is.
    pub prompt_models: Vec<PromptModels>,
    /// Synthetic examples by what became of them.
    pub synthetic: Synthetic,
    /// KL(accepted labels ‖ estimated prior) in nats, where labels are closed.
    pub label_kl: Option<f64>,
    /// Results not measured, by reason: `refused`, `rate limited`, ...
    pub not_measured: BTreeMap<String, u64>,
    /// Attempts lost with their agent, charged at their worst case.
    pub attempts_lost: u32,
    /// Things the user should know.
    pub warnings: Vec<String>,
    /// Seconds from creation to the last entry.
    pub seconds: u64,
}

/// One prompt on the held-out examples.
#[derive(Debug, Clone, Serialize)]
pub struct Arm {
    /// `seed`, `zero-shot-cot`, `final`, or the name given to `sipdo eval`.
    pub name: String,
    /// Fraction right of those measured; none where nothing was.
    pub accuracy: Option<f64>,
    /// 95 % Wilson interval of the accuracy.
    pub interval: Option<(f64, f64)>,
    /// Answered rightly.
    pub right: u32,
    /// Answered wrongly.
    pub wrong: u32,
    /// Not answered.
    pub not_measured: u32,
    /// Mean credit of the measured answers, in 0..=1, where the metric gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit: Option<f64>,
}

/// A paired difference in accuracy.
#[derive(Debug, Clone, Serialize)]
pub struct Gain {
    /// In -1..=1.
    pub difference: f64,
    /// 95 % interval by paired bootstrap.
    pub interval: (f64, f64),
    /// Exact two-sided McNemar test.
    pub p_value: f64,
    /// Examples that both prompts measured.
    pub pairs: u32,
    /// Right with the second only.
    pub gained: u32,
    /// Right with the first only.
    pub lost: u32,
    /// The difference in macro-F1, which decides; null where the accuracy does.
    pub macro_f1: Option<MacroF1Gain>,
}

/// A paired difference in macro-F1.
#[derive(Debug, Clone, Serialize)]
pub struct MacroF1Gain {
    /// In -1..=1.
    pub difference: f64,
    /// Two-sided paired permutation test.
    pub p_value: f64,
}

/// What was spent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spent {
    /// Completions.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// US dollars of the calls whose price is known; none where no price is.
    pub usd: Option<f64>,
    /// Calls of unknown price.
    pub unpriced_calls: u64,
}

/// Synthetic examples by what became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Synthetic {
    /// Accepted, and not quarantined later.
    pub accepted: u32,
    /// Rejected by a gate or by votes.
    pub rejected: u32,
    /// Rejections by gate name, or `votes`.
    pub rejected_by: BTreeMap<String, u32>,
    /// A vote could not be had.
    pub set_aside: u32,
    /// Accepted, then set aside after outliving their repairs.
    pub quarantined: u32,
}

impl Report {
    /// The report of a run, ended or not. `simulated` says what the caller knows of the endpoints.
    pub fn of(run: &pb::Run, simulated: bool) -> Self {
        let summary = run.summary.clone().unwrap_or_default();
        let outcome = run.outcome.clone().unwrap_or_default();
        let best = if run.outcome.is_some() {
            outcome.best
        } else {
            summary.prompt_version
        };
        let prompts = if outcome.prompts.is_empty() {
            &run.prompts
        } else {
            &outcome.prompts
        };
        let total = summary.spent.unwrap_or_default();
        let models: BTreeMap<String, Vec<String>> = run
            .model_use
            .iter()
            .map(|(role, used)| (role.clone(), used.models.clone()))
            .collect();
        let simulated = simulated || models.values().flatten().any(|label| is_simulated(label));
        let synthetic = Synthetic::of(&outcome.synthetic);
        Report {
            run: summary.run.clone(),
            task: summary.task.clone(),
            strategy: summary.strategy.clone(),
            state: state_name(summary.state()).into(),
            failure: run.failure.clone(),
            simulated,
            best_version: best,
            found_version: if run.outcome.is_some() { outcome.found } else { best },
            reverted: outcome.reverted,
            verdict: verdict(outcome.shown()),
            more_examples: outcome.more_examples,
            prompt: prompts
                .iter()
                .find(|prompt| prompt.version == best)
                .map(|p| p.text.clone())
                .unwrap_or_default(),
            arms: outcome.arms.iter().map(Arm::of).collect(),
            labels: None,
            unmeasured: Vec::new(),
            most_not_measured: missing::USUAL,
            repeats: None,
            gates: Vec::new(),
            gain: outcome.gain.as_ref().map(Gain::of),
            ended: is_over(summary.state()),
            spent: Spent::of(&total, summary.unpriced_calls),
            spent_by_role: summary
                .spent_by_role
                .iter()
                .map(|(role, spent)| (role.clone(), Spent::of(spent, unpriced(run, role, spent))))
                .collect(),
            models,
            model_stints: run
                .model_use
                .iter()
                .map(|(role, used)| (role.clone(), used.stints.iter().map(Stint::of).collect()))
                .collect(),
            prompt_models: prompts.iter().map(PromptModels::of).collect(),
            // Labels of no example drift nowhere.
            label_kl: outcome.label_kl.filter(|_| synthetic.accepted > 0),
            synthetic,
            not_measured: run
                .not_measured_by_reason
                .iter()
                .map(|(reason, &count)| (reason_words(reason), count))
                .collect(),
            attempts_lost: summary.attempts_lost,
            warnings: {
                let mut warnings = run.warnings.clone();
                warnings.extend(outcome.warnings.into_iter().filter(|text| !run.warnings.contains(text)));
                warnings
            },
            seconds: summary.updated_ms.saturating_sub(summary.created_ms) / 1000,
        }
    }

    /// The exit code that tells this end to a script.
    pub fn exit(run: &pb::Run) -> Exit {
        match run.summary.as_ref().map(pb::Summary::state) {
            Some(pb::State::BudgetExhausted) => Exit::BudgetExhausted,
            Some(pb::State::Finished | pb::State::Stopped) => match &run.outcome {
                Some(outcome) if outcome.shown() == pb::outcome::Shown::Worse => Exit::Worse,
                Some(outcome) if tested_in_vain(outcome) => Exit::TooLittleMeasured,
                Some(outcome) if outcome.shown() == pb::outcome::Shown::Nothing => Exit::NothingBetter,
                Some(outcome) if outcome.reverted || outcome.best == 0 => Exit::NothingBetter,
                _ => Exit::Ok,
            },
            _ => Exit::Failure,
        }
    }
}

/// The verdict in words.
fn verdict(shown: pb::outcome::Shown) -> Option<&'static str> {
    match shown {
        pb::outcome::Shown::Unspecified => None,
        pb::outcome::Shown::Better => Some("better"),
        pb::outcome::Shown::Nothing => Some("not shown to be better"),
        pb::outcome::Shown::Worse => Some("worse"),
    }
}

/// Whether a test was taken of which no answer counts.
fn tested_in_vain(outcome: &pb::Outcome) -> bool {
    let measured = |arm: &pb::Arm| arm.score.is_some_and(|score| score.right + score.wrong > 0);
    !outcome.arms.is_empty() && !outcome.arms.iter().any(measured)
}

/// Whether `endpoint/model` is one of the simulator's, whatever the endpoint is called.
fn is_simulated(label: &str) -> bool {
    label.starts_with("simulator/")
        || ["/sim-weak", "/sim-teacher", "/sim-strong"]
            .iter()
            .any(|model| label.ends_with(model))
}

impl Arm {
    fn of(arm: &pb::Arm) -> Self {
        let score = arm.score.unwrap_or_default();
        let measured = score.right + score.wrong;
        Arm {
            name: arm.name.clone(),
            accuracy: (measured > 0).then(|| f64::from(score.right) / f64::from(measured)),
            interval: arm.interval.map(|interval| (interval.low, interval.high)),
            right: score.right,
            wrong: score.wrong,
            not_measured: score.not_measured,
            credit: arm.credit,
        }
    }
}

impl Gain {
    fn of(gain: &pb::Gain) -> Self {
        let interval = gain.interval.unwrap_or_default();
        Gain {
            difference: gain.difference,
            interval: (interval.low, interval.high),
            p_value: gain.p_value,
            pairs: gain.pairs,
            gained: gain.gained,
            lost: gain.lost,
            macro_f1: gain.macro_f1.as_ref().map(|gain| MacroF1Gain {
                difference: gain.difference,
                p_value: gain.p_value,
            }),
        }
    }
}

impl Spent {
    /// Where there are no `unpriced_calls`, every price is known, a price of zero too.
    fn of(amount: &pb::Amount, unpriced_calls: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "money for reading")]
        let usd = (amount.nano_usd > 0 || unpriced_calls == 0).then_some(amount.nano_usd as f64 / 1e9);
        Spent {
            calls: amount.calls,
            tokens: amount.tokens,
            usd,
            unpriced_calls,
        }
    }
}

/// A role's calls of unknown price, over all its models. Where no price of the run is known, that is all of them.
fn unpriced(run: &pb::Run, role: &str, spent: &pb::Amount) -> u64 {
    let all = run.summary.as_ref().map_or(0, |summary| summary.unpriced_calls);
    if all > 0 && spent.nano_usd == 0 {
        return spent.calls;
    }
    let stints = run.model_use.get(role).map(|used| used.stints.iter());
    stints.into_iter().flatten().map(|stint| stint.unpriced_calls).sum()
}

impl Synthetic {
    fn of(examples: &[pb::SyntheticExample]) -> Self {
        let mut counts = Synthetic::default();
        for example in examples {
            let decision = example.decision.clone().unwrap_or_default();
            match decision.kind() {
                decision::Kind::Accepted if example.quarantined => counts.quarantined += 1,
                decision::Kind::Accepted => counts.accepted += 1,
                decision::Kind::Rejected => {
                    counts.rejected += 1;
                    *counts.rejected_by.entry(clean_line(&decision.by)).or_default() += 1;
                }
                decision::Kind::SetAside | decision::Kind::Unspecified => counts.set_aside += 1,
            }
        }
        counts
    }
}
