//! What the first version wrote into journals is read for ever. The bytes below were written by it; they must never be written anew.

use prost::Message as _;
use sipdo_domain::{
    Decision, Example, Mark, NotMeasured, Prompt, Provenance, Reason, Reply, RunEvent, Standing, SyntheticExample,
    Verdict, VerdictKind, Vote, Voter,
};
use sipdo_protocol::{JobOutcome, pb};

fn by() -> Provenance {
    Provenance {
        endpoint: "local".into(),
        model: "small".into(),
        revision: "fp_1".into(),
        agent: "a1".into(),
        ..Provenance::default()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            pair.iter()
                .filter_map(|c| digit(*c))
                .fold(0, |byte, digit| byte * 16 + digit)
        })
        .collect()
}

fn hex(message: &impl prost::Message) -> String {
    message
        .encode_to_vec()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn results() {
    let outcome = JobOutcome {
        run: "r1".into(),
        job: "j1".into(),
        attempt: 2,
        finding: Ok(Reply::Verdict(Verdict {
            verdict: VerdictKind::WrongLabel,
            answer: "no".into(),
            reasons: "2 is even".into(),
        })),
        by: by(),
        usage: pb::Usage {
            calls: 1,
            input_tokens: 300,
            output_tokens: 20,
            cached_tokens: 128,
            nano_usd: Some(0),
            requests: 2,
            from_store: false,
            estimated: true,
        },
        timing: pb::Timing {
            started_ms: 1_790_000_000_000,
            took_ms: 900,
            model_ms: 850,
        },
    };
    let recorded = "0a02723112026a31180222132a11080212026e6f1a0932206973206576656e32180a056c6f63616c1205736d616c6c1a0466705f31220261313a10080110ac021814208001280030024001420d0880d8c1a28c3410840718d206";
    assert_eq!(hex(&pb::JobResult::from(outcome.clone())), recorded);
    let read = pb::JobResult::decode(bytes(recorded).as_slice()).unwrap();
    assert_eq!(JobOutcome::try_from(read).unwrap(), outcome);
}

#[test]
fn run_events() {
    let vote = |voter, supports| Vote {
        voter,
        answer: "4".into(),
        supports,
        reason: "counted".into(),
        by: by(),
    };
    let lost = NotMeasured::new(Reason::AttemptLost, "a2 died");
    let judged = RunEvent::ExampleJudged {
        example: SyntheticExample {
            example: Example {
                id: "synthetic-1".into(),
                input: "2+2?".into(),
                target: "4".into(),
                aliases: vec!["four".into()],
            },
            level: 3,
            rationale: "a sum".into(),
            votes: vec![
                vote(Voter::Checker(1), Ok(true)),
                vote(Voter::Program, Err(lost.clone())),
            ],
            decision: Decision::SetAside {
                reason: "no program".into(),
            },
            prompt_version: 1,
            quarantined: true,
        },
    };
    let challenged = RunEvent::Challenged {
        example: "synthetic-1".into(),
        version: 1,
        mark: Mark::NotMeasured(lost),
    };
    let rejected = RunEvent::CandidateJudged {
        prompt: Prompt {
            version: 2,
            parent: Some(0),
            text: "Count.".into(),
            reason: "counts wrongly".into(),
            level: 3,
            standing: Standing::Rejected {
                stage: "global".into(),
                reason: "broke one".into(),
                broke: vec!["train-1".into()],
            },
            written_by: None,
        },
    };
    let recorded = [
        "1aa4010a1c0a0b73796e7468657469632d311204322b323f1a01342204666f757210031a05612073756d222e080210011a0134220208012a07636f756e74656432180a056c6f63616c1205736d616c6c1a0466705f3122026131223708041a0134220d120b080a1207613220646965642a07636f756e74656432180a056c6f63616c1205736d616c6c1a0466705f31220261312a0e08031a0a6e6f2070726f6772616d30013801",
        "221e0a0b73796e7468657469632d3110011a0d120b080a120761322064696564",
        "323c080210001a06436f756e742e220e636f756e74732077726f6e676c79280330033a06676c6f62616c420962726f6b65206f6e654a07747261696e2d31",
    ];
    for (run_event, recorded) in [judged, challenged, rejected].into_iter().zip(recorded) {
        assert_eq!(hex(&pb::RunEvent::from(run_event.clone())), recorded);
        let read = pb::RunEvent::decode(bytes(recorded).as_slice()).unwrap();
        assert_eq!(RunEvent::try_from(read).unwrap(), run_event);
    }
}
