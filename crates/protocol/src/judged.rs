//! `common.proto`: what was judged, examples with their votes and prompts with what became of them.

use crate::{
    error::{DecodeError, each, known, required, try_each, unspecified},
    pb,
};
use sipdo_domain::{Decision, Prompt, Standing, SyntheticExample, Vote, Voter};

impl From<Vote> for pb::Vote {
    fn from(vote: Vote) -> Self {
        let Vote {
            voter,
            answer,
            supports,
            reason,
            by,
        } = vote;
        let (voter, checker) = match voter {
            Voter::Generator => (pb::vote::Voter::Generator, 0),
            Voter::Checker(number) => (pb::vote::Voter::Checker, number),
            Voter::Verifier => (pb::vote::Voter::Verifier, 0),
            Voter::Program => (pb::vote::Voter::Program, 0),
        };
        Self {
            voter: voter.into(),
            checker,
            answer,
            supports: Some(supports.into()),
            reason,
            // Not told in an event: processes of an older version drop both fields, and would take it for another event.
            by: Some(pb::Provenance {
                fingerprint: String::new(),
                bought_ms: 0,
                ..by.into()
            }),
        }
    }
}

impl TryFrom<pb::Vote> for Vote {
    type Error = DecodeError;

    fn try_from(vote: pb::Vote) -> Result<Self, DecodeError> {
        let pb::Vote {
            voter,
            checker,
            answer,
            supports,
            reason,
            by,
        } = vote;
        let voter = match known::<pb::vote::Voter>(voter, "Vote", "voter")? {
            pb::vote::Voter::Unspecified => return unspecified("Vote", "voter"),
            pb::vote::Voter::Generator => Voter::Generator,
            pb::vote::Voter::Checker => Voter::Checker(checker),
            pb::vote::Voter::Verifier => Voter::Verifier,
            pb::vote::Voter::Program => Voter::Program,
        };
        Ok(Self {
            voter,
            answer,
            supports: required(supports, "Vote", "supports")?.try_into()?,
            reason,
            by: required(by, "Vote", "by")?.into(),
        })
    }
}

impl From<Decision> for pb::Decision {
    fn from(decision: Decision) -> Self {
        let (kind, by, reason) = match decision {
            Decision::Accepted => (pb::decision::Kind::Accepted, String::new(), String::new()),
            Decision::Rejected { by, reason } => (pb::decision::Kind::Rejected, by, reason),
            Decision::SetAside { reason } => (pb::decision::Kind::SetAside, String::new(), reason),
        };
        Self {
            kind: kind.into(),
            by,
            reason,
        }
    }
}

impl TryFrom<pb::Decision> for Decision {
    type Error = DecodeError;

    fn try_from(decision: pb::Decision) -> Result<Self, DecodeError> {
        let pb::Decision { kind, by, reason } = decision;
        Ok(match known::<pb::decision::Kind>(kind, "Decision", "kind")? {
            pb::decision::Kind::Unspecified => return unspecified("Decision", "kind"),
            pb::decision::Kind::Accepted => Decision::Accepted,
            pb::decision::Kind::Rejected => Decision::Rejected { by, reason },
            pb::decision::Kind::SetAside => Decision::SetAside { reason },
        })
    }
}

impl From<SyntheticExample> for pb::SyntheticExample {
    fn from(synthetic: SyntheticExample) -> Self {
        let SyntheticExample {
            example,
            level,
            rationale,
            votes,
            decision,
            prompt_version,
            quarantined,
        } = synthetic;
        Self {
            example: Some(example.into()),
            level,
            rationale,
            votes: each(votes),
            decision: Some(decision.into()),
            prompt_version,
            quarantined,
        }
    }
}

impl TryFrom<pb::SyntheticExample> for SyntheticExample {
    type Error = DecodeError;

    fn try_from(synthetic: pb::SyntheticExample) -> Result<Self, DecodeError> {
        let pb::SyntheticExample {
            example,
            level,
            rationale,
            votes,
            decision,
            prompt_version,
            quarantined,
        } = synthetic;
        Ok(Self {
            example: required(example, "SyntheticExample", "example")?.into(),
            level,
            rationale,
            votes: try_each(votes)?,
            decision: required(decision, "SyntheticExample", "decision")?.try_into()?,
            prompt_version,
            quarantined,
        })
    }
}

impl From<Prompt> for pb::Prompt {
    fn from(prompt: Prompt) -> Self {
        let Prompt {
            version,
            parent,
            text,
            reason,
            level,
            standing,
            written_by,
        } = prompt;
        let (standing, stage, rejection, examples) = match standing {
            Standing::Seed => (pb::prompt::Standing::Seed, String::new(), String::new(), Vec::new()),
            Standing::Accepted { fixed } => (pb::prompt::Standing::Accepted, String::new(), String::new(), fixed),
            Standing::Rejected { stage, reason, broke } => (pb::prompt::Standing::Rejected, stage, reason, broke),
        };
        Self {
            version,
            parent,
            text,
            reason,
            level,
            standing: standing.into(),
            stage,
            rejection,
            examples,
            written_by: written_by.map(Into::into),
            // The strategy does not know it: whoever reads the journal adds it.
            tried_by: None,
        }
    }
}

impl TryFrom<pb::Prompt> for Prompt {
    type Error = DecodeError;

    fn try_from(prompt: pb::Prompt) -> Result<Self, DecodeError> {
        let pb::Prompt {
            version,
            parent,
            text,
            reason,
            level,
            standing,
            stage,
            rejection,
            examples,
            written_by,
            tried_by: _,
        } = prompt;
        let standing = match known::<pb::prompt::Standing>(standing, "Prompt", "standing")? {
            pb::prompt::Standing::Unspecified => return unspecified("Prompt", "standing"),
            pb::prompt::Standing::Seed => Standing::Seed,
            pb::prompt::Standing::Accepted => Standing::Accepted { fixed: examples },
            pb::prompt::Standing::Rejected => Standing::Rejected {
                stage,
                reason: rejection,
                broke: examples,
            },
        };
        Ok(Self {
            version,
            parent,
            text,
            reason,
            level,
            standing,
            written_by: written_by.map(Into::into),
        })
    }
}
