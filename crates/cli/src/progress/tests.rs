//! Tests of what is told of a run as it goes.

use super::*;
use sipdo_protocol::pb::{decision, mark, not_measured, vote};

fn told(run_event: Told) -> RunUpdate {
    entry(Kind::Told(pb::EventRecorded {
        number: 1,
        telling: Some(pb::RunEvent { event: Some(run_event) }),
        written_by: None,
    }))
}

fn entry(event: Kind) -> RunUpdate {
    RunUpdate {
        sequence: 5,
        update: Some(Update::Entry(pb::Entry {
            epoch: 1,
            events: vec![pb::LogEvent { event: Some(event) }],
            ..Default::default()
        })),
    }
}

fn ballot(voter: vote::Voter, answer: &str, supports: mark::Mark, reason: &str) -> pb::Vote {
    pb::Vote {
        voter: voter.into(),
        answer: answer.into(),
        supports: Some(pb::Mark { mark: Some(supports) }),
        reason: reason.into(),
        ..Default::default()
    }
}

fn example(kind: decision::Kind, by: &str, votes: Vec<pb::Vote>) -> RunUpdate {
    told(Told::ExampleJudged(pb::SyntheticExample {
        example: Some(pb::Example {
            id: "synthetic-7".into(),
            ..Default::default()
        }),
        votes,
        decision: Some(pb::Decision {
            kind: kind.into(),
            by: by.into(),
            reason: "too like train-3".into(),
        }),
        ..Default::default()
    }))
}

#[test]
fn an_example_is_told_with_its_votes_and_its_level() {
    let mut view = RunView::default();
    let begun = told(Told::LevelBegun(pb::LevelBegun {
        level: 3,
        of: 10,
        target: Some("12".into()),
    }));
    assert_eq!(view.take(&begun), ["level 3/10  begins, label 12"]);
    let yes = mark::Mark::Right(true);
    let votes = vec![
        ballot(vote::Voter::Generator, "12", yes.clone(), ""),
        ballot(vote::Voter::Checker, "12", yes.clone(), ""),
        ballot(vote::Voter::Verifier, "12", yes.clone(), ""),
    ];
    assert_eq!(
        view.take(&example(decision::Kind::Accepted, "votes", votes)),
        ["level 3/10  example synthetic-7 accepted: generator 12, checker 12, verifier valid"]
    );
    let lost = mark::Mark::NotMeasured(pb::NotMeasured {
        reason: not_measured::Reason::RateLimited.into(),
        detail: String::new(),
    });
    let votes = vec![
        ballot(vote::Voter::Generator, "12", yes, ""),
        ballot(vote::Voter::Checker, "15", mark::Mark::Right(false), ""),
        ballot(vote::Voter::Verifier, "", lost, ""),
    ];
    assert_eq!(
        view.take(&example(decision::Kind::Rejected, "votes", votes)),
        [
            "level 3/10  example synthetic-7 rejected by votes: generator 12, checker against (15), verifier not measured (rate limited)"
        ]
    );
    assert_eq!(
        view.take(&example(decision::Kind::Rejected, "duplicate", vec![])),
        ["level 3/10  example synthetic-7 rejected by duplicate: too like train-3"]
    );
}

#[test]
fn a_rejected_candidate_names_what_it_broke() {
    let mut view = RunView::default();
    let candidate = told(Told::CandidateJudged(pb::Prompt {
        version: 4,
        standing: prompt::Standing::Rejected.into(),
        stage: "global".into(),
        rejection: "breaks what was right".into(),
        examples: (1..=6).map(|n| format!("train-{n}")).collect(),
        ..Default::default()
    }));
    assert_eq!(
        view.take(&candidate),
        ["prompt v4 rejected at global: breaks what was right (train-1, train-2, train-3 and 3 more)"]
    );
    assert_eq!((view.confirmed, view.refused), (0, 1));
}

#[test]
fn a_warning_that_was_seen_is_not_repeated() {
    let mut view = RunView::without(&["known".to_owned()]);
    assert!(view.take(&told(Told::Warning("known".into()))).is_empty());
    assert_eq!(view.take(&told(Told::Warning("new".into()))), ["warning: new"]);
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let mut view = RunView::default();
    let lines = view.take(&told(Told::Warning("\u{1b}]0;owned\u{7}\nrm".into())));
    assert_eq!(lines, ["warning: \\u{1b}]0;owned\\u{7} rm"]);
}

#[test]
fn money_says_what_is_left_after_reservations_and_what_has_no_price() {
    let mut view = RunView::default();
    let progress = Progress {
        summary: Some(Summary {
            spent: Some(pb::Amount {
                calls: 100,
                tokens: 20_000,
                nano_usd: 0,
            }),
            unpriced_calls: 100,
            budget: Some(pb::Budget {
                calls: Some(400),
                ..Default::default()
            }),
            ..Default::default()
        }),
        reserved: Some(pb::Amount {
            calls: 6,
            ..Default::default()
        }),
        in_flight_by_role: [("learner".to_owned(), 2)].into(),
        ..Default::default()
    };
    let update = RunUpdate {
        sequence: 9,
        update: Some(Update::Progress(progress)),
    };
    assert!(view.take(&update).is_empty());
    assert_eq!(view.sequence, 9);
    assert_eq!(
        view.budget_line(),
        "spent 100 calls, 20,000 tokens, price unknown  ·  left 294 calls"
    );
    assert_eq!(view.jobs_line(), "jobs done 0  ·  in flight: learner 2");
}

#[test]
fn an_eval_tells_how_many_answers_it_has_at_each_tenth() {
    let mut view = RunView::default().of_answers(Some(40));
    let mut lines = Vec::new();
    for jobs_done in [0, 1, 4, 5, 21, 39, 40] {
        let summary = Summary {
            jobs_done,
            not_measured: jobs_done / 20,
            ..Default::default()
        };
        let progress = Progress {
            summary: Some(summary),
            ..Default::default()
        };
        lines.extend(view.take(&RunUpdate {
            sequence: 9,
            update: Some(Update::Progress(progress)),
        }));
    }
    let told = [
        "answers 4 of 40",
        "answers 21 of 40, 1 not measured",
        "answers 39 of 40, 1 not measured",
    ];
    assert_eq!(lines, told);
    assert_eq!(view.steps(), (40, 40));
    assert_eq!(RunView::default().of_answers(Some(0)).answers_line(), None);
}

#[test]
fn the_end_is_known_with_its_reason() {
    let mut view = RunView::default();
    let lines = view.take(&entry(Kind::Ended(pb::Ended {
        state: pb::State::Failed.into(),
        reason: "the task was lost".into(),
        outcome: None,
    })));
    assert_eq!(lines, ["run failed: the task was lost"]);
    assert_eq!(view.ended, Some(pb::State::Failed));
}
