//! Errors are those of the prompt that is repaired: tried with it, looked at twice, shown with its answers.

use super::{run, taught};
use crate::testing::{Faults, Told, examples, task, truth};
use serde_json::json;
use sipdo_domain::{Ask, RunEvent, Task, outcome::Correction};

/// With many more errors than one repair phase takes on.
fn long_task() -> Task {
    let mut task = task();
    task.train = examples("train", "Work out", 100);
    task
}

fn corrections(told: &Told) -> &[Correction] {
    &told.outcome.corrections
}

/// Failures without an answer that the optimizer was shown.
fn shown_without_answer(told: &Told) -> usize {
    let material = told.journal.asks.iter().filter_map(|ask| match ask {
        Ask::Edit(edit) => Some(edit.material.matches(r#""model_answer":"""#).count()),
        _ => None,
    });
    material.sum()
}

#[tokio::test]
async fn each_failure_and_each_correction_has_the_answer_of_the_version_that_it_names() {
    let told = run(&long_task(), json!({"levels": 3}), &Faults::default()).await;
    assert!(taught(&told.outcome));
    assert_eq!(shown_without_answer(&told), 0);
    let corrections = corrections(&told);
    assert!(corrections.len() >= 25, "{}", corrections.len());
    for one in corrections {
        assert_ne!(one.wrong_answer, "", "{}", one.example);
        assert_ne!(one.wrong_answer, one.target, "{}", one.example);
        let prompt = &told.outcome.prompts[one.from_version as usize].text;
        let asked = |ask: &Ask| matches!(ask, Ask::Answer(ask) if ask.prompt == *prompt && ask.input == one.input);
        assert!(told.journal.asks.iter().any(asked), "{} was tried", one.example);
    }

    let before = json!({"levels": 3, "try_before_repair": false});
    let before = run(&long_task(), before, &Faults::default()).await;
    let empty = |one: &&Correction| one.wrong_answer.is_empty();
    assert!(
        self::corrections(&before).iter().filter(empty).count() > 0 && shown_without_answer(&before) > 0,
        "runs of older versions go on as they began"
    );
}

#[tokio::test]
async fn failures_have_answers_whatever_is_confirmed_and_whatever_the_next_revision_starts_from() {
    let faults = Faults {
        harmful_advice: 40,
        flaky: 10,
        slips: 3,
        lost: vec!["RULE multiply".into(), task().train[0].input.clone()],
        ..Faults::default()
    };
    for confirmation in ["local+global", "local", "none"] {
        for base in ["revised", "accepted"] {
            let options = json!({"levels": 2, "confirmation": confirmation, "base": base});
            let told = run(&long_task(), options, &faults).await;
            assert_eq!(shown_without_answer(&told), 0, "{confirmation} {base}");
            let wrong = |one: &Correction| !one.wrong_answer.is_empty() && one.wrong_answer != truth(&one.input);
            assert!(corrections(&told).iter().all(wrong), "{confirmation} {base}");
        }
    }
}

/// Train examples that were shown as errors of a prompt that answered them only once.
fn looked_at_once(told: &Told, task: &Task) -> usize {
    let analysed = told.journal.story.iter().filter_map(|run_event| match run_event {
        RunEvent::ErrorsAnalysed { examples, version, .. } => Some((examples, *version)),
        _ => None,
    });
    let once = |id: &str, version: u32| {
        let Some(example) = task.train.iter().find(|example| example.id == id) else {
            return false;
        };
        let prompt = &told.outcome.prompts[version as usize].text;
        let same = |ask: &&Ask| matches!(ask, Ask::Answer(ask) if ask.prompt == *prompt && ask.input == example.input);
        told.journal.asks.iter().filter(same).count() < 2
    };
    let counts = analysed.map(|(ids, version)| ids.iter().filter(|id| once(id, version)).count());
    counts.sum()
}

#[tokio::test]
async fn a_train_example_is_looked_at_twice_before_a_repair_phase_takes_it_on() {
    // The prompt lacks nothing: each wrong answer is a slip.
    let mut ready = long_task();
    ready.prompt = "RULE multiply. RULE negate. RULE double.".into();
    let faults = Faults {
        slips: 20,
        ..Faults::default()
    };
    let options =
        |try_before_repair: bool| json!({"levels": 1, "base": "accepted", "try_before_repair": try_before_repair});
    let looked = run(&ready, options(true), &faults).await;
    assert_eq!(looked_at_once(&looked, &ready), 0);
    let before = run(&ready, options(false), &faults).await;
    assert!(looked_at_once(&before, &ready) > 0, "as in runs of older versions");
}
