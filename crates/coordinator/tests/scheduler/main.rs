//! Random schedules over scheduler and run state: whatever order asks, results, losses and crashes come in, and whatever becomes of prices and
//! caps meanwhile, no cap is passed, what is reserved is what is open, nothing is granted twice, and every ask is answered or refused.

mod world;

use proptest::prelude::*;
use sipdo_domain::{Amount, Budget};
use sipdo_protocol::{pb, pb::log_event::Event};
use sipdo_strategies::Stop;
use world::{Step, TOKENS, WINDOW, World, caps, steps};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_schedule_keeps_every_cap_and_answers_everyone(caps in caps(), steps in steps()) {
        let mut world = World::new(caps);
        for step in steps {
            world.step(step);
        }
        world.settle();
        for answer in &mut world.waiting {
            let answer = answer.try_recv();
            let fine = matches!(answer, Ok(Ok(_)) | Ok(Err(Stop::BudgetExhausted(_))));
            prop_assert!(fine, "an ask of {} was left without an answer: {answer:?}", world.asked);
        }
    }
}

#[test]
fn an_early_stop_lets_what_is_in_flight_finish_and_refuses_the_rest() {
    let mut world = World::of_calls(1_000);
    for number in 1..=5 {
        world.asked = number;
        world.ask(number);
    }
    world.decide();
    let stop = pb::Control {
        kind: pb::control::Kind::Stop.into(),
        id: "1".into(),
        ..Default::default()
    };
    world.state.apply_request(stop);
    world.settle();
    let answers: Vec<_> = world
        .waiting
        .iter_mut()
        .map(|answer| answer.try_recv().unwrap())
        .collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), WINDOW);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Err(Stop::StoppedEarly))
            .count(),
        2
    );
}

#[test]
fn a_cap_of_one_call_for_each_ask_reaches_the_last_of_them() {
    // Three calls are reserved for each, as for a request that may be repaired or sent twice; one is needed.
    for cap in 1..=20 {
        let mut world = World::of_calls(cap);
        for _ in 0..cap {
            world.step(Step::Ask);
        }
        world.crash();
        world.settle();
        let answered = world.waiting.iter_mut().map(|answer| answer.try_recv().unwrap());
        assert_eq!(answered.filter(Result::is_ok).count() as u64, cap);
        assert_eq!(world.state.ledger.spent().calls, cap);
    }
}

#[test]
fn more_budget_revives_an_exhausted_run() {
    let mut world = World::of_calls(3);
    world.step(Step::Ask);
    world.step(Step::Ask);
    world.step(Step::Answer(0, 3));
    assert_eq!(world.state.exhausted[0].as_deref(), Some("calls"));
    let ended = pb::Ended {
        state: pb::State::BudgetExhausted.into(),
        ..Default::default()
    };
    world.append(vec![pb::LogEvent {
        event: Some(Event::Ended(ended)),
    }]);
    let more = Budget {
        calls: Some(10),
        ..Budget::default()
    };
    let raise = pb::Control {
        kind: pb::control::Kind::SetBudget.into(),
        id: "1".into(),
        budget: Some(more.into()),
        ..Default::default()
    };
    world.control(raise);
    world.decide();
    assert_eq!(world.state.state(), pb::State::Running);
    world.crash();
    world.settle();
    assert_eq!(
        world.state.ledger.spent(),
        Amount {
            calls: 4,
            tokens: 4 * TOKENS,
            nano_usd: 4 * TOKENS * 1_000
        }
    );
}
