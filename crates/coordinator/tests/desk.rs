//! Random schedules over desk and fold: whatever order asks, results, losses and crashes come in, the cap holds, nothing is
//! granted twice, and every ask is answered or refused.

use proptest::prelude::*;
use sipdo_coordinator::{
    desk::{Answered, Desk, Publication, Request},
    fold::RunState,
    roster::Roster,
};
use sipdo_domain::{Amount, Ask, Budget, Question, Role};
use sipdo_protocol::{job_id, pb, pb::event::Event};
use sipdo_strategies::Stop;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

const WINDOW: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// The strategy asks its next question.
    Ask,
    /// The n-th published job is answered at this cost.
    Answer(usize, u64),
    /// The n-th published job's agent dies.
    Lose(usize),
    /// The last result is delivered again.
    Repeat,
    /// The leader dies; another replays and the strategy asks everything again.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        4 => (0usize..8, 0u64..4).prop_map(|(n, calls)| Step::Answer(n, calls)),
        1 => (0usize..8).prop_map(Step::Lose),
        1 => Just(Step::Repeat),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..120)
}

/// What the stream holds.
#[derive(Debug, Clone)]
enum Message {
    Entry(pb::Entry),
    Result(pb::JobResult),
    Lost(pb::AttemptLost),
}

struct World {
    cap: u64,
    stream: Vec<Message>,
    state: RunState,
    desk: Desk,
    roster: Roster,
    published: Vec<Publication>,
    granted: BTreeSet<(String, u32)>,
    asked: u32,
    waiting: BTreeMap<u32, oneshot::Receiver<Answered>>,
    last: Option<pb::JobResult>,
}

impl World {
    fn new(cap: u64) -> Self {
        let card = pb::AgentCard {
            role: "learner".into(),
            max_calls: 3,
            max_tokens: 10,
            ..Default::default()
        };
        let mut world = World {
            cap,
            stream: Vec::new(),
            state: RunState::new("r"),
            desk: Desk::new(WINDOW),
            roster: Roster::new(vec![card]),
            published: Vec::new(),
            granted: BTreeSet::new(),
            asked: 0,
            waiting: BTreeMap::new(),
            last: None,
        };
        let budget = Budget {
            calls: Some(cap),
            ..Budget::default()
        };
        let created = pb::Created {
            budget: Some(budget.into()),
            ..Default::default()
        };
        world.append(vec![pb::Event {
            event: Some(Event::Created(created)),
        }]);
        world
    }

    fn append(&mut self, events: Vec<pb::Event>) {
        let entry = pb::Entry {
            run: "r".into(),
            events,
            ..Default::default()
        };
        self.stream.push(Message::Entry(entry.clone()));
        self.state.apply_entry(self.stream.len() as u64, &entry);
    }

    fn ask(&mut self, number: u32) {
        let ask = Ask::Answer(Question {
            prompt: "p".into(),
            input: number.to_string(),
        });
        let ask = pb::Ask::from(ask);
        let (reply, answer) = oneshot::channel();
        let job = job_id("r", &ask, 0);
        self.waiting.insert(number, answer);
        self.desk.ask(
            Request {
                job,
                pool: Role::Learner.into(),
                operation: "answer",
                ask,
                sample: 0,
                reply,
            },
            &self.state,
        );
    }

    /// Reads again what was answered before.
    fn recall(&mut self) {
        while let Some(recall) = self.desk.recall() {
            if let Message::Result(result) = &self.stream[recall.sequence as usize - 1] {
                recall.answer(result.clone());
            }
        }
    }

    fn decide(&mut self) {
        self.recall();
        let plan = self.desk.plan(&mut self.state, &self.roster, &BTreeMap::new());
        for event in &plan.events {
            if let Some(Event::Issued(issued)) = &event.event {
                assert!(
                    self.granted.insert((issued.job.clone(), issued.attempt)),
                    "an attempt was granted twice"
                );
            }
        }
        if !plan.events.is_empty() {
            self.append(plan.events);
            self.desk.refuse_waiting(&self.state);
        }
        self.published.extend(plan.publish);
        for (job, _, attempt) in plan.give_up {
            self.finish(pb::JobResult {
                run: "r".into(),
                job,
                attempt,
                ..missing()
            });
        }
        let (spent, reserved) = (self.state.ledger.spent(), self.state.ledger.reserved());
        assert!(spent.calls + reserved.calls <= self.cap, "the cap was passed");
        assert!(self.state.open.len() <= WINDOW, "the window was passed");
    }

