//! What comes back: one payload for each operation.

use crate::{
    error::{DecodeError, known, required, unspecified},
    pb,
};
use sipdo_domain::{Answer, CheckResult, Draft, Edit, Grade, Reply, Solution, Verdict, VerdictKind};

impl From<Reply> for pb::Reply {
    fn from(reply: Reply) -> Self {
        use pb::reply::Reply as Wire;
        Self {
            reply: Some(match reply {
                Reply::Answer(answer) => Wire::Answer(answer.into()),
                Reply::Draft(draft) => Wire::Draft(draft.into()),
                Reply::Solution(solution) => Wire::Solution(solution.into()),
                Reply::Check(result) => Wire::Check(result.into()),
                Reply::Verdict(opinion) => Wire::Opinion(opinion.into()),
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
            Wire::Opinion(opinion) => Reply::Verdict(opinion.try_into()?),
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

impl From<Verdict> for pb::Verdict {
    fn from(opinion: Verdict) -> Self {
        let Verdict {
            verdict,
            answer,
            reasons,
        } = opinion;
        let verdict = match verdict {
            VerdictKind::Valid => pb::verdict::Verdict::Valid,
            VerdictKind::WrongLabel => pb::verdict::Verdict::WrongLabel,
            VerdictKind::Ambiguous => pb::verdict::Verdict::Ambiguous,
            VerdictKind::Unsolvable => pb::verdict::Verdict::Unsolvable,
        };
        Self {
            verdict: verdict.into(),
            answer,
            reasons,
        }
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = DecodeError;

    fn try_from(opinion: pb::Verdict) -> Result<Self, DecodeError> {
        let pb::Verdict {
            verdict,
            answer,
            reasons,
        } = opinion;
        let verdict = match known::<pb::verdict::Verdict>(verdict, "Verdict", "verdict")? {
            pb::verdict::Verdict::Unspecified => return unspecified("Verdict", "verdict"),
            pb::verdict::Verdict::Valid => VerdictKind::Valid,
            pb::verdict::Verdict::WrongLabel => VerdictKind::WrongLabel,
            pb::verdict::Verdict::Ambiguous => VerdictKind::Ambiguous,
            pb::verdict::Verdict::Unsolvable => VerdictKind::Unsolvable,
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
