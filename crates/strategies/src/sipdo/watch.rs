//! Watches a curriculum for what makes it pointless: rounds without an example, roles whose answers are never measured, voters that never
//! dissent. Counts only; nothing is asked.

use sipdo_domain::{Decision, NotMeasured, Role, Vote, Voter};
use std::collections::BTreeMap;

/// Answers of a role after which it is known to give nothing, if none of them was measured. Fewer may be chance.
const LEAST_ANSWERS: u32 = 4;

/// Votes after which a voter is known never to dissent. Where one draft in seven is wrong, 20 drafts are all right in one run of 20.
const LEAST_VOTES: u32 = 20;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    answers: BTreeMap<Role, Answers>,
    votes: BTreeMap<&'static str, Votes>,
    /// Rounds in a row without an accepted example.
    empty_rounds: u32,
    /// Why drafts of these rounds were not accepted, and how many of them.
    causes: BTreeMap<String, u32>,
    /// Why the last one was not.
    last: String,
}

/// Answers of one role.
#[derive(Debug, Default)]
struct Answers {
    measured: bool,
    unmeasured: u32,
    last: Option<NotMeasured>,
}

/// Votes of one voter that were measured.
#[derive(Debug, Default)]
struct Votes {
    all: u32,
    dissented: bool,
}

impl Watch {
    /// A role has answered, or could not be measured.
    pub fn answered(&mut self, role: Role, unmeasured: Option<&NotMeasured>) {
        let answers = self.answers.entry(role).or_default();
        match unmeasured {
            None => answers.measured = true,
            Some(why) => {
                answers.unmeasured += 1;
                answers.last = Some(why.clone());
            }
        }
    }

    /// The generator gave no draft.
    pub fn no_draft(&mut self, why: &NotMeasured) {
        self.answered(Role::Generator, Some(why));
        self.blame("the generator gave no draft".to_owned(), why.to_string());
    }

    /// A draft was judged.
    pub fn judged(&mut self, votes: &[Vote], decision: &Decision) {
        self.answered(Role::Generator, None);
        for vote in votes {
            self.voted(vote);
        }
        match decision {
            Decision::Accepted => {}
            Decision::Rejected { by, reason } => self.blame(rejection(by, votes), reason.clone()),
            Decision::SetAside { reason } => {
                let missing = votes.iter().find(|vote| vote.supports.is_err());
                let voter = missing.map_or("voters", |vote| name(vote.voter));
                self.blame(format!("votes of the {voter} were not measured"), reason.clone());
            }
        }
    }

    fn voted(&mut self, vote: &Vote) {
        let unmeasured = vote.supports.as_ref().err();
        match vote.voter {
            Voter::Generator | Voter::Program => return,
            Voter::Verifier => self.answered(Role::Verifier, unmeasured),
            // An answer that nobody could compare with the claim: the verifier compares where only a model can.
            Voter::Checker(_) if unmeasured.is_some() && !vote.answer.is_empty() => {
                self.answered(Role::Checker, None);
                self.answered(Role::Verifier, unmeasured);
            }
            Voter::Checker(_) => self.answered(Role::Checker, unmeasured),
        }
        if let Ok(supports) = vote.supports {
            let votes = self.votes.entry(name(vote.voter)).or_default();
            votes.all += 1;
            votes.dissented |= !supports;
        }
    }

    fn blame(&mut self, cause: String, reason: String) {
        *self.causes.entry(cause).or_default() += 1;
        self.last = reason;
    }

    /// A round has ended, with or without an accepted example.
    pub fn round_ended(&mut self, accepted: bool) {
        self.empty_rounds += 1;
        if accepted {
            self.empty_rounds = 0;
            self.causes.clear();
        }
    }

    /// Why no further round can help, if a role gives nothing: it has answered at least [`LEAST_ANSWERS`] times, and none of its answers
    /// was measured.
    pub fn useless_role(&self) -> Option<String> {
        let useless = |answers: &Answers| !answers.measured && answers.unmeasured >= LEAST_ANSWERS;
        let (role, answers) = self.answers.iter().find(|(_, answers)| useless(answers))?;
        let why = answers.last.as_ref()?;
        Some(format!(
            "the {role}'s answers were never measured ({}): {}",
            why.reason.name(),
            why.detail
        ))
    }

    /// Why no further round is tried, if `most` rounds in a row gave no example; 0 rounds are never reached.
    pub fn too_many_empty_rounds(&self, most: u32) -> Option<String> {
        if most == 0 || self.empty_rounds < most {
            return None;
        }
        let drafts: u32 = self.causes.values().sum();
        let (cause, times) = self.causes.iter().max_by_key(|(_, times)| **times)?;
        Some(format!(
            "{} gave no example: {cause} ({times} of {drafts} drafts). The last reason: {}",
            match self.empty_rounds {
                1 => "1 level".to_owned(),
                many => format!("{many} levels in a row"),
            },
            self.last
        ))
    }

