//! What a domain value becomes on the wire, byte for byte and back, is the same value.
#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

mod kit;

use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use sipdo_domain::{
    Accept, Amount, AnswerRequest, Ask, Budget, Outcome, PromptForm, PromptMessage, Provenance, Reply, Role, RunEvent,
    Speaker, Task, task::TaskGates,
};
use sipdo_protocol::{DecodeError, JobOutcome, job_id, pb, role};

/// Encodes to bytes, decodes from them.
fn over_the_wire<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

const METRICS: [&str; 4] = [
    r#"{"kind":"exact"}"#,
    r#"{"kind":"choice","options":["yes","no"]}"#,
    r#"{"kind":"numeric","absolute":0.5,"relative":0.01}"#,
    r#"{"kind":"judge","criteria":"names the river"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn asks(ask in kit::ask()) {
        let wire = over_the_wire(pb::Ask::from(ask.clone()));
        prop_assert_eq!(Ask::try_from(wire).unwrap(), ask);
    }

    #[test]
    fn an_ask_has_the_same_identity_on_both_sides_of_the_wire(ask in kit::ask(), sample: u32) {
        let wire = pb::Ask::from(ask);
        let there = job_id("run", &over_the_wire(wire.clone()), sample);
        prop_assert_eq!(there, job_id("run", &wire, sample));
    }

    #[test]
    fn replies(reply in kit::reply()) {
        let wire = over_the_wire(pb::Reply::from(reply.clone()));
        prop_assert_eq!(Reply::try_from(wire).unwrap(), reply);
    }

    #[test]
    fn run_events(run_event in kit::run_event()) {
        let wire = over_the_wire(pb::RunEvent::from(run_event.clone()));
        prop_assert_eq!(RunEvent::try_from(wire).unwrap(), run_event);
    }

    #[test]
    fn outcomes(outcome in kit::outcome()) {
        let wire = over_the_wire(pb::Outcome::from(outcome.clone()));
        prop_assert_eq!(Outcome::try_from(wire).unwrap(), outcome);
    }

    #[test]
    fn results(finding in kit::finding(), by in kit::provenance(), attempt: u32, calls: u32, nano_usd: Option<u64>) {
        let outcome = JobOutcome {
            run: "r1".into(),
            job: "j1".into(),
            attempt,
            finding,
            by,
            usage: pb::Usage { calls, input_tokens: 7, output_tokens: 5, nano_usd, ..pb::Usage::default() },
            timing: pb::Timing { started_ms: 1, took_ms: 2, model_ms: 3 },
        };
        let wire = over_the_wire(pb::JobResult::from(outcome.clone()));
        prop_assert_eq!(JobOutcome::try_from(wire).unwrap(), outcome.clone());
        prop_assert_eq!(outcome.cost(), Amount { calls: calls.into(), tokens: 12, nano_usd: nano_usd.unwrap_or(0) });
        prop_assert_eq!(outcome.unpriced_calls(), if nano_usd.is_some() { 0 } else { calls.into() });
    }

    #[test]
    fn tasks(
        brief in kit::brief_of_task(),
        train in vec(kit::example(), 0..3),
        test in vec(kit::example(), 0..3),
        pattern in option::of("[a-z]{1,5}"),
        program in option::of("[a-z]{1,5}"),
        corpus in vec("[a-z ]{0,9}", 0..3),
        metric in prop::sample::select(METRICS.to_vec()),
        numbers: (u64, u32),
    ) {
        let task = Task {
            name: "t".into(),
            brief,
            prompt: "Answer: {input}".into(),
            metric: serde_json::from_str(metric).unwrap(),
            train,
            test,
            gates: TaskGates { input_pattern: pattern.clone(), target_pattern: pattern, program, max_input_chars: numbers.1 },
            corpus,
            seed: numbers.0,
            accept: Some(Accept { alpha: 0.01, ..Accept::default() }).filter(|_| numbers.0 % 2 == 0),
            form: form(numbers.1),
        };
        let wire = over_the_wire(pb::Task::try_from(task.clone()).unwrap());
        prop_assert_eq!(Task::try_from(wire).unwrap(), task);
    }

    #[test]
    fn amounts_and_budgets(calls: u64, tokens: u64, nano_usd: u64, caps: (Option<u64>, Option<u64>, Option<u64>, Option<u64>)) {
        let amount = Amount { calls, tokens, nano_usd };
        prop_assert_eq!(Amount::from(over_the_wire(pb::Amount::from(amount))), amount);
        let budget = Budget { calls: caps.0, tokens: caps.1, nano_usd: caps.2, seconds: caps.3 };
        prop_assert_eq!(Budget::from(over_the_wire(pb::Budget::from(budget))), budget);
    }
}

#[test]
fn every_role_keeps_its_name() {
    for each in Role::ALL {
        let wire = pb::Role::from(each);
        assert_eq!(role(wire.into()).unwrap(), each);
        assert_eq!(wire.as_str_name(), format!("ROLE_{}", each.name().to_uppercase()));
    }
}

