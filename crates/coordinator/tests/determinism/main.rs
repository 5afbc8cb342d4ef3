//! Every strategy over the real port, scheduler and run state, with agents in memory: in whatever order answers come, and after whichever job
//! or decision a leader dies, the next ones come to the same decisions, tell the same story, and buy nothing twice.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of a test may fail it")]

mod models;

use models::{hash, result, task};
use sipdo_coordinator::{
    port::{BusAgents, Command},
    roster::Roster,
    run_state::RunState,
    scheduler::{
        CachedAnswer, Scheduler,
        plan::{JobToPublish, event},
    },
};
use sipdo_domain::{Outcome, Role};
use sipdo_protocol::pb::{self, log_event::Event};
use sipdo_strategies::Stop;
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tokio::sync::oneshot;

const RUN: &str = "r";
/// Jobs of a role in flight: fewer than a strategy asks at once, so that some wait.
const WINDOW: usize = 5;
/// Jobs that the agents have in hand at a time, any of which may be done first.
const HANDS: usize = 4;

/// When a leader dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    /// At the end of the run.
    Never,
    /// After this many results, some of which it has not yet made anything of.
    Results(usize),
    /// With this many decisions appended, before what they decide is done: no job is published, no event acknowledged.
    Decisions(usize),
}

/// Options that make a run small; a strategy that is not named runs with its defaults.
fn options(strategy: &str) -> serde_json::Value {
    match strategy {
        "sipdo" => serde_json::json!({
            "levels": 2, "examples_per_level": 2, "attempts_per_level": 2, "repairs_per_level": 2, "confirm_seed_sample": 3,
        }),
        "eval" => serde_json::json!({"prompts": {"a": "RULE", "b": "RULE RULE"}, "baseline": "a"}),
        _ => serde_json::Value::Null,
    }
}

/// One message of the run's stream.
#[derive(Debug, Clone)]
enum Message {
    Entry(pb::Entry),
    Result(pb::JobResult),
}

/// What outlives every leader: the stream, and the agents with their queue.
struct World {
    strategy: &'static str,
    seed: u64,
    order: u64,
    picks: u64,
    stream: Vec<Message>,
    queue: Vec<JobToPublish>,
    in_hand: Vec<JobToPublish>,
    bought: BTreeMap<String, u32>,
    lives: u32,
}

impl World {
    fn new(strategy: &'static str, seed: u64, order: u64) -> Self {
        let mut world = World {
            strategy,
            seed,
            order,
            picks: 0,
            stream: Vec::new(),
            queue: Vec::new(),
            in_hand: Vec::new(),
            bought: BTreeMap::new(),
            lives: 0,
        };
        let created = pb::Created {
            strategy: strategy.into(),
            ..Default::default()
        };
        world.append(&mut RunState::new(RUN), vec![event(Event::Created(created))]);
        world
    }

    /// Leads the run through as many lives as it takes.
    fn run(mut self, death: Death) -> World {
        while !self.lead(death) {
            assert!(self.lives < 10_000, "the run never ends");
            // The agents work on while nobody leads.
            for _ in 0..self.pick(3) {
                self.agents_work();
            }
        }
        self
    }

