//! The families against the published BIG-Bench Hard files: the exact rule on all of them, the untaught solver far below it.
//! Skipped, loudly, where the files are not there (`SIPDO_SHARED`, else `../shared` beside the workspace).

#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::path::PathBuf;

use sipdo_simulator::families::{self, SkillSet};

const FILES: &[(&str, &str)] = &[
    ("object_counting", "object_counting"),
    ("boolean_expressions", "boolean_expressions"),
    ("multistep_arithmetic_two", "multistep_arithmetic_two"),
    ("word_sorting", "word_sorting"),
    ("logical_deduction_three_objects", "logical_deduction"),
    ("logical_deduction_five_objects", "logical_deduction"),
    ("logical_deduction_seven_objects", "logical_deduction"),
    ("tracking_shuffled_objects_three_objects", "tracking_shuffled_objects"),
    ("tracking_shuffled_objects_five_objects", "tracking_shuffled_objects"),
    ("tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects"),
    ("navigate", "navigate"),
    ("web_of_lies", "web_of_lies"),
];

fn questions(file: &str) -> Option<Vec<(String, String)>> {
    let shared = std::env::var_os("SIPDO_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("data/bbh").join(format!("{file}.json"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!(
            "SKIPPED: {} is not there (set SIPDO_SHARED to the folder of published data)",
            path.display()
        );
        return None;
    };
    let data: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text_of = |example: &serde_json::Value, key: &str| example[key].as_str().unwrap().to_owned();
    Some(
        data["examples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (text_of(e, "input"), text_of(e, "target")))
            .collect(),
    )
}

#[test]
fn the_exact_rule_solves_every_published_question() {
    for (file, name) in FILES {
        for (input, target) in questions(file).into_iter().flatten() {
            assert_eq!(
                families::exact_answer(&input).as_deref(),
                Some(target.as_str()),
                "{file}: {input}"
            );
            let framed = format!("Answer the question.\n\nQ: {input}\n\nAnswer:");
            let (known, range) = families::find(&framed).unwrap_or_else(|| panic!("{file}: not found in {framed}"));
            assert_eq!(known.name(), *name);
            assert_eq!(
                known.solve(&framed[range]).as_deref(),
                Some(target.as_str()),
                "{file}, framed: {input}"
            );
        }
    }
}

#[test]
fn every_skill_counts_and_none_is_enough() {
    for (file, name) in FILES {
        let Some(questions) = questions(file) else { continue };
        let family = families::family(name).unwrap();
        let right = |taught: SkillSet| {
            let hits = questions
                .iter()
                .filter(|(q, a)| family.weak_solve(q, taught).as_deref() == Some(a))
                .count();
            100.0 * hits as f64 / questions.len() as f64
        };
        let untaught = right(SkillSet::NONE);
        let steps = right(family.taught("Let's think step by step."));
        let skills = family.skills();
        let without: Vec<f64> = (0..skills.len())
            .map(|index| right(SkillSet::ALL.without(index)))
            .collect();
        let only: Vec<f64> = (0..skills.len())
            .map(|index| right(SkillSet::NONE.with(index)))
            .collect();
        println!("{file:45} none {untaught:5.1} steps {steps:5.1} only {only:5.1?} all but {without:5.1?}");
        assert!(
            (20.0..=62.0).contains(&untaught),
            "{file}: {untaught} % right without any skill"
        );
        assert!(steps < 80.0, "{file}: step by step alone gives {steps} %");
        assert_eq!(right(SkillSet::ALL), 100.0, "{file}");
    }
}
