//! A leader's scheduler over a stream in memory, agents that cost and die as they are told to, and clients that raise caps.

use proptest::prelude::*;
use sipdo_coordinator::{
    roster::Roster,
    run_state::RunState,
    scheduler::{Answered, Request, Scheduler, plan::JobToPublish},
};
use sipdo_domain::{Amount, AnswerRequest, Ask, Budget, Role};
use sipdo_protocol::{job_id, pb, pb::log_event::Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};
use tokio::sync::oneshot;

pub const WINDOW: usize = 3;

/// Completions of a job at most, twice as many where requests may be sent twice.
const CALLS: u32 = 3;
/// Tokens that a completion takes here: fewer than are reserved for it.
pub const TOKENS: u64 = 8_000;
/// Room for one completion in the caps on tokens and on billionths of a dollar, at the first price.
const ROOM: [u64; 2] = [8_200, 8_300_000];

#[derive(Debug, Clone)]
pub enum Step {
    /// The strategy asks its next question.
    Ask,
    /// The strategy asks the n-th question again.
    AskAgain(u32),
    /// The n-th published job is answered at this cost, or given back unpaid where the model is dearer than was reserved.
    Answer(usize, u32),
    /// The n-th published job's agent dies.
    Lose(usize),
    /// The last result is delivered again.
    Repeat,
    /// The leader dies; another replays and the strategy asks everything again.
    Crash,
    /// The model's price rises by so many tenths of the first.
    Dearer(u64),
    /// The agents are started again with or without requests that may be sent twice.
    Hedge,
    /// A client raises all caps, by room for so many completions.
    Raise(u64),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Ask),
        1 => (0u32..40).prop_map(Step::AskAgain),
        8 => (0usize..8, 0u32..7).prop_map(|(n, calls)| Step::Answer(n, calls)),
        2 => (0usize..8).prop_map(Step::Lose),
        2 => Just(Step::Repeat),
        2 => Just(Step::Crash),
        1 => (1u64..9).prop_map(Step::Dearer),
        1 => Just(Step::Hedge),
        1 => (0u64..9).prop_map(Step::Raise),
    ];
    prop::collection::vec(step, 0..40)
}

/// Caps with room for so many completions; a part of them is no cap.
pub fn caps() -> impl Strategy<Value = Budget> {
    let cap = || prop::option::weighted(0.6, 0u64..40);
    (cap(), cap(), cap()).prop_map(|(calls, tokens, usd)| Budget {
        calls,
        tokens: tokens.map(|calls| calls * ROOM[0]),
        nano_usd: usd.map(|calls| calls * ROOM[1]),
        seconds: None,
    })
}

/// Every question that may be asked, by number, with its job: hashing takes long in a build for tests.
static ASKS: LazyLock<Vec<(String, pb::Ask)>> = LazyLock::new(|| {
    let ask = |number: u32| {
        let ask = pb::Ask::from(Ask::Answer(AnswerRequest {
            prompt: "p".into(),
            input: number.to_string(),
            ..AnswerRequest::default()
        }));
        (job_id("r", &ask, 0), ask)
    };
    (0..100).map(ask).collect()
});

/// What the stream holds.
#[derive(Debug, Clone)]
enum Message {
    Entry(pb::Entry),
    Result(pb::JobResult),
    Lost(pb::AttemptLost),
    Control(pb::Control),
}

pub struct World {
    stream: Vec<Message>,
    pub state: RunState,
    scheduler: Scheduler,
    roster: Roster,
    published: Vec<JobToPublish>,
    granted: BTreeSet<(String, u32)>,
    /// What was reserved for each attempt that is open.
    open: BTreeMap<(String, u32), Amount>,
    /// Billionths of a dollar for a million tokens.
    price: u64,
    hedges: bool,
    pub asked: u32,
    pub waiting: Vec<oneshot::Receiver<Answered>>,
    last: Option<pb::JobResult>,
}

impl World {
    pub fn new(budget: Budget) -> Self {
        let mut world = World {
            stream: Vec::new(),
            state: RunState::new("r"),
            scheduler: Scheduler::new(WINDOW),
            roster: Roster::default(),
            published: Vec::new(),
            granted: BTreeSet::new(),
            open: BTreeMap::new(),
            price: 1_000_000_000,
            hedges: false,
            asked: 0,
            waiting: Vec::new(),
            last: None,
        };
        world.call_the_roll();
        let created = pb::Created {
            budget: Some(budget.into()),
            ..Default::default()
        };
        world.append(vec![pb::LogEvent {
            event: Some(Event::Created(created)),
        }]);
        world
    }

    /// With a cap on calls alone.
    pub fn of_calls(calls: u64) -> Self {
        World::new(Budget {
            calls: Some(calls),
            ..Budget::default()
        })
    }

    fn call_the_roll(&mut self) {
        self.roster = Roster::new(vec![pb::AgentStatus {
            role: "learner".into(),
            max_calls: if self.hedges { 2 * CALLS } else { CALLS },
            max_tokens: 10,
            input_price: Some(self.price),
            output_price: Some(self.price),
            ..Default::default()
        }]);
    }

    pub fn append(&mut self, events: Vec<pb::LogEvent>) {
        let entry = pb::Entry {
            run: "r".into(),
            events,
            ..Default::default()
        };
        self.stream.push(Message::Entry(entry.clone()));
        self.state.apply_entry(self.stream.len() as u64, &entry);
    }

