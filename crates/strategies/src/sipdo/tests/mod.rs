//! The method as a whole, in the scripted world.

mod ends;
mod errors;

use crate::{
    Agents, Stop, forecast,
    testing::{self, Faults, Journal, Told, World, labelled_task, task, truth},
};
use serde_json::{Value, json};
use sipdo_domain::{Ask, Decision, Ending, Outcome, Role, RunEvent, Standing, Task};
use std::collections::BTreeMap;

async fn run(task: &Task, options: Value, faults: &Faults) -> Told {
    testing::run("sipdo", task, options, faults).await
}

fn accuracy(outcome: &Outcome, arm: &str) -> f64 {
    outcome.arm(arm).and_then(|arm| arm.score.accuracy()).unwrap_or(-1.0)
}

fn best_text(outcome: &Outcome) -> &str {
    outcome.best_prompt().map_or("", |prompt| prompt.text.as_str())
}

fn taught(outcome: &Outcome) -> bool {
    ["multiply", "negate", "double"]
        .iter()
        .all(|rule| best_text(outcome).contains(&format!("RULE {rule}")))
}

fn rejected_by(outcome: &Outcome, gate: &str) -> usize {
    let rejected =
        |one: &&sipdo_domain::SyntheticExample| matches!(&one.decision, Decision::Rejected { by, .. } if by == gate);
    outcome.synthetic.iter().filter(rejected).count()
}

/// Accepted examples that still count, and how many of them have a wrong target.
fn accepted_and_wrong(outcome: &Outcome) -> (usize, usize) {
    let counted = outcome
        .synthetic
        .iter()
        .filter(|one| one.decision == Decision::Accepted && !one.quarantined);
    let wrong = counted
        .clone()
        .filter(|one| one.example.target != truth(&one.example.input))
        .count();
    (counted.count(), wrong)
}

fn bought(told: &Told) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for ask in &told.journal.asks {
        *counts.entry(ask.operation()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn the_loop_teaches_what_the_seed_prompt_lacks() {
    let told = run(&task(), Value::Null, &Faults::default()).await;
    let outcome = &told.outcome;
    assert_eq!(outcome.ending, Ending::Finished);
    assert_eq!(accuracy(outcome, "seed"), 0.25);
    assert_eq!(accuracy(outcome, "final"), 1.0);
    assert!(taught(outcome) && !outcome.reverted && outcome.best == outcome.found);
    let gain = outcome.gain.as_ref().unwrap();
    assert_eq!((gain.pairs, gain.gained, gain.lost), (40, 30, 0));
    assert!(gain.interval.0 > 0.5 && gain.p_value < 1e-6);
    assert_eq!(outcome.corrections.len(), 9, "each of the nine train errors");
    assert!(
        outcome
            .corrections
            .iter()
            .all(|one| one.right_answer == one.target && one.wrong_answer != one.target)
    );
    assert_eq!(accepted_and_wrong(outcome), (30, 0));
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].starts_with("the checker supported each of 30 drafts"));
    assert!(
        told.peak >= 12,
        "the train examples are in flight together: {}",
        told.peak
    );
}

#[tokio::test]
async fn synthetic_examples_alone_can_teach_too() {
    let told = run(&task(), json!({"repair_seed_errors": false}), &Faults::default()).await;
    assert!(taught(&told.outcome));
    let of_train = told
        .outcome
        .corrections
        .iter()
        .filter(|one| one.example.starts_with("train"));
    assert!(of_train.count() <= 9);
    let first = told.journal.asks.iter().find_map(|ask| match ask {
        Ask::Synthesize(brief) => Some(brief.clone()),
        _ => None,
    });
    let brief = first.unwrap();
    assert_eq!(
        brief.weaknesses,
        ["missing multiply"],
        "the generator aims at what the seed prompt lacks"
    );
    assert_eq!((brief.shown.len(), brief.level, brief.max_level), (2, 1, 10));
    assert_eq!(brief.prompt, "Answer the question.");
}

