//! What a strategy told.

use crate::{
    DecodeError,
    error::{each, required},
    pb,
};
use sipdo_domain::Telling;

impl From<Telling> for pb::Telling {
    fn from(telling: Telling) -> Self {
        use pb::telling::Telling as Wire;
        Self {
            telling: Some(match telling {
                Telling::Scored { set, arm, score } => Wire::Scored(pb::Scored {
                    set,
                    arm,
                    score: Some(score.into()),
                }),
                Telling::LevelBegun { level, of, target } => Wire::LevelBegun(pb::LevelBegun { level, of, target }),
                Telling::ExampleJudged { example } => Wire::ExampleJudged(example.into()),
                Telling::Challenged { example, version, mark } => Wire::Challenged(pb::Challenged {
                    example,
                    version,
                    mark: Some(mark.into()),
                }),
                Telling::ErrorsAnalysed {
                    examples,
                    version,
                    analysis,
                    recommendation,
                } => Wire::ErrorsAnalysed(pb::ErrorsAnalysed {
                    examples,
                    version,
                    analysis,
                    recommendation,
                }),
                Telling::CandidateJudged { prompt } => Wire::CandidateJudged(prompt.into()),
                Telling::Corrected { corrections } => Wire::Corrected(pb::Corrected {
                    corrections: each(corrections),
                }),
                Telling::ExampleQuarantined { example, reason } => {
                    Wire::ExampleQuarantined(pb::ExampleQuarantined { example, reason })
                }
                Telling::ArmMeasured { arm } => Wire::ArmMeasured(arm.into()),
                Telling::Warning { text } => Wire::Warning(text),
            }),
        }
    }
}

impl TryFrom<pb::Telling> for Telling {
    type Error = DecodeError;

    fn try_from(telling: pb::Telling) -> Result<Self, DecodeError> {
        use pb::telling::Telling as Wire;
        let pb::Telling { telling } = telling;
        Ok(match required(telling, "Telling", "telling")? {
            Wire::Scored(pb::Scored { set, arm, score }) => Telling::Scored {
                set,
                arm,
                score: required(score, "Scored", "score")?.into(),
            },
            Wire::LevelBegun(pb::LevelBegun { level, of, target }) => Telling::LevelBegun { level, of, target },
            Wire::ExampleJudged(example) => Telling::ExampleJudged {
                example: example.try_into()?,
            },
            Wire::Challenged(pb::Challenged { example, version, mark }) => Telling::Challenged {
                example,
                version,
                mark: required(mark, "Challenged", "mark")?.try_into()?,
            },
            Wire::ErrorsAnalysed(pb::ErrorsAnalysed {
                examples,
                version,
                analysis,
                recommendation,
            }) => Telling::ErrorsAnalysed {
                examples,
                version,
                analysis,
                recommendation,
            },
            Wire::CandidateJudged(prompt) => Telling::CandidateJudged {
                prompt: prompt.try_into()?,
            },
            Wire::Corrected(pb::Corrected { corrections }) => Telling::Corrected {
                corrections: each(corrections),
            },
            Wire::ExampleQuarantined(pb::ExampleQuarantined { example, reason }) => {
                Telling::ExampleQuarantined { example, reason }
            }
            Wire::ArmMeasured(arm) => Telling::ArmMeasured { arm: arm.try_into()? },
            Wire::Warning(text) => Telling::Warning { text },
        })
    }
}
