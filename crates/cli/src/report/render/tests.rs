//! Reports of made runs, as they are written.

use super::*;
use crate::failure::Exit;
use sipdo_protocol::pb::decision;

fn arm(name: &str, right: u32, wrong: u32, not_measured: u32) -> pb::Arm {
    pb::Arm {
        name: name.into(),
        score: Some(pb::Score {
            right,
            wrong,
            not_measured,
        }),
        interval: Some(pb::Interval { low: 0.5, high: 0.75 }),
        credit: None,
    }
}

fn synthetic(kind: decision::Kind, by: &str, quarantined: bool) -> pb::SyntheticExample {
    pb::SyntheticExample {
        decision: Some(pb::Decision {
            kind: kind.into(),
            by: by.into(),
            reason: String::new(),
        }),
        example: Some(pb::Example::default()),
        quarantined,
        ..Default::default()
    }
}

pub(crate) fn run() -> pb::Run {
    pb::Run {
        summary: Some(pb::Summary {
            run: "r1".into(),
            task: "counting".into(),
            strategy: "sipdo".into(),
            state: pb::State::Finished.into(),
            created_ms: 1000,
            updated_ms: 49_500,
            spent: Some(pb::Amount {
                calls: 1200,
                tokens: 90_000,
                nano_usd: 0,
            }),
            unpriced_calls: 1200,
            spent_by_role: [(
                "learner".to_owned(),
                pb::Amount {
                    calls: 900,
                    tokens: 50_000,
                    nano_usd: 0,
                },
            )]
            .into(),
            ..Default::default()
        }),
        outcome: Some(pb::Outcome {
            ending: pb::outcome::Ending::Finished.into(),
            best: 2,
            found: 2,
            prompts: vec![
                pb::Prompt {
                    version: 0,
                    text: "Count.".into(),
                    standing: pb::prompt::Standing::Seed.into(),
                    ..Default::default()
                },
                pb::Prompt {
                    version: 2,
                    standing: pb::prompt::Standing::Accepted.into(),
                    text: "Add the ```quantities```.".into(),
                    ..Default::default()
                },
            ],
            arms: vec![arm("seed", 60, 40, 0), arm("final", 95, 4, 1)],
            gain: Some(pb::Gain {
                difference: 0.35,
                interval: Some(pb::Interval { low: 0.25, high: 0.45 }),
                p_value: 0.000_001,
                pairs: 99,
                gained: 36,
                lost: 1,
                macro_f1: None,
            }),
            synthetic: vec![
                synthetic(decision::Kind::Accepted, "", false),
                synthetic(decision::Kind::Accepted, "", true),
                synthetic(decision::Kind::Rejected, "duplicate", false),
                synthetic(decision::Kind::SetAside, "votes", false),
            ],
            label_kl: Some(0.01),
            warnings: vec!["checker and verifier use the same model".into()],
            ..Default::default()
        }),
        model_use: [(
            "learner".to_owned(),
            pb::RoleUsage {
                models: vec!["openai/small".into()],
                ..Default::default()
            },
        )]
        .into(),
        ..Default::default()
    }
}

#[test]
fn the_text_says_scores_gain_cost_and_doubts() {
    let text = Report::of(&run(), false).text();
    for part in [
        "Run r1: task counting, strategy sipdo, finished after 48s",
        "Prompt v2 is kept.",
        "seed prompt      60.0 %   50.0 to 75.0     60     40             0",
        "final prompt     96.0 %   50.0 to 75.0     95      4             1",
        "gain +35.0 points (95 % +25.0 to +45.0, p < 0.0001) on 99 pairs: 36 gained, 1 lost",
        "1,200 calls, 90,000 tokens, price unknown",
        "900 calls, 50,000 tokens, price unknown  openai/small",
        "1 accepted, 1 rejected (duplicate 1), 1 set aside, 1 quarantined",
        "KL 0.010 nats",
        "warning: checker and verifier use the same model",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("simulated"));
}

#[test]
fn a_role_whose_models_have_a_price_only_in_part_says_so() {
    let mut run = run();
    let mut summary = run.summary.take().unwrap();
    summary.unpriced_calls = 400;
    summary.spent_by_role.get_mut("learner").unwrap().nano_usd = 2_000_000_000;
    run.summary = Some(summary);
    let stint = |unpriced_calls| pb::ModelUsage {
        unpriced_calls,
        ..Default::default()
    };
    run.model_use.get_mut("learner").unwrap().stints = vec![stint(0), stint(400)];
    let text = Report::of(&run, false).text();
    assert!(
        text.contains("900 calls, 50,000 tokens, $2.00 and 400 calls of unknown price"),
        "{text}"
    );
}

#[test]
fn a_cancelled_run_has_not_failed_and_keeps_its_prompt() {
    let mut run = run();
    run.failure = "cancelled".into();
    if let Some(summary) = &mut run.summary {
        summary.set_state(pb::State::Cancelled);
    }
    let text = Report::of(&run, false).text();
    assert!(
        text.contains("The run was cancelled") && text.contains("`sipdo prompt r1` prints it"),
        "{text}"
    );
    assert!(!text.contains("failed"), "{text}");
}

#[test]
fn simulated_scores_are_called_so_even_when_nobody_said_it() {
    let mut run = run();
    run.model_use.insert(
        "checker".into(),
        pb::RoleUsage {
            models: vec!["simulator/sim-teacher".into()],
            ..Default::default()
        },
    );
    let report = Report::of(&run, false);
    assert!(report.simulated && report.text().contains(SIMULATED) && report.markdown().contains(SIMULATED));
}

#[test]
fn a_revert_is_exit_code_3_and_said_plainly() {
    let mut run = run();
    if let Some(outcome) = &mut run.outcome {
        outcome.reverted = true;
        outcome.best = 0;
    }
    assert_eq!(Report::exit(&run), Exit::NothingBetter);
    let report = Report::of(&run, false);
    assert_eq!(report.prompt, "Count.");
    assert!(report.text().contains("the seed prompt is kept"), "{}", report.text());
    if let Some(summary) = &mut run.summary {
        summary.state = pb::State::BudgetExhausted.into();
    }
    assert_eq!(Report::exit(&run), Exit::BudgetExhausted);
}

#[test]
fn the_page_fences_a_prompt_that_has_fences() {
    let page = Report::of(&run(), false).markdown();
    assert!(page.contains("````text\nAdd the ```quantities```.\n````"), "{page}");
}

#[test]
fn a_gain_in_macro_f1_is_said_to_decide() {
    let mut run = run();
    if let Some(gain) = run.outcome.as_mut().and_then(|outcome| outcome.gain.as_mut()) {
        gain.macro_f1 = Some(pb::MacroF1Gain {
            difference: 0.125,
            p_value: 0.25,
        });
    }
    let text = Report::of(&run, false).text();
    assert!(
        text.contains("36 gained, 1 lost; by macro-F1, which decides: +12.5 points (p = 0.2500)"),
        "{text}"
    );
}