#[tokio::test]
async fn a_run_is_a_function_of_its_seed() {
    let flaky = Faults {
        wrong_claims: 20,
        harmful_advice: 30,
        flaky: 5,
        ..Faults::default()
    };
    let options = json!({"levels": 4, "label_noise": 0.2});
    let first = run(&task(), options.clone(), &flaky).await;
    let again = run(&task(), options.clone(), &flaky).await;
    assert_eq!(first.outcome, again.outcome);
    assert_eq!(first.journal.story, again.journal.story);
    let shuffled = Faults {
        shuffle: 99,
        ..flaky.clone()
    };
    let shuffled = run(&task(), options.clone(), &shuffled).await;
    assert_eq!(first.outcome, shuffled.outcome, "whatever comes back first");
    assert_eq!(first.journal.story, shuffled.journal.story);
    let mut other = task();
    other.seed += 1;
    let other = run(&other, options, &flaky).await;
    assert_ne!(first.journal.story, other.journal.story);
}

#[tokio::test]
async fn a_run_that_crashes_again_and_again_buys_nothing_twice() {
    let options = json!({"levels": 2, "examples_per_level": 2, "candidates_per_level": 2});
    let faults = Faults {
        wrong_claims: 15,
        harmful_advice: 40,
        flaky: 5,
        ..Faults::default()
    };
    let whole = run(&task(), options.clone(), &faults).await;
    for (life, shuffle) in [(2, 1), (7, 2), (23, 3), (61, 4)] {
        let crashing = Faults {
            crash_after: Some(life),
            shuffle,
            ..faults.clone()
        };
        let told = run(&task(), options.clone(), &crashing).await;
        assert!(
            told.lives as usize > whole.journal.asks.len() / (life as usize + 30),
            "it did crash: {}",
            told.lives
        );
        assert_eq!(told.outcome, whole.outcome);
        assert_eq!(told.journal.story, whole.journal.story);
        let keys = |journal: &Journal| journal.bought.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&told.journal), keys(&whole.journal));
        assert!(told.journal.bought.values().all(|(_, times)| *times == 1));
    }
}

#[tokio::test]
async fn a_budget_that_ends_anywhere_leaves_the_best_so_far() {
    let whole = run(&task(), json!({"levels": 3}), &Faults::default()).await;
    let all = whole.journal.asks.len() as u32;
    let mut before = 0.0;
    for budget in (0..all - 120).step_by(6) {
        let faults = Faults {
            budget: Some(budget),
            shuffle: u64::from(budget),
            ..Faults::default()
        };
        let outcome = run(&task(), json!({"levels": 3}), &faults).await.outcome;
        assert_eq!(
            outcome.ending,
            Ending::BudgetExhausted("calls".into()),
            "{budget} of {all}"
        );
        assert_eq!(outcome.arms.len(), 3);
        let reached = accuracy(&outcome, "final");
        assert!(
            reached >= before && reached >= accuracy(&outcome, "seed"),
            "{budget}: {before} -> {reached}"
        );
        before = reached;
    }
    assert_eq!(before, 1.0);
    let stopped = Faults {
        stopped_after: Some(all / 4),
        ..Faults::default()
    };
    let stopped = run(&task(), json!({"levels": 3}), &stopped).await.outcome;
    assert_eq!(stopped.ending, Ending::StoppedEarly);
}

