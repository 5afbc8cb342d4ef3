//! What a run came to: a stable JSON shape, a text for a terminal, a page in Markdown, and the files that a run leaves behind.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sipdo_datasets::export::{self, Which};
use sipdo_protocol::pb::{self, decision};

use crate::{
    failure::{Exit, Failure},
    output::{self, clean, clean_line, count, percent, plural},
    progress::{amount_words, prompt_name, state_name},
};

/// Said wherever scores of a simulated model are shown.
pub const SIMULATED: &str = "These are simulated scores: the models were simulated by a program, and the numbers say nothing about real models.";

/// A run's end in the shape of `report.json`. Fields may be added, never renamed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// Its task.
    pub task: String,
    /// Its strategy.
    pub strategy: String,
    /// `finished`, `stopped early`, `ended at its budget`, `cancelled`, `failed`, ...
    pub state: String,
    /// Why it failed; empty where it did not.
    pub failure: String,
    /// True where any result came from a simulated model.
    pub simulated: bool,
    /// Version of the prompt to use.
    pub best_version: u32,
    /// The strategy's best, before any revert to the seed.
    pub found_version: u32,
    /// The seed is kept because nothing better was found.
    pub reverted: bool,
    /// The prompt to use.
    pub prompt: String,
    /// Held-out scores, in the order measured.
    pub arms: Vec<Arm>,
    /// Final against seed (or second prompt against first), where both were measured.
    pub gain: Option<Gain>,
    /// Calls, tokens and cost over all roles.
    pub spent: Spent,
    /// The same by role name.
    pub spent_by_role: BTreeMap<String, Spent>,
    /// Models that produced results, by role name.
    pub models: BTreeMap<String, Vec<String>>,
    /// Synthetic examples by what became of them.
    pub synthetic: Synthetic,
    /// KL(accepted labels ‖ estimated prior) in nats, where labels are closed.
    pub label_kl: Option<f64>,
    /// Results not measured, by reason.
    pub not_measured: BTreeMap<String, u64>,
    /// Attempts lost with their agent, charged at their worst case.
    pub attempts_lost: u32,
    /// Things the user should know.
    pub warnings: Vec<String>,
    /// Seconds from creation to the last entry.
    pub seconds: u64,
}

/// One prompt on the held-out examples.
#[derive(Debug, Clone, Serialize)]
pub struct Arm {
    /// `seed`, `zero-shot-cot`, `final`, or the name given to `sipdo eval`.
    pub name: String,
    /// Fraction right of those measured; none where nothing was.
    pub accuracy: Option<f64>,
    /// 95 % Wilson interval of the accuracy.
    pub interval: Option<(f64, f64)>,
    /// Answered rightly.
    pub right: u32,
    /// Answered wrongly.
    pub wrong: u32,
    /// Not answered.
    pub not_measured: u32,
}

/// A paired difference in accuracy.
#[derive(Debug, Clone, Serialize)]
pub struct Gain {
    /// In -1..=1.
    pub difference: f64,
    /// 95 % interval by paired bootstrap.
    pub interval: (f64, f64),
    /// Exact two-sided McNemar test.
    pub p_value: f64,
    /// Examples that both prompts measured.
    pub pairs: u32,
    /// Right with the second only.
    pub gained: u32,
    /// Right with the first only.
    pub lost: u32,
}

/// What was spent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spent {
    /// Completions.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// US dollars of the calls whose price is known; none where no price is.
    pub usd: Option<f64>,
    /// Calls of unknown price; only known over all roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unpriced_calls: Option<u64>,
}

/// Synthetic examples by what became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Synthetic {
    /// Accepted, and not quarantined later.
    pub accepted: u32,
    /// Rejected by a gate or by votes.
    pub rejected: u32,
    /// Rejections by gate name, or `votes`.
    pub rejected_by: BTreeMap<String, u32>,
    /// A vote could not be had.
    pub set_aside: u32,
    /// Accepted, then set aside after outliving their repairs.
    pub quarantined: u32,
}

