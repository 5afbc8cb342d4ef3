//! The steps of buying under random schedules: several processes on two machines, deliveries that come again while somebody works,
//! processes that die between any two steps, owners that are believed to be dead and are not, a bus that does not answer or leaves open
//! what it did. One job with all its attempts; the server, the spools and the leader's grants are in memory.

use super::Settle;
use super::steps::{Came, Life, Owner, Port, Record, buy};
use crate::answered::needs_look;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const PROCESSES: usize = 3;
const MOST_ATTEMPTS: u32 = 4;
/// A process is believed to be silent only after so much time; a look is fresh for a third of it.
const PATIENCE: u64 = 60;

/// An answer, known by the attempt that paid for it.
type Answer = u32;

/// What lies outside the processes.
#[derive(Default)]
struct Outside {
    /// Time, in steps of the schedule.
    now: u64,
    chance: u64,
    /// Nothing goes wrong any more.
    calm: bool,
    rights: BTreeMap<u32, (String, u64)>,
    lost: BTreeSet<u32>,
    granted: u32,
    result: Option<Answer>,
    completion: Option<Answer>,
    /// By machine.
    spools: [Option<Answer>; 2],
    purchases: Vec<u32>,
    alive: BTreeMap<String, bool>,
    queue: Vec<Message>,
}

#[derive(Debug, Clone)]
struct Message {
    attempt: u32,
    delivered: u64,
}

impl Outside {
    /// A number below `below`, by the schedule's own chance.
    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    fn fails(&mut self) -> bool {
        !self.calm && self.draw(8) == 0
    }

    /// The leader grants the next attempt where the newest one is lost, as often as it may.
    fn grant(&mut self) {
        let owed = self.granted == 0 || self.lost.contains(&self.granted);
        if owed && self.result.is_none() && self.granted < MOST_ATTEMPTS {
            self.granted += 1;
            let attempt = self.granted;
            self.queue.push(Message { attempt, delivered: 0 });
        }
    }

    /// A request goes to the provider.
    fn purchase(&mut self, attempt: u32, machine: usize) {
        assert!(attempt <= self.granted, "bought what was not granted");
        assert!(
            !self.purchases.contains(&attempt),
            "attempt {attempt} was bought twice by one right"
        );
        assert_eq!(self.result, None, "bought again what is known");
        assert_eq!(self.completion, None, "bought again what is stored");
        assert_eq!(self.spools[machine], None, "bought again what lies in the own spool");
        self.purchases.push(attempt);
    }
}

type Shared = Arc<Mutex<Outside>>;

/// One delivery in one process.
struct Delivery {
    outside: Shared,
    process: String,
    machine: usize,
    attempt: u32,
    since: u64,
    in_hand: Arc<Mutex<BTreeSet<u32>>>,
}

struct Hand(Arc<Mutex<BTreeSet<u32>>>, u32);

impl Drop for Hand {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

/// Lets others go on: here a process may be paused, or die.
async fn pause() {
    let mut first = true;
    std::future::poll_fn(|_| match std::mem::take(&mut first) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await;
}

impl Delivery {
    fn out(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap()
    }

    /// Asks the bus: it may fail.
    async fn ask<T>(&self, read: impl FnOnce(&mut Outside) -> T + Send) -> Result<T, &'static str> {
        pause().await;
        let told = {
            let mut out = self.out();
            if out.fails() {
                Err("no answer")
            } else {
                Ok(read(&mut out))
            }
        };
        pause().await;
        told
    }

    /// As `answered.rs` looks before a request.
    async fn look(&self) -> bool {
        if self.bring_left_behind().await {
            return false;
        }
        loop {
            pause().await;
            let mut out = self.out();
            if !out.fails() {
                return out.result.is_none() && out.completion.is_none();
            }
        }
    }
}

impl Port for Delivery {
    type Error = &'static str;
    type Hand = Hand;
    type Stored = Answer;
    type Answer = Answer;
    type File = usize;
    type Room = ();

    async fn has_result(&self) -> bool {
        self.bring_left_behind().await || self.result().await == Ok(true)
    }

    fn take_in_hand(&self) -> Option<Hand> {
        let new = self.in_hand.lock().unwrap().insert(self.attempt);
        new.then(|| Hand(Arc::clone(&self.in_hand), self.attempt))
    }

    fn take_room(&self) -> Option<()> {
        (!self.out().fails()).then_some(())
    }

