//! What a run comes to: outcome, arms, gain, corrections.

use crate::{
    error::{DecodeError, each, known, required, try_each, unspecified},
    pb,
};
use sipdo_domain::{
    Arm, Ending, Outcome, Shown,
    outcome::{Correction, Gain, MacroF1Gain},
};

impl From<Outcome> for pb::Outcome {
    fn from(outcome: Outcome) -> Self {
        let Outcome {
            ending,
            best,
            found,
            prompts,
            synthetic,
            corrections,
            arms,
            gain,
            reverted,
            label_kl,
            warnings,
            shown,
            more_examples,
        } = outcome;
        let shown = match shown {
            None => pb::outcome::Shown::Unspecified,
            Some(Shown::Better) => pb::outcome::Shown::Better,
            Some(Shown::Nothing) => pb::outcome::Shown::Nothing,
            Some(Shown::Worse) => pb::outcome::Shown::Worse,
        };
        let (ending, cap) = match ending {
            Ending::Finished => (pb::outcome::Ending::Finished, String::new()),
            Ending::BudgetExhausted(cap) => (pb::outcome::Ending::BudgetExhausted, cap),
            Ending::StoppedEarly => (pb::outcome::Ending::StoppedEarly, String::new()),
        };
        Self {
            ending: ending.into(),
            cap,
            best,
            found,
            prompts: each(prompts),
            synthetic: each(synthetic),
            corrections: each(corrections),
            arms: each(arms),
            gain: gain.map(Into::into),
            reverted,
            label_kl,
            warnings,
            shown: shown.into(),
            more_examples,
        }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = DecodeError;

    fn try_from(outcome: pb::Outcome) -> Result<Self, DecodeError> {
        let pb::Outcome {
            ending,
            cap,
            best,
            found,
            prompts,
            synthetic,
            corrections,
            arms,
            gain,
            reverted,
            label_kl,
            warnings,
            shown,
            more_examples,
        } = outcome;
        let shown = match known::<pb::outcome::Shown>(shown, "Outcome", "shown")? {
            pb::outcome::Shown::Unspecified => None,
            pb::outcome::Shown::Better => Some(Shown::Better),
            pb::outcome::Shown::Nothing => Some(Shown::Nothing),
            pb::outcome::Shown::Worse => Some(Shown::Worse),
        };
        let ending = match known::<pb::outcome::Ending>(ending, "Outcome", "ending")? {
            pb::outcome::Ending::Unspecified => return unspecified("Outcome", "ending"),
            pb::outcome::Ending::Finished => Ending::Finished,
            pb::outcome::Ending::BudgetExhausted => Ending::BudgetExhausted(cap),
            pb::outcome::Ending::StoppedEarly => Ending::StoppedEarly,
        };
        Ok(Self {
            ending,
            best,
            found,
            prompts: try_each(prompts)?,
            synthetic: try_each(synthetic)?,
            corrections: each(corrections),
            arms: try_each(arms)?,
            gain: gain.map(Gain::try_from).transpose()?,
            reverted,
            label_kl,
            warnings,
            shown,
            more_examples,
        })
    }
}

impl From<(f64, f64)> for pb::Interval {
    fn from((low, high): (f64, f64)) -> Self {
        Self { low, high }
    }
}

impl From<pb::Interval> for (f64, f64) {
    fn from(interval: pb::Interval) -> Self {
        let pb::Interval { low, high } = interval;
        (low, high)
    }
}

impl From<Arm> for pb::Arm {
    fn from(arm: Arm) -> Self {
        let Arm {
            name,
            score,
            interval,
            credit,
        } = arm;
        Self {
            name,
            score: Some(score.into()),
            interval: interval.map(Into::into),
            credit,
        }
    }
}

impl TryFrom<pb::Arm> for Arm {
    type Error = DecodeError;

    fn try_from(arm: pb::Arm) -> Result<Self, DecodeError> {
        let pb::Arm {
            name,
            score,
            interval,
            credit,
        } = arm;
        Ok(Self {
            name,
            score: required(score, "Arm", "score")?.into(),
            interval: interval.map(Into::into),
            credit,
        })
    }
}

impl From<Gain> for pb::Gain {
    fn from(gain: Gain) -> Self {
        let Gain {
            difference,
            interval,
            p_value,
            pairs,
            gained,
            lost,
            macro_f1,
        } = gain;
        Self {
            difference,
            interval: Some(interval.into()),
            p_value,
            pairs,
            gained,
            lost,
            macro_f1: macro_f1.map(Into::into),
        }
    }
}

impl TryFrom<pb::Gain> for Gain {
    type Error = DecodeError;

    fn try_from(gain: pb::Gain) -> Result<Self, DecodeError> {
        let pb::Gain {
            difference,
            interval,
            p_value,
            pairs,
            gained,
            lost,
            macro_f1,
        } = gain;
        Ok(Self {
            difference,
            interval: required(interval, "Gain", "interval")?.into(),
            p_value,
            pairs,
            gained,
            lost,
            macro_f1: macro_f1.map(Into::into),
        })
    }
}

impl From<MacroF1Gain> for pb::MacroF1Gain {
    fn from(gain: MacroF1Gain) -> Self {
        let MacroF1Gain { difference, p_value } = gain;
        Self { difference, p_value }
    }
}

impl From<pb::MacroF1Gain> for MacroF1Gain {
    fn from(gain: pb::MacroF1Gain) -> Self {
        let pb::MacroF1Gain { difference, p_value } = gain;
        Self { difference, p_value }
    }
}

impl From<Correction> for pb::Correction {
    fn from(correction: Correction) -> Self {
        let Correction {
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            from_version,
            to_version,
            analysis,
            recommendation,
        } = correction;
        Self {
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            from_version,
            to_version,
            analysis,
            recommendation,
        }
    }
}

impl From<pb::Correction> for Correction {
    fn from(correction: pb::Correction) -> Self {
        let pb::Correction {
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            from_version,
            to_version,
            analysis,
            recommendation,
        } = correction;
        Self {
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            from_version,
            to_version,
            analysis,
            recommendation,
        }
    }
}