impl Report {
    /// The report of a run, ended or not. `simulated` says what the caller knows of the endpoints.
    pub fn of(run: &pb::Run, simulated: bool) -> Self {
        let summary = run.summary.clone().unwrap_or_default();
        let outcome = run.outcome.clone().unwrap_or_default();
        let best = if run.outcome.is_some() {
            outcome.best
        } else {
            summary.prompt_version
        };
        let prompts = if outcome.prompts.is_empty() {
            &run.prompts
        } else {
            &outcome.prompts
        };
        let total = summary.spent.unwrap_or_default();
        let models: BTreeMap<String, Vec<String>> = run
            .model_use
            .iter()
            .map(|(role, used)| (role.clone(), used.models.clone()))
            .collect();
        let simulated = simulated || models.values().flatten().any(|label| label.starts_with("simulator/"));
        Report {
            run: summary.run.clone(),
            task: summary.task.clone(),
            strategy: summary.strategy.clone(),
            state: state_name(summary.state()).into(),
            failure: run.failure.clone(),
            simulated,
            best_version: best,
            found_version: if run.outcome.is_some() { outcome.found } else { best },
            reverted: outcome.reverted,
            prompt: prompts
                .iter()
                .find(|prompt| prompt.version == best)
                .map(|p| p.text.clone())
                .unwrap_or_default(),
            arms: outcome.arms.iter().map(Arm::of).collect(),
            gain: outcome.gain.as_ref().map(Gain::of),
            spent: Spent::of(&total, Some(summary.unpriced_calls)),
            spent_by_role: summary
                .spent_by_role
                .iter()
                .map(|(role, spent)| (role.clone(), Spent::of(spent, None)))
                .collect(),
            models,
            synthetic: Synthetic::of(&outcome.synthetic),
            label_kl: outcome.label_kl,
            not_measured: run
                .not_measured_by_reason
                .iter()
                .map(|(reason, &count)| (reason.clone(), count))
                .collect(),
            attempts_lost: summary.attempts_lost,
            warnings: if outcome.warnings.is_empty() {
                run.warnings.clone()
            } else {
                outcome.warnings
            },
            seconds: summary.updated_ms.saturating_sub(summary.created_ms) / 1000,
        }
    }

    /// The exit code that tells this end to a script.
    pub fn exit(run: &pb::Run) -> Exit {
        match run.summary.as_ref().map(pb::Summary::state) {
            Some(pb::State::BudgetExhausted) => Exit::BudgetExhausted,
            Some(pb::State::Finished | pb::State::Stopped) => match &run.outcome {
                Some(outcome) if outcome.reverted => Exit::NothingBetter,
                _ => Exit::Ok,
            },
            _ => Exit::Failure,
        }
    }

