//! A run as it happens: its updates folded into what a person wants to see, one line for each thing told.

use std::collections::BTreeMap;

use sipdo_domain::Role;
use sipdo_protocol::pb::{
    self, Progress, RunUpdate, Summary, log_event::Event as Kind, prompt, run_event::Event as Told, run_update::Update,
};

use crate::{
    output::{self, count, short},
    words::{
        GIST, amount_words, asked, cancel_hint, judged, left_words, listed, mark_words, prompt_name, score_words,
        state_name,
    },
};

/// What is known of a run from the updates so far.
#[derive(Debug, Default)]
pub struct RunView {
    /// Stream sequence of the last update: where a broken stream is taken up again.
    pub sequence: u64,
    /// The last summary.
    pub summary: Summary,
    /// The state at the end, once the run has ended.
    pub ended: Option<pb::State>,
    /// Candidates that were confirmed and accepted.
    pub confirmed: u32,
    /// Candidates that were rejected.
    pub refused: u32,
    in_flight: BTreeMap<String, u32>,
    reserved: pb::Amount,
    /// The last example with its votes, in words.
    pub votes: String,
    epoch: u64,
    level: (u32, u32),
    concluding: bool,
    said: Vec<String>,
}

impl RunView {
    /// A view that does not repeat these warnings.
    pub fn without(said: &[String]) -> Self {
        RunView {
            said: said.to_vec(),
            ..RunView::default()
        }
    }