    /// One leader's life. True where it led the run to its end.
    fn lead(&mut self, death: Death) -> bool {
        self.lives += 1;
        let mut state = self.replay();
        let claimed = pb::Claimed {
            coordinator: format!("c{}", self.lives),
        };
        self.append(&mut state, vec![event(Event::Claimed(claimed))]);
        let (task, options) = (task(self.seed), options(self.strategy));
        let (agents, mut commands) = BusAgents::new(RUN);
        let mut strategy = pin!(sipdo_strategies::run(self.strategy, &options, &task, &agents));
        let (mut scheduler, mut told) = (Scheduler::new(WINDOW), Vec::new());
        let (mut cached_answers, mut results, mut decisions) = (Vec::new(), 0, 0);
        loop {
            if let Poll::Ready(outcome) = strategy.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                self.end(&mut state, outcome);
                return true;
            }
            let mut busy = false;
            while let Ok(command) = commands.try_recv() {
                busy = true;
                take(command, &mut scheduler, &mut state, &mut told);
            }
            let plan = scheduler.plan(&mut state, &roster(), &BTreeMap::new());
            assert!(plan.give_up.is_empty(), "no attempt was lost");
            if !plan.events.is_empty() {
                (busy, decisions) = (true, decisions + 1);
                self.append(&mut state, plan.events);
                if death == Death::Decisions(decisions) {
                    return false;
                }
            }
            self.queue.extend(plan.publish);
            told.drain(..).for_each(|told| drop(told.send(Ok(()))));
            cached_answers.extend(std::iter::from_fn(|| scheduler.next_cached_answer()));
            if !cached_answers.is_empty() {
                let next = self.pick(cached_answers.len());
                self.answer(cached_answers.swap_remove(next));
                continue;
            }
            if busy {
                continue;
            }
            let result = self.agents_work().expect("everybody waits for everybody");
            results += 1;
            // The last result of a life lies in the stream, and only the next leader reads it.
            if death == Death::Results(results) {
                return false;
            }
            let sequence = self.stream.len() as u64;
            assert!(
                state.apply_result(sequence, &result),
                "a result came that nobody waits for"
            );
            scheduler.settled(result);
        }
    }

    /// Answers what was asked before from the stream.
    fn answer(&self, cached: CachedAnswer) {
        if let Message::Result(result) = &self.stream[cached.sequence as usize - 1] {
            cached.answer(result.clone());
        }
    }

    fn end(&mut self, state: &mut RunState, outcome: Result<Outcome, Stop>) {
        let ended = pb::Ended {
            state: pb::State::Finished.into(),
            outcome: Some(outcome.expect("nothing stops this run").into()),
            reason: String::new(),
        };
        self.append(state, vec![event(Event::Ended(ended))]);
    }

    fn append(&mut self, state: &mut RunState, events: Vec<pb::LogEvent>) {
        let entry = pb::Entry {
            run: RUN.into(),
            events,
            ..Default::default()
        };
        self.stream.push(Message::Entry(entry.clone()));
        state.apply_entry(self.stream.len() as u64, &entry);
    }

    fn replay(&self) -> RunState {
        let mut state = RunState::new(RUN);
        for (sequence, message) in (1..).zip(&self.stream) {
            match message {
                Message::Entry(entry) => state.apply_entry(sequence, entry),
                Message::Result(result) => assert!(state.apply_result(sequence, result)),
            }
        }
        state
    }

    /// Some agent comes to the end of some job. A job that came twice is done once, as the record of its attempt sees to.
    fn agents_work(&mut self) -> Option<pb::JobResult> {
        while self.in_hand.len() < HANDS && !self.queue.is_empty() {
            let next = self.pick(self.queue.len());
            let job = self.queue.remove(next);
            let taken = |other: &JobToPublish| (&other.job, other.attempt) == (&job.job, job.attempt);
            if !self.in_hand.iter().any(taken) && !self.bought.contains_key(&job.job) {
                self.in_hand.push(job);
            }
        }
        if self.in_hand.is_empty() {
            return None;
        }
        let next = self.pick(self.in_hand.len());
        let done = self.in_hand.remove(next);
        *self.bought.entry(done.job.clone()).or_default() += 1;
        let result = result(RUN, &done.job, done.attempt, &done.ask, done.sample);
        self.stream.push(Message::Result(result.clone()));
        Some(result)
    }

    /// A number below `below`, by this world's order. The order 0 is the order asked.
    fn pick(&mut self, below: usize) -> usize {
        self.picks += 1;
        match self.order {
            0 => 0,
            order => hash(&(order, self.picks)) as usize % below.max(1),
        }
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        let entries = self.stream.iter().filter_map(|message| match message {
            Message::Entry(entry) => Some(entry),
            Message::Result(_) => None,
        });
        entries
            .flat_map(|entry| &entry.events)
            .filter_map(|event| event.event.as_ref())
    }

    /// The story with its numbers, as recorded.
    fn story(&self) -> Vec<pb::EventRecorded> {
        let told = self.events().filter_map(|event| match event {
            Event::Told(told) => Some(told.clone()),
            _ => None,
        });
        told.collect()
    }

    fn outcome(&self) -> &pb::Outcome {
        let ended = self.events().find_map(|event| match event {
            Event::Ended(ended) => ended.outcome.as_ref(),
            _ => None,
        });
        ended.expect("the run has ended")
    }

    /// Every grant: job and attempt.
    fn granted(&self) -> Vec<(String, u32)> {
        let issued = self.events().filter_map(|event| match event {
            Event::Issued(issued) => Some((issued.job.clone(), issued.attempt)),
            _ => None,
        });
        issued.collect()
    }

    /// Holds this run against the undisturbed one.
    fn equals(&self, whole: &World, what: &str) {
        assert_eq!(self.outcome(), whole.outcome(), "another outcome: {what}");
        assert_eq!(self.story(), whole.story(), "another story, or told twice: {what}");
        assert_eq!(self.bought, whole.bought, "bought other jobs, or twice: {what}");
        assert!(self.bought.values().all(|times| *times == 1), "bought twice: {what}");
        let granted = self.granted();
        let distinct: BTreeSet<_> = granted.iter().cloned().collect();
        assert_eq!(granted.len(), distinct.len(), "granted twice: {what}");
        assert_eq!(distinct, whole.granted().into_iter().collect(), "other grants: {what}");
        let (state, other) = (self.replay(), whole.replay());
        assert_eq!(state.ledger.spent(), other.ledger.spent(), "another bill: {what}");
        assert_eq!(state.ledger.reserved(), sipdo_domain::Amount::default());
    }
}