    fn verdict(&self) -> String {
        let found = self.found_version;
        if !self.failure.is_empty() {
            format!("The run failed: {}", clean_line(&self.failure))
        } else if self.state == state_name(pb::State::Cancelled) {
            "The run was cancelled: nothing is concluded.".into()
        } else if self.reverted && found == 0 {
            "Nothing better than the seed prompt was found: it is kept.".into()
        } else if self.reverted {
            format!(
                "Prompt v{found} is not shown to be better than the seed prompt on held-out examples: the seed prompt is kept."
            )
        } else if self.arms.is_empty() {
            format!(
                "Prompt v{} is the best by the run's own history. It was not tested on held-out examples.",
                self.best_version
            )
        } else if self.best_version == 0 {
            "The seed prompt is kept.".into()
        } else {
            format!("Prompt v{} is kept.", self.best_version)
        }
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "\nRun {}: task {}, strategy {}, {} after {}",
            self.run,
            clean_line(&self.task),
            self.strategy,
            self.state,
            output::duration(self.seconds)
        );
        if self.simulated {
            let _ = writeln!(text, "{SIMULATED}");
        }
        let _ = writeln!(text, "{}\n", self.verdict());
        text.push_str(&self.scores());
        let mut facts = output::Table::new(&["", ""]);
        for (name, value) in self.facts() {
            facts.row([name, value]);
        }
        // The headings of this table are empty: their line is left out.
        text.extend(facts.render(false).split_inclusive('\n').skip(1));
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {}", clean_line(warning));
        }
        text
    }

    /// The report of `sipdo eval` for a terminal: scores of the given prompts, and what they cost.
    pub fn eval_text(&self) -> String {
        let mut text = String::new();
        if self.simulated {
            let _ = writeln!(text, "{SIMULATED}");
        }
        if !self.failure.is_empty() {
            let _ = writeln!(text, "The run failed: {}", clean_line(&self.failure));
        }
        text.push_str(&self.scores());
        let _ = writeln!(text, "spent {}, run {}", self.spent.words(), self.run);
        for (reason, number) in &self.not_measured {
            let _ = writeln!(text, "not measured: {reason} {number}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {}", clean_line(warning));
        }
        text
    }

    /// Scores of the arms as a table and the gain in words; empty where nothing was tested.
    pub fn scores(&self) -> String {
        if self.arms.is_empty() {
            return String::new();
        }
        let mut table = output::Table::new(&[
            "held-out test",
            "accuracy",
            "95 % interval",
            "right",
            "wrong",
            "not measured",
        ])
        .right(&[1, 2, 3, 4, 5]);
        for arm in &self.arms {
            table.row(arm.cells());
        }
        let mut text = table.render(output::stdout_color());
        if let Some(gain) = &self.gain {
            let _ = writeln!(text, "{}", gain.words());
        }
        text.push('\n');
        text
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![("spent".to_owned(), self.spent.words())];
        for (role, spent) in &self.spent_by_role {
            let models = self
                .models
                .get(role)
                .map(|models| format!("  {}", models.join(", ")))
                .unwrap_or_default();
            facts.push((format!("  {role}"), format!("{}{models}", spent.words())));
        }
        let examples = &self.synthetic;
        let made = examples.accepted + examples.rejected + examples.set_aside + examples.quarantined;
        if made > 0 {
            let mut words = format!("{} accepted, {} rejected", examples.accepted, examples.rejected);
            if !examples.rejected_by.is_empty() {
                let by: Vec<String> = examples
                    .rejected_by
                    .iter()
                    .map(|(gate, n)| format!("{gate} {n}"))
                    .collect();
                let _ = write!(words, " ({})", by.join(", "));
            }
            let _ = write!(
                words,
                ", {} set aside, {} quarantined",
                examples.set_aside, examples.quarantined
            );
            facts.push(("synthetic examples".into(), words));
        }
        if let Some(kl) = self.label_kl {
            facts.push((
                "label drift".into(),
                format!("KL {kl:.3} nats from the estimated prior"),
            ));
        }
        if !self.not_measured.is_empty() {
            let reasons: Vec<String> = self
                .not_measured
                .iter()
                .map(|(reason, n)| format!("{reason} {n}"))
                .collect();
            facts.push(("not measured".into(), reasons.join(", ")));
        }
        if self.attempts_lost > 0 {
            let words = format!(
                "{} charged at the worst case",
                plural(self.attempts_lost.into(), "attempt")
            );
            facts.push(("lost with an agent".into(), words));
        }
        facts
    }

    /// The report as a page in Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!("# {} by {}\n\n", self.task, self.strategy);
        let _ = writeln!(
            page,
            "Run `{}`, {} after {}.\n",
            self.run,
            self.state,
            output::duration(self.seconds)
        );
        if self.simulated {
            let _ = writeln!(page, "> {SIMULATED}\n");
        }
        let _ = writeln!(page, "**{}**\n", self.verdict());
        if !self.arms.is_empty() {
            page.push_str("| held-out test | accuracy | 95 % interval | right | wrong | not measured |\n|---|--:|--:|--:|--:|--:|\n");
            for arm in &self.arms {
                let _ = writeln!(page, "| {} |", arm.cells().join(" | "));
            }
            if let Some(gain) = &self.gain {
                let _ = writeln!(page, "\n{}", gain.words());
            }
            page.push('\n');
        }
        page.push_str("| | |\n|---|---|\n");
        for (name, value) in self.facts() {
            let _ = writeln!(page, "| {} | {} |", name.trim(), value.replace('|', "\\|"));
        }
        if !self.warnings.is_empty() {
            page.push_str("\n## Warnings\n\n");
            for warning in &self.warnings {
                let _ = writeln!(page, "- {}", clean_line(warning));
            }
        }
        let fence = fence_for(&self.prompt);
        let _ = writeln!(
            page,
            "\n## Prompt v{}\n\n{fence}text\n{}\n{fence}",
            self.best_version,
            clean(&self.prompt)
        );
        page
    }
}

