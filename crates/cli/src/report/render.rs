//! A report written out: a text for a terminal, a page in Markdown.

use std::fmt::Write as _;

use sipdo_protocol::pb;

use super::{Arm, Gain, Report, SIMULATED, Spent};
use crate::{
    output::{self, clean, clean_line, percent, plural},
    words::{amount_words, p_words, price_words, prompt_name, state_name},
};

impl Report {
    fn verdict(&self) -> String {
        let found = self.found_version;
        if self.state == state_name(pb::State::Cancelled) {
            format!(
                "The run was cancelled without a result. Its last prompt is v{}: `sipdo prompt {}` prints it.",
                self.best_version, self.run
            )
        } else if !self.failure.is_empty() {
            format!("The run failed: {}", clean_line(&self.failure))
        } else if !self.ended {
            format!("The run has not ended; its current prompt is v{}.", self.best_version)
        } else if found == 0 && self.best_version == 0 {
            "No better prompt was found: the seed prompt is kept.".into()
        } else if let (Some(verdict), true) = (self.verdict, found != 0) {
            let kept = match self.reverted {
                true => "The seed prompt is kept; `candidate.txt` has the other one".to_owned(),
                false => format!("Prompt v{found} is kept"),
            };
            let more = match self.more_examples {
                Some(more) => format!(
                    " About {} more would show a gain of this size.",
                    plural(more.into(), "test example")
                ),
                None => String::new(),
            };
            match verdict {
                "better" | "worse" => {
                    format!("Prompt v{found} is {verdict} than the seed prompt on held-out examples. {kept}.")
                }
                _ => format!("Prompt v{found} is {verdict} than the seed prompt on held-out examples. {kept}.{more}"),
            }
        } else if self.reverted {
            format!(
                "Prompt v{found} is not shown to be better than the seed prompt on held-out examples: the seed prompt is kept."
            )
        } else if self.arms.is_empty() {
            format!(
                "Prompt v{} is the best by the run's own history. It was not tested on held-out examples.",
                self.best_version
            )
        } else {
            format!("Prompt v{} is kept.", self.best_version)
        }
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut text = self
            .missing_words()
            .map_or_else(String::new, |words| format!("{words}\n"));
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
        text.push_str(&self.test_text());
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
        let mut text = self
            .missing_words()
            .map_or_else(String::new, |words| format!("{words}\n"));
        if self.simulated {
            let _ = writeln!(text, "{SIMULATED}");
        }
        if !self.failure.is_empty() {
            let _ = writeln!(text, "The run failed: {}", clean_line(&self.failure));
        } else if self.state == state_name(pb::State::Cancelled) {
            let _ = writeln!(text, "The run was cancelled: nothing is measured.");
        }
        text.push_str(&self.scores());
        text.push_str(&self.test_text());
        let _ = writeln!(text, "spent {}, run {}", self.spent.words(), self.run);
        for words in self.reused_answers() {
            let _ = writeln!(text, "reused: {words}");
        }
        if self.lacks_answers() {
            let most = percent(self.most_not_measured);
            let _ = writeln!(
                text,
                "too little was measured: more than {most} of a prompt's answers are missing (--max-not-measured)"
            );
        }
        for gate in &self.gates {
            let _ = writeln!(text, "{}", clean_line(&gate.words()));
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
        if let Some(credits) = self.credits() {
            let _ = writeln!(text, "{credits}");
        }
        if let Some(gain) = &self.gain {
            let _ = writeln!(text, "{}", gain.words());
        }
        text.push('\n');
        text
    }

    /// The mean credit of each arm, where the metric gives one.
    fn credits(&self) -> Option<String> {
        let credits = self.arms.iter().filter_map(|arm| {
            let credit = arm.credit?;
            Some(format!("{} {credit:.3}", prompt_name(&arm.name)))
        });
        let credits: Vec<String> = credits.collect();
        (!credits.is_empty()).then(|| format!("mean credit of an answer, 0 to 1: {}", credits.join(", ")))
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
        facts.extend(
            self.model_changes()
                .into_iter()
                .map(|words| ("model change".to_owned(), words)),
        );
        facts.extend(
            self.reused_answers()
                .into_iter()
                .map(|words| ("reused".to_owned(), words)),
        );
        facts.extend(
            self.authors()
                .map(|words| (format!("prompt v{}", self.best_version), words)),
        );
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
            if let Some(credits) = self.credits() {
                let _ = writeln!(page, "\n{credits}");
            }
            if let Some(gain) = &self.gain {
                let _ = writeln!(page, "\n{}", gain.words());
            }
            page.push('\n');
        }
        for gate in &self.gates {
            let _ = writeln!(page, "**{}**\n", clean_line(&gate.words()));
        }
        page.push_str("| | |\n|---|---|\n");
        for (name, value) in self.facts() {
            let _ = writeln!(page, "| {} | {} |", name.trim(), value.replace('|', "\\|"));
        }
        page.push_str(&self.test_markdown());
        if let Some(table) = self.model_table() {
            let _ = write!(page, "\n## Models\n\n{}", table.markdown());
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
    /// Its cells in a table of scores.
    pub fn cells(&self) -> [String; 6] {
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
    /// In one sentence.
    pub fn words(&self) -> String {
        let by_f1 = self.macro_f1.as_ref().map_or(String::new(), |gain| {
            let points = gain.difference * 100.0;
            format!(
                "; by macro-F1, which decides: {points:+.1} points ({})",
                p_words(gain.p_value)
            )
        });
        let p = p_words(self.p_value);
        format!(
            "gain {:+.1} points (95 % {:+.1} to {:+.1}, {p}) on {}: {} gained, {} lost{by_f1}",
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
    fn words(&self) -> String {
        let (amount, unpriced) = self.amount();
        amount_words(&amount, unpriced)
    }

    /// The price alone.
    pub(super) fn price(&self) -> String {
        let (amount, unpriced) = self.amount();
        price_words(&amount, unpriced)
    }

    /// The amount, and its calls of unknown price.
    fn amount(&self) -> (pb::Amount, u64) {
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
        (amount, self.unpriced_calls)
    }
}

#[cfg(test)]
pub(crate) mod tests;
