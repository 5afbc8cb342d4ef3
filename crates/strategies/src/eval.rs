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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Prompts to try, by name. None: the task's own prompt, as `seed`.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
    /// Name of the prompt that another one is compared with. Needs exactly one other prompt.
    #[serde(default)]
    pub baseline: Option<String>,
    /// Answers that each prompt gives to each example, 1 to 100, each bought on its own. Left out of what is stored where it is 1, so
    /// that coordinators of versions without it can go on with the run.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeat: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prompts: BTreeMap::new(),
            baseline: None,
            repeat: once(),
        }
    }
}

/// The most answers to one example.
const MOST_REPEATS: u32 = 100;

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_once(repeat: &u32) -> bool {
    *repeat == once()
}

impl crate::Options for Options {
    fn check(&self) -> Result<(), String> {
        if !(1..=MOST_REPEATS).contains(&self.repeat) {
            return Err(format!(
                "`repeat` is {}: it must lie in 1..={MOST_REPEATS}",
                self.repeat
            ));
        }
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
    let (arms, renewed) = measure(agents, task, &texts, options.repeat).await?;
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
        report(agents, task, &mut outcome, name, marks, options.repeat).await?;
    }
    if let (Some(baseline), [first, second]) = (&options.baseline, arms.as_slice()) {
        let first_is_baseline = prompts.first().is_some_and(|(name, _)| name == baseline);
        let (before, after) = if first_is_baseline {
            (first, second)
        } else {
            (second, first)
        };
        outcome.gain = gain(task, before, after, options.repeat);
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

/// Exactly one answer for each prompt, test example and repeat.
pub fn forecast(task: &Task, options: &Options) -> Forecast {
    let answers = (options.prompts(task).len() * task.test.len()) as u64 * u64::from(options.repeat);
    let mut calls = Calls::new();
    add_answers(&mut calls, task, answers);
    Forecast {
        expected: calls.clone(),
        least: calls,
        most: repeated(task, answers),
        conclusion_answers: answers,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Faults, Journal, World, labelled_task, task};
    use serde_json::json;
    use sipdo_domain::{Accept, Ask, Outcome, Shown, Task, accept::Objective};
    use std::{collections::BTreeMap, sync::Mutex};

    async fn eval(task: &Task, options: serde_json::Value, faults: &Faults) -> (Outcome, Vec<Ask>) {
        let journal = Mutex::new(Journal::default());
        let outcome = crate::run("eval", &options, task, &World::new(faults, &journal)).await;
        (outcome.unwrap(), journal.into_inner().unwrap().asks)
    }

    #[tokio::test]
    async fn each_repeat_is_bought_on_its_own_and_its_examples_are_drawn_together() {
        let faults = Faults {
            flaky: 30,
            ..Faults::default()
        };
        let once = json!({"prompts": {"a": "Add.", "b": "RULE multiply"}, "baseline": "a"});
        let (single, _) = eval(&task(), once, &faults).await;
        let thrice = json!({"prompts": {"a": "Add.", "b": "RULE multiply"}, "baseline": "a", "repeat": 3});
        let (outcome, asks) = eval(&task(), thrice, &faults).await;
        let arm = outcome.arm("a").unwrap();
        assert_eq!(
            arm.score.measured() + arm.score.not_measured,
            120,
            "40 examples, 3 answers each"
        );
        let mut bought: BTreeMap<String, usize> = BTreeMap::new();
        asks.iter()
            .for_each(|ask| *bought.entry(format!("{ask:?}")).or_default() += 1);
        assert!(
            bought.values().all(|count| *count >= 3),
            "every answer was bought three times"
        );
        // The world answers alike each time: repeats make no test of 120 examples out of one of 40.
        let (one, three) = (single.gain.as_ref().unwrap(), outcome.gain.as_ref().unwrap());
        assert_eq!(
            (one.pairs, one.gained, one.lost),
            (three.pairs, three.gained, three.lost)
        );
        assert_eq!((one.p_value, one.difference), (three.p_value, three.difference));
        let width = |interval: Option<(f64, f64)>| interval.map(|(low, high)| high - low).unwrap();
        assert!(
            width(arm.interval) > 0.8 * width(single.arm("a").unwrap().interval),
            "{arm:?}"
        );
    }

    #[test]
    fn a_count_of_repeats_that_makes_no_sense_is_refused() {
        for bad in [0, 101] {
            let error = crate::check_options("eval", &json!({"repeat": bad})).unwrap_err();
            assert!(error.contains("`repeat`"), "{error}");
        }
        let resolved = crate::resolve("eval", &json!({})).unwrap();
        assert_eq!(resolved.get("repeat"), None, "older coordinators read it");
    }

    #[tokio::test]
    async fn macro_f1_decides_where_it_is_the_objective() {
        let mut task = labelled_task();
        let options =
            json!({"prompts": {"a": "Answer.", "b": "RULE multiply RULE negate RULE double"}, "baseline": "a"});
        task.accept = Some(Accept::default());
        let (plain, _) = eval(&task, options.clone(), &Faults::default()).await;
        assert_eq!(plain.gain.as_ref().unwrap().macro_f1, None, "nothing new is stored");
        task.accept = Some(Accept {
            objective: Objective::MacroF1,
            ..Accept::default()
        });
        let (outcome, _) = eval(&task, options.clone(), &Faults::default()).await;
        let gain = outcome.gain.unwrap();
        let by_f1 = gain.macro_f1.unwrap();
        let expected = match (by_f1.p_value <= 0.05, by_f1.difference > 0.0) {
            (true, true) => Shown::Better,
            (true, false) => Shown::Worse,
            _ => Shown::Nothing,
        };
        assert_eq!(outcome.shown, Some(expected));
        assert!(by_f1.difference > 0.0 && gain.difference > 0.0, "{gain:?}");
        assert_eq!(outcome.more_examples, None);
        let (again, _) = eval(&task, options, &Faults::default()).await;
        assert_eq!(again.gain.unwrap().macro_f1, Some(by_f1), "the seed fixes it");
    }
}