/// A Markdown fence longer than any run of back-ticks in `text`.
fn fence_for(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

impl Arm {
    fn of(arm: &pb::Arm) -> Self {
        let score = arm.score.unwrap_or_default();
        let measured = score.right + score.wrong;
        Arm {
            name: arm.name.clone(),
            accuracy: (measured > 0).then(|| f64::from(score.right) / f64::from(measured)),
            interval: arm.interval.map(|interval| (interval.low, interval.high)),
            right: score.right,
            wrong: score.wrong,
            not_measured: score.not_measured,
        }
    }

    fn cells(&self) -> [String; 6] {
        let interval = self.interval.map_or("-".into(), |(low, high)| {
            format!("{:.1} to {:.1}", low * 100.0, high * 100.0)
        });
        [
            prompt_name(&self.name),
            self.accuracy.map_or("-".into(), percent),
            interval,
            self.right.to_string(),
            self.wrong.to_string(),
            self.not_measured.to_string(),
        ]
    }
}

impl Gain {
    fn of(gain: &pb::Gain) -> Self {
        let interval = gain.interval.unwrap_or_default();
        Gain {
            difference: gain.difference,
            interval: (interval.low, interval.high),
            p_value: gain.p_value,
            pairs: gain.pairs,
            gained: gain.gained,
            lost: gain.lost,
        }
    }

    fn words(&self) -> String {
        let p = if self.p_value < 0.0001 {
            "p < 0.0001".into()
        } else {
            format!("p = {:.4}", self.p_value)
        };
        format!(
            "gain {:+.1} points (95 % {:+.1} to {:+.1}, {p}) on {}: {} gained, {} lost",
            self.difference * 100.0,
            self.interval.0 * 100.0,
            self.interval.1 * 100.0,
            plural(self.pairs.into(), "pair"),
            self.gained,
            self.lost
        )
    }
}

impl Spent {
    fn of(amount: &pb::Amount, unpriced_calls: Option<u64>) -> Self {
        let priced = amount.nano_usd > 0 || (unpriced_calls == Some(0) && amount.calls > 0);
        #[expect(clippy::cast_precision_loss, reason = "money for reading")]
        let usd = priced.then_some(amount.nano_usd as f64 / 1e9);
        Spent {
            calls: amount.calls,
            tokens: amount.tokens,
            usd,
            unpriced_calls,
        }
    }

    fn words(&self) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was made from such a number"
        )]
        let nano_usd = self.usd.map_or(0, |usd| (usd * 1e9).round() as u64);
        let amount = pb::Amount {
            calls: self.calls,
            tokens: self.tokens,
            nano_usd,
        };
        match (self.unpriced_calls, self.usd) {
            (Some(unpriced), _) => amount_words(&amount, unpriced),
            (None, Some(_)) => amount_words(&amount, 0),
            // For one role nobody counts unpriced calls: without a sum there is no price to show.
            (None, None) => format!("{}, {}", plural(self.calls, "call"), plural(self.tokens, "token")),
        }
    }
}

impl Synthetic {
    fn of(examples: &[pb::SyntheticExample]) -> Self {
        let mut counts = Synthetic::default();
        for example in examples {
            let decision = example.decision.clone().unwrap_or_default();
            match decision.kind() {
                decision::Kind::Accepted if example.quarantined => counts.quarantined += 1,
                decision::Kind::Accepted => counts.accepted += 1,
                decision::Kind::Rejected => {
                    counts.rejected += 1;
                    *counts.rejected_by.entry(clean_line(&decision.by)).or_default() += 1;
                }
                decision::Kind::SetAside | decision::Kind::Unspecified => counts.set_aside += 1,
            }
        }
        counts
    }
}

