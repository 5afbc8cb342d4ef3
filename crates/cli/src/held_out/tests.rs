//! Held-out tests that are made up, and one that is rebuilt from made records.

use super::*;
use sipdo_domain::{AnswerRequest, Ask, Example, Metric, PromptForm, Task, TaskBrief, task::TaskGates};
use sipdo_protocol::{job_id, pb, schema};

pub(crate) fn answer(mark: MarkName, text: &str) -> Answer {
    Answer {
        mark,
        answer: (!text.is_empty()).then(|| text.to_owned()),
        reason: (mark == MarkName::NotMeasured).then(|| "timeout: 60 s".to_owned()),
        label: None,
        model: Some("e/m".into()),
        calls: 1,
        tokens: 10,
        usd: None,
        answered: None,
    }
}

pub(crate) fn line(id: &str, arms: Vec<(&str, Answer)>) -> Line {
    let answers = |first| Answers {
        first,
        repeats: Vec::new(),
    };
    Line {
        id: id.into(),
        input: format!("input of {id}"),
        target: "4".into(),
        change: None,
        arms: arms
            .into_iter()
            .map(|(name, first)| (name.to_owned(), answers(first)))
            .collect(),
    }
}

/// A test of these lines; the first arm is the baseline of the last.
pub(crate) fn test_of(mut lines: Vec<Line>) -> HeldOut {
    let arms: Vec<String> = lines
        .first()
        .unwrap()
        .arms
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let (first, last) = (arms.first().unwrap().clone(), arms.last().unwrap().clone());
    for line in &mut lines {
        line.change = Change::between(line.arm(&first), line.arm(&last));
    }
    HeldOut {
        run: "r1".into(),
        lines,
        compared: (first != last).then_some((first, last)),
        arms,
        labels: Vec::new(),
    }
}

fn task() -> Task {
    let example = |id: &str, input: &str, target: &str| Example {
        id: id.into(),
        input: input.into(),
        target: target.into(),
        aliases: vec![],
    };
    Task {
        name: "t".into(),
        brief: TaskBrief {
            description: "d".into(),
            answer_format: String::new(),
            labels: vec!["Yes".into(), "No".into()],
        },
        prompt: "Say.".into(),
        metric: Metric::exact(),
        train: vec![],
        test: vec![
            example("one", "1?", "Yes"),
            example("two", "2?", "No"),
            example("three", "3?", "No"),
            example("four", "4?", "No"),
        ],
        gates: TaskGates::default(),
        corpus: vec![],
        seed: 0,
        accept: None,
        form: PromptForm::default(),
    }
}

fn record(kind: &str, schema: &str, message: &impl prost::Message) -> pb::Record {
    pb::Record {
        run: "r1".into(),
        kind: kind.into(),
        schema: schema.into(),
        payload: message.encode_to_vec(),
        ..Default::default()
    }
}

/// The result of the job in which `prompt` answers `input`; none is one that was not measured.
fn result(prompt: &str, input: &str, sample: u32, text: Option<&str>) -> pb::Record {
    let ask = pb::Ask::from(Ask::Answer(AnswerRequest {
        prompt: prompt.into(),
        input: input.into(),
        messages: Vec::new(),
        schema: String::new(),
    }));
    let finding = match text {
        Some(text) => pb::job_result::Finding::Reply(pb::Reply {
            reply: Some(pb::reply::Reply::Answer(pb::Answer { text: text.into() })),
        }),
        None => pb::job_result::Finding::NotMeasured(pb::NotMeasured {
            reason: pb::not_measured::Reason::Timeout.into(),
            detail: "60 s".into(),
        }),
    };
    let result = pb::JobResult {
        run: "r1".into(),
        job: job_id("r1", &ask, sample),
        attempt: 1,
        finding: Some(finding),
        by: Some(pb::Provenance {
            endpoint: "e".into(),
            model: "m".into(),
            ..Default::default()
        }),
        usage: Some(pb::Usage {
            calls: 1,
            input_tokens: 7,
            output_tokens: 3,
            nano_usd: Some(2_000_000),
            ..Default::default()
        }),
        timing: Some(pb::Timing::default()),
    };
    record("result.learner.x", schema::RESULT, &result)
}

