//! What a job asks: one payload for each operation.

use crate::{
    error::{DecodeError, each, known, required, unspecified},
    pb,
};
use sipdo_domain::{
    AnswerRequest, Ask, ChatMessage, CheckRequest, EditRequest, GenerateRequest, GradeRequest, JudgeRequest,
    PastExample, SolveRequest, Speaker,
};

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
            Wire::Answer(question) => Ask::Answer(question.try_into()?),
            Wire::Synthesize(brief) => Ask::Synthesize(brief.try_into()?),
            Wire::Solve(riddle) => Ask::Solve(riddle.try_into()?),
            Wire::Check(program) => Ask::Check(program.into()),
            Wire::Judge(case) => Ask::Judge(case.try_into()?),
            Wire::Grade(grading) => Ask::Grade(grading.try_into()?),
            Wire::Edit(request) => Ask::Edit(request.into()),
        })
    }
}

impl From<AnswerRequest> for pb::AnswerRequest {
    fn from(question: AnswerRequest) -> Self {
        let AnswerRequest {
            prompt,
            input,
            messages,
            schema,
        } = question;
        Self {
            prompt,
            input,
            messages: each(messages),
            schema,
        }
    }
}

impl TryFrom<pb::AnswerRequest> for AnswerRequest {
    type Error = DecodeError;

    fn try_from(question: pb::AnswerRequest) -> Result<Self, DecodeError> {
        let pb::AnswerRequest {
            prompt,
            input,
            messages,
            schema,
        } = question;
        Ok(Self {
            prompt,
            input,
            messages: messages.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            schema,
        })
    }
}

impl From<ChatMessage> for pb::ChatMessage {
    fn from(message: ChatMessage) -> Self {
        let ChatMessage { role, text } = message;
        let role = match role {
            Speaker::System => pb::chat_message::Speaker::System,
            Speaker::User => pb::chat_message::Speaker::User,
            Speaker::Assistant => pb::chat_message::Speaker::Assistant,
        };
        Self {
            role: role.into(),
            text,
        }
    }
}

impl TryFrom<pb::ChatMessage> for ChatMessage {
    type Error = DecodeError;

    fn try_from(message: pb::ChatMessage) -> Result<Self, DecodeError> {
        use pb::chat_message::Speaker as Wire;
        let pb::ChatMessage { role, text } = message;
        let role = match known(role, "ChatMessage", "role")? {
            Wire::Unspecified => return unspecified("ChatMessage", "role"),
            Wire::System => Speaker::System,
            Wire::User => Speaker::User,
            Wire::Assistant => Speaker::Assistant,
        };
        Ok(Self { role, text })
    }
}

impl pb::Ask {
    /// Bytes by which budget is reserved for the ask, and which its request must not exceed (with what the role states beside them):
    /// its own size, and what it makes the request grow. A schema is sent with words around it or in a stricter dialect, and once more
    /// with a format repair; columns become the properties of one.
    pub fn reserved_bytes(&self) -> usize {
        use pb::ask::Ask as Wire;
        let more = match &self.ask {
            Some(Wire::Answer(question)) if !question.schema.is_empty() => 4 * question.schema.len() + SCHEMA_BYTES,
            Some(Wire::Synthesize(brief)) => brief.columns.iter().map(|name| 8 * name.len() + COLUMN_BYTES).sum(),
            _ => 0,
        };
        prost::Message::encoded_len(self) + more
    }
}

/// Words around a schema, and its name.
const SCHEMA_BYTES: usize = 512;

/// What a column adds to a schema and its second mention beyond its name.
const COLUMN_BYTES: usize = 256;

impl From<GenerateRequest> for pb::GenerateRequest {
    fn from(brief: GenerateRequest) -> Self {
        let GenerateRequest {
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
            columns,
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
            columns,
        }
    }
}

impl TryFrom<pb::GenerateRequest> for GenerateRequest {
    type Error = DecodeError;

    fn try_from(brief: pb::GenerateRequest) -> Result<Self, DecodeError> {
        let pb::GenerateRequest {
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
            columns,
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
            columns,
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

impl From<SolveRequest> for pb::SolveRequest {
    fn from(riddle: SolveRequest) -> Self {
        let SolveRequest { task, input, pool } = riddle;
        Self {
            task: Some(task.into()),
            input,
            pool,
        }
    }
}

impl TryFrom<pb::SolveRequest> for SolveRequest {
    type Error = DecodeError;

    fn try_from(riddle: pb::SolveRequest) -> Result<Self, DecodeError> {
        let pb::SolveRequest { task, input, pool } = riddle;
        Ok(Self {
            task: required(task, "Riddle", "task")?.into(),
            input,
            pool,
        })
    }
}

impl From<CheckRequest> for pb::CheckRequest {
    fn from(program: CheckRequest) -> Self {
        let CheckRequest {
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

impl From<pb::CheckRequest> for CheckRequest {
    fn from(program: pb::CheckRequest) -> Self {
        let pb::CheckRequest {
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

impl From<JudgeRequest> for pb::JudgeRequest {
    fn from(case: JudgeRequest) -> Self {
        let JudgeRequest {
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

impl TryFrom<pb::JudgeRequest> for JudgeRequest {
    type Error = DecodeError;

    fn try_from(case: pb::JudgeRequest) -> Result<Self, DecodeError> {
        let pb::JudgeRequest {
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

impl From<GradeRequest> for pb::GradeRequest {
    fn from(grading: GradeRequest) -> Self {
        let GradeRequest {
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

impl TryFrom<pb::GradeRequest> for GradeRequest {
    type Error = DecodeError;

    fn try_from(grading: pb::GradeRequest) -> Result<Self, DecodeError> {
        let pb::GradeRequest {
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