#[test]
fn unknown_and_unset_enum_numbers_are_errors_that_name_their_place() {
    for value in [0, 6, 99, -1] {
        let error = role(value).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { message: "Role", value: seen, .. } if seen == value));
    }
    let verdict = |verdict| {
        let opinion = pb::Verdict {
            verdict,
            ..pb::Verdict::default()
        };
        Reply::try_from(pb::Reply {
            reply: Some(pb::reply::Reply::Opinion(opinion)),
        })
        .map_err(|error| error.to_string())
    };
    assert!(verdict(1).is_ok());
    for value in [0, 5] {
        assert!(
            verdict(value)
                .unwrap_err()
                .starts_with(&format!("Verdict.verdict has the unknown value {value}"))
        );
    }
    let ending = |ending| {
        Outcome::try_from(pb::Outcome {
            ending,
            ..pb::Outcome::default()
        })
    };
    assert!(ending(1).is_ok());
    for value in [0, 4] {
        let error = ending(value).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Unknown {
                    message: "Outcome",
                    field: "ending",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_missing_part_is_an_error_not_a_default() {
    let missing = |error: DecodeError| match error {
        DecodeError::Missing { message, field } => format!("{message}.{field}"),
        other => panic!("{other}"),
    };
    assert_eq!(missing(Ask::try_from(pb::Ask::default()).unwrap_err()), "Ask.ask");
    assert_eq!(
        missing(Reply::try_from(pb::Reply::default()).unwrap_err()),
        "Reply.reply"
    );
    assert_eq!(
        missing(RunEvent::try_from(pb::RunEvent::default()).unwrap_err()),
        "RunEvent.event"
    );
    assert_eq!(
        missing(JobOutcome::try_from(pb::JobResult::default()).unwrap_err()),
        "JobResult.finding"
    );
    let unmarked = pb::run_event::Event::Challenged(pb::Challenged::default());
    let run_event = pb::RunEvent { event: Some(unmarked) };
    assert_eq!(missing(RunEvent::try_from(run_event).unwrap_err()), "Challenged.mark");
    let task = pb::Task {
        metric_json: r#"{"kind":"exact"}"#.into(),
        ..pb::Task::default()
    };
    assert_eq!(missing(Task::try_from(task).unwrap_err()), "Task.brief");
}

#[test]
fn a_metric_that_this_version_does_not_know_is_refused() {
    let task = pb::Task {
        metric_json: r#"{"kind":"astrology"}"#.into(),
        ..pb::Task::default()
    };
    let error = Task::try_from(task).unwrap_err().to_string();
    assert!(
        error.contains("Task.metric_json") && error.contains("astrology"),
        "{error}"
    );
}

/// An older version reads an event without them and would record it a second time with another hash.
#[test]
fn where_an_answer_came_from_stays_with_the_result_and_is_not_told_in_an_event() {
    let by = Provenance {
        model: "m".into(),
        fingerprint: "fp_1".into(),
        bought_ms: 7,
        ..Provenance::default()
    };
    assert_eq!(Provenance::from(pb::Provenance::from(by.clone())), by);
    let vote = sipdo_domain::Vote {
        voter: sipdo_domain::Voter::Verifier,
        answer: String::new(),
        supports: Ok(true),
        reason: String::new(),
        by: by.clone(),
    };
    let told = pb::Vote::from(vote).by.map(Provenance::from);
    let plain = Provenance {
        fingerprint: String::new(),
        bought_ms: 0,
        ..by
    };
    assert_eq!(told, Some(plain));
}

/// A plain prompt, or one with everything that a task can say of it.
fn form(draw: u32) -> PromptForm {
    if draw.is_multiple_of(2) {
        return PromptForm::default();
    }
    PromptForm {
        messages: vec![PromptMessage {
            role: Speaker::User,
            text: "Keep {{this}}".into(),
            optimize: true,
            kept: vec!["Keep".into()],
        }],
        kept: vec!["a".into()],
        answer_schema: Some("{}".into()),
    }
}

#[test]
fn a_task_without_the_new_form_has_the_bytes_of_before() {
    assert!(PromptForm::default().is_plain());
    let plain = pb::Ask::from(Ask::Answer(AnswerRequest {
        prompt: "p".into(),
        input: "i".into(),
        ..AnswerRequest::default()
    }));
    assert_eq!(plain.reserved_bytes(), plain.encoded_len());
    assert_eq!(plain.encode_to_vec(), [10, 6, 10, 1, b'p', 18, 1, b'i']);
    let with_schema = AnswerRequest {
        schema: "{}".into(),
        ..AnswerRequest::default()
    };
    let with_schema = pb::Ask::from(Ask::Answer(with_schema));
    assert!(with_schema.reserved_bytes() > with_schema.encoded_len());
}