#[tokio::test]
async fn the_regression_gate_names_what_a_harmful_candidate_breaks() {
    let faults = Faults {
        harmful_advice: 100,
        ..Faults::default()
    };
    let outcome = run(
        &task(),
        json!({"acceptance": "all", "base": "revised", "repairs_per_level": 6}),
        &faults,
    )
    .await
    .outcome;
    assert!(taught(&outcome) && !best_text(&outcome).contains("HARM"));
    let told = run(&task(), Value::Null, &faults).await;
    let outcome = told.outcome;
    assert!(taught(&outcome) && !best_text(&outcome).contains("HARM"));
    assert_eq!(accuracy(&outcome, "final"), 1.0);
    let harmful = outcome.prompts.iter().filter(|prompt| prompt.text.contains("HARM"));
    let mut broken = 0;
    for prompt in harmful {
        let Standing::Rejected { stage, broke, .. } = &prompt.standing else {
            panic!("a harmful candidate was accepted: {prompt:?}");
        };
        if stage == "global" {
            broken += 1;
            assert!(!broke.is_empty());
            for id in broke {
                let train = task()
                    .train
                    .into_iter()
                    .find(|example| example.id == *id)
                    .map(|example| example.input);
                let synthetic = || {
                    outcome
                        .synthetic
                        .iter()
                        .find(|one| one.example.id == *id)
                        .map(|one| one.example.input.clone())
                };
                assert!(
                    train.or_else(synthetic).unwrap().contains("add"),
                    "{id} has nothing to do with the harm"
                );
            }
        }
    }
    assert!(broken > 0, "nothing got as far as the gate");
    let retold = told
        .journal
        .asks
        .iter()
        .any(|ask| matches!(ask, Ask::Edit(edit) if edit.material.contains("## Tried before")));
    assert!(retold, "the next attempt is told what failed");
}

#[tokio::test]
async fn without_the_regression_gate_harm_is_accepted() {
    let faults = Faults {
        harmful_advice: 100,
        ..Faults::default()
    };
    let options = json!({"confirmation": "none", "levels": 2, "repairs_per_level": 1});
    let outcome = run(&task(), options, &faults).await.outcome;
    assert!(
        outcome
            .prompts
            .iter()
            .any(|prompt| prompt.text.contains("HARM") && prompt.was_current())
    );
    assert!(
        outcome.best == 0 || accuracy(&outcome, "final") >= accuracy(&outcome, "seed"),
        "the conclusion still stands guard"
    );
    let rejected = |prompt: &sipdo_domain::Prompt| matches!(&prompt.standing, Standing::Rejected { stage, .. } if stage != "guard");
    assert!(!outcome.prompts.iter().any(rejected));
}

#[tokio::test]
async fn skills_that_help_only_together_are_learned_by_building_on_what_was_rejected() {
    let faults = Faults {
        entangled: true,
        ..Faults::default()
    };
    let built = run(&task(), json!({"levels": 2}), &faults).await.outcome;
    assert!(taught(&built) && accuracy(&built, "final") == 1.0);
    let rejected = |prompt: &&sipdo_domain::Prompt| matches!(&prompt.standing, Standing::Rejected { stage, .. } if stage == "global");
    assert!(
        built.prompts.iter().any(|prompt| rejected(&prompt)),
        "one alone was rejected"
    );
    let anew = run(&task(), json!({"levels": 2, "base": "accepted"}), &faults)
        .await
        .outcome;
    assert!(!taught(&anew), "each alone breaks what was right");
}

#[tokio::test]
async fn a_learner_that_slips_now_and_then_breaks_nothing_by_it() {
    let faults = Faults {
        slips: 8,
        ..Faults::default()
    };
    let broken = |outcome: &Outcome| {
        let global = |prompt: &&sipdo_domain::Prompt| matches!(&prompt.standing, Standing::Rejected { stage, .. } if stage == "global");
        outcome.prompts.iter().filter(global).count()
    };
    let looked = run(&task(), Value::Null, &faults).await.outcome;
    let trusted = run(&task(), json!({"second_look": false}), &faults).await.outcome;
    assert!(taught(&looked) && accuracy(&looked, "final") > 0.8);
    assert!(
        broken(&looked) < broken(&trusted),
        "{} < {}",
        broken(&looked),
        broken(&trusted)
    );
    assert!(
        looked.prompts.len() < trusted.prompts.len(),
        "no repairs where nothing is broken"
    );
}

