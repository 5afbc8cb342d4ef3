//! `eval`: no optimization, only prompts tried on the test examples, with intervals. One arm for each prompt, by its name.

use crate::{
    Agents, Forecast, Stop,
    conclude::{changed_model, gain, measure, renewed_words, report, warn},
    forecast::{Calls, add_answers, repeated},
};
use serde::{Deserialize, Serialize};
use sipdo_domain::{Ending, Outcome, Prompt, Standing, Task};
use std::collections::BTreeMap;

/// Options of `eval`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Prompts to try, by name. None: the task's own prompt, as `seed`.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
    /// Name of the prompt that another one is compared with. Needs exactly one other prompt.
    #[serde(default)]
    pub baseline: Option<String>,
}

impl crate::Options for Options {
    fn check(&self) -> Result<(), String> {
        match &self.baseline {
            Some(name) if !self.prompts.contains_key(name) => Err(format!("`baseline`: there is no prompt `{name}`")),
            Some(_) if self.prompts.len() != 2 => Err("`baseline`: give exactly one other prompt to compare".into()),
            _ => Ok(()),
        }
    }
}

impl Options {
    /// The prompts that take the test, by name.
    pub(crate) fn prompts(&self, task: &Task) -> Vec<(String, String)> {
        match self.prompts.is_empty() {
            true => vec![("seed".to_owned(), task.prompt.clone())],
            false => self
                .prompts
                .iter()
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect(),
        }
    }
}

/// Tries every prompt on every test example, all in flight at once.
pub async fn optimize(task: &Task, options: &Options, agents: &impl Agents) -> Result<Outcome, Stop> {
    let prompts = options.prompts(task);
    let texts: Vec<&str> = prompts.iter().map(|(_, text)| text.as_str()).collect();
    // There is nothing before the conclusion: what the budget holds back for it is all there is to spend.
    agents.conclude().await?;
    let (arms, renewed) = measure(agents, task, &texts).await?;
    let ending = match arms.iter().flatten().find_map(|mark| mark.as_ref().err()) {
        Some(Stop::BudgetExhausted(cap)) => Ending::BudgetExhausted(cap.clone()),
        Some(Stop::StoppedEarly) => Ending::StoppedEarly,
        Some(Stop::Halted(_)) | None => Ending::Finished,
    };
    let mut outcome = Outcome {
        ending,
        best: 0,
        found: 0,
        prompts: (0..)
            .zip(&prompts)
            .map(|(version, (name, text))| entry(version, name, text))
            .collect(),
        synthetic: Vec::new(),
        corrections: Vec::new(),
        arms: Vec::new(),
        gain: None,
        reverted: false,
        label_kl: None,
        warnings: Vec::new(),
        shown: None,
        more_examples: None,
    };
    if let Some(text) = renewed_words(renewed) {
        warn(agents, &mut outcome, &text).await?;
    }
    for ((name, _), marks) in prompts.iter().zip(&arms) {
        report(agents, task, &mut outcome, name, marks).await?;
    }
    if let (Some(baseline), [first, second]) = (&options.baseline, arms.as_slice()) {
        let first_is_baseline = prompts.first().is_some_and(|(name, _)| name == baseline);
        let (before, after) = if first_is_baseline {
            (first, second)
        } else {
            (second, first)
        };
        outcome.gain = gain(before, after, task.seed);
        if let Some(text) = changed_model(before, after) {
            warn(agents, &mut outcome, &text).await?;
        }
        if let (Some(rule), Some(gain)) = (&task.accept, &outcome.gain) {
            (outcome.shown, outcome.more_examples) = (Some(rule.shown(gain)), rule.more_examples(gain));
        }
    }
    let accuracy = |name: &str| outcome.arm(name).and_then(|arm| arm.score.accuracy()).unwrap_or(0.0);
    let mut best: Option<(u32, f64)> = None;
    for (version, (name, _)) in (0..).zip(&prompts) {
        if best.is_none_or(|(_, known)| accuracy(name) > known) {
            best = Some((version, accuracy(name)));
        }
    }
    outcome.best = best.map_or(0, |(version, _)| version);
    outcome.found = outcome.best;
    Ok(outcome)
}

fn entry(version: u32, name: &str, text: &str) -> Prompt {
    Prompt {
        reason: name.to_owned(),
        version,
        parent: None,
        text: text.to_owned(),
        level: 0,
        standing: Standing::Seed,
        written_by: None,
    }
}

/// Exactly one answer for each prompt and test example.
pub fn forecast(task: &Task, options: &Options) -> Forecast {
    let answers = (options.prompts(task).len() * task.test.len()) as u64;
    let mut calls = Calls::new();
    add_answers(&mut calls, task, answers);
    Forecast {
        expected: calls.clone(),
        least: calls,
        most: repeated(task, answers),
        conclusion_answers: answers,
    }
}
