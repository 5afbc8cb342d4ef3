//! The steps of buying under random schedules: several processes on two machines, deliveries that come again while somebody works,
//! processes that die between any two steps, owners that are believed to be dead and are not, a bus that does not answer or leaves open
//! what it did. One job with all its attempts; the server, the spools and the leader's grants are in memory.

mod outside;

use super::steps::buy;
use crate::settle::Settle;
use outside::{Delivery, Message, Shared};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const PROCESSES: usize = 3;

type Working = Pin<Box<dyn Future<Output = Settle>>>;

/// One agent, through all its lives.
struct Process {
    name: String,
    machine: usize,
    in_flight: Arc<Mutex<BTreeSet<u32>>>,
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
            in_flight: Arc::default(),
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
            in_flight: Arc::clone(&process.in_flight),
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
            let used_up = out.granted == outside::MOST_ATTEMPTS && out.lost.contains(&outside::MOST_ATTEMPTS);
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