/// The files that a run leaves behind.
#[derive(Debug, Clone, Serialize)]
pub struct Files {
    /// Their folder.
    pub folder: PathBuf,
    /// Names in it.
    pub names: Vec<String>,
}

/// Writes `prompt.txt`, `report.json`, `report.md`, `synthetic.jsonl` and `corrections.jsonl` into `folder`. A run without an
/// outcome leaves only the report and the prompt that it stood on.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_files(run: &pb::Run, report: &Report, folder: &Path) -> Result<Files, Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot write {path}: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut names = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        names.push(name.to_owned());
        std::fs::write(&path, bytes).map_err(failed(&path))
    };
    // The prompt is what a user came for: it is written first, whatever becomes of the rest.
    write("prompt.txt", report.prompt.as_bytes())?;
    let json = serde_json::to_string_pretty(report).map_err(anyhow::Error::from)?;
    write("report.json", (json + "\n").as_bytes())?;
    write("report.md", report.markdown().as_bytes())?;
    if let Some(outcome) = &run.outcome {
        let outcome = sipdo_domain::Outcome::try_from(outcome.clone()).map_err(anyhow::Error::from)?;
        let (mut synthetic, mut corrections) = (Vec::new(), Vec::new());
        export::write_synthetic(&outcome, Which::All, &mut synthetic)?;
        export::write_corrections(&outcome, &mut corrections)?;
        write("synthetic.jsonl", &synthetic)?;
        write("corrections.jsonl", &corrections)?;
    }
    Ok(Files {
        folder: folder.to_owned(),
        names,
    })
}

/// One line for a list of runs: the held-out gain, or what stands there so far.
pub fn summary_gain(summary: &pb::Summary) -> String {
    let accuracy = |score: Option<pb::Score>| {
        let score = score?;
        let measured = score.right + score.wrong;
        (measured > 0).then(|| percent(f64::from(score.right) / f64::from(measured)))
    };
    match (accuracy(summary.seed_score), accuracy(summary.final_score)) {
        (Some(seed), Some(last)) => format!("{seed} → {last}"),
        (Some(seed), None) => seed,
        _ => "-".into(),
    }
}

