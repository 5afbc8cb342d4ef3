//! Answers in the forms that models write, each with its right reading: `cases.jsonl`, one case a line. A new form is a new name there.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use serde::Deserialize;
use sipdo_domain::{Comparison, Example, Mark, Metric};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    form: String,
    metric: String,
    #[serde(default)]
    input: String,
    target: String,
    answer: String,
    right: bool,
}

impl Case {
    fn metric(&self) -> Metric {
        let comparison: Comparison = serde_json::from_value(serde_json::json!({"kind": self.metric})).unwrap();
        comparison.into()
    }

    fn example(&self) -> Example {
        Example {
            id: "test-1".into(),
            input: self.input.clone(),
            target: self.target.clone(),
            aliases: Vec::new(),
        }
    }

    fn marked_right(&self) -> bool {
        self.metric().mark(&self.answer, &self.example()) == Mark::Right
    }
}

fn cases() -> Vec<Case> {
    let lines = include_str!("cases.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The cases that are not read as they should be, in words.
fn misread(cases: &[Case]) -> Vec<String> {
    let wrong = cases.iter().filter(|case| case.marked_right() != case.right);
    wrong
        .map(|case| {
            let taken = case.metric().taken(&case.answer, &case.example());
            let wanted = if case.right { "right" } else { "wrong" };
            format!(
                "{} {}: {:?} for {:?} should be {wanted}; taken: {taken:?}",
                case.form, case.metric, case.answer, case.target
            )
        })
        .collect()
}

#[test]
fn every_answer_is_read_as_it_should_be() {
    let misread = misread(&cases());
    assert!(misread.is_empty(), "{}", misread.join("\n"));
}

#[test]
fn a_wrong_expectation_is_noticed_in_each_form() {
    let mut forms: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases() {
        forms.entry(case.form.clone()).or_default().push(case);
    }
    assert_eq!(forms.len(), 12);
    for (form, mut cases) in forms {
        let not = cases.iter().filter(|case| !case.right).count();
        assert!(
            cases.len() >= 20 && 3 * not >= cases.len(),
            "{form}: {not} of {}",
            cases.len()
        );
        for at in 0..cases.len() {
            cases[at].right = !cases[at].right;
            assert_eq!(misread(&cases).len(), 1, "{form}, case {at}");
            cases[at].right = !cases[at].right;
        }
    }
}

#[test]
fn the_targets_of_all_cases_can_be_marked() {
    for case in cases() {
        assert_eq!(case.metric().check_example(&case.example()), Ok(()), "{}", case.target);
    }
}

#[test]
fn a_run_keeps_the_rules_that_it_began_with() {
    let stored: Metric = serde_json::from_str(r#"{"kind": "normalized"}"#).unwrap();
    assert_eq!(stored.reading, 0);
    let answer = r#"{"reasoning": "The answer is the capital of France.", "answer": "Paris"}"#;
    let case = Case {
        form: String::new(),
        metric: "normalized".into(),
        input: String::new(),
        target: "Paris".into(),
        answer: answer.into(),
        right: true,
    };
    assert_eq!(stored.mark(answer, &case.example()), Mark::Wrong, "the first rules");
    assert_eq!(case.metric().mark(answer, &case.example()), Mark::Right, "the newest");
    let carried = serde_json::to_value(case.metric()).unwrap();
    assert_eq!(carried, serde_json::json!({"kind": "normalized", "reading": 1}));
    assert_eq!(
        serde_json::to_value(&stored).unwrap(),
        serde_json::json!({"kind": "normalized"})
    );
    let later: Metric = serde_json::from_str(r#"{"kind": "normalized", "reading": 99}"#).unwrap();
    assert!(later.check().unwrap_err().contains("reading rules"));
}

#[test]
fn a_judge_sees_no_reasoning() {
    let judge: Metric = Comparison::Judge {
        criteria: String::new(),
    }
    .into();
    assert_eq!(judge.shown_to_judge("[THINK]London?[/THINK]Paris"), "Paris");
    assert_eq!(
        judge.shown_to_judge("<thought>Paris"),
        "<thought>Paris",
        "there is nothing else to judge"
    );
    let first = Metric { reading: 0, ..judge };
    let answer = "[THINK]London?[/THINK]Paris";
    assert_eq!(first.shown_to_judge(answer), answer);
}