    async fn create_attempt(&self) -> Result<Record, &'static str> {
        pause().await;
        let record = {
            let mut out = self.out();
            let kind = if out.calm { 9 } else { out.draw(10) };
            if kind == 0 {
                Err("refused")
            } else if kind == 1 {
                Ok(Record::Unsure)
            } else {
                let new = !out.rights.contains_key(&self.attempt);
                if new {
                    out.rights.insert(self.attempt, (self.process.clone(), self.since));
                }
                Ok(match (kind, new) {
                    (2, _) => Record::Unsure,
                    (_, true) => Record::New,
                    (_, false) => Record::There,
                })
            }
        };
        pause().await;
        record
    }

    async fn owner(&self) -> Result<Owner, &'static str> {
        let (process, since, attempt) = (self.process.clone(), self.since, self.attempt);
        self.ask(move |out| match out.rights.get(&attempt) {
            Some((owner, at)) if *owner == process && *at == since => Owner::This,
            Some((owner, _)) if *owner == process => Owner::Us,
            Some((owner, _)) => Owner::Other(owner.clone()),
            None => Owner::Other(String::new()),
        })
        .await
    }

    async fn liveness(&self, owner: &str) -> Result<Life, &'static str> {
        let (owner, attempt) = (owner.to_owned(), self.attempt);
        self.ask(move |out| {
            let alive = out.alive.get(&owner).copied().unwrap_or(false);
            let since = out.rights.get(&attempt).map_or(0, |(_, since)| *since);
            let long = out.now.saturating_sub(since) > PATIENCE;
            match alive {
                false => Life::Dead,
                // Cut off from us, or frozen.
                true if !out.calm && long && out.draw(2) == 0 => Life::Silent,
                true => Life::Alive,
            }
        })
        .await
    }

    async fn result(&self) -> Result<bool, &'static str> {
        self.ask(|out| out.result.is_some()).await
    }

    async fn bring_left_behind(&self) -> bool {
        pause().await;
        let left = self.out().spools[self.machine];
        let Some(answer) = left else { return false };
        self.bring(&answer).await;
        self.out().spools[self.machine] = None;
        true
    }

    async fn look_up(&self) -> Option<Answer> {
        self.ask(|out| out.completion).await.ok().flatten()
    }

    async fn bring_stored(&self, stored: Answer) {
        pause().await;
        self.out().result.get_or_insert(stored);
    }

    async fn call(&self) -> Came<Answer> {
        // As `Leave` has it: no look before the first request of a first attempt that is sent soon. Request and look are one
        // moment: a look that is older than it may be is taken again.
        let for_so_long = Duration::from_secs(self.out().now.saturating_sub(self.since));
        let looks = needs_look(true, self.attempt, for_so_long, Duration::from_secs(PATIENCE / 3));
        if looks && !self.look().await {
            let stored = self.out().completion;
            return match (self.out().result, stored) {
                (None, Some(answer)) => Came::Answer { answer, paid: false },
                _ => Came::InRun,
            };
        }
        if !self.out().calm && self.out().draw(10) == 0 {
            return Came::Left;
        }
        self.out().purchase(self.attempt, self.machine);
        for _ in 0..3 {
            pause().await;
        }
        Came::Answer {
            answer: self.attempt,
            paid: true,
        }
    }

    fn keep(&self, answer: &Answer, (): ()) -> Option<usize> {
        self.out().spools[self.machine] = Some(*answer);
        Some(self.machine)
    }

    async fn bring(&self, answer: &Answer) {
        let store = async { while self.ask(|out| out.completion = Some(*answer)).await.is_err() {} };
        let create = async { while self.ask(|out| *out.result.get_or_insert(*answer)).await.is_err() {} };
        tokio::join!(store, create);
    }

    fn forget(&self, file: usize) {
        let mut out = self.out();
        assert!(out.result.is_some(), "forgotten before it was safe");
        out.spools[file] = None;
    }

    async fn report_lost(&self, owner: Option<&str>, _: bool) -> Result<(), &'static str> {
        let attempt = self.attempt;
        if let Some(owner) = owner {
            let out = self.out();
            let lives = out.alive.get(owner).copied().unwrap_or(false);
            let since = out.rights.get(&attempt).map_or(0, |(_, since)| *since);
            assert!(
                !lives || out.now - since > PATIENCE,
                "its owner lives, and was not silent"
            );
        }
        self.ask(move |out| _ = out.lost.insert(attempt)).await
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }
}

type Working = Pin<Box<dyn Future<Output = Settle>>>;

/// One agent, through all its lives.
struct Process {
    name: String,
    machine: usize,
    in_hand: Arc<Mutex<BTreeSet<u32>>>,
    working: Vec<(Message, Working)>,
}

struct World {
    outside: Shared,
    processes: Vec<Process>,
    lives: u32,
}