    fn finish(&mut self, result: pb::JobResult) {
        self.stream.push(Message::Result(result.clone()));
        self.last = Some(result.clone());
        if self.state.apply_result(self.stream.len() as u64, &result) {
            self.desk.settled(result);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask => {
                self.asked += 1;
                self.ask(self.asked);
            }
            Step::Answer(n, calls) if !self.published.is_empty() => {
                let job = self.published.remove(n % self.published.len());
                let calls = calls.min(u64::from(job.max_calls)) as u32;
                self.finish(pb::JobResult {
                    run: "r".into(),
                    job: job.job,
                    attempt: job.attempt,
                    ..found(calls)
                });
            }
            Step::Lose(n) if !self.published.is_empty() => {
                let job = self.published.remove(n % self.published.len());
                let lost = pb::AttemptLost {
                    run: "r".into(),
                    job: job.job,
                    attempt: job.attempt,
                    ..Default::default()
                };
                self.stream.push(Message::Lost(lost.clone()));
                if self.state.apply_lost(&lost) {
                    self.desk.attempt_lost(&lost.job);
                }
            }
            Step::Repeat => {
                if let Some(result) = self.last.clone() {
                    self.finish(result);
                }
            }
            Step::Crash => self.crash(),
            Step::Answer(..) | Step::Lose(_) => {}
        }
        self.decide();
    }

    /// A new leader: the state from the stream, an empty desk, and the strategy from the top.
    fn crash(&mut self) {
        let before = (self.state.ledger.spent(), self.state.ledger.reserved());
        self.state = RunState::new("r");
        for (sequence, message) in (1..).zip(&self.stream) {
            match message {
                Message::Entry(entry) => self.state.apply_entry(sequence, entry),
                Message::Result(result) => {
                    self.state.apply_result(sequence, result);
                }
                Message::Lost(lost) => {
                    self.state.apply_lost(lost);
                }
            }
        }
        assert_eq!(
            before,
            (self.state.ledger.spent(), self.state.ledger.reserved()),
            "a replay gives the same ledger"
        );
        self.desk = Desk::new(WINDOW);
        self.waiting.clear();
        for number in 1..=self.asked {
            self.ask(number);
        }
    }

    /// Answers whatever is published until nothing more happens.
    fn settle(&mut self) {
        let mut turns = 0;
        self.decide();
        while !self.published.is_empty() {
            turns += 1;
            assert!(turns < 2_000, "the run never came to rest");
            self.step(Step::Answer(0, 1));
        }
    }
}

fn found(calls: u32) -> pb::JobResult {
    let answer = pb::Reply {
        reply: Some(pb::reply::Reply::Answer(pb::Answer { text: "a".into() })),
    };
    pb::JobResult {
        finding: Some(pb::job_result::Finding::Reply(answer)),
        usage: Some(pb::Usage {
            calls,
            input_tokens: 5,
            nano_usd: Some(1),
            ..Default::default()
        }),
        by: Some(pb::Provenance::default()),
        timing: Some(pb::Timing::default()),
        ..Default::default()
    }
}

fn missing() -> pb::JobResult {
    let reason = pb::not_measured::Reason::AttemptLost.into();
    let lost = pb::NotMeasured {
        reason,
        detail: "gone".into(),
    };
    pb::JobResult {
        finding: Some(pb::job_result::Finding::NotMeasured(lost)),
        ..found(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_schedule_keeps_the_cap_and_answers_everyone(cap in 0u64..60, steps in steps()) {
        let mut world = World::new(cap);
        for step in steps {
            world.step(step);
        }
        world.settle();
        for (number, answer) in &mut world.waiting {
            let answer = answer.try_recv();
            let fine = matches!(answer, Ok(Ok(_)) | Ok(Err(Stop::BudgetExhausted(_))));
            prop_assert!(fine, "ask {number} of {} was left without an answer: {answer:?}", world.asked);
        }
    }
}

#[test]
fn an_early_stop_lets_what_is_in_flight_finish_and_refuses_the_rest() {
    let mut world = World::new(1_000);
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
        .values_mut()
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
fn more_budget_revives_an_exhausted_run() {
    let mut world = World::new(3);
    world.step(Step::Ask);
    world.step(Step::Ask);
    world.step(Step::Answer(0, 3));
    assert_eq!(world.state.exhausted[0].as_deref(), Some("calls"));
    let ended = pb::Ended {
        state: pb::State::BudgetExhausted.into(),
        ..Default::default()
    };
    world.append(vec![pb::Event {
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
    world.state.apply_request(raise);
    world.cap = 10;
    world.decide();
    assert_eq!(world.state.state(), pb::State::Running);
    world.crash();
    world.settle();
    assert_eq!(
        world.state.ledger.spent(),
        Amount {
            calls: 4,
            tokens: 10,
            nano_usd: 2
        }
    );
}
