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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn the_cap_is_never_passed(cap in 0u64..50, steps in prop::collection::vec((0u8..3, 0usize..8, 0u64..6), 0..80)) {
            let mut ledger = Ledger::new(Budget { calls: Some(cap), ..Budget::default() });
            let mut worst = std::collections::HashMap::new();
            for (action, key, amount) in steps {
                let name = format!("job-{key}");
                match action {
                    0 => if ledger.reserve(&name, calls(amount)).is_ok() { worst.entry(name).or_insert(amount); },
                    1 => if let Some(most) = worst.remove(&name) { ledger.settle(&name, Role::Checker, calls(amount.min(most))); },
                    _ => if worst.remove(&name).is_some() { ledger.charge_worst(&name, Role::Checker); },
                }
                prop_assert!(ledger.spent().calls + ledger.reserved().calls <= cap);
            }
        }
    }
}
