//! `common.proto`: the words that jobs, the journal and the API share.

use crate::{
    error::{DecodeError, known, required, unspecified},
    pb,
};
use sipdo_domain::{Amount, Budget, Example, Mark, Measured, NotMeasured, Provenance, Reason, Role, Score, TaskBrief};

/// A role by its number on the wire.
///
/// # Errors
/// [`DecodeError::Unknown`] for 0 and for numbers that this version does not know.
pub fn role(value: i32) -> Result<Role, DecodeError> {
    known::<pb::Role>(value, "Role", "value")?.try_into()
}

impl From<Role> for pb::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Generator => Self::Generator,
            Role::Checker => Self::Checker,
            Role::Verifier => Self::Verifier,
            Role::Learner => Self::Learner,
            Role::Optimizer => Self::Optimizer,
        }
    }
}

impl TryFrom<pb::Role> for Role {
    type Error = DecodeError;

    fn try_from(role: pb::Role) -> Result<Self, DecodeError> {
        Ok(match role {
            pb::Role::Unspecified => return unspecified("Role", "value"),
            pb::Role::Generator => Role::Generator,
            pb::Role::Checker => Role::Checker,
            pb::Role::Verifier => Role::Verifier,
            pb::Role::Learner => Role::Learner,
            pb::Role::Optimizer => Role::Optimizer,
        })
    }
}

impl From<Amount> for pb::Amount {
    fn from(amount: Amount) -> Self {
        let Amount {
            calls,
            tokens,
            nano_usd,
        } = amount;
        Self {
            calls,
            tokens,
            nano_usd,
        }
    }
}

impl From<pb::Amount> for Amount {
    fn from(amount: pb::Amount) -> Self {
        let pb::Amount {
            calls,
            tokens,
            nano_usd,
        } = amount;
        Self {
            calls,
            tokens,
            nano_usd,
        }
    }
}

impl From<Budget> for pb::Budget {
    fn from(budget: Budget) -> Self {
        let Budget {
            calls,
            tokens,
            nano_usd,
            seconds,
        } = budget;
        Self {
            calls,
            tokens,
            nano_usd,
            seconds,
        }
    }
}

impl From<pb::Budget> for Budget {
    fn from(budget: pb::Budget) -> Self {
        let pb::Budget {
            calls,
            tokens,
            nano_usd,
            seconds,
        } = budget;
        Self {
            calls,
            tokens,
            nano_usd,
            seconds,
        }
    }
}

impl From<Provenance> for pb::Provenance {
    fn from(by: Provenance) -> Self {
        let Provenance {
            endpoint,
            model,
            revision,
            agent,
            fingerprint,
            bought_ms,
        } = by;
        Self {
            endpoint,
            model,
            revision,
            agent,
            fingerprint,
            bought_ms,
        }
    }
}

impl From<pb::Provenance> for Provenance {
    fn from(by: pb::Provenance) -> Self {
        let pb::Provenance {
            endpoint,
            model,
            revision,
            agent,
            fingerprint,
            bought_ms,
        } = by;
        Self {
            endpoint,
            model,
            revision,
            agent,
            fingerprint,
            bought_ms,
        }
    }
}

impl From<Reason> for pb::not_measured::Reason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Refused => Self::Refused,
            Reason::Truncated => Self::Truncated,
            Reason::Empty => Self::Empty,
            Reason::Malformed => Self::Malformed,
            Reason::Timeout => Self::Timeout,
            Reason::RateLimited => Self::RateLimited,
            Reason::Unavailable => Self::Unavailable,
            Reason::Misconfigured => Self::Misconfigured,
            Reason::TooLarge => Self::TooLarge,
            Reason::AttemptLost => Self::AttemptLost,
            Reason::Undecided => Self::Undecided,
        }
    }
}

impl TryFrom<pb::not_measured::Reason> for Reason {
    type Error = DecodeError;

