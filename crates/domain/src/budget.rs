//! Budgets as hard caps: what is asked is reserved at its worst case before it is asked, and settled by what it cost.

use crate::role::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An amount of model use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Completions.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// Money in billionths of a US dollar. 0 where the price is unknown: see [`Ledger::unpriced_calls`].
    pub nano_usd: u64,
}

impl Amount {
    fn plus(self, other: Amount) -> Amount {
        Amount {
            calls: self.calls.saturating_add(other.calls),
            tokens: self.tokens.saturating_add(other.tokens),
            nano_usd: self.nano_usd.saturating_add(other.nano_usd),
        }
    }

    fn minus(self, other: Amount) -> Amount {
        Amount {
            calls: self.calls.saturating_sub(other.calls),
            tokens: self.tokens.saturating_sub(other.tokens),
            nano_usd: self.nano_usd.saturating_sub(other.nano_usd),
        }
    }

    /// The amount taken `times` times.
    pub fn times(self, times: u64) -> Amount {
        Amount {
            calls: self.calls.saturating_mul(times),
            tokens: self.tokens.saturating_mul(times),
            nano_usd: self.nano_usd.saturating_mul(times),
        }
    }
}

/// The caps of a run, over all roles together. None is no cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Completions.
    pub calls: Option<u64>,
    /// Tokens, input and output.
    pub tokens: Option<u64>,
    /// Billionths of a US dollar.
    pub nano_usd: Option<u64>,
    /// Seconds from the run's creation.
    pub seconds: Option<u64>,
}

impl Budget {
    /// The first cap that `amount` would pass, by name.
    pub fn passed_by(&self, amount: Amount) -> Option<&'static str> {
        let over = |cap: Option<u64>, value: u64| cap.is_some_and(|cap| value > cap);
        if over(self.calls, amount.calls) {
            Some("calls")
        } else if over(self.tokens, amount.tokens) {
            Some("tokens")
        } else if over(self.nano_usd, amount.nano_usd) {
            Some("usd")
        } else {
            None
        }
    }
}

/// A run's budget: reserved, spent, held back, left.
///
/// Invariant: spent + reserved never passes the cap, provided that no job costs more than was reserved for it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    cap: Budget,
    held: Amount,
    reserved: BTreeMap<String, Amount>,
    reserved_sum: Amount,
    spent: BTreeMap<Role, Amount>,
    spent_sum: Amount,
    /// Calls whose price nobody knows.
    pub unpriced_calls: u64,
}

impl Ledger {
    /// An empty ledger under `cap`.
    pub fn new(cap: Budget) -> Self {
        Ledger {
            cap,
            ..Ledger::default()
        }
    }

    /// The caps in force.
    pub fn cap(&self) -> Budget {
        self.cap
    }

    /// Replaces the caps (an operator raised the budget).
    pub fn set_cap(&mut self, cap: Budget) {
        self.cap = cap;
    }

    /// Holds an amount back from every reservation until it is set to zero: what the conclusion will cost.
    pub fn hold(&mut self, amount: Amount) {
        self.held = amount;
    }

