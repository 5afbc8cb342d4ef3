//! Identities never change within a schema version: they stand in the journals of runs that must go on.

use sipdo_domain::{
    AnswerRequest, Ask, CheckRequest, EditRequest, GenerateRequest, GradeRequest, JudgeRequest, PastExample,
    SolveRequest, TaskBrief,
};
use sipdo_protocol::{identity_of, job_id, pb, run_id};
use std::collections::HashSet;

fn brief() -> TaskBrief {
    TaskBrief {
        description: "Count the objects.".into(),
        answer_format: "a number".into(),
        labels: vec!["1".into(), "2".into()],
    }
}

/// One ask of each kind, with every field set.
fn asks() -> Vec<Ask> {
    vec![
        Ask::Answer(AnswerRequest {
            prompt: "Answer.".into(),
            input: "I have a cat.".into(),
            ..AnswerRequest::default()
        }),
        Ask::Synthesize(GenerateRequest {
            task: brief(),
            shown: vec![("I have a cat.".into(), "1".into())],
            past: vec![PastExample {
                level: 1,
                input: "Two dogs.".into(),
                target: "2".into(),
            }],
            level: 2,
            max_level: 10,
            extreme: true,
            target: Some("2".into()),
            prompt: "Answer.".into(),
            weaknesses: vec!["forgets plurals".into()],
            passage: Some("Cats are animals.".into()),
            refused: vec!["too short".into()],
            columns: vec![],
        }),
        Ask::Solve(SolveRequest {
            task: brief(),
            input: "Two dogs.".into(),
            pool: String::new(),
        }),
        Ask::Check(CheckRequest {
            name: "lint".into(),
            input: "Two dogs.".into(),
            target: "2".into(),
            pool: String::new(),
        }),
        Ask::Judge(JudgeRequest {
            task: brief(),
            input: "Two dogs.".into(),
            claim: "2".into(),
            working: "one, two".into(),
            checked: "2".into(),
        }),
        Ask::Grade(GradeRequest {
            task: brief(),
            input: "Two dogs.".into(),
            target: "2".into(),
            answer: "two".into(),
            criteria: "words are fine".into(),
        }),
        Ask::Edit(EditRequest {
            step: "recommendation".into(),
            instruction: "You advise.".into(),
            material: "## Errors".into(),
            field: "recommendation".into(),
            temperature: 0.7,
            max_chars: 4000,
        }),
    ]
}

fn id(run: &str, ask: &Ask, sample: u32) -> String {
    job_id(run, &pb::Ask::from(ask.clone()), sample)
}

#[test]
fn job_ids_are_golden() {
    let ids: Vec<String> = asks().iter().map(|ask| id("r0123", ask, 0)).collect();
    assert_eq!(
        ids,
        [
            "2e40424dc41f02a5e460fc48e17cf015",
            "c00bac826fbeff6e77cfaf8396a863f8",
            "4e1e3e2526d0af507e14222c59d8f0a1",
            "47bd488eda5aed8cbae8c0ccc080338b",
            "773727b1320e2adc7137eaf10db3f6c7",
            "c7b60da5eadc754f92af74ab18a5c737",
            "85a959ce82d47cb98bd2546d5cb2e968",
        ]
    );
}

#[test]
fn run_ids_are_golden_and_valid_subject_tokens() {
    assert_eq!(run_id("0190f3c4-7b1e-7c39-8a55-0d2f4e6b9a10"), "rde952536f7d63c2e01cb");
    for request in ["", "a.b", "*", "> \n", "ünï"] {
        let run = run_id(request);
        assert_eq!(run.len(), 21);
        assert!(run.starts_with('r') && run.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert_eq!(run, run_id(request));
    }
}

#[test]
fn run_ask_and_sample_each_tell_jobs_apart() {
    let mut seen = HashSet::new();
    for ask in asks() {
        for run in ["r0", "r1"] {
            for sample in 0..3 {
                assert!(seen.insert(id(run, &ask, sample)), "{run} {sample} {ask:?}");
            }
        }
    }
    let question = |prompt: &str, input: &str| {
        Ask::Answer(AnswerRequest {
            prompt: prompt.into(),
            input: input.into(),
            ..AnswerRequest::default()
        })
    };
    assert_ne!(id("r", &question("a", "bc"), 0), id("r", &question("ab", "c"), 0));
}

#[test]
fn role_and_operation_are_those_of_the_domain() {
    for ask in asks() {
        let wire = pb::Ask::from(ask.clone());
        assert_eq!(identity_of(&wire), Some((ask.role(), ask.operation())));
    }
    assert_eq!(identity_of(&pb::Ask::default()), None);
}
