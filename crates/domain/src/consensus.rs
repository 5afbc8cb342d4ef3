//! The rule that turns votes into a decision (SIPDO section 4.2: unanimous approval).
//!
//! Three kinds of vote go in, for, against and *not measured*, and the third is neither of the others: it can only leave the
//! decision open.

use crate::vote::{Decision, Rule, Vote, Voter};

/// What the votes come to.
///
/// A program can only veto: its approval is no vote, its refusal decides alone, and while it is silent nothing is accepted.
/// A decision is made as soon as the missing votes could not change it, and [`Decision::SetAside`] otherwise.
pub fn decide(votes: &[Vote], rule: Rule) -> Decision {
    let (programs, voters): (Vec<&Vote>, Vec<&Vote>) = votes.iter().partition(|vote| vote.voter == Voter::Program);
    if let Some(veto) = programs.iter().find(|vote| vote.supports == Ok(false)) {
        return rejected("program", &[veto]);
    }
    let against: Vec<&Vote> = voters
        .iter()
        .copied()
        .filter(|vote| vote.supports == Ok(false))
        .collect();
    let support = voters.iter().filter(|vote| vote.supports == Ok(true)).count();
    let missing = voters.len() - support - against.len();
    let needed = match rule {
        Rule::Unanimous => voters.len(),
        Rule::Majority => voters.len() / 2 + 1,
    };
    if support + missing < needed {
        rejected("votes", &against)
    } else if support < needed || voters.is_empty() || programs.iter().any(|vote| vote.supports.is_err()) {
        set_aside(votes)
    } else {
        Decision::Accepted
    }
}

fn rejected(by: &str, against: &[&Vote]) -> Decision {
    let reasons: Vec<String> = against.iter().map(|vote| opposition(vote)).collect();
    Decision::Rejected {
        by: by.to_owned(),
        reason: reasons.join("; "),
    }
}

fn opposition(vote: &Vote) -> String {
    let mut text = name(vote.voter);
    if !vote.answer.is_empty() {
        text.push_str(&format!(" answers `{}`", vote.answer));
    }
    if !vote.reason.is_empty() {
        text.push_str(": ");
        text.push_str(&vote.reason);
    }
    text
}

fn set_aside(votes: &[Vote]) -> Decision {
    let missing: Vec<String> = votes
        .iter()
        .filter_map(|vote| {
            vote.supports
                .as_ref()
                .err()
                .map(|why| format!("{}: {why}", name(vote.voter)))
        })
        .collect();
    Decision::SetAside {
        reason: if missing.is_empty() {
            "nobody voted".to_owned()
        } else {
            format!("votes not measured: {}", missing.join("; "))
        },
    }
}