    /// Reserves the worst case of `key`, or names the cap that stands in the way. Reserving a key again changes nothing.
    pub fn reserve(&mut self, key: &str, worst: Amount) -> Result<(), &'static str> {
        if self.reserved.contains_key(key) {
            return Ok(());
        }
        let wanted = self.spent_sum.plus(self.reserved_sum).plus(self.held).plus(worst);
        match self.cap.passed_by(wanted) {
            Some(cap) => Err(cap),
            None => {
                self.force(key, worst);
                Ok(())
            }
        }
    }

    /// Reserves whatever the caps say: for replaying a reservation that was granted before.
    pub fn force(&mut self, key: &str, worst: Amount) {
        if self.reserved.insert(key.to_owned(), worst).is_none() {
            self.reserved_sum = self.reserved_sum.plus(worst);
        }
    }

    /// Replaces the reservation of `key` by what it cost. False where nothing was reserved (settled before, or never asked).
    pub fn settle(&mut self, key: &str, role: Role, cost: Amount) -> bool {
        let Some(worst) = self.reserved.remove(key) else {
            return false;
        };
        self.reserved_sum = self.reserved_sum.minus(worst);
        let spent = self.spent.entry(role).or_default();
        *spent = spent.plus(cost);
        self.spent_sum = self.spent_sum.plus(cost);
        true
    }

    /// Charges a reservation at its worst case: the attempt was lost and may have been bought.
    pub fn charge_worst(&mut self, key: &str, role: Role) -> bool {
        let worst = self.reserved.get(key).copied().unwrap_or_default();
        self.settle(key, role, worst)
    }

    /// Spent so far, over all roles.
    pub fn spent(&self) -> Amount {
        self.spent_sum
    }

    /// Spent so far by role.
    pub fn spent_by_role(&self) -> &BTreeMap<Role, Amount> {
        &self.spent
    }

    /// Reserved for jobs in flight.
    pub fn reserved(&self) -> Amount {
        self.reserved_sum
    }

    /// Reserved for `key`, while it is.
    pub fn reserved_for(&self, key: &str) -> Option<Amount> {
        self.reserved.get(key).copied()
    }

    /// How many jobs hold a reservation.
    pub fn in_flight(&self) -> usize {
        self.reserved.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calls(calls: u64) -> Amount {
        Amount {
            calls,
            tokens: calls * 10,
            nano_usd: 0,
        }
    }

    #[test]
    fn what_is_held_back_cannot_be_reserved_until_it_is_released() {
        let mut ledger = Ledger::new(Budget {
            calls: Some(10),
            ..Budget::default()
        });
        ledger.hold(calls(8));
        assert_eq!(ledger.reserve("a", calls(2)), Ok(()));
        assert_eq!(ledger.reserve("b", calls(1)), Err("calls"));
        ledger.hold(Amount::default());
        assert_eq!(ledger.reserve("b", calls(8)), Ok(()));
    }

    #[test]
    fn a_duplicate_result_is_not_charged_twice() {
        let mut ledger = Ledger::new(Budget::default());
        ledger.reserve("a", calls(3)).unwrap();
        assert!(ledger.settle("a", Role::Learner, calls(1)));
        assert!(!ledger.settle("a", Role::Learner, calls(1)));
        assert_eq!(ledger.spent(), calls(1));
    }

    const JOBS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    /// What can happen to a ledger.
    #[derive(Debug, Clone)]
    enum Step {
        /// A job is asked, at so many calls of so many tokens at worst; each call twice where it may be hedged.
        Reserve {
            key: usize,
            calls: u64,
            tokens: u64,
            hedged: bool,
        },
        /// It cost so many hundredths of its worst case.
        Settle { key: usize, part: u64 },
        /// It was lost with its agent.
        Lose { key: usize },
        /// A client raises a cap: calls, tokens or USD, or lifts it.
        Raise { which: usize, by: Option<u64> },
        /// A token costs so much more from now on.
        Dearer(u64),
        /// So much is held back for the conclusion.
        Hold(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..JOBS.len();
        let step = prop_oneof![
            6 => (key.clone(), 1u64..4, 0u64..9, any::<bool>())
                .prop_map(|(key, calls, tokens, hedged)| Step::Reserve { key, calls, tokens, hedged }),
            4 => (key.clone(), 0u64..=100).prop_map(|(key, part)| Step::Settle { key, part }),
            2 => key.prop_map(|key| Step::Lose { key }),
            1 => (0usize..3, prop::option::weighted(0.9, 0u64..20)).prop_map(|(which, by)| Step::Raise { which, by }),
            1 => (1u64..5).prop_map(Step::Dearer),
            1 => (0u64..10).prop_map(Step::Hold),
        ];
        prop::collection::vec(step, 0..40)
    }

    /// The same by plain sums over everything that ever happened.
    #[derive(Default)]
    struct Book {
        caps: [Option<u64>; 3],
        price: u64,
        held: [u64; 3],
        open: BTreeMap<&'static str, [u64; 3]>,
        spent: BTreeMap<Role, [u64; 3]>,
    }

    fn parts(amount: Amount) -> [u64; 3] {
        [amount.calls, amount.tokens, amount.nano_usd]
    }

    fn amount([calls, tokens, nano_usd]: [u64; 3]) -> Amount {
        Amount {
            calls,
            tokens,
            nano_usd,
        }
    }

    fn sum<'a>(all: impl IntoIterator<Item = &'a [u64; 3]>) -> [u64; 3] {
        let add = |one: [u64; 3], other: &[u64; 3]| [one[0] + other[0], one[1] + other[1], one[2] + other[2]];
        all.into_iter().fold([0; 3], add)
    }

    impl Book {
        fn cap(&self) -> Budget {
            let [calls, tokens, nano_usd] = self.caps;
            Budget {
                calls,
                tokens,
                nano_usd,
                seconds: None,
            }
        }

        fn role(key: &str) -> Role {
            if key == "a" { Role::Checker } else { Role::Learner }
        }

        /// The first of calls, tokens, USD that these amounts together would pass.
        fn refusal(&self, worst: [u64; 3]) -> Option<&'static str> {
            let wanted = sum([&sum(self.open.values()), &sum(self.spent.values()), &self.held, &worst]);
            let over = |at: &usize| self.caps[*at].is_some_and(|cap| wanted[*at] > cap);
            (0..3).find(over).map(|at| ["calls", "tokens", "usd"][at])
        }

        fn close(&mut self, key: &str, cost: impl Fn([u64; 3]) -> [u64; 3]) -> bool {
            let Some(worst) = self.open.remove(key) else {
                return false;
            };
            let spent = self.spent.entry(Self::role(key)).or_default();
            *spent = sum([&*spent, &cost(worst)]);
            true
        }
    }

    fn take(step: Step, ledger: &mut Ledger, book: &mut Book) -> Result<(), TestCaseError> {
        match step {
            Step::Reserve {
                key,
                calls,
                tokens,
                hedged,
            } => {
                let once = [calls, calls * tokens, calls * tokens * book.price];
                let times = 1 + u64::from(hedged);
                let (key, worst) = (JOBS[key], once.map(|part| part * times));
                let reserved = ledger.reserve(key, amount(once).times(times));
                if book.open.contains_key(key) {
                    prop_assert_eq!(reserved, Ok(()), "a second time changes nothing");
                    return Ok(());
                }
                prop_assert_eq!(reserved.err(), book.refusal(worst));
                if reserved.is_ok() {
                    book.open.insert(key, worst);
                }
            }
            Step::Settle { key, part } => {
                let key = JOBS[key];
                let cost = |worst: [u64; 3]| worst.map(|worst| worst * part / 100);
                let worst = book.open.get(key).copied().unwrap_or([9; 3]);
                let settled = ledger.settle(key, Book::role(key), amount(cost(worst)));
                prop_assert_eq!(settled, book.close(key, cost));
            }
            Step::Lose { key } => {
                let key = JOBS[key];
                prop_assert_eq!(
                    ledger.charge_worst(key, Book::role(key)),
                    book.close(key, |worst| worst)
                );
            }
            Step::Raise { which, by } => {
                book.caps[which] = book.caps[which].zip(by).map(|(cap, by)| cap + by);
                ledger.set_cap(book.cap());
            }
            Step::Dearer(more) => book.price += more,
            Step::Hold(calls) => {
                book.held = [calls, calls * 5, calls * 5 * book.price];
                ledger.hold(amount(book.held));
            }
        }
        Ok(())
    }

    fn capped(most: u64) -> impl Strategy<Value = Option<u64>> {
        prop::option::weighted(0.7, 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// Caps in calls, tokens and USD together, while prices and caps rise and calls may be sent twice.
        #[test]
        fn no_cap_is_ever_passed_and_the_sums_are_exact(
            caps in (capped(40), capped(200), capped(1_000)),
            steps in steps(),
        ) {
            let mut book = Book { caps: [caps.0, caps.1, caps.2], price: 1, ..Book::default() };
            let mut ledger = Ledger::new(book.cap());
            for step in steps {
                take(step, &mut ledger, &mut book)?;
                let (open, spent) = (sum(book.open.values()), sum(book.spent.values()));
                prop_assert_eq!(parts(ledger.reserved()), open);
                prop_assert_eq!(ledger.in_flight(), book.open.len());
                prop_assert_eq!(parts(ledger.spent()), spent);
                let by_role = ledger.spent_by_role().iter().map(|(role, spent)| (*role, parts(*spent)));
                prop_assert!(by_role.eq(book.spent.iter().map(|(role, spent)| (*role, *spent))));
                prop_assert_eq!(book.cap().passed_by(amount(sum([&open, &spent]))), None, "a cap was passed");
            }
        }
    }
}