fn take(
    command: Command,
    scheduler: &mut Scheduler,
    state: &mut RunState,
    told: &mut Vec<oneshot::Sender<Result<(), Stop>>>,
) {
    match command {
        Command::Ask(request) => scheduler.ask(request, state),
        Command::Emit(run_event, reply) => {
            scheduler.emit(run_event);
            told.push(reply);
        }
        Command::Conclude(done) => {
            scheduler.conclude(state);
            told.push(done);
        }
    }
}

/// One agent of each role, so that every job's worst case is known.
fn roster() -> Roster {
    let status = |role: &Role| pb::AgentStatus {
        role: role.name().into(),
        max_calls: 2,
        max_tokens: 10,
        ..Default::default()
    };
    Roster::new(Role::ALL.iter().map(status).collect())
}

#[test]
fn every_strategy_is_a_function_of_its_seed_in_whatever_order_answers_come() {
    for strategy in sipdo_strategies::NAMES {
        let mut stories = Vec::new();
        for seed in 1..=3 {
            let whole = World::new(strategy, seed, 0).run(Death::Never);
            for order in 1..=20 {
                let shuffled = World::new(strategy, seed, order).run(Death::Never);
                shuffled.equals(&whole, &format!("{strategy}, seed {seed}, order {order}"));
            }
            stories.push(whole.bought.len());
        }
        assert!(
            stories.iter().all(|jobs| *jobs >= 4),
            "{strategy} asks next to nothing: {stories:?}"
        );
    }
}

#[test]
fn every_strategy_survives_a_crash_after_every_kth_job_and_every_kth_decision() {
    for strategy in sipdo_strategies::NAMES {
        for seed in 1..=2 {
            let whole = World::new(strategy, seed, 0).run(Death::Never);
            let jobs = whole.bought.len();
            for k in 1..=jobs {
                // One seed dies between jobs, the other between a decision and what follows from it.
                let death = if seed == 1 {
                    Death::Results(k)
                } else {
                    Death::Decisions(k)
                };
                let crashed = World::new(strategy, seed, seed * 1_000 + k as u64).run(death);
                if let Death::Results(_) = death {
                    let least = u32::try_from(jobs / (k + 2)).unwrap();
                    assert!(crashed.lives > least, "it did not crash: {} lives", crashed.lives);
                }
                crashed.equals(&whole, &format!("{strategy}, seed {seed}, {death:?} of {jobs}"));
            }
        }
    }
}
