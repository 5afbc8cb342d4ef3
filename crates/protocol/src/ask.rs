//! What a job asks: one payload for each operation.

use crate::{
    DecodeError,
    error::{each, required},
    pb,
};
use sipdo_domain::{Ask, Brief, Case, EditRequest, Grading, PastExample, Program, Question, Riddle};

impl From<Ask> for pb::Ask {
    fn from(ask: Ask) -> Self {
        use pb::ask::Ask as Wire;
        Self {
            ask: Some(match ask {
                Ask::Answer(question) => Wire::Answer(question.into()),
                Ask::Synthesize(brief) => Wire::Synthesize(brief.into()),
                Ask::Solve(riddle) => Wire::Solve(riddle.into()),
                Ask::Check(program) => Wire::Check(program.into()),
                Ask::Judge(case) => Wire::Judge(case.into()),
                Ask::Grade(grading) => Wire::Grade(grading.into()),
                Ask::Edit(request) => Wire::Edit(request.into()),
            }),
        }
    }
}

impl TryFrom<pb::Ask> for Ask {
    type Error = DecodeError;

    fn try_from(ask: pb::Ask) -> Result<Self, DecodeError> {
        use pb::ask::Ask as Wire;
        let pb::Ask { ask } = ask;
        Ok(match required(ask, "Ask", "ask")? {
            Wire::Answer(question) => Ask::Answer(question.into()),
            Wire::Synthesize(brief) => Ask::Synthesize(brief.try_into()?),
            Wire::Solve(riddle) => Ask::Solve(riddle.try_into()?),
            Wire::Check(program) => Ask::Check(program.into()),
            Wire::Judge(case) => Ask::Judge(case.try_into()?),
            Wire::Grade(grading) => Ask::Grade(grading.try_into()?),
            Wire::Edit(request) => Ask::Edit(request.into()),
        })
    }
}

impl From<Question> for pb::Question {
    fn from(question: Question) -> Self {
        let Question { prompt, input } = question;
        Self { prompt, input }
    }
}

impl From<pb::Question> for Question {
    fn from(question: pb::Question) -> Self {
        let pb::Question { prompt, input } = question;
        Self { prompt, input }
    }
}

impl From<Brief> for pb::Brief {
    fn from(brief: Brief) -> Self {
        let Brief {
            task,
            shown,
            past,
            level,
            max_level,
            extreme,
            target,
            prompt,
            weaknesses,
            passage,
            refused,
        } = brief;
        let shown = shown.into_iter().map(|(input, target)| pb::Example {
            id: String::new(),
            input,
            target,
            aliases: Vec::new(),
        });
        Self {
            task: Some(task.into()),
            shown: shown.collect(),
            past: each(past),
            level,
            max_level,
            extreme,
            target,
            prompt,
            weaknesses,
            passage,
            refused,
        }
    }
}

impl TryFrom<pb::Brief> for Brief {
    type Error = DecodeError;

    fn try_from(brief: pb::Brief) -> Result<Self, DecodeError> {
        let pb::Brief {
            task,
            shown,
            past,
            level,
            max_level,
            extreme,
            target,
            prompt,
            weaknesses,
            passage,
            refused,
        } = brief;
        let shown = shown.into_iter().map(|example| {
            let pb::Example {
                id: _,
                input,
                target,
                aliases: _,
            } = example;
            (input, target)
        });
        Ok(Self {
            task: required(task, "Brief", "task")?.into(),
            shown: shown.collect(),
            past: each(past),
            level,
            max_level,
            extreme,
            target,
            prompt,
            weaknesses,
            passage,
            refused,
        })
    }
}

impl From<PastExample> for pb::PastExample {
    fn from(past: PastExample) -> Self {
        let PastExample { level, input, target } = past;
        Self { level, input, target }
    }
}

impl From<pb::PastExample> for PastExample {
    fn from(past: pb::PastExample) -> Self {
        let pb::PastExample { level, input, target } = past;
        Self { level, input, target }
    }
}

impl From<Riddle> for pb::Riddle {
    fn from(riddle: Riddle) -> Self {
        let Riddle { task, input, pool } = riddle;
        Self {
            task: Some(task.into()),
            input,
            pool,
        }
    }
}

impl TryFrom<pb::Riddle> for Riddle {
    type Error = DecodeError;

    fn try_from(riddle: pb::Riddle) -> Result<Self, DecodeError> {
        let pb::Riddle { task, input, pool } = riddle;
        Ok(Self {
            task: required(task, "Riddle", "task")?.into(),
            input,
            pool,
        })
    }
}

impl From<Program> for pb::Program {
    fn from(program: Program) -> Self {
        let Program {
            name,
            input,
            target,
            pool,
        } = program;
        Self {
            name,
            input,
            target,
            pool,
        }
    }
}

impl From<pb::Program> for Program {
    fn from(program: pb::Program) -> Self {
        let pb::Program {
            name,
            input,
            target,
            pool,
        } = program;
        Self {
            name,
            input,
            target,
            pool,
        }
    }
}

impl From<Case> for pb::Case {
    fn from(case: Case) -> Self {
        let Case {
            task,
            input,
            claim,
            working,
            checked,
        } = case;
        Self {
            task: Some(task.into()),
            input,
            claim,
            working,
            checked,
        }
    }
}

impl TryFrom<pb::Case> for Case {
    type Error = DecodeError;

    fn try_from(case: pb::Case) -> Result<Self, DecodeError> {
        let pb::Case {
            task,
            input,
            claim,
            working,
            checked,
        } = case;
        Ok(Self {
            task: required(task, "Case", "task")?.into(),
            input,
            claim,
            working,
            checked,
        })
    }
}

impl From<Grading> for pb::Grading {
    fn from(grading: Grading) -> Self {
        let Grading {
            task,
            input,
            target,
            answer,
            criteria,
        } = grading;
        Self {
            task: Some(task.into()),
            input,
            target,
            answer,
            criteria,
        }
    }
}

impl TryFrom<pb::Grading> for Grading {
    type Error = DecodeError;

    fn try_from(grading: pb::Grading) -> Result<Self, DecodeError> {
        let pb::Grading {
            task,
            input,
            target,
            answer,
            criteria,
        } = grading;
        Ok(Self {
            task: required(task, "Grading", "task")?.into(),
            input,
            target,
            answer,
            criteria,
        })
    }
}

impl From<EditRequest> for pb::EditRequest {
    fn from(request: EditRequest) -> Self {
        let EditRequest {
            step,
            instruction,
            material,
            field,
            temperature,
            max_chars,
        } = request;
        Self {
            step,
            instruction,
            material,
            field,
            temperature,
            max_chars,
        }
    }
}

impl From<pb::EditRequest> for EditRequest {
    fn from(request: pb::EditRequest) -> Self {
        let pb::EditRequest {
            step,
            instruction,
            material,
            field,
            temperature,
            max_chars,
        } = request;
        Self {
            step,
            instruction,
            material,
            field,
            temperature,
            max_chars,
        }
    }
}
