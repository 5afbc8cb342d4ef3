//! What comes back: one payload for each operation.

use crate::{
    DecodeError,
    error::{known, required, unspecified},
    pb,
};
use sipdo_domain::{Answer, CheckResult, Draft, Edit, Grade, Opinion, Reply, Solution, Verdict};

impl From<Reply> for pb::Reply {
    fn from(reply: Reply) -> Self {
        use pb::reply::Reply as Wire;
        Self {
            reply: Some(match reply {
                Reply::Answer(answer) => Wire::Answer(answer.into()),
                Reply::Draft(draft) => Wire::Draft(draft.into()),
                Reply::Solution(solution) => Wire::Solution(solution.into()),
                Reply::Check(result) => Wire::Check(result.into()),
                Reply::Opinion(opinion) => Wire::Opinion(opinion.into()),
                Reply::Grade(grade) => Wire::Grade(grade.into()),
                Reply::Edit(edit) => Wire::Edit(edit.into()),
            }),
        }
    }
}

impl TryFrom<pb::Reply> for Reply {
    type Error = DecodeError;

    fn try_from(reply: pb::Reply) -> Result<Self, DecodeError> {
        use pb::reply::Reply as Wire;
        let pb::Reply { reply } = reply;
        Ok(match required(reply, "Reply", "reply")? {
            Wire::Answer(answer) => Reply::Answer(answer.into()),
            Wire::Draft(draft) => Reply::Draft(draft.into()),
            Wire::Solution(solution) => Reply::Solution(solution.into()),
            Wire::Check(result) => Reply::Check(result.into()),
            Wire::Opinion(opinion) => Reply::Opinion(opinion.try_into()?),
            Wire::Grade(grade) => Reply::Grade(grade.into()),
            Wire::Edit(edit) => Reply::Edit(edit.into()),
        })
    }
}

impl From<Answer> for pb::Answer {
    fn from(answer: Answer) -> Self {
        let Answer { text } = answer;
        Self { text }
    }
}

impl From<pb::Answer> for Answer {
    fn from(answer: pb::Answer) -> Self {
        let pb::Answer { text } = answer;
        Self { text }
    }
}

impl From<Draft> for pb::Draft {
    fn from(draft: Draft) -> Self {
        let Draft {
            input,
            target,
            rationale,
        } = draft;
        Self {
            input,
            target,
            rationale,
        }
    }
}

impl From<pb::Draft> for Draft {
    fn from(draft: pb::Draft) -> Self {
        let pb::Draft {
            input,
            target,
            rationale,
        } = draft;
        Self {
            input,
            target,
            rationale,
        }
    }
}

impl From<Solution> for pb::Solution {
    fn from(solution: Solution) -> Self {
        let Solution { working, answer } = solution;
        Self { working, answer }
    }
}

impl From<pb::Solution> for Solution {
    fn from(solution: pb::Solution) -> Self {
        let pb::Solution { working, answer } = solution;
        Self { working, answer }
    }
}

impl From<CheckResult> for pb::CheckResult {
    fn from(result: CheckResult) -> Self {
        let CheckResult { passed, reason } = result;
        Self { passed, reason }
    }
}

impl From<pb::CheckResult> for CheckResult {
    fn from(result: pb::CheckResult) -> Self {
        let pb::CheckResult { passed, reason } = result;
        Self { passed, reason }
    }
}

impl From<Opinion> for pb::Opinion {
    fn from(opinion: Opinion) -> Self {
        let Opinion {
            verdict,
            answer,
            reasons,
        } = opinion;
        let verdict = match verdict {
            Verdict::Valid => pb::opinion::Verdict::Valid,
            Verdict::WrongLabel => pb::opinion::Verdict::WrongLabel,
            Verdict::Ambiguous => pb::opinion::Verdict::Ambiguous,
            Verdict::Unsolvable => pb::opinion::Verdict::Unsolvable,
        };
        Self {
            verdict: verdict.into(),
            answer,
            reasons,
        }
    }
}

impl TryFrom<pb::Opinion> for Opinion {
    type Error = DecodeError;

    fn try_from(opinion: pb::Opinion) -> Result<Self, DecodeError> {
        let pb::Opinion {
            verdict,
            answer,
            reasons,
        } = opinion;
        let verdict = match known::<pb::opinion::Verdict>(verdict, "Opinion", "verdict")? {
            pb::opinion::Verdict::Unspecified => return unspecified("Opinion", "verdict"),
            pb::opinion::Verdict::Valid => Verdict::Valid,
            pb::opinion::Verdict::WrongLabel => Verdict::WrongLabel,
            pb::opinion::Verdict::Ambiguous => Verdict::Ambiguous,
            pb::opinion::Verdict::Unsolvable => Verdict::Unsolvable,
        };
        Ok(Self {
            verdict,
            answer,
            reasons,
        })
    }
}

impl From<Grade> for pb::Grade {
    fn from(grade: Grade) -> Self {
        let Grade { correct, reason } = grade;
        Self { correct, reason }
    }
}

impl From<pb::Grade> for Grade {
    fn from(grade: pb::Grade) -> Self {
        let pb::Grade { correct, reason } = grade;
        Self { correct, reason }
    }
}

impl From<Edit> for pb::Edit {
    fn from(edit: Edit) -> Self {
        let Edit { text } = edit;
        Self { text }
    }
}

impl From<pb::Edit> for Edit {
    fn from(edit: pb::Edit) -> Self {
        let pb::Edit { text } = edit;
        Self { text }
    }
}
