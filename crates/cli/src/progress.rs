//! A run as it happens: its updates folded into what a person wants to see, one line for each thing told, and a live picture.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sipdo_domain::Role;
use sipdo_protocol::pb::{
    self, Progress, RunUpdate, Summary, control, decision, event::Event as Kind, mark, not_measured, prompt,
    run_update::Update, telling::Telling as Told, vote,
};

use crate::output::{self, Ink, count, dollars, plural, short};

/// Characters of a prompt's reason, an analysis or an answer in one line.
const GIST: usize = 100;
const ANSWER: usize = 40;

/// What is known of a run from the updates so far.
#[derive(Debug, Default)]
pub struct Story {
    /// Stream sequence of the last update: where a broken stream is taken up again.
    pub sequence: u64,
    /// The last summary.
    pub summary: Summary,
    /// The state at the end, once the run has ended.
    pub ended: Option<pb::State>,
    /// Examples with an accepted correction or confirmation, candidates accepted and rejected.
    pub confirmed: u32,
    /// Candidates that were rejected.
    pub refused: u32,
    in_flight: BTreeMap<String, u32>,
    reserved: pb::Amount,
    votes: String,
    epoch: u64,
    level: (u32, u32),
}

impl Story {
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
                return told
                    .telling
                    .as_ref()?
                    .telling
                    .as_ref()
                    .map(|telling| self.tell(telling));
            }
            Kind::Exhausted(exhausted) => Some(format!(
                "budget: the cap on {} is met, concluding with the best so far",
                exhausted.cap
            )),
            Kind::Controlled(controlled) => controlled.control.as_ref().map(asked),
            Kind::Concluding(_) => {
                self.level = (0, 0);
                Some("concluding: held-out test".into())
            }
            Kind::Ended(ended) => {
                self.ended = Some(ended.state());
                let reason = if ended.reason.is_empty() {
                    String::new()
                } else {
                    format!(": {}", ended.reason)
                };
                Some(format!("run {}{reason}", state_name(ended.state())))
            }
            Kind::Waiting(waiting) if waiting.reason.is_empty() => Some("going on".into()),
            Kind::Waiting(waiting) => Some(format!("waiting: {}", waiting.reason)),
        }
        .map(|line| output::clean_line(&line))
    }

    fn tell(&mut self, telling: &Told) -> String {
        let line = match telling {
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
                let recommended = short(&errors.recommendation, GIST);
                format!(
                    "errors of v{} on {}: {recommended}",
                    errors.version,
                    listed(&errors.examples)
                )
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
        match (telling, self.level) {
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

    /// One line on level, prompt and examples.
    pub fn standing(&self) -> String {
        let summary = &self.summary;
        let mut parts = Vec::new();
        if summary.levels > 0 {
            parts.push(format!("level {}/{}", summary.level, summary.levels));
        }
        parts.push(format!("prompt v{}", summary.prompt_version));
        parts.push(format!(
            "examples {} accepted, {} rejected",
            summary.accepted, summary.rejected
        ));
        parts.push(format!(
            "candidates {} confirmed, {} rejected",
            self.confirmed, self.refused
        ));
        parts.join("  ·  ")
    }

    /// One line on jobs in flight by role.
    pub fn flight(&self) -> String {
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
    pub fn money(&self) -> String {
        let spent = self.summary.spent.unwrap_or_default();
        let mut line = format!("spent {}", amount_words(&spent, self.summary.unpriced_calls));
        let left = left_words(&self.summary, &self.reserved);
        if !left.is_empty() {
            line.push_str(&format!("  ·  left {left}"));
        }
        line
    }
}

/// Shows a run as it goes: a live picture on a terminal, a line for each thing told elsewhere, JSON for programs.
pub enum Display {
    /// One JSON object for each update.
    Json,
    /// Plain lines.
    Plain,
    /// A picture of four lines below the story.
    Live(Box<Picture>),
}

/// The live picture: bar, votes, jobs, money.
pub struct Picture {
    all: MultiProgress,
    level: ProgressBar,
    votes: ProgressBar,
    jobs: ProgressBar,
    money: ProgressBar,
}

impl Display {
    /// What suits this process's output.
    pub fn suited() -> Self {
        if output::json() {
            Display::Json
        } else if output::animated() {
            Display::Live(Box::new(Picture::new()))
        } else {
            Display::Plain
        }
    }

    /// Shows an update that the story has just taken up.
    ///
    /// # Errors
    /// Stdout cannot be written (JSON only).
    pub fn show(&self, story: &Story, update: &RunUpdate, lines: &[String]) -> Result<(), crate::failure::Failure> {
        match self {
            Display::Json => return output::json_line(&crate::json::message("RunUpdate", update)?),
            Display::Plain => lines.iter().for_each(|line| output::note(line)),
            Display::Live(picture) => picture.show(story, lines),
        }
        Ok(())
    }

    /// Says something between updates without tearing the picture.
    pub fn say(&self, text: &str) {
        match self {
            // A picture whose terminal has gone has nobody to tell.
            Display::Live(picture) => drop(picture.all.println(text)),
            _ => output::note(text),
        }
    }

    /// Takes the picture away: what comes next is the report.
    pub fn close(&self) {
        if let Display::Live(picture) = self {
            drop(picture.all.clear());
        }
    }
}

impl Picture {
    fn new() -> Self {
        let all = MultiProgress::new();
        // The templates are constants: a mistake in them would show as a plain line, never as a failure.
        let plain =
            || ProgressStyle::with_template("  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressStyle::with_template("{spinner} [{bar:20}] {wide_msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let line = || all.add(ProgressBar::new_spinner().with_style(plain()));
        let level = all.add(ProgressBar::new(1).with_style(bar));
        level.enable_steady_tick(Duration::from_millis(200));
        let (votes, jobs, money) = (line(), line(), line());
        Picture {
            level,
            votes,
            jobs,
            money,
            all,
        }
    }

    fn show(&self, story: &Story, lines: &[String]) {
        let color = output::stderr_color();
        for line in lines {
            drop(self.all.println(tint(line, color)));
        }
        self.level.set_length(u64::from(story.summary.levels.max(1)));
        self.level.set_position(u64::from(story.summary.level));
        self.level.set_message(story.standing());
        self.votes.set_message(story.votes.clone());
        self.jobs.set_message(story.flight());
        self.money.set_message(story.money());
    }
}

fn tint(line: &str, color: bool) -> String {
    let ink = if line.contains("warning:") || line.starts_with("waiting:") {
        Ink::Yellow
    } else if line.contains(" rejected") || line.contains(": wrong") || line.contains("quarantined") {
        Ink::Dim
    } else if line.contains(" accepted, fixes") {
        Ink::Green
    } else {
        return line.to_owned();
    };
    ink.paint(line, color)
}

/// A state in words.
pub fn state_name(state: pb::State) -> &'static str {
    match state {
        pb::State::Unspecified => "unknown",
        pb::State::Pending => "pending",
        pb::State::Running => "running",
        pb::State::Paused => "paused",
        pb::State::Finished => "finished",
        pb::State::BudgetExhausted => "ended at its budget",
        pb::State::Stopped => "stopped early",
        pb::State::Cancelled => "cancelled",
        pb::State::Failed => "failed",
    }
}

/// Whether a run in this state will never go on.
pub fn is_over(state: pb::State) -> bool {
    use pb::State::{BudgetExhausted, Cancelled, Failed, Finished, Stopped};
    matches!(state, Finished | BudgetExhausted | Stopped | Cancelled | Failed)
}

/// The arms' names in words: `seed` is `seed prompt`.
pub fn prompt_name(arm: &str) -> String {
    match arm {
        "seed" => "seed prompt".into(),
        "zero-shot-cot" => "zero-shot chain of thought".into(),
        "final" => "final prompt".into(),
        version if !version.is_empty() && version.chars().all(|c| c.is_ascii_digit()) => format!("prompt v{version}"),
        other => other.to_owned(),
    }
}

/// An amount with its price said, or said to be unknown.
pub fn amount_words(amount: &pb::Amount, unpriced_calls: u64) -> String {
    let price = match (amount.calls, unpriced_calls) {
        (0, 0) => dollars(amount.nano_usd),
        (calls, unpriced) if unpriced >= calls => "price unknown".into(),
        (_, 0) => dollars(amount.nano_usd),
        (_, unpriced) => format!(
            "{} and {} of unknown price",
            dollars(amount.nano_usd),
            plural(unpriced, "call")
        ),
    };
    format!(
        "{}, {}, {price}",
        plural(amount.calls, "call"),
        plural(amount.tokens, "token")
    )
}

fn left_words(summary: &Summary, reserved: &pb::Amount) -> String {
    let budget = summary.budget.unwrap_or_default();
    let spent = summary.spent.unwrap_or_default();
    let left = |cap: u64, spent: u64, reserved: u64| cap.saturating_sub(spent).saturating_sub(reserved);
    let mut parts = Vec::new();
    if let Some(cap) = budget.calls {
        parts.push(plural(left(cap, spent.calls, reserved.calls), "call"));
    }
    if let Some(cap) = budget.tokens {
        parts.push(plural(left(cap, spent.tokens, reserved.tokens), "token"));
    }
    if let Some(cap) = budget.nano_usd {
        parts.push(dollars(left(cap, spent.nano_usd, reserved.nano_usd)));
    }
    if let Some(cap) = budget.seconds {
        let gone = summary.updated_ms.saturating_sub(summary.created_ms) / 1000;
        parts.push(output::duration(cap.saturating_sub(gone)));
    }
    parts.join(", ")
}

fn asked(control: &pb::Control) -> String {
    let what = match control.kind() {
        control::Kind::Unspecified => "something unknown",
        control::Kind::Cancel => "cancel",
        control::Kind::Stop => "stop early and keep the best",
        control::Kind::Pause => "pause",
        control::Kind::Resume => "go on",
        control::Kind::SetBudget => "a new budget",
    };
    if control.by.is_empty() {
        format!("asked: {what}")
    } else {
        format!("asked by {}: {what}", control.by)
    }
}

fn judged(example: &pb::SyntheticExample) -> String {
    let id = example
        .example
        .as_ref()
        .map(|inner| inner.id.as_str())
        .unwrap_or_default();
    let decision = example.decision.clone().unwrap_or_default();
    let votes: Vec<String> = example.votes.iter().map(vote_words).collect();
    let votes = votes.join(", ");
    match decision.kind() {
        decision::Kind::Accepted => format!("example {id} accepted: {votes}"),
        decision::Kind::Rejected if decision.by == "votes" => format!("example {id} rejected by votes: {votes}"),
        decision::Kind::Rejected => {
            format!(
                "example {id} rejected by {}: {}",
                decision.by,
                short(&decision.reason, GIST)
            )
        }
        decision::Kind::SetAside | decision::Kind::Unspecified => {
            format!("example {id} set aside: {}", short(&decision.reason, GIST))
        }
    }
}

fn vote_words(vote: &pb::Vote) -> String {
    let who = match vote.voter() {
        vote::Voter::Generator => "generator".to_owned(),
        vote::Voter::Checker if vote.checker > 0 => format!("checker {}", vote.checker + 1),
        vote::Voter::Checker => "checker".into(),
        vote::Voter::Verifier => "verifier".into(),
        vote::Voter::Program => "program".into(),
        vote::Voter::Unspecified => "voter".into(),
    };
    let answer = short(&vote.answer, ANSWER);
    let yes = matches!(vote.voter(), vote::Voter::Verifier | vote::Voter::Program);
    match vote.supports.as_ref().and_then(|mark| mark.mark.as_ref()) {
        Some(mark::Mark::Right(true)) if yes => format!("{who} valid"),
        Some(mark::Mark::Right(true)) => format!("{who} {answer}"),
        Some(mark::Mark::Right(false)) if yes => format!("{who} against ({})", short(&vote.reason, ANSWER)),
        Some(mark::Mark::Right(false)) => format!("{who} against ({answer})"),
        Some(mark::Mark::NotMeasured(lost)) => format!("{who} not measured ({})", reason_name(lost.reason())),
        None => format!("{who} silent"),
    }
}

fn mark_words(mark: Option<&pb::Mark>, right: &str, wrong: &str) -> String {
    match mark.and_then(|mark| mark.mark.as_ref()) {
        Some(mark::Mark::Right(true)) => right.into(),
        Some(mark::Mark::Right(false)) => wrong.into(),
        Some(mark::Mark::NotMeasured(lost)) => {
            format!(
                "not measured ({}: {})",
                reason_name(lost.reason()),
                short(&lost.detail, GIST)
            )
        }
        None => "not measured".into(),
    }
}

fn reason_name(reason: not_measured::Reason) -> String {
    reason
        .as_str_name()
        .trim_start_matches("REASON_")
        .replace('_', " ")
        .to_lowercase()
}

/// Counts and accuracy in words.
pub fn score_words(score: &pb::Score) -> String {
    let measured = score.right + score.wrong;
    let accuracy = if measured == 0 {
        "nothing measured".to_owned()
    } else {
        output::percent(f64::from(score.right) / f64::from(measured))
    };
    format!(
        "{accuracy} ({} right, {} wrong, {} not measured)",
        score.right, score.wrong, score.not_measured
    )
}

/// The first few of a list, and how many more.
fn listed(ids: &[String]) -> String {
    match ids {
        [] => "nothing".into(),
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(telling: Told) -> RunUpdate {
        entry(Kind::Told(pb::Told {
            number: 1,
            telling: Some(pb::Telling { telling: Some(telling) }),
        }))
    }

    fn entry(event: Kind) -> RunUpdate {
        RunUpdate {
            sequence: 5,
            update: Some(Update::Entry(pb::Entry {
                epoch: 1,
                events: vec![pb::Event { event: Some(event) }],
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
        let mut story = Story::default();
        let begun = told(Told::LevelBegun(pb::LevelBegun {
            level: 3,
            of: 10,
            target: Some("12".into()),
        }));
        assert_eq!(story.take(&begun), ["level 3/10  begins, label 12"]);
        let yes = mark::Mark::Right(true);
        let votes = vec![
            ballot(vote::Voter::Generator, "12", yes.clone(), ""),
            ballot(vote::Voter::Checker, "12", yes.clone(), ""),
            ballot(vote::Voter::Verifier, "12", yes.clone(), ""),
        ];
        assert_eq!(
            story.take(&example(decision::Kind::Accepted, "votes", votes)),
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
            story.take(&example(decision::Kind::Rejected, "votes", votes)),
            [
                "level 3/10  example synthetic-7 rejected by votes: generator 12, checker against (15), verifier not measured (rate limited)"
            ]
        );
        assert_eq!(
            story.take(&example(decision::Kind::Rejected, "duplicate", vec![])),
            ["level 3/10  example synthetic-7 rejected by duplicate: too like train-3"]
        );
    }

    #[test]
    fn a_rejected_candidate_names_what_it_broke() {
        let mut story = Story::default();
        let candidate = told(Told::CandidateJudged(pb::Prompt {
            version: 4,
            standing: prompt::Standing::Rejected.into(),
            stage: "global".into(),
            rejection: "breaks what was right".into(),
            examples: (1..=6).map(|n| format!("train-{n}")).collect(),
            ..Default::default()
        }));
        assert_eq!(
            story.take(&candidate),
            ["prompt v4 rejected at global: breaks what was right (train-1, train-2, train-3 and 3 more)"]
        );
        assert_eq!((story.confirmed, story.refused), (0, 1));
    }

    #[test]
    fn hostile_text_is_shown_and_not_obeyed() {
        let mut story = Story::default();
        let lines = story.take(&told(Told::Warning("\u{1b}]0;owned\u{7}\nrm".into())));
        assert_eq!(lines, ["warning: \\u{1b}]0;owned\\u{7} rm"]);
    }

    #[test]
    fn money_says_what_is_left_after_reservations_and_what_has_no_price() {
        let mut story = Story::default();
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
        assert!(story.take(&update).is_empty());
        assert_eq!(story.sequence, 9);
        assert_eq!(
            story.money(),
            "spent 100 calls, 20,000 tokens, price unknown  ·  left 294 calls"
        );
        assert_eq!(story.flight(), "jobs done 0  ·  in flight: learner 2");
    }

    #[test]
    fn the_end_is_known_with_its_reason() {
        let mut story = Story::default();
        let lines = story.take(&entry(Kind::Ended(pb::Ended {
            state: pb::State::Failed.into(),
            reason: "the task was lost".into(),
            outcome: None,
        })));
        assert_eq!(lines, ["run failed: the task was lost"]);
        assert_eq!(story.ended, Some(pb::State::Failed));
    }
}