    pub fn ask(&mut self, number: u32) {
        let (job, ask) = ASKS[number as usize].clone();
        let (reply, answer) = oneshot::channel();
        self.waiting.push(answer);
        self.scheduler.ask(
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
    fn read_cached_answers(&mut self) {
        while let Some(cached) = self.scheduler.next_cached_answer() {
            if let Message::Result(result) = &self.stream[cached.sequence as usize - 1] {
                cached.answer(result.clone());
            }
        }
    }

    pub fn decide(&mut self) {
        self.read_cached_answers();
        let plan = self.scheduler.plan(&mut self.state, &self.roster, &BTreeMap::new());
        for event in &plan.events {
            if let Some(Event::Issued(issued)) = &event.event {
                let attempt = (issued.job.clone(), issued.attempt);
                let reserved = issued.reserved.map(Amount::from).unwrap_or_default();
                self.open.insert(attempt.clone(), reserved);
                assert!(self.granted.insert(attempt), "an attempt was granted twice");
            }
        }
        if !plan.events.is_empty() {
            self.append(plan.events);
            self.scheduler.refuse_waiting(&self.state);
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
        let ledger = &self.state.ledger;
        let reserved = sum(self.open.values());
        assert_eq!(ledger.reserved(), reserved, "what is reserved is what is open");
        let all = sum([&ledger.spent(), &reserved]);
        assert_eq!(ledger.cap().passed_by(all), None, "a cap was passed");
        assert_eq!(
            self.state.unknown_results, 0,
            "a result that comes again is no stranger's"
        );
        assert!(self.state.open.len() <= WINDOW, "the window was passed");
    }

    fn finish(&mut self, result: pb::JobResult) {
        self.stream.push(Message::Result(result.clone()));
        self.last = Some(result.clone());
        if self.state.apply_result(self.stream.len() as u64, &result) {
            self.open.retain(|(job, _), _| *job != result.job);
            self.scheduler.settled(result);
        }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Ask => {
                self.asked += 1;
                self.ask(self.asked);
            }
            Step::AskAgain(n) if self.asked > 0 => self.ask(1 + n % self.asked),
            Step::Answer(n, calls) if !self.published.is_empty() => {
                let job = self.published.remove(n % self.published.len());
                let covers = |prices: pb::Prices| prices.input.min(prices.output) >= self.price;
                if job.at_most.is_none_or(covers) {
                    let calls = calls.min(job.max_calls);
                    self.finish(pb::JobResult {
                        run: "r".into(),
                        job: job.job,
                        attempt: job.attempt,
                        ..found(calls, self.price)
                    });
                } else {
                    self.lose(job, true);
                }
            }
            Step::Lose(n) if !self.published.is_empty() => {
                let job = self.published.remove(n % self.published.len());
                self.lose(job, false);
            }
            Step::Dearer(tenths) => {
                self.price += tenths * 100_000_000;
                self.call_the_roll();
            }
            Step::Hedge => {
                self.hedges = !self.hedges;
                self.call_the_roll();
            }
            Step::Raise(calls) => self.raise(calls),
            Step::Repeat => {
                if let Some(result) = self.last.clone() {
                    self.finish(result);
                }
            }
            Step::Crash => self.crash(),
            Step::AskAgain(_) | Step::Answer(..) | Step::Lose(_) => {}
        }
        self.decide();
    }

    fn lose(&mut self, job: JobToPublish, unpaid: bool) {
        let lost = pb::AttemptLost {
            run: "r".into(),
            job: job.job,
            attempt: job.attempt,
            unpaid,
            ..Default::default()
        };
        self.stream.push(Message::Lost(lost.clone()));
        if self.state.apply_lost(&lost) {
            self.open.remove(&(lost.job.clone(), lost.attempt));
            self.scheduler.attempt_lost(&lost.job);
        }
    }

    fn raise(&mut self, calls: u64) {
        let cap = self.state.ledger.cap();
        let more = Budget {
            calls: cap.calls.map(|cap| cap + calls),
            tokens: cap.tokens.map(|cap| cap + calls * ROOM[0]),
            nano_usd: cap.nano_usd.map(|cap| cap + calls * ROOM[1]),
            seconds: None,
        };
        self.control(pb::Control {
            kind: pb::control::Kind::SetBudget.into(),
            id: self.stream.len().to_string(),
            budget: Some(more.into()),
            ..Default::default()
        });
    }

    pub fn control(&mut self, control: pb::Control) {
        self.stream.push(Message::Control(control.clone()));
        self.state.apply_request(control);
    }

    /// A new leader: the state from the stream, an empty scheduler, and the strategy from the top.
    pub fn crash(&mut self) {
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
                Message::Control(control) => self.state.apply_request(control.clone()),
            }
        }
        assert_eq!(
            before,
            (self.state.ledger.spent(), self.state.ledger.reserved()),
            "a replay gives the same ledger"
        );
        self.scheduler = Scheduler::new(WINDOW);
        self.waiting.clear();
        for number in 1..=self.asked {
            self.ask(number);
        }
    }

    /// Answers whatever is published until nothing more happens.
    pub fn settle(&mut self) {
        let mut turns = 0;
        self.decide();
        while !self.published.is_empty() {
            turns += 1;
            assert!(turns < 2_000, "the run never came to rest");
            self.step(Step::Answer(0, 1));
        }
    }
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Amount>) -> Amount {
    all.into_iter().fold(Amount::default(), |one, other| Amount {
        calls: one.calls + other.calls,
        tokens: one.tokens + other.tokens,
        nano_usd: one.nano_usd + other.nano_usd,
    })
}

fn found(calls: u32, price: u64) -> pb::JobResult {
    let answer = pb::Reply {
        reply: Some(pb::reply::Reply::Answer(pb::Answer { text: "a".into() })),
    };
    let tokens = u64::from(calls) * TOKENS;
    pb::JobResult {
        finding: Some(pb::job_result::Finding::Reply(answer)),
        usage: Some(pb::Usage {
            calls,
            input_tokens: tokens,
            nano_usd: Some(tokens * price / 1_000_000),
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
        ..found(0, 0)
    }
}