fn name(voter: Voter) -> String {
    match voter {
        Voter::Generator => "generator".to_owned(),
        Voter::Checker(0) => "checker".to_owned(),
        Voter::Checker(n) => format!("checker {}", n + 1),
        Voter::Verifier => "verifier".to_owned(),
        Voter::Program => "program".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measured::{NotMeasured, Reason},
        vote::Provenance,
    };
    use proptest::prelude::*;

    fn vote(voter: Voter, supports: Option<bool>) -> Vote {
        Vote {
            voter,
            answer: "4".into(),
            supports: supports.ok_or_else(|| NotMeasured::new(Reason::Timeout, "60 s")),
            reason: String::new(),
            by: Provenance::default(),
        }
    }

    fn three(generator: Option<bool>, checker: Option<bool>, verifier: Option<bool>) -> Vec<Vote> {
        vec![
            vote(Voter::Generator, generator),
            vote(Voter::Checker(0), checker),
            vote(Voter::Verifier, verifier),
        ]
    }

    fn accepted(votes: &[Vote], rule: Rule) -> bool {
        decide(votes, rule) == Decision::Accepted
    }

    fn rejected(votes: &[Vote], rule: Rule) -> bool {
        matches!(decide(votes, rule), Decision::Rejected { .. })
    }

    #[test]
    fn unanimous_needs_all_three() {
        assert!(accepted(&three(Some(true), Some(true), Some(true)), Rule::Unanimous));
        assert!(rejected(&three(Some(true), Some(true), Some(false)), Rule::Unanimous));
        assert!(accepted(&three(Some(true), Some(true), Some(false)), Rule::Majority));
        assert!(rejected(&three(Some(true), Some(false), Some(false)), Rule::Majority));
    }

    #[test]
    fn a_vote_not_measured_neither_accepts_nor_rejects() {
        let open = decide(&three(Some(true), None, Some(true)), Rule::Unanimous);
        assert_eq!(
            open,
            Decision::SetAside {
                reason: "votes not measured: checker: timeout: 60 s".into()
            }
        );
        assert!(
            accepted(&three(Some(true), None, Some(true)), Rule::Majority),
            "cannot change the majority"
        );
        assert!(
            rejected(&three(Some(true), None, Some(false)), Rule::Unanimous),
            "cannot mend the opposition"
        );
        assert!(matches!(decide(&[], Rule::Unanimous), Decision::SetAside { .. }));
    }

    #[test]
    fn a_program_has_a_veto_but_no_vote() {
        let mut votes = three(Some(true), Some(true), Some(true));
        votes.push(vote(Voter::Program, Some(false)));
        assert!(matches!(decide(&votes, Rule::Majority), Decision::Rejected { by, .. } if by == "program"));
        let mut votes = three(Some(true), Some(false), Some(false));
        votes.push(vote(Voter::Program, Some(true)));
        assert!(rejected(&votes, Rule::Majority), "its approval is not a third yes");
        let mut votes = three(Some(true), Some(true), Some(true));
        votes.push(vote(Voter::Program, None));
        assert!(matches!(decide(&votes, Rule::Majority), Decision::SetAside { .. }));
    }

    fn any_vote() -> impl Strategy<Value = Option<bool>> {
        prop_oneof![Just(Some(true)), Just(Some(false)), Just(None)]
    }

    proptest! {
        /// Whatever a missing vote turns out to be, a decision that was made without it stands.
        #[test]
        fn a_missing_vote_cannot_overturn_a_decision(
            votes in prop::collection::vec(any_vote(), 1..6), gap in 0usize..6, filled: bool, majority: bool
        ) {
            let rule = if majority { Rule::Majority } else { Rule::Unanimous };
            let mut votes: Vec<Vote> = votes.into_iter().map(|supports| vote(Voter::Verifier, supports)).collect();
            let gap = gap % votes.len();
            votes[gap] = vote(Voter::Verifier, None);
            let before = decide(&votes, rule);
            votes[gap] = vote(Voter::Verifier, Some(filled));
            let after = decide(&votes, rule);
            match before {
                Decision::Accepted => prop_assert_eq!(after, Decision::Accepted),
                Decision::Rejected { .. } => {
                    let stands = matches!(after, Decision::Rejected { .. });
                    prop_assert!(stands);
                }
                Decision::SetAside { .. } => {}
            }
        }

        /// More support never turns an acceptance away, and what is unanimous is a majority too.
        #[test]
        fn support_is_monotone(votes in prop::collection::vec(any_vote(), 1..6), turned in 0usize..6) {
            let mut votes: Vec<Vote> = votes.into_iter().map(|supports| vote(Voter::Verifier, supports)).collect();
            for rule in [Rule::Unanimous, Rule::Majority] {
                let before = accepted(&votes, rule);
                let turned = turned % votes.len();
                votes[turned] = vote(Voter::Verifier, Some(true));
                prop_assert!(!before || accepted(&votes, rule));
            }
            prop_assert!(!accepted(&votes, Rule::Unanimous) || accepted(&votes, Rule::Majority));
        }
    }
}
