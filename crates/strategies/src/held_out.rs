//! Which prompts took a run's held-out test, for programs that read its answers back.

use crate::{Options as _, conclude, eval};
use serde_json::Value;
use sipdo_domain::{
    Prompt, Task,
    outcome::{ARMS, FINAL_ARM, SEED_ARM},
};

/// The prompts that took the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// Name and text of each prompt, in the order in which they are reported.
    pub arms: Vec<(String, String)>,
    /// The arm that the other is compared with, and that other one; none where nothing is compared.
    pub compared: Option<(String, String)>,
    /// Answers that each prompt gave to each example, from 1.
    pub repeats: u32,
}

/// The arms of a run of `strategy` with these options, whose prompts are `prompts` and which found version `found`. An error says what is
/// wrong with the options.
pub fn held_out(
    strategy: &str,
    options: &Value,
    task: &Task,
    prompts: &[Prompt],
    found: u32,
) -> Result<HeldOut, String> {
    if strategy != "eval" {
        let texts = conclude::prompts(task, prompts, found);
        return Ok(HeldOut {
            arms: ARMS.map(String::from).into_iter().zip(texts).collect(),
            compared: Some((SEED_ARM.into(), FINAL_ARM.into())),
            repeats: 1,
        });
    }
    let options = eval::Options::read(options)?;
    let arms = options.prompts(task);
    let other = |baseline: &String| {
        arms.iter()
            .find(|(name, _)| name != baseline)
            .map(|(name, _)| name.clone())
    };
    let compared = options
        .baseline
        .as_ref()
        .and_then(|baseline| Some((baseline.clone(), other(baseline)?)));
    Ok(HeldOut {
        arms,
        compared,
        repeats: options.repeat,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Faults, Journal, World, task};
    use serde_json::json;
    use sipdo_domain::Ask;
    use std::{collections::BTreeSet, sync::Mutex};

    /// What a strategy asks of the learner on the test examples is what these arms say.
    #[tokio::test]
    async fn the_arms_are_the_prompts_that_were_asked() {
        let task = task();
        for (strategy, options) in [
            ("none", json!({})),
            ("sipdo", json!({"levels": 2})),
            (
                "eval",
                json!({"prompts": {"a": "Add.", "b": "Multiply."}, "baseline": "b"}),
            ),
        ] {
            let journal = Mutex::new(Journal::default());
            let world = World::new(&Faults::default(), &journal);
            let outcome = crate::run(strategy, &options, &task, &world).await.unwrap();
            let asked: BTreeSet<String> = journal
                .lock()
                .unwrap()
                .asks
                .iter()
                .filter_map(|ask| match ask {
                    Ask::Answer(ask) if task.test.iter().any(|test| test.input == ask.input) => {
                        Some(ask.prompt.clone())
                    }
                    _ => None,
                })
                .collect();
            let found = held_out(strategy, &options, &task, &outcome.prompts, outcome.found).unwrap();
            let arms: BTreeSet<String> = found.arms.iter().map(|(_, text)| text.clone()).collect();
            assert_eq!(arms, asked, "{strategy}");
        }
    }

    #[test]
    fn the_baseline_is_named_first() {
        let options = json!({"prompts": {"a": "Add.", "b": "Multiply."}, "baseline": "b"});
        let found = held_out("eval", &options, &task(), &[], 0).unwrap();
        assert_eq!(found.compared, Some(("b".into(), "a".into())));
        assert!(held_out("eval", &json!({"prompt": 1}), &task(), &[], 0).is_err());
    }
}