    /// Takes up an update and returns the lines that tell it.
    pub fn take(&mut self, update: &RunUpdate) -> Vec<String> {
        self.sequence = self.sequence.max(update.sequence);
        match &update.update {
            Some(Update::Entry(entry)) => {
                if let Some(summary) = &entry.summary {
                    self.summary = summary.clone();
                }
                let taken_over = entry.epoch > self.epoch && self.epoch > 0;
                self.epoch = self.epoch.max(entry.epoch);
                let events = entry.events.iter().filter_map(|event| event.event.as_ref());
                events.filter_map(|event| self.event(event, taken_over)).collect()
            }
            Some(Update::Progress(progress)) => {
                self.progress(progress);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if let Some(summary) = &progress.summary {
            self.summary = summary.clone();
        }
        self.in_flight.clone_from(&progress.in_flight_by_role);
        self.reserved = progress.reserved.unwrap_or_default();
    }

    fn event(&mut self, event: &Kind, taken_over: bool) -> Option<String> {
        match event {
            Kind::Created(created) => {
                let task = &self.summary.task;
                Some(format!(
                    "run {} created: task {task}, strategy {}",
                    self.summary.run, created.strategy
                ))
            }
            Kind::Claimed(claimed) => taken_over.then(|| format!("taken over by coordinator {}", claimed.coordinator)),
            Kind::Issued(_) => None,
            Kind::Told(told) => {
                let run_event = told.telling.as_ref()?.event.as_ref()?;
                return match run_event {
                    Told::Warning(text) if self.said.contains(text) => None,
                    run_event => Some(self.describe(run_event)),
                };
            }
            Kind::Exhausted(exhausted) if self.concluding => Some(format!(
                "budget: the cap on {} is reached; the held-out test ends here",
                exhausted.cap
            )),
            Kind::Exhausted(exhausted) => Some(format!(
                "budget: the cap on {} is reached; concluding with the best prompt so far",
                exhausted.cap
            )),
            Kind::Controlled(controlled) => {
                let control = controlled.control.as_ref()?;
                // More budget takes a run up again that had met its cap, and a stop may be taken back.
                let back = matches!(control.kind(), pb::control::Kind::SetBudget | pb::control::Kind::Continue);
                self.concluding &= !back;
                Some(asked(control))
            }
            Kind::Concluding(_) => {
                self.level = (0, 0);
                self.concluding = true;
                Some("concluding: held-out test".into())
            }
            Kind::Ended(ended) => {
                self.ended = Some(ended.state());
                let state = state_name(ended.state());
                let reason = Some(&ended.reason).filter(|reason| !reason.is_empty() && *reason != state);
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                Some(format!("run {state}{reason}"))
            }
            Kind::Waiting(waiting) if waiting.reason.is_empty() => Some("continuing".into()),
            Kind::Waiting(waiting) if self.summary.stopping => {
                let run = &self.summary.run;
                Some(format!("waiting: {}; {}", waiting.reason, cancel_hint(run)))
            }
            Kind::Waiting(waiting) => Some(format!("waiting: {}", waiting.reason)),
        }
        .map(|line| output::clean_line(&line))
    }

    fn describe(&mut self, run_event: &Told) -> String {
        let line = match run_event {
            Told::Scored(scored) => {
                let score = scored.score.unwrap_or_default();
                format!(
                    "{} on {}: {}",
                    prompt_name(&scored.arm),
                    scored.set,
                    score_words(&score)
                )
            }
            Told::LevelBegun(begun) => {
                self.level = (begun.level, begun.of);
                let label = begun
                    .target
                    .as_ref()
                    .map(|target| format!(", label {target}"))
                    .unwrap_or_default();
                format!("begins{label}")
            }
            Told::ExampleJudged(example) => {
                let line = judged(example);
                self.votes.clone_from(&line);
                line
            }
            Told::Challenged(tried) => {
                let answered = mark_words(tried.mark.as_ref(), "right", "wrong");
                format!(
                    "example {} answered with prompt v{}: {answered}",
                    tried.example, tried.version
                )
            }
            Told::ErrorsAnalysed(errors) => {
                let drawn = match errors.recommendation.as_str() {
                    "" => &errors.analysis,
                    recommendation => recommendation,
                };
                let drawn = short(drawn, GIST);
                format!("errors of v{} on {}: {drawn}", errors.version, listed(&errors.examples))
            }
            Told::CandidateJudged(candidate) => self.candidate(candidate),
            Told::Corrected(corrected) => {
                let ids: Vec<String> = corrected
                    .corrections
                    .iter()
                    .map(|entry| entry.example.clone())
                    .collect();
                format!("corrected: {}", listed(&ids))
            }
            Told::ExampleQuarantined(set_aside) => {
                format!(
                    "example {} quarantined: {}",
                    set_aside.example,
                    short(&set_aside.reason, GIST)
                )
            }
            Told::ArmMeasured(arm) => {
                let score = arm.score.unwrap_or_default();
                format!("held-out {}: {}", prompt_name(&arm.name), score_words(&score))
            }
            Told::Warning(text) => format!("warning: {text}"),
        };
        let line = output::clean_line(&line);
        match (run_event, self.level) {
            (Told::Warning(_) | Told::ArmMeasured(_), _) | (_, (0, _)) => line,
            (_, (level, of)) => format!("level {level}/{of}  {line}"),
        }
    }

    fn candidate(&mut self, candidate: &pb::Prompt) -> String {
        let version = candidate.version;
        match candidate.standing() {
            prompt::Standing::Rejected => {
                self.refused += 1;
                let broke = if candidate.examples.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", listed(&candidate.examples))
                };
                let why = short(&candidate.rejection, GIST);
                format!("prompt v{version} rejected at {}: {why}{broke}", candidate.stage)
            }
            _ => {
                self.confirmed += 1;
                format!("prompt v{version} accepted, fixes {}", listed(&candidate.examples))
            }
        }
    }

    /// One line on level and prompt.
    pub fn state_line(&self) -> String {
        let summary = &self.summary;
        let level = if summary.levels > 0 {
            format!("level {}/{}  ·  ", summary.level, summary.levels)
        } else {
            String::new()
        };
        format!("{level}prompt v{}", summary.prompt_version)
    }

    /// One line on what was accepted and rejected.
    pub fn examples_line(&self) -> String {
        format!(
            "examples {} accepted, {} rejected  ·  prompts {} confirmed, {} rejected",
            self.summary.accepted, self.summary.rejected, self.confirmed, self.refused
        )
    }

    /// One line on jobs in flight by role.
    pub fn jobs_line(&self) -> String {
        if !self.summary.waiting.is_empty() {
            return format!("waiting: {}", output::clean_line(&self.summary.waiting));
        }
        let busy: Vec<String> = Role::ALL
            .iter()
            .filter_map(|role| {
                self.in_flight
                    .get(role.name())
                    .filter(|&&jobs| jobs > 0)
                    .map(|jobs| (role, jobs))
            })
            .map(|(role, jobs)| format!("{role} {jobs}"))
            .collect();
        let flying = if busy.is_empty() {
            "none".into()
        } else {
            busy.join(", ")
        };
        format!("jobs done {}  ·  in flight: {flying}", count(self.summary.jobs_done))
    }

    /// One line on what is spent and what is left.
    pub fn budget_line(&self) -> String {
        let spent = self.summary.spent.unwrap_or_default();
        let mut line = format!("spent {}", amount_words(&spent, self.summary.unpriced_calls));
        let left = left_words(&self.summary, &self.reserved);
        if !left.is_empty() {
            line.push_str(&format!("  ·  left {left}"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_protocol::pb::{decision, mark, not_measured, vote};

    fn told(run_event: Told) -> RunUpdate {
        entry(Kind::Told(pb::EventRecorded {
            number: 1,
            telling: Some(pb::RunEvent { event: Some(run_event) }),
            written_by: None,
        }))
    }

    fn entry(event: Kind) -> RunUpdate {
        RunUpdate {
            sequence: 5,
            update: Some(Update::Entry(pb::Entry {
                epoch: 1,
                events: vec![pb::LogEvent { event: Some(event) }],
                ..Default::default()
            })),
        }
    }

    fn ballot(voter: vote::Voter, answer: &str, supports: mark::Mark, reason: &str) -> pb::Vote {
        pb::Vote {
            voter: voter.into(),
            answer: answer.into(),
            supports: Some(pb::Mark { mark: Some(supports) }),
            reason: reason.into(),
            ..Default::default()
        }
    }

    fn example(kind: decision::Kind, by: &str, votes: Vec<pb::Vote>) -> RunUpdate {
        told(Told::ExampleJudged(pb::SyntheticExample {
            example: Some(pb::Example {
                id: "synthetic-7".into(),
                ..Default::default()
            }),
            votes,
            decision: Some(pb::Decision {
                kind: kind.into(),
                by: by.into(),
                reason: "too like train-3".into(),
            }),
            ..Default::default()
        }))
    }

    #[test]
    fn an_example_is_told_with_its_votes_and_its_level() {
        let mut view = RunView::default();
        let begun = told(Told::LevelBegun(pb::LevelBegun {
            level: 3,
            of: 10,
            target: Some("12".into()),
        }));
        assert_eq!(view.take(&begun), ["level 3/10  begins, label 12"]);
        let yes = mark::Mark::Right(true);
        let votes = vec![
            ballot(vote::Voter::Generator, "12", yes.clone(), ""),
            ballot(vote::Voter::Checker, "12", yes.clone(), ""),
            ballot(vote::Voter::Verifier, "12", yes.clone(), ""),
        ];
        assert_eq!(
            view.take(&example(decision::Kind::Accepted, "votes", votes)),
            ["level 3/10  example synthetic-7 accepted: generator 12, checker 12, verifier valid"]
        );
        let lost = mark::Mark::NotMeasured(pb::NotMeasured {
            reason: not_measured::Reason::RateLimited.into(),
            detail: String::new(),
        });
        let votes = vec![
            ballot(vote::Voter::Generator, "12", yes, ""),
            ballot(vote::Voter::Checker, "15", mark::Mark::Right(false), ""),
            ballot(vote::Voter::Verifier, "", lost, ""),
        ];
        assert_eq!(
            view.take(&example(decision::Kind::Rejected, "votes", votes)),
            [
                "level 3/10  example synthetic-7 rejected by votes: generator 12, checker against (15), verifier not measured (rate limited)"
            ]
        );
        assert_eq!(
            view.take(&example(decision::Kind::Rejected, "duplicate", vec![])),
            ["level 3/10  example synthetic-7 rejected by duplicate: too like train-3"]
        );
    }

    #[test]
    fn a_rejected_candidate_names_what_it_broke() {
        let mut view = RunView::default();
        let candidate = told(Told::CandidateJudged(pb::Prompt {
            version: 4,
            standing: prompt::Standing::Rejected.into(),
            stage: "global".into(),
            rejection: "breaks what was right".into(),
            examples: (1..=6).map(|n| format!("train-{n}")).collect(),
            ..Default::default()
        }));
        assert_eq!(
            view.take(&candidate),
            ["prompt v4 rejected at global: breaks what was right (train-1, train-2, train-3 and 3 more)"]
        );
        assert_eq!((view.confirmed, view.refused), (0, 1));
    }

    #[test]
    fn a_warning_that_was_seen_is_not_repeated() {
        let mut view = RunView::without(&["known".to_owned()]);
        assert!(view.take(&told(Told::Warning("known".into()))).is_empty());
        assert_eq!(view.take(&told(Told::Warning("new".into()))), ["warning: new"]);
    }

    #[test]
    fn hostile_text_is_shown_and_not_obeyed() {
        let mut view = RunView::default();
        let lines = view.take(&told(Told::Warning("\u{1b}]0;owned\u{7}\nrm".into())));
        assert_eq!(lines, ["warning: \\u{1b}]0;owned\\u{7} rm"]);
    }

    #[test]
    fn money_says_what_is_left_after_reservations_and_what_has_no_price() {
        let mut view = RunView::default();
        let progress = Progress {
            summary: Some(Summary {
                spent: Some(pb::Amount {
                    calls: 100,
                    tokens: 20_000,
                    nano_usd: 0,
                }),
                unpriced_calls: 100,
                budget: Some(pb::Budget {
                    calls: Some(400),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            reserved: Some(pb::Amount {
                calls: 6,
                ..Default::default()
            }),
            in_flight_by_role: [("learner".to_owned(), 2)].into(),
            ..Default::default()
        };
        let update = RunUpdate {
            sequence: 9,
            update: Some(Update::Progress(progress)),
        };
        assert!(view.take(&update).is_empty());
        assert_eq!(view.sequence, 9);
        assert_eq!(
            view.budget_line(),
            "spent 100 calls, 20,000 tokens, price unknown  ·  left 294 calls"
        );
        assert_eq!(view.jobs_line(), "jobs done 0  ·  in flight: learner 2");
    }

    #[test]
    fn the_end_is_known_with_its_reason() {
        let mut view = RunView::default();
        let lines = view.take(&entry(Kind::Ended(pb::Ended {
            state: pb::State::Failed.into(),
            reason: "the task was lost".into(),
            outcome: None,
        })));
        assert_eq!(lines, ["run failed: the task was lost"]);
        assert_eq!(view.ended, Some(pb::State::Failed));
    }
}