    fn try_from(reason: pb::not_measured::Reason) -> Result<Self, DecodeError> {
        use pb::not_measured::Reason as Wire;
        Ok(match reason {
            Wire::Unspecified => return unspecified("NotMeasured", "reason"),
            Wire::Refused => Reason::Refused,
            Wire::Truncated => Reason::Truncated,
            Wire::Empty => Reason::Empty,
            Wire::Malformed => Reason::Malformed,
            Wire::Timeout => Reason::Timeout,
            Wire::RateLimited => Reason::RateLimited,
            Wire::Unavailable => Reason::Unavailable,
            Wire::Misconfigured => Reason::Misconfigured,
            Wire::TooLarge => Reason::TooLarge,
            Wire::AttemptLost => Reason::AttemptLost,
            Wire::Undecided => Reason::Undecided,
        })
    }
}

impl From<NotMeasured> for pb::NotMeasured {
    fn from(why: NotMeasured) -> Self {
        let NotMeasured { reason, detail } = why;
        Self {
            reason: pb::not_measured::Reason::from(reason).into(),
            detail,
        }
    }
}

impl TryFrom<pb::NotMeasured> for NotMeasured {
    type Error = DecodeError;

    fn try_from(why: pb::NotMeasured) -> Result<Self, DecodeError> {
        let pb::NotMeasured { reason, detail } = why;
        Ok(Self {
            reason: known::<pb::not_measured::Reason>(reason, "NotMeasured", "reason")?.try_into()?,
            detail,
        })
    }
}

impl From<Mark> for pb::Mark {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Right => Ok(true),
            Mark::Wrong => Ok(false),
            Mark::NotMeasured(why) => Err(why),
        }
        .into()
    }
}

impl TryFrom<pb::Mark> for Mark {
    type Error = DecodeError;

    fn try_from(mark: pb::Mark) -> Result<Self, DecodeError> {
        Ok(match Measured::<bool>::try_from(mark)? {
            Ok(right) => Mark::from_bool(right),
            Err(why) => Mark::NotMeasured(why),
        })
    }
}

impl From<Measured<bool>> for pb::Mark {
    fn from(mark: Measured<bool>) -> Self {
        Self {
            mark: Some(match mark {
                Ok(right) => pb::mark::Mark::Right(right),
                Err(why) => pb::mark::Mark::NotMeasured(why.into()),
            }),
        }
    }
}

impl TryFrom<pb::Mark> for Measured<bool> {
    type Error = DecodeError;

    fn try_from(mark: pb::Mark) -> Result<Self, DecodeError> {
        let pb::Mark { mark } = mark;
        Ok(match required(mark, "Mark", "mark")? {
            pb::mark::Mark::Right(right) => Ok(right),
            pb::mark::Mark::NotMeasured(why) => Err(why.try_into()?),
        })
    }
}

impl From<Score> for pb::Score {
    fn from(score: Score) -> Self {
        let Score {
            right,
            wrong,
            not_measured,
        } = score;
        Self {
            right,
            wrong,
            not_measured,
        }
    }
}

impl From<pb::Score> for Score {
    fn from(score: pb::Score) -> Self {
        let pb::Score {
            right,
            wrong,
            not_measured,
        } = score;
        Self {
            right,
            wrong,
            not_measured,
        }
    }
}

impl From<Example> for pb::Example {
    fn from(example: Example) -> Self {
        let Example {
            id,
            input,
            target,
            aliases,
        } = example;
        Self {
            id,
            input,
            target,
            aliases,
        }
    }
}

impl From<pb::Example> for Example {
    fn from(example: pb::Example) -> Self {
        let pb::Example {
            id,
            input,
            target,
            aliases,
        } = example;
        Self {
            id,
            input,
            target,
            aliases,
        }
    }
}

impl From<TaskBrief> for pb::TaskBrief {
    fn from(brief: TaskBrief) -> Self {
        let TaskBrief {
            description,
            answer_format,
            labels,
        } = brief;
        Self {
            description,
            answer_format,
            labels,
        }
    }
}

impl From<pb::TaskBrief> for TaskBrief {
    fn from(brief: pb::TaskBrief) -> Self {
        let pb::TaskBrief {
            description,
            answer_format,
            labels,
        } = brief;
        Self {
            description,
            answer_format,
            labels,
        }
    }
}