    /// Names the voters that supported each draft that they voted on, if they are known by [`LEAST_VOTES`] votes.
    pub fn silent_voters(&self) -> Option<String> {
        let silent = |votes: &Votes| !votes.dissented && votes.all >= LEAST_VOTES;
        let named: Vec<String> = self
            .votes
            .iter()
            .filter(|(_, votes)| silent(votes))
            .map(|(voter, votes)| format!("the {voter} supported each of {} drafts", votes.all))
            .collect();
        (!named.is_empty()).then(|| {
            format!(
                "{}: this run does not show that a wrong draft would be noticed (a run with the option `label_noise` shows it)",
                named.join(", ")
            )
        })
    }
}

/// Who is to blame for a rejected draft: a voter that stands alone, or the generator whose claim all the others reject.
fn rejection(by: &str, votes: &[Vote]) -> String {
    if by == "program" {
        return "the program rejected the generator's drafts".to_owned();
    }
    if by != "votes" {
        return format!("the gate `{by}` refused the generator's drafts");
    }
    let others = votes.iter().filter(|vote| vote.voter != Voter::Generator);
    let (against, supporting): (Vec<&Vote>, Vec<&Vote>) = others
        .filter(|vote| vote.supports.is_ok())
        .partition(|vote| vote.supports == Ok(false));
    match against.as_slice() {
        [alone] if !supporting.is_empty() => format!("the {} alone rejected the drafts", name(alone.voter)),
        _ => "the other voters rejected the generator's claims".to_owned(),
    }
}

fn name(voter: Voter) -> &'static str {
    match voter {
        Voter::Generator => "generator",
        Voter::Checker(_) => "checker",
        Voter::Verifier => "verifier",
        Voter::Program => "program",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::{Provenance, Reason};

    fn vote(voter: Voter, supports: Option<bool>) -> Vote {
        Vote {
            voter,
            answer: String::new(),
            supports: supports.ok_or_else(|| NotMeasured::new(Reason::Malformed, "no JSON")),
            reason: String::new(),
            by: Provenance::default(),
        }
    }

    fn votes(checker: Option<bool>, verifier: Option<bool>) -> Vec<Vote> {
        vec![
            vote(Voter::Generator, Some(true)),
            vote(Voter::Checker(0), checker),
            vote(Voter::Verifier, verifier),
        ]
    }

    fn rejected(by: &str) -> Decision {
        Decision::Rejected {
            by: by.into(),
            reason: "words".into(),
        }
    }

    #[test]
    fn a_role_is_useless_after_four_answers_none_of_which_is_measured() {
        let mut watch = Watch::default();
        let aside = Decision::SetAside { reason: "words".into() };
        for _ in 0..3 {
            watch.judged(&votes(None, Some(true)), &aside);
            assert_eq!(watch.useless_role(), None);
        }
        watch.judged(&votes(None, Some(true)), &aside);
        let why = watch.useless_role().unwrap();
        assert!(
            why.starts_with("the checker's answers were never measured (malformed): no JSON"),
            "{why}"
        );
        watch.judged(&votes(Some(false), Some(true)), &rejected("votes"));
        assert_eq!(watch.useless_role(), None, "one measured answer is enough");
    }

    #[test]
    fn empty_rounds_in_a_row_name_the_most_frequent_cause() {
        let cases = [
            (
                votes(Some(true), Some(false)),
                rejected("votes"),
                "the verifier alone rejected the drafts",
            ),
            (
                votes(Some(false), Some(false)),
                rejected("votes"),
                "the other voters rejected the generator's claims",
            ),
            (
                votes(None, Some(true)),
                Decision::SetAside { reason: "words".into() },
                "votes of the checker were not measured",
            ),
            (
                votes(None, None),
                rejected("length"),
                "the gate `length` refused the generator's drafts",
            ),
        ];
        for (votes, decision, cause) in cases {
            let mut watch = Watch::default();
            watch.no_draft(&NotMeasured::new(Reason::Timeout, "60 s"));
            watch.judged(&votes, &decision);
            watch.judged(&votes, &decision);
            watch.round_ended(false);
            assert_eq!(watch.too_many_empty_rounds(2), None);
            watch.round_ended(false);
            assert_eq!(watch.too_many_empty_rounds(0), None, "0 is never");
            let why = watch.too_many_empty_rounds(2).unwrap();
            let wanted = format!("2 levels in a row gave no example: {cause} (2 of 3 drafts). The last reason: words");
            assert_eq!(why, wanted);
            watch.round_ended(true);
            watch.round_ended(false);
            assert_eq!(watch.too_many_empty_rounds(2), None, "not in a row");
        }
    }

    #[test]
    fn a_voter_is_named_if_twenty_votes_hold_no_dissent() {
        let mut watch = Watch::default();
        for _ in 0..19 {
            watch.judged(&votes(Some(true), Some(true)), &Decision::Accepted);
        }
        assert_eq!(watch.silent_voters(), None);
        watch.judged(&votes(Some(false), Some(true)), &rejected("votes"));
        let why = watch.silent_voters().unwrap();
        assert!(why.starts_with("the verifier supported each of 20 drafts: "), "{why}");
    }
}
