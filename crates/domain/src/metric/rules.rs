//! Which reading rules hold: a run keeps those that it began with.

use crate::reasoning;

/// The newest reading rules.
pub const NEWEST: u32 = 1;

/// The reading rules of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those of runs that say nothing of rules.
    First,
    /// Those of `docs/answers.md`.
    Second,
}

impl Rules {
    /// Of the number that a metric carries.
    pub(super) fn of(reading: u32) -> Rules {
        if reading == 0 { Rules::First } else { Rules::Second }
    }

    pub(super) fn first(self) -> bool {
        self == Rules::First
    }
}

/// The text without what is reasoning.
pub(super) fn without_thinking(text: &str, rules: Rules) -> &str {
    match rules {
        Rules::First => reasoning::first_rules(text),
        Rules::Second => reasoning::without(text),
    }
}
