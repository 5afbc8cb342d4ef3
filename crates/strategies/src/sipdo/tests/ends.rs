//! Curricula that cannot work end early and say why; no run asks more than its forecast's most.

use super::{accepted_and_wrong, bought, run};
use crate::{
    forecast,
    testing::{Faults, Told, labelled_task, task},
};
use serde_json::{Value, json};
use sipdo_domain::{Role, RunEvent};

fn levels_begun(told: &Told) -> usize {
    let begun = |run_event: &&RunEvent| matches!(run_event, RunEvent::LevelBegun { .. });
    told.journal.story.iter().filter(begun).count()
}

/// The one warning that begins so.
fn warning<'a>(told: &'a Told, start: &str) -> &'a str {
    let all = &told.outcome.warnings;
    let mut found = all.iter().filter(|warning| warning.starts_with(start));
    let (first, second) = (found.next(), found.next());
    assert!(first.is_some() && second.is_none(), "{all:?}");
    first.unwrap()
}

fn lost(part: &str) -> Faults {
    Faults {
        lost: vec![part.into()],
        ..Faults::default()
    }
}

#[tokio::test]
async fn a_role_that_is_never_measured_ends_the_curriculum_with_its_name_and_the_cause() {
    for (part, role, begun) in [
        ("Solve(", "checker", 1),
        ("Judge(", "verifier", 1),
        ("Synthesize(", "generator", 1),
        ("Edit(", "optimizer", 0),
        ("Answer(", "learner", 0),
    ] {
        let told = run(&task(), Value::Null, &lost(part)).await;
        assert_eq!(levels_begun(&told), begun, "{role}");
        let words = warning(&told, "the curriculum ends");
        let wanted = format!(
            "the curriculum ends before level {} of 10: the {role}'s answers were never measured (timeout): 60 s",
            begun + 1
        );
        assert_eq!(words, wanted);
        let before = json!({"levels": 3, "watch_roles": false, "empty_levels": 0});
        let before = run(&task(), before, &lost(part)).await;
        assert_eq!(levels_begun(&before), 3, "runs of older versions go on: {role}");
    }
}

#[tokio::test]
async fn two_levels_without_an_example_end_the_curriculum() {
    // Every claim is false, and nobody is fooled.
    let faults = Faults {
        wrong_claims: 100,
        ..Faults::default()
    };
    let told = run(&task(), Value::Null, &faults).await;
    assert_eq!((levels_begun(&told), accepted_and_wrong(&told.outcome)), (2, (0, 0)));
    let words = warning(&told, "the curriculum ends before level 3 of 10");
    assert!(
        words.contains(
            "2 levels in a row gave no example: the other voters rejected the generator's claims (24 of 24 drafts)"
        ),
        "{words}"
    );
    let three = run(&task(), json!({"empty_levels": 3}), &faults).await;
    assert_eq!(levels_begun(&three), 3);
}

#[tokio::test]
async fn voters_that_never_dissent_are_named() {
    let faults = Faults {
        wrong_claims: 30,
        gullible: true,
        ..Faults::default()
    };
    let told = run(&task(), Value::Null, &faults).await;
    let words = warning(
        &told,
        "the checker supported each of 30 drafts, the verifier supported each of 30 drafts",
    );
    assert!(words.contains("label_noise"), "{words}");
    assert!(
        accepted_and_wrong(&told.outcome).1 > 0,
        "there were wrong drafts to notice"
    );
    let noticed = run(&task(), json!({"label_noise": 0.3}), &Faults::default()).await;
    let named = |warning: &String| warning.contains("supported each");
    assert!(
        !noticed.outcome.warnings.iter().any(named),
        "a voter that dissents is not"
    );
}

#[tokio::test]
async fn no_run_asks_more_than_the_most_of_its_forecast() {
    let worlds = [
        Faults::default(),
        Faults {
            flaky: 60,
            wrong_claims: 40,
            harmful_advice: 50,
            slips: 20,
            ..Faults::default()
        },
        Faults {
            useless_advice: true,
            slips: 50,
            ..Faults::default()
        },
        lost("Solve("),
        lost("Answer("),
    ];
    let all = [
        json!({"levels": 2}),
        json!({"levels": 2, "candidates_per_level": 3, "checkers": 2, "second_look": false}),
        json!({"levels": 2, "repair_seed_errors": false, "confirmation": "local", "analysis": "try-again"}),
        json!({"levels": 1, "voters": false, "repairs_per_level": 0, "watch_roles": false, "empty_levels": 0}),
    ];
    for (faults, options) in worlds
        .iter()
        .flat_map(|world| all.iter().map(move |options| (world, options)))
    {
        for task in [task(), labelled_task()] {
            let told = run(&task, options.clone(), faults).await;
            let forecast = forecast(&task, "sipdo", options).unwrap();
            for role in Role::ALL {
                let asked = told.journal.asks.iter().filter(|ask| ask.role() == role).count() as u64;
                let most = forecast.most.get(&role).copied().unwrap_or(0);
                assert!(
                    asked <= most,
                    "{role}: {asked} asked, {most} at most, {options} {faults:?}"
                );
                let expected = forecast.expected.get(&role).copied().unwrap_or(0);
                assert!(
                    expected <= most,
                    "{role}: {expected} expected, {most} at most, {options}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_most_is_reached_where_everything_fails_once() {
    // Each draft is refused and each level uses up its attempts.
    let faults = Faults {
        wrong_claims: 100,
        ..Faults::default()
    };
    let told = run(&task(), json!({"levels": 2}), &faults).await;
    let forecast = forecast(&task(), "sipdo", &json!({"levels": 2})).unwrap();
    assert_eq!(bought(&told)["synthesize"] as u64, forecast.most[&Role::Generator]);
}
