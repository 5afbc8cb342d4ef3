//! The events that a strategy emits.

use crate::{
    error::{DecodeError, each, required},
    pb,
};
use sipdo_domain::RunEvent;

impl From<RunEvent> for pb::RunEvent {
    fn from(run_event: RunEvent) -> Self {
        use pb::run_event::Event as Wire;
        Self {
            event: Some(match run_event {
                RunEvent::Scored { set, arm, score } => Wire::Scored(pb::Scored {
                    set,
                    arm,
                    score: Some(score.into()),
                }),
                RunEvent::LevelBegun { level, of, target } => Wire::LevelBegun(pb::LevelBegun { level, of, target }),
                RunEvent::ExampleJudged { example } => Wire::ExampleJudged(example.into()),
                RunEvent::Challenged { example, version, mark } => Wire::Challenged(pb::Challenged {
                    example,
                    version,
                    mark: Some(mark.into()),
                }),
                RunEvent::ErrorsAnalysed {
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
                RunEvent::CandidateJudged { prompt } => Wire::CandidateJudged(prompt.into()),
                RunEvent::Corrected { corrections } => Wire::Corrected(pb::Corrected {
                    corrections: each(corrections),
                }),
                RunEvent::ExampleQuarantined { example, reason } => {
                    Wire::ExampleQuarantined(pb::ExampleQuarantined { example, reason })
                }
                RunEvent::ArmMeasured { arm } => Wire::ArmMeasured(arm.into()),
                RunEvent::Warning { text } => Wire::Warning(text),
            }),
        }
    }
}

impl TryFrom<pb::RunEvent> for RunEvent {
    type Error = DecodeError;

    fn try_from(run_event: pb::RunEvent) -> Result<Self, DecodeError> {
        use pb::run_event::Event as Wire;
        let pb::RunEvent { event } = run_event;
        Ok(match required(event, "RunEvent", "event")? {
            Wire::Scored(pb::Scored { set, arm, score }) => RunEvent::Scored {
                set,
                arm,
                score: required(score, "Scored", "score")?.into(),
            },
            Wire::LevelBegun(pb::LevelBegun { level, of, target }) => RunEvent::LevelBegun { level, of, target },
            Wire::ExampleJudged(example) => RunEvent::ExampleJudged {
                example: example.try_into()?,
            },
            Wire::Challenged(pb::Challenged { example, version, mark }) => RunEvent::Challenged {
                example,
                version,
                mark: required(mark, "Challenged", "mark")?.try_into()?,
            },
            Wire::ErrorsAnalysed(pb::ErrorsAnalysed {
                examples,
                version,
                analysis,
                recommendation,
            }) => RunEvent::ErrorsAnalysed {
                examples,
                version,
                analysis,
                recommendation,
            },
            Wire::CandidateJudged(prompt) => RunEvent::CandidateJudged {
                prompt: prompt.try_into()?,
            },
            Wire::Corrected(pb::Corrected { corrections }) => RunEvent::Corrected {
                corrections: each(corrections),
            },
            Wire::ExampleQuarantined(pb::ExampleQuarantined { example, reason }) => {
                RunEvent::ExampleQuarantined { example, reason }
            }
            Wire::ArmMeasured(arm) => RunEvent::ArmMeasured { arm: arm.try_into()? },
            Wire::Warning(text) => RunEvent::Warning { text },
        })
    }
}
