//! What lies outside the processes, in memory: the server, the spools, the provider, the leader's grants; and the port to it.

use super::super::steps::{CallOutcome, ClaimResult, Owner, OwnerLiveness, Port};
use crate::lookup::needs_look;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

/// Most grants of the job.
pub const MOST_ATTEMPTS: u32 = 4;
/// A process is believed to be silent only after so much time; a look is fresh for a third of it.
const PATIENCE: u64 = 60;

/// An answer, known by the attempt that paid for it.
pub type Answer = u32;

/// What lies outside the processes.
#[derive(Default)]
pub struct Outside {
    /// Time, in steps of the schedule.
    pub now: u64,
    pub chance: u64,
    /// Nothing goes wrong any more.
    pub calm: bool,
    pub rights: BTreeMap<u32, (String, u64)>,
    pub lost: BTreeSet<u32>,
    pub granted: u32,
    pub result: Option<Answer>,
    pub completion: Option<Answer>,
    /// By machine.
    pub spools: [Option<Answer>; 2],
    pub purchases: Vec<u32>,
    pub alive: BTreeMap<String, bool>,
    pub queue: Vec<Message>,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub attempt: u32,
    pub delivered: u64,
}

impl Outside {
    /// A number below `below`, by the schedule's own chance.
    pub fn draw(&mut self, below: u64) -> u64 {
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
    pub fn grant(&mut self) {
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

pub type Shared = Arc<Mutex<Outside>>;

/// One delivery in one process.
pub struct Delivery {
    pub outside: Shared,
    pub process: String,
    pub machine: usize,
    pub attempt: u32,
    pub since: u64,
    pub in_flight: Arc<Mutex<BTreeSet<u32>>>,
}

pub struct InFlightGuard(Arc<Mutex<BTreeSet<u32>>>, u32);

impl Drop for InFlightGuard {
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

    /// As `lookup.rs` looks before a request.
    async fn look(&self) -> bool {
        if self.upload_left_behind().await {
            return false;
        }
        loop {
            pause().await;
            let saved = {
                let mut out = self.out();
                if out.fails() {
                    continue;
                }
                if out.result.is_some() || out.completion.is_some() {
                    return false;
                }
                out.spools[self.machine].is_some()
            };
            // The bus knows of no answer; the spool is looked into once more, at the same moment.
            if saved {
                self.upload_left_behind().await;
            }
            return !saved;
        }
    }
}

impl Port for Delivery {
    type Error = &'static str;
    type InFlightGuard = InFlightGuard;
    type Stored = Answer;
    type Answer = Answer;
    type File = usize;
    type Reservation = ();

    async fn has_result(&self) -> bool {
        self.upload_left_behind().await || self.result().await == Ok(true)
    }

    fn take_in_flight(&self) -> Option<InFlightGuard> {
        let new = self.in_flight.lock().unwrap().insert(self.attempt);
        new.then(|| InFlightGuard(Arc::clone(&self.in_flight), self.attempt))
    }

    fn take_room(&self) -> Option<()> {
        (!self.out().fails()).then_some(())
    }

    async fn create_attempt(&self) -> Result<ClaimResult, &'static str> {
        pause().await;
        let record = {
            let mut out = self.out();
            let kind = if out.calm { 9 } else { out.draw(10) };
            if kind == 0 {
                Err("refused")
            } else if kind == 1 {
                Ok(ClaimResult::Unsure)
            } else {
                let new = !out.rights.contains_key(&self.attempt);
                if new {
                    out.rights.insert(self.attempt, (self.process.clone(), self.since));
                }
                Ok(match (kind, new) {
                    (2, _) => ClaimResult::Unsure,
                    (_, true) => ClaimResult::New,
                    (_, false) => ClaimResult::There,
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

    async fn liveness(&self, owner: &str) -> Result<OwnerLiveness, &'static str> {
        let (owner, attempt) = (owner.to_owned(), self.attempt);
        self.ask(move |out| {
            let alive = out.alive.get(&owner).copied().unwrap_or(false);
            let since = out.rights.get(&attempt).map_or(0, |(_, since)| *since);
            let long = out.now.saturating_sub(since) > PATIENCE;
            match alive {
                false => OwnerLiveness::Dead,
                // Cut off from us, or frozen.
                true if !out.calm && long && out.draw(2) == 0 => OwnerLiveness::Silent,
                true => OwnerLiveness::Alive,
            }
        })
        .await
    }

    async fn result(&self) -> Result<bool, &'static str> {
        self.ask(|out| out.result.is_some()).await
    }

    async fn upload_left_behind(&self) -> bool {
        pause().await;
        let left = self.out().spools[self.machine];
        let Some(answer) = left else { return false };
        self.upload(&answer).await;
        self.out().spools[self.machine] = None;
        true
    }

    async fn look_up(&self) -> Option<Answer> {
        self.ask(|out| out.completion).await.ok().flatten()
    }

    async fn publish_stored(&self, stored: Answer) {
        pause().await;
        self.out().result.get_or_insert(stored);
    }

    async fn call(&self) -> CallOutcome<Answer> {
        // As `SendPermit` has it: no look before the first request of a first attempt that is sent soon. Request and look are one
        // moment: a look that is older than it may be is taken again.
        let for_so_long = Duration::from_secs(self.out().now.saturating_sub(self.since));
        let looks = needs_look(true, self.attempt, for_so_long, Duration::from_secs(PATIENCE / 3));
        if looks && !self.look().await {
            let stored = self.out().completion;
            return match (self.out().result, stored) {
                (None, Some(answer)) => CallOutcome::Answer { answer, paid: false },
                _ => CallOutcome::InRun,
            };
        }
        if !self.out().calm && self.out().draw(10) == 0 {
            return CallOutcome::GivenUp;
        }
        self.out().purchase(self.attempt, self.machine);
        for _ in 0..3 {
            pause().await;
        }
        CallOutcome::Answer {
            answer: self.attempt,
            paid: true,
        }
    }

    fn keep(&self, answer: &Answer, (): ()) -> Option<usize> {
        self.out().spools[self.machine] = Some(*answer);
        Some(self.machine)
    }

    async fn upload(&self, answer: &Answer) {
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
