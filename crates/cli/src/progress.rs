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
    /// The answers that an eval will ask for; none for an optimization, whose levels tell how far it is.
    answers: Option<u64>,
    tenths: u64,
}

/// An eval is told in so many steps.
const STEPS: u64 = 10;

impl RunView {
    /// A view that does not repeat these warnings.
    pub fn without(said: &[String]) -> Self {
        RunView {
            said: said.to_vec(),
            ..RunView::default()
        }
    }

    /// A view of an eval that will ask for so many answers, where that is known.
    pub fn of_answers(mut self, answers: Option<u64>) -> Self {
        self.answers = answers.filter(|&answers| answers > 0);
        self
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
                self.answered().into_iter().collect()
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

    /// How far an eval is, at each tenth of it.
    fn answered(&mut self) -> Option<String> {
        let tenths = self.summary.jobs_done.saturating_mul(STEPS) / self.answers?;
        let told = (self.tenths < tenths && tenths < STEPS).then(|| self.answers_line());
        self.tenths = self.tenths.max(tenths);
        told?
    }

    /// One line on what an eval has asked; none for an optimization.
    pub fn answers_line(&self) -> Option<String> {
        let (done, all) = (self.summary.jobs_done, self.answers?);
        let missing = match self.summary.not_measured {
            0 => String::new(),
            number => format!(", {} not measured", count(number)),
        };
        Some(format!("answers {} of {}{missing}", count(done.min(all)), count(all)))
    }

    /// How far the run is, as steps done and all steps: levels, or answers of an eval.
    pub fn steps(&self) -> (u64, u64) {
        match self.answers {
            Some(all) => (self.summary.jobs_done.min(all), all),
            None => (u64::from(self.summary.level), u64::from(self.summary.levels.max(1))),
        }
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
                let back = matches!(
                    control.kind(),
                    pb::control::Kind::SetBudget | pb::control::Kind::Continue
                );
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
        if let Some(line) = self.answers_line() {
            return line;
        }
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
        if self.answers.is_some() {
            return format!("task {}", output::clean_line(&self.summary.task));
        }
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
mod tests;
