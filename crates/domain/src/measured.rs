//! Right, wrong, not measured: the three outcomes, and scores that count all three.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A value, or why there is none. Never confuse the second with a wrong answer.
pub type Measured<T> = Result<T, NotMeasured>;

/// Why something was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// The kind, for counting.
    pub reason: Reason,
    /// In words, for reading. At most some hundred characters; never holds a key.
    pub detail: String,
}

impl NotMeasured {
    /// A reason with its words.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        NotMeasured {
            reason,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for NotMeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

/// Kinds of not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model declined.
    Refused,
    /// The answer was cut off at the token limit.
    Truncated,
    /// No text came back.
    Empty,
    /// Not the asked shape, after the repair attempts.
    Malformed,
    /// Nothing came back in time.
    Timeout,
    /// Rate limits outlived the retries.
    RateLimited,
    /// The provider failed or could not be reached, after the retries.
    Unavailable,
    /// Key refused, model unknown, request refused: an operator must act.
    Misconfigured,
    /// Too large to send or to accept.
    TooLarge,
    /// The agent died while the call was in flight.
    AttemptLost,
    /// A voter or a program could not decide.
    Undecided,
}

impl Reason {
    /// Every kind.
    pub const ALL: [Reason; 11] = [
        Reason::Refused,
        Reason::Truncated,
        Reason::Empty,
        Reason::Malformed,
        Reason::Timeout,
        Reason::RateLimited,
        Reason::Unavailable,
        Reason::Misconfigured,
        Reason::TooLarge,
        Reason::AttemptLost,
        Reason::Undecided,
    ];

    /// The kind's name, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::Truncated => "truncated",
            Reason::Empty => "empty",
            Reason::Malformed => "malformed",
            Reason::Timeout => "timeout",
            Reason::RateLimited => "rate limited",
            Reason::Unavailable => "unavailable",
            Reason::Misconfigured => "misconfigured",
            Reason::TooLarge => "too large",
            Reason::AttemptLost => "attempt lost",
            Reason::Undecided => "undecided",
        }
    }
}

/// One answer held against one example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The metric accepts the answer.
    Right,
    /// The metric rejects the answer.
    Wrong,
    /// There is no answer to hold against the example.
    NotMeasured(NotMeasured),
}

impl Mark {
    /// Right or wrong.
    pub fn from_bool(right: bool) -> Self {
        if right { Mark::Right } else { Mark::Wrong }
    }
}

/// Counts of the three outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Answered rightly.
    pub right: u32,
    /// Answered wrongly.
    pub wrong: u32,
    /// Not answered.
    pub not_measured: u32,
}

impl Score {
    /// Counts marks.
    pub fn of<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> Self {
        let mut score = Score::default();
        for mark in marks {
            match mark {
                Mark::Right => score.right += 1,
                Mark::Wrong => score.wrong += 1,
                Mark::NotMeasured(_) => score.not_measured += 1,
            }
        }
        score
    }

    /// How many were measured.
    pub fn measured(&self) -> u32 {
        self.right + self.wrong
    }

    /// Fraction of *measured* examples answered rightly, in 0..=1; none where nothing was measured.
    pub fn accuracy(&self) -> Option<f64> {
        (self.measured() > 0).then(|| f64::from(self.right) / f64::from(self.measured()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_wrong() {
        let lost = Mark::NotMeasured(NotMeasured::new(Reason::Timeout, "60 s"));
        let score = Score::of(&[Mark::Right, Mark::Wrong, lost.clone(), Mark::Right]);
        assert_eq!(
            score,
            Score {
                right: 2,
                wrong: 1,
                not_measured: 1
            }
        );
        assert_eq!(score.accuracy(), Some(2.0 / 3.0));
        assert_eq!(Score::of(&[lost]).accuracy(), None);
    }
}