#[tokio::test]
async fn a_prompt_that_is_no_better_gives_way_to_the_seed() {
    let mut ready = task();
    ready.prompt = "RULE multiply. RULE negate. RULE double.".into();
    let outcome = run(&ready, json!({"levels": 2}), &Faults::default()).await.outcome;
    assert_eq!((outcome.best, outcome.found, outcome.reverted), (0, 0, false));
    assert_eq!(accuracy(&outcome, "seed"), 1.0);

    let mut unlucky = task();
    unlucky.test.retain(|example| example.input.contains("add"));
    let outcome = run(&unlucky, json!({"levels": 2}), &Faults::default()).await.outcome;
    assert!(outcome.found > 0 && outcome.reverted);
    assert_eq!(outcome.best, 0, "nothing was gained on the held-out examples");
}

#[tokio::test]
async fn wrong_labels_are_voted_out() {
    for options in [
        json!({"label_noise": 0.3, "attempts_per_level": 8}),
        json!({"label_noise": 0.3, "attempts_per_level": 8, "rule": "majority", "checkers": 3}),
    ] {
        let outcome = run(&task(), options, &Faults::default()).await.outcome;
        assert!(
            rejected_by(&outcome, "votes") >= 5,
            "the noise was there: {}",
            rejected_by(&outcome, "votes")
        );
        assert_eq!(accepted_and_wrong(&outcome), (30, 0));
        assert_eq!(accuracy(&outcome, "final"), 1.0);
    }
    let outcome = run(
        &task(),
        json!({"label_noise": 0.3, "voters": false}),
        &Faults::default(),
    )
    .await
    .outcome;
    assert_eq!(rejected_by(&outcome, "votes"), 0);
    assert!(
        outcome.synthetic.iter().any(|one| one.quarantined),
        "wrong labels got in and were found out"
    );
}

#[tokio::test]
async fn a_program_has_a_veto_and_spares_the_votes() {
    let mut checked = task();
    checked.gates.program = Some("solver".into());
    let told = run(
        &checked,
        json!({"label_noise": 0.5, "voters": false, "attempts_per_level": 20}),
        &Faults::default(),
    )
    .await;
    assert!(rejected_by(&told.outcome, "program") >= 5);
    assert_eq!(accepted_and_wrong(&told.outcome), (30, 0));
    assert_eq!(bought(&told).get("solve"), None);
}

#[tokio::test]
async fn one_wrong_label_cannot_block_a_run() {
    // All voters err together, so wrong labels pass; no prompt can ever satisfy them.
    let faults = Faults {
        wrong_claims: 25,
        gullible: true,
        ..Faults::default()
    };
    let told = run(&task(), json!({"voters": true}), &faults).await;
    assert_eq!(accuracy(&told.outcome, "final"), 1.0);
    assert!(accepted_and_wrong(&told.outcome).1 > 0, "the voters were fooled");
    assert!(
        told.outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("still answered wrongly"))
    );

    let told = run(
        &task(),
        json!({"label_noise": 0.25, "voters": false}),
        &Faults::default(),
    )
    .await;
    assert_eq!(accuracy(&told.outcome, "final"), 1.0);
    let quarantined: Vec<_> = told.outcome.synthetic.iter().filter(|one| one.quarantined).collect();
    assert!(!quarantined.is_empty());
    let said = told
        .journal
        .story
        .iter()
        .filter(|run_event| matches!(run_event, RunEvent::ExampleQuarantined { .. }));
    assert_eq!(said.count(), quarantined.len());
}

#[tokio::test]
async fn what_cannot_be_measured_is_neither_right_nor_wrong() {
    // One train example never answers, and one in ten asks fails at first.
    let lost = task().train[4].input.clone();
    let faults = Faults {
        lost: vec![lost],
        flaky: 10,
        ..Faults::default()
    };
    let told = run(&task(), json!({"levels": 4, "shown": 0}), &faults).await;
    assert_eq!(accuracy(&told.outcome, "final"), 1.0);
    let named = told.outcome.prompts.iter().any(|prompt| match &prompt.standing {
        Standing::Rejected { broke, .. } => broke.contains(&"train-4".to_owned()),
        _ => false,
    });
    assert!(!named, "nothing is named as broken that was only lost");
    let seed = told.journal.story.iter().find_map(|run_event| match run_event {
        RunEvent::Scored { set, score, .. } if set == "train" => Some(*score),
        _ => None,
    });
    assert_eq!(
        seed.map(|score| (score.right, score.wrong, score.not_measured)),
        Some((2, 9, 1))
    );
}