/// Calls of a summary, for tables.
pub fn summary_calls(summary: &pb::Summary) -> String {
    count(summary.spent.unwrap_or_default().calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(name: &str, right: u32, wrong: u32, not_measured: u32) -> pb::Arm {
        pb::Arm {
            name: name.into(),
            score: Some(pb::Score {
                right,
                wrong,
                not_measured,
            }),
            interval: Some(pb::Interval { low: 0.5, high: 0.75 }),
        }
    }

    fn synthetic(kind: decision::Kind, by: &str, quarantined: bool) -> pb::SyntheticExample {
        pb::SyntheticExample {
            decision: Some(pb::Decision {
                kind: kind.into(),
                by: by.into(),
                reason: String::new(),
            }),
            example: Some(pb::Example::default()),
            quarantined,
            ..Default::default()
        }
    }

    fn run() -> pb::Run {
        pb::Run {
            summary: Some(pb::Summary {
                run: "r1".into(),
                task: "counting".into(),
                strategy: "sipdo".into(),
                state: pb::State::Finished.into(),
                created_ms: 1000,
                updated_ms: 49_500,
                spent: Some(pb::Amount {
                    calls: 1200,
                    tokens: 90_000,
                    nano_usd: 0,
                }),
                unpriced_calls: 1200,
                spent_by_role: [(
                    "learner".to_owned(),
                    pb::Amount {
                        calls: 900,
                        tokens: 50_000,
                        nano_usd: 0,
                    },
                )]
                .into(),
                ..Default::default()
            }),
            outcome: Some(pb::Outcome {
                ending: pb::outcome::Ending::Finished.into(),
                best: 2,
                found: 2,
                prompts: vec![
                    pb::Prompt {
                        version: 0,
                        text: "Count.".into(),
                        standing: pb::prompt::Standing::Seed.into(),
                        ..Default::default()
                    },
                    pb::Prompt {
                        version: 2,
                        standing: pb::prompt::Standing::Accepted.into(),
                        text: "Add the ```quantities```.".into(),
                        ..Default::default()
                    },
                ],
                arms: vec![arm("seed", 60, 40, 0), arm("final", 95, 4, 1)],
                gain: Some(pb::Gain {
                    difference: 0.35,
                    interval: Some(pb::Interval { low: 0.25, high: 0.45 }),
                    p_value: 0.000_001,
                    pairs: 99,
                    gained: 36,
                    lost: 1,
                }),
                synthetic: vec![
                    synthetic(decision::Kind::Accepted, "", false),
                    synthetic(decision::Kind::Accepted, "", true),
                    synthetic(decision::Kind::Rejected, "duplicate", false),
                    synthetic(decision::Kind::SetAside, "votes", false),
                ],
                label_kl: Some(0.01),
                warnings: vec!["checker and verifier use the same model".into()],
                ..Default::default()
            }),
            model_use: [(
                "learner".to_owned(),
                pb::ModelUse {
                    models: vec!["openai/small".into()],
                    ..Default::default()
                },
            )]
            .into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_text_says_scores_gain_cost_and_doubts() {
        let text = Report::of(&run(), false).text();
        for part in [
            "Run r1: task counting, strategy sipdo, finished after 48 s",
            "Prompt v2 is kept.",
            "seed prompt      60.0 %   50.0 to 75.0     60     40             0",
            "final prompt     96.0 %   50.0 to 75.0     95      4             1",
            "gain +35.0 points (95 % +25.0 to +45.0, p < 0.0001) on 99 pairs: 36 gained, 1 lost",
            "1,200 calls, 90,000 tokens, price unknown",
            "900 calls, 50,000 tokens  openai/small",
            "1 accepted, 1 rejected (duplicate 1), 1 set aside, 1 quarantined",
            "KL 0.010 nats",
            "warning: checker and verifier use the same model",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("simulated"));
    }

    #[test]
    fn simulated_scores_are_called_so_even_when_nobody_said_it() {
        let mut run = run();
        run.model_use.insert(
            "checker".into(),
            pb::ModelUse {
                models: vec!["simulator/sim-teacher".into()],
                ..Default::default()
            },
        );
        let report = Report::of(&run, false);
        assert!(report.simulated && report.text().contains(SIMULATED) && report.markdown().contains(SIMULATED));
    }

    #[test]
    fn a_revert_is_exit_code_3_and_said_plainly() {
        let mut run = run();
        if let Some(outcome) = &mut run.outcome {
            outcome.reverted = true;
            outcome.best = 0;
        }
        assert_eq!(Report::exit(&run), Exit::NothingBetter);
        let report = Report::of(&run, false);
        assert_eq!(report.prompt, "Count.");
        assert!(report.text().contains("the seed prompt is kept"), "{}", report.text());
        if let Some(summary) = &mut run.summary {
            summary.state = pb::State::BudgetExhausted.into();
        }
        assert_eq!(Report::exit(&run), Exit::BudgetExhausted);
    }

    #[test]
    fn the_page_fences_a_prompt_that_has_fences() {
        let page = Report::of(&run(), false).markdown();
        assert!(page.contains("````text\nAdd the ```quantities```.\n````"), "{page}");
    }

    #[test]
    fn files_hold_the_prompt_verbatim_and_one_object_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = run();
        let report = Report::of(&run, false);
        let files = write_files(&run, &report, &dir.path().join("out")).unwrap();
        let read = |name: &str| std::fs::read_to_string(files.folder.join(name)).unwrap();
        assert_eq!(read("prompt.txt"), "Add the ```quantities```.");
        assert_eq!(read("synthetic.jsonl").lines().count(), 4);
        assert_eq!(read("corrections.jsonl"), "");
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(json["spent"]["usd"], serde_json::Value::Null);
        assert_eq!(json["arms"][1]["not_measured"], 1);
        assert_eq!(json["gain"]["p_value"], 0.000_001);
    }
}
