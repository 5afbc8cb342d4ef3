//! Which fault strikes next, at random: each kind comes up once before any comes up more often than it is meant to.

use super::kind::{Ground, Kind};
use rand_chacha::rand_core::RngCore as _;
use sipdo_simulator::draw::Rng;
use std::collections::VecDeque;

/// So many faults strike before one that takes long: the runs are under way by then.
const EARLY: usize = 8;

/// What comes next, over all rounds.
#[derive(Debug)]
pub struct FaultSchedule {
    one: VecDeque<Kind>,
    spoiling: VecDeque<Kind>,
    three: VecDeque<Kind>,
    /// What takes long and has not struck yet.
    long: VecDeque<Kind>,
    random: Rng,
}

impl FaultSchedule {
    /// An empty schedule, and these kinds beside it: at most one in a round, and early in it.
    pub fn new(long: impl IntoIterator<Item = Kind>, random: Rng) -> Self {
        FaultSchedule {
            one: VecDeque::new(),
            spoiling: VecDeque::new(),
            three: VecDeque::new(),
            long: long.into_iter().collect(),
            random,
        }
    }

    /// The next one in a round on this ground. Where answers may be spoilt, every other one spoils them.
    pub fn draw(&mut self, ground: Ground) -> Kind {
        let ground = match ground {
            Ground::Spoiling if !self.random.next_u64().is_multiple_of(2) => Ground::One,
            ground => ground,
        };
        if self.queue(ground).is_empty() {
            let kinds = Kind::on(ground).into_iter().chain(Kind::more_often(ground));
            let shuffled = self.shuffled(kinds.collect());
            *self.queue(ground) = shuffled;
        }
        self.queue(ground).pop_front().unwrap_or(Kind::Prices)
    }

    /// Prepares a round.
    pub fn begin(&mut self, ground: Ground) {
        if ground == Ground::One
            && let Some(kind) = self.long.pop_front()
        {
            self.put(ground, kind, EARLY);
        }
    }

    /// Puts back what did not strike; it comes soon.
    pub fn put_back(&mut self, ground: Ground, kind: Kind) {
        let ground = match ground {
            Ground::Spoiling if !Kind::on(Ground::Spoiling).contains(&kind) => Ground::One,
            ground => ground,
        };
        self.put(ground, kind, 2);
    }

    fn put(&mut self, ground: Ground, kind: Kind, place: usize) {
        let queue = self.queue(ground);
        queue.insert(place.min(queue.len()), kind);
    }

    fn queue(&mut self, ground: Ground) -> &mut VecDeque<Kind> {
        match ground {
            Ground::One => &mut self.one,
            Ground::Spoiling => &mut self.spoiling,
            Ground::Three => &mut self.three,
        }
    }

    fn shuffled(&mut self, mut kinds: Vec<Kind>) -> VecDeque<Kind> {
        for last in (1..kinds.len()).rev() {
            let other = usize::try_from(self.random.next_u64() % (last as u64 + 1)).unwrap_or(0);
            kinds.swap(last, other);
        }
        kinds.into()
    }
}