#[tokio::test]
async fn an_example_that_stops_being_measured_is_quarantined_with_a_warning() {
    // It was right under the seed prompt, and is lost under every prompt that teaches to multiply.
    let lost = task().train[0].input.clone();
    let faults = Faults {
        lost: vec!["RULE multiply".into(), lost],
        ..Faults::default()
    };
    let told = run(&task(), json!({"levels": 3}), &faults).await;
    assert!(taught(&told.outcome), "{:?}", told.outcome.warnings);
    assert!(
        told.outcome
            .warnings
            .iter()
            .any(|warning| warning == "train-0 cannot be measured and is quarantined")
    );
}

#[tokio::test]
async fn a_checker_that_never_answers_leaves_examples_undecided() {
    let faults = Faults {
        lost: vec!["Solve(".into()],
        ..Faults::default()
    };
    let outcome = run(&task(), json!({"levels": 2}), &faults).await.outcome;
    assert_eq!(accepted_and_wrong(&outcome), (0, 0));
    assert!(
        outcome
            .synthetic
            .iter()
            .all(|one| matches!(one.decision, Decision::SetAside { .. } | Decision::Rejected { .. }))
    );
    assert!(
        outcome
            .synthetic
            .iter()
            .any(|one| matches!(one.decision, Decision::SetAside { .. }))
    );
    assert!(
        outcome.warnings.iter().any(|warning| warning.contains("level 1")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(
        accuracy(&outcome, "final"),
        1.0,
        "the train errors were repaired all the same"
    );
    let majority = run(&task(), json!({"levels": 2, "rule": "majority"}), &faults)
        .await
        .outcome;
    assert_eq!(accepted_and_wrong(&majority), (6, 0), "two of three agree");
}

#[tokio::test]
async fn a_teacher_that_cannot_help_is_given_up() {
    let faults = Faults {
        useless_advice: true,
        ..Faults::default()
    };
    let told = run(&task(), json!({"levels": 3}), &faults).await;
    assert_eq!((told.outcome.best, told.outcome.found), (0, 0));
    assert!(
        told.outcome.warnings.iter().any(|warning| warning.contains("missing")),
        "the report says what was not mended"
    );
    assert!(
        told.outcome.prompts.len() < 40,
        "{} candidates",
        told.outcome.prompts.len()
    );
    let same = told
        .outcome
        .prompts
        .iter()
        .map(|prompt| prompt.text.as_str())
        .collect::<std::collections::BTreeSet<_>>();
    let rejected_as_same = told
        .outcome
        .prompts
        .iter()
        .filter(|prompt| matches!(&prompt.standing, Standing::Rejected { stage, .. } if stage == "guard"));
    assert_eq!(
        same.len() + rejected_as_same.count(),
        told.outcome.prompts.len(),
        "no text is tried twice"
    );
}

#[tokio::test]
async fn accepted_labels_track_the_prior() {
    let told = run(&labelled_task(), Value::Null, &Faults::default()).await;
    assert_eq!(accuracy(&told.outcome, "final"), 1.0);
    assert!(told.outcome.label_kl.unwrap() < 0.02, "{:?}", told.outcome.label_kl);
    let began = told
        .journal
        .story
        .iter()
        .filter(|run_event| matches!(run_event, RunEvent::LevelBegun { target: Some(_), .. }));
    assert_eq!(began.count(), 10);
}

#[tokio::test]
async fn of_several_candidates_the_hardest_is_kept() {
    let options = json!({"candidates_per_level": 3, "examples_per_level": 1, "curriculum": "constant", "repair_seed_errors": false});
    let told = run(&task(), options, &Faults::default()).await;
    assert_eq!(accepted_and_wrong(&told.outcome).0, 10);
    assert!(rejected_by(&told.outcome, "selection") >= 15);
}

#[tokio::test]
async fn each_switch_does_what_it_says() {
    let levels = |told: &Told| -> Vec<u32> {
        let level = |run_event: &RunEvent| match run_event {
            RunEvent::LevelBegun { level, .. } => Some(*level),
            _ => None,
        };
        told.journal.story.iter().filter_map(level).collect()
    };
    let gradient = run(&task(), json!({"levels": 4}), &Faults::default()).await;
    assert_eq!(levels(&gradient), [1, 2, 3, 4]);
    let constant = run(
        &task(),
        json!({"levels": 4, "curriculum": "constant"}),
        &Faults::default(),
    )
    .await;
    assert_eq!(levels(&constant), [2, 2, 2, 2]);
    let extremes = run(
        &task(),
        json!({"levels": 4, "curriculum": "extremes"}),
        &Faults::default(),
    )
    .await;
    let extreme = |ask: &Ask| matches!(ask, Ask::Synthesize(brief) if brief.extreme);
    assert_eq!(
        extremes.journal.asks.iter().filter(|ask| extreme(ask)).count(),
        bought(&extremes)["synthesize"]
    );

    let again = run(
        &task(),
        json!({"levels": 4, "analysis": "try-again"}),
        &Faults::default(),
    )
    .await;
    let steps = |ask: &Ask| matches!(ask, Ask::Edit(edit) if edit.step != "refinement");
    assert!(!again.journal.asks.iter().any(steps) && bought(&again)["edit"] > 0);
    assert!(!taught(&again.outcome));

    let alone = run(&task(), json!({"levels": 4, "voters": false}), &Faults::default()).await;
    assert_eq!((bought(&alone).get("solve"), bought(&alone).get("judge")), (None, None));
    let many = run(&task(), json!({"levels": 4, "checkers": 3}), &Faults::default()).await;
    assert_eq!(bought(&many)["solve"], 3 * bought(&many)["judge"]);

    let local = run(
        &task(),
        json!({"levels": 4, "confirmation": "local"}),
        &Faults::default(),
    )
    .await;
    assert!(
        bought(&local)["answer"] < bought(&gradient)["answer"],
        "the history is not asked again"
    );
}

#[tokio::test]
async fn the_forecast_is_of_the_right_size() {
    let told = run(&task(), Value::Null, &Faults::default()).await;
    let forecast = forecast(&task(), "sipdo", &Value::Null).unwrap();
    assert_eq!(forecast.conclusion_answers, 120);
    for role in Role::ALL {
        let asked = told.journal.asks.iter().filter(|ask| ask.role() == role).count() as u64;
        let expected = forecast.expected[&role];
        assert!(
            asked <= 2 * expected && expected <= 4 * asked,
            "{role}: {asked} asked, {expected} expected"
        );
        assert!(forecast.least[&role] <= expected);
    }
}

#[tokio::test]
async fn the_baseline_concludes_with_the_seed() {
    let journal = std::sync::Mutex::new(Journal::default());
    let world = World::new(&Faults::default(), &journal);
    let outcome = crate::run("none", &Value::Null, &task(), &world).await.unwrap();
    assert_eq!((outcome.best, outcome.found, outcome.reverted), (0, 0, false));
    assert_eq!(
        outcome.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(),
        ["seed", "zero-shot-cot", "final"]
    );
    assert_eq!(
        journal.lock().unwrap().asks.len(),
        80,
        "the final arm is the seed's and is not asked twice"
    );
    let unknown = crate::run("spt-9", &Value::Null, &task(), &world).await.unwrap_err();
    assert!(matches!(unknown, Stop::Halted(why) if why.contains("spt-9")));
}

#[test]
fn a_run_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    fn check<A: Agents>(task: &Task, agents: &A) {
        spawnable(&crate::run("sipdo", &Value::Null, task, agents));
    }
    let journal = std::sync::Mutex::new(Journal::default());
    check(&task(), &World::new(&Faults::default(), &journal));
}
