//! Verify: a synthetic example is kept when its voters agree (SIPDO appendix A1 and section 4.2).
//!
//! Three votes, each by its own role: the generator claims; the checker solves **blind**; the verifier sees question, claim and the
//! checker's working, and judges. A program, where the task has one, can veto and is asked first, as it costs nothing.

use super::{Run, synthesize::claim};
use crate::{
    Agents, Stop,
    examine::{grade, worth_asking_again},
};
use futures::future::join_all;
use sipdo_domain::{
    Ask, CheckRequest, CheckResult, Decision, Example, JudgeRequest, Measured, NotMeasured, Provenance, RunEvent,
    Signed, Solution, SolveRequest, Verdict, VerdictKind, Vote, Voter, ask::FromReply, consensus,
};

/// Longest working of the checker that is passed on and kept, in characters.
const MAX_WORKING_CHARS: usize = 4000;

impl<A: Agents> Run<'_, A> {
    /// Every vote on an example, and what they come to. `review` counts from 0 how often the same example was voted on before, so
    /// that a second vote is a fresh one.
    pub(super) async fn verify(
        &self,
        example: &Example,
        by: &Provenance,
        review: u32,
    ) -> Result<(Vec<Vote>, Decision), Stop> {
        let mut votes = vec![claim(example, by)];
        if let Some(program) = &self.task.gates.program {
            votes.push(self.check(program, example).await?);
            let decision = consensus::decide(&votes, self.options.rule);
            if decision != Decision::Accepted {
                return Ok((votes, decision));
            }
        }
        if !self.options.voters {
            return Ok((votes, Decision::Accepted));
        }
        let solved: Vec<_> = (0..self.options.checkers())
            .map(|checker| self.solve(example, checker, review))
            .collect();
        let solved = join_all(solved).await.into_iter().collect::<Result<Vec<_>, Stop>>()?;
        let working = solved.iter().find_map(|(_, solution)| solution.clone());
        let judged = self.judge_case(example, working, review).await?;
        votes.extend(solved.into_iter().map(|(vote, _)| vote));
        votes.push(judged);
        let decision = consensus::decide(&votes, self.options.rule);
        Ok((votes, decision))
    }

    /// A program's vote.
    async fn check(&self, program: &str, example: &Example) -> Result<Vote, Stop> {
        let ask = Ask::Check(CheckRequest {
            name: program.to_owned(),
            input: example.input.clone(),
            target: example.target.clone(),
            pool: self.options.pool_of(0).to_owned(),
        });
        let checked = self.ask_firmly::<CheckResult>(ask, 0).await?;
        Ok(vote(Voter::Program, checked, |check| {
            (String::new(), Ok(check.passed), check.reason.clone())
        }))
    }

    /// A checker's vote: it supports the claim if its own answer agrees.
    async fn solve(&self, example: &Example, checker: u32, review: u32) -> Result<(Vote, Option<Solution>), Stop> {
        let riddle = Ask::Solve(SolveRequest {
            task: self.task.brief.clone(),
            input: example.input.clone(),
            pool: self.options.pool_of(checker).to_owned(),
        });
        // Two samples a checker and review: the first ask, and the one after a vote that was not measured.
        let sample = 2 * (review * self.options.checkers() + checker);
        let solved = self.ask_firmly::<Solution>(riddle, sample).await?;
        let supports = match &solved {
            Ok(signed) => self.agrees(example, &signed.value.answer, sample).await?,
            Err(why) => Err(why.clone()),
        };
        let solution = solved.as_ref().ok().map(|signed| signed.value.clone());
        let vote = vote(Voter::Checker(checker), solved, |solution| {
            (solution.answer.clone(), supports.clone(), String::new())
        });
        Ok((vote, solution))
    }

    /// The verifier's vote: it supports the claim if it finds it valid, and does not answer otherwise itself.
    async fn judge_case(&self, example: &Example, solution: Option<Solution>, review: u32) -> Result<Vote, Stop> {
        let solution = solution.unwrap_or_else(|| Solution {
            working: String::new(),
            answer: String::new(),
        });
        let case = Ask::Judge(JudgeRequest {
            task: self.task.brief.clone(),
            input: example.input.clone(),
            claim: example.target.clone(),
            working: solution.working.chars().take(MAX_WORKING_CHARS).collect(),
            checked: solution.answer,
        });
        let judged = self.ask_firmly::<Verdict>(case, 2 * review).await?;
        Ok(vote(Voter::Verifier, judged, |opinion| {
            let answer = opinion.answer.trim();
            let contradicts =
                !answer.is_empty() && !self.task.metric.needs_judge() && !self.task.agree(answer, example);
            let verdict = match opinion.verdict {
                VerdictKind::Valid => "valid",
                VerdictKind::WrongLabel => "wrong label",
                VerdictKind::Ambiguous => "ambiguous",
                VerdictKind::Unsolvable => "unsolvable",
            };
            let supports = opinion.verdict == VerdictKind::Valid && !contradicts;
            (
                opinion.answer.clone(),
                Ok(supports),
                format!("{verdict}: {}", opinion.reasons),
            )
        }))
    }

    /// Whether an answer agrees with an example's target: by the metric, or by the verifier where only a model can tell.
    async fn agrees(&self, example: &Example, answer: &str, sample: u32) -> Result<Measured<bool>, Stop> {
        if self.task.metric.needs_judge() {
            let graded = grade(self.agents, self.task, example, answer, sample).await?;
            Ok(graded.map(|signed| signed.value))
        } else {
            Ok(Ok(self.task.agree(answer, example)))
        }
    }

    /// Asks, and once more as the next sample where nothing was measured.
    pub(super) async fn ask_firmly<T: FromReply + Send>(
        &self,
        ask: Ask,
        sample: u32,
    ) -> Result<Measured<Signed<T>>, Stop> {
        match self.agents.ask_for::<T>(ask.clone(), sample).await? {
            Err(why) if worth_asking_again(&why) => self.agents.ask_for(ask, sample + 1).await,
            measured => Ok(measured),
        }
    }

    /// Votes again on examples that keep repairs from succeeding; those that their voters no longer agree on are quarantined, so
    /// that one wrong label cannot block a run. Each example is reviewed once.
    pub(super) async fn review(&mut self, ids: &[String]) -> Result<(), Stop> {
        let doubtful = ids
            .iter()
            .filter(|id| !self.reviewed.contains(*id))
            .filter_map(|id| self.history.synthetic(id));
        let doubtful: Vec<(Example, Provenance)> = doubtful
            .map(|one| {
                (
                    one.example.clone(),
                    one.votes.first().map(|vote| vote.by.clone()).unwrap_or_default(),
                )
            })
            .collect();
        let votes: Vec<_> = doubtful
            .iter()
            .map(|(example, by)| self.verify(example, by, 1))
            .collect();
        let votes = join_all(votes).await.into_iter().collect::<Result<Vec<_>, Stop>>()?;
        for ((example, _), (votes, decision)) in doubtful.into_iter().zip(votes) {
            self.reviewed.insert(example.id.clone());
            if let Some(one) = self
                .history
                .synthetic
                .iter_mut()
                .find(|one| one.example.id == example.id)
            {
                one.votes.extend(votes);
            }
            let doubt = match decision {
                Decision::Accepted if self.options.voters => continue,
                Decision::Accepted => "no repair helps, and there are no voters to confirm its label".to_owned(),
                Decision::Rejected { reason, .. } | Decision::SetAside { reason } => {
                    format!("no repair helps, and a second vote does not confirm its label: {reason}")
                }
            };
            self.quarantine(&example.id, doubt).await?;
        }
        Ok(())
    }

    /// Takes an example out of everything that follows, and says so.
    pub(super) async fn quarantine(&mut self, id: &str, reason: String) -> Result<(), Stop> {
        self.history.set_aside(id);
        let quarantined = RunEvent::ExampleQuarantined {
            example: id.to_owned(),
            reason,
        };
        self.agents.emit(quarantined).await
    }
}

/// A vote out of what was measured, or not.
fn vote<T>(
    voter: Voter,
    measured: Measured<Signed<T>>,
    read: impl FnOnce(&T) -> (String, Result<bool, NotMeasured>, String),
) -> Vote {
    match measured {
        Ok(signed) => {
            let (answer, supports, reason) = read(&signed.value);
            Vote {
                voter,
                answer,
                supports,
                reason: reason.chars().take(MAX_WORKING_CHARS).collect(),
                by: signed.by,
            }
        }
        Err(why) => Vote {
            voter,
            answer: String::new(),
            supports: Err(why),
            reason: String::new(),
            by: Provenance::default(),
        },
    }
}