fn records() -> records::Records {
    let options = r#"{"prompts": {"seed": "Say.", "better": "Say it."}, "baseline": "seed"}"#;
    let created = pb::log_event::Event::Created(pb::Created {
        strategy: "eval".into(),
        options_json: options.into(),
        ..Default::default()
    });
    let entry = pb::Entry {
        events: vec![pb::LogEvent { event: Some(created) }],
        ..Default::default()
    };
    let mut records = records::Records::default();
    let all = [
        record("task", "", &pb::Task::try_from(task()).unwrap()),
        record("log", schema::ENTRY, &entry),
        result("Say.", "1?", 0, Some("No")),
        result("Say it.", "1?", 0, Some("Yes")),
        // Not measured at first, and then right.
        result("Say.", "2?", 0, None),
        result("Say.", "2?", 1, Some("No")),
        result("Say it.", "2?", 0, Some("perhaps")),
        result("Say.", "3?", 0, None),
        result("Say.", "3?", 1, None),
        result("Say it.", "3?", 0, Some("No")),
    ];
    all.into_iter().for_each(|record| records.add(record).unwrap());
    records
}

#[tokio::test]
async fn a_test_is_rebuilt_from_the_results_of_its_jobs() {
    let test = rebuild::of(&records()).await.unwrap();
    let marks: Vec<(Option<Change>, MarkName, MarkName)> = test
        .lines
        .iter()
        .map(|line| {
            let mark = |arm: &str| line.arm(arm).unwrap().first.mark;
            (line.change, mark("seed"), mark("better"))
        })
        .collect();
    use MarkName::{NotMeasured, Right, Wrong};
    assert_eq!(
        marks,
        [
            (Some(Change::Gained), Wrong, Right),
            (Some(Change::Lost), Right, Wrong),
            (None, NotMeasured, Right),
            (None, NotMeasured, NotMeasured),
        ]
    );
    let two = &test.lines[1].arm("seed").unwrap().first;
    assert_eq!((two.calls, two.tokens, two.usd), (2, 20, Some(0.004)), "both samples");
    assert_eq!((two.label.as_deref(), two.model.as_deref()), (Some("No"), Some("e/m")));
    assert_eq!(
        test.lines[1].arm("better").unwrap().first.label,
        None,
        "perhaps is no label"
    );
    assert_eq!(
        test.lines[3].arm("seed").unwrap().first.reason.as_deref(),
        Some(NOT_ASKED)
    );
    let missing: Vec<_> = test.not_measured().collect();
    assert_eq!(
        missing,
        [("three", "seed", "timeout: 60 s")],
        "what was not asked is not counted"
    );
}

#[tokio::test]
async fn lines_can_be_read_back() {
    let test = rebuild::of(&records()).await.unwrap();
    let text = test.jsonl().unwrap();
    let first: Line = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first.change, Some(Change::Gained));
    assert_eq!(first.arm("better").unwrap().first.answer.as_deref(), Some("Yes"));
    let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(value["arms"]["better"]["mark"], "right");
    assert_eq!(value["arms"]["better"].get("repeats"), None);
}

#[tokio::test]
async fn labels_are_counted_over_what_was_measured() {
    let labels = labels::Labels::of(&rebuild::of(&records()).await.unwrap()).unwrap();
    let majority = labels.majority.clone().unwrap();
    assert_eq!((majority.label.as_str(), majority.accuracy), ("No", 0.75));
    let better = labels.arms.iter().find(|arm| arm.arm == "better").unwrap();
    assert_eq!(better.confusion, [[1, 0, 0], [0, 1, 1]]);
    assert_eq!(better.macro_f1, Some((1.0 + 2.0 / 3.0) / 2.0));
    let (_, scores) = labels.tables().remove(0);
    assert!(
        scores.render(false).contains("better       (macro-F1)"),
        "{}",
        scores.render(false)
    );
}

#[tokio::test]
async fn a_run_without_a_result_has_no_test_and_says_so() {
    let mut records = records();
    records.created.as_mut().unwrap().strategy = "none".into();
    records.created.as_mut().unwrap().options_json = "{}".into();
    let failure = rebuild::of(&records).await.unwrap_err();
    assert_eq!(failure.exit, crate::failure::Exit::NotFound);
    assert!(failure.message.contains("when it ends"), "{failure}");
}