impl World {
    fn new(chance: u64) -> Self {
        let outside = Shared::default();
        outside.lock().unwrap().chance = chance;
        let mut world = World {
            outside,
            processes: Vec::new(),
            lives: 0,
        };
        for machine in [0, 0, 1] {
            let process = world.start(machine);
            world.processes.push(process);
        }
        world
    }

    fn start(&mut self, machine: usize) -> Process {
        self.lives += 1;
        let name = format!("p{}", self.lives);
        let mut out = self.outside.lock().unwrap();
        out.alive.insert(name.clone(), true);
        // An agent that starts uploads what its spool still holds.
        if let Some(left) = out.spools[machine].take() {
            out.completion = Some(left);
            out.result.get_or_insert(left);
        }
        Process {
            name,
            machine,
            in_hand: Arc::default(),
            working: Vec::new(),
        }
    }

    fn step(&mut self, what: u8, who: u8) {
        let who = who as usize % PROCESSES;
        {
            let mut out = self.outside.lock().unwrap();
            out.now += 1;
            out.grant();
        }
        match what {
            0..=9 => self.work(who),
            10..=12 => self.deliver(who),
            13..=15 => self.again(who),
            _ => self.kill(who),
        }
    }

    /// Takes a message off the queue.
    fn deliver(&mut self, who: usize) {
        let process = &mut self.processes[who];
        let mut out = self.outside.lock().unwrap();
        if out.queue.is_empty() {
            return;
        }
        let which = out.draw(64) as usize % out.queue.len();
        let mut message = out.queue.remove(which);
        message.delivered += 1;
        let delivery = Delivery {
            outside: Arc::clone(&self.outside),
            process: process.name.clone(),
            machine: process.machine,
            attempt: message.attempt,
            since: out.now,
            in_hand: Arc::clone(&process.in_hand),
        };
        let (delivered, attempt) = (message.delivered, message.attempt);
        let working = Box::pin(async move { buy(&delivery, delivered, attempt).await });
        process.working.push((message, working));
    }

    /// A process goes on with one of its deliveries, up to its next pause.
    fn work(&mut self, who: usize) {
        let process = &mut self.processes[who];
        if process.working.is_empty() {
            return;
        }
        let which = self.outside.lock().unwrap().draw(64) as usize % process.working.len();
        let polled = process.working[which]
            .1
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(settle) = polled {
            let (message, _) = process.working.remove(which);
            if settle != Settle::Ack {
                self.outside.lock().unwrap().queue.push(message);
            }
        }
    }

    /// A message that somebody works on is delivered again: the queue has heard nothing for too long.
    fn again(&mut self, who: usize) {
        let last = self.processes[who].working.last().map(|(message, _)| message.clone());
        self.outside.lock().unwrap().queue.extend(last);
    }

    fn kill(&mut self, who: usize) {
        let (machine, name) = (self.processes[who].machine, self.processes[who].name.clone());
        let messages: Vec<Message> = self.processes[who]
            .working
            .drain(..)
            .map(|(message, _)| message)
            .collect();
        {
            let mut out = self.outside.lock().unwrap();
            out.alive.insert(name, false);
            out.queue.extend(messages);
        }
        self.processes[who] = self.start(machine);
    }

    /// Nothing goes wrong any more: the job comes to its result, or has used up its attempts.
    fn settle(&mut self) {
        self.outside.lock().unwrap().calm = true;
        for turn in 0..4_000u32 {
            // Whoever is free gets what comes again: sooner or later its owner, if that one has let go of it.
            let who = match turn.is_multiple_of(5) {
                true => self.outside.lock().unwrap().draw(PROCESSES as u64) as u8,
                false => (turn as usize % PROCESSES) as u8,
            };
            self.step(if turn.is_multiple_of(5) { 10 } else { 0 }, who);
            let out = self.outside.lock().unwrap();
            let used_up = out.granted == MOST_ATTEMPTS && out.lost.contains(&MOST_ATTEMPTS);
            if out.queue.is_empty()
                && (out.result.is_some() || used_up)
                && self.processes.iter().all(|process| process.working.is_empty())
            {
                return;
            }
        }
        let out = self.outside.lock().unwrap();
        panic!(
            "the job never ended: {} granted, lost {:?}, result {:?}",
            out.granted, out.lost, out.result
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn whatever_happens_a_right_buys_once_and_what_is_known_is_not_bought(
        chance in any::<u64>(),
        steps in prop::collection::vec((0u8..17, any::<u8>()), 0..400)
    ) {
        let mut world = World::new(chance);
        for (what, who) in steps {
            world.step(what, who);
        }
        world.settle();
        let out = world.outside.lock().unwrap();
        prop_assert!(out.purchases.len() <= out.granted as usize);
        if let Some(result) = out.result {
            prop_assert!(out.purchases.contains(&result), "a result that nobody bought");
        }
    }
}
