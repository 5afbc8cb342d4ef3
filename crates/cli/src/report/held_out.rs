//! What the answers of the held-out test add to a report: what was not measured, and how each label did.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::{
    held_out::{HeldOut, labels::Labels, repeats::Repeats},
    output::{self, clean, clean_line, plural},
    words::prompt_name,
};

/// Answers that a report lists in words; `report.json` and `heldout.jsonl` have them all.
const LISTED: usize = 10;

/// A held-out answer that was asked for and not measured.
#[derive(Debug, Clone, Serialize)]
pub struct Unmeasured {
    /// The example's id.
    pub example: String,
    /// The arm.
    pub arm: String,
    /// Why, as `timeout: 60 s`.
    pub reason: String,
}

impl Report {
    /// The report with what the answers of the test say.
    #[must_use]
    pub fn with_test(mut self, test: &HeldOut) -> Self {
        let missing = test.not_measured().map(|(example, arm, reason)| Unmeasured {
            example: example.to_owned(),
            arm: arm.to_owned(),
            reason: reason.to_owned(),
        });
        self.unmeasured = missing.collect();
        self.labels = Labels::of(test);
        self.repeats = Repeats::of(test);
        self
    }

    /// Whether a prompt has more answers that are not measured than are allowed.
    pub fn lacks_answers(&self) -> bool {
        self.arms.iter().any(|arm| {
            let all = arm.right + arm.wrong + arm.not_measured;
            all > 0 && f64::from(arm.not_measured) > self.most_not_measured * f64::from(all)
        })
    }

    /// What was not measured, in one line with an example of each reason; none where everything was.
    pub(super) fn missing_words(&self) -> Option<String> {
        if self.not_measured.is_empty() {
            return None;
        }
        let all: u64 = self.not_measured.values().sum();
        let reasons = self.not_measured.iter().map(|(reason, number)| {
            let example = self
                .unmeasured
                .iter()
                .find(|missing| missing.reason.starts_with(reason.as_str()));
            let example = example.map(|missing| {
                format!(
                    " (such as {}: {})",
                    missing.example,
                    output::short(&missing.reason, 160)
                )
            });
            format!("{number} {reason}{}", example.unwrap_or_default())
        });
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        Some(clean_line(&format!(
            "Not measured: {}. {reasons}",
            plural(all, "answer")
        )))
    }

    /// Labels and unmeasured answers for a terminal; empty where there are none.
    pub(super) fn test_text(&self) -> String {
        let mut text = String::new();
        if let Some(repeats) = &self.repeats {
            let _ = writeln!(text, "{}", repeats.table().render(output::stdout_color()));
        }
        for (heading, table) in self.labels.iter().flat_map(Labels::tables) {
            let _ = writeln!(
                text,
                "{}\n{}",
                clean_line(&heading),
                table.render(output::stdout_color())
            );
        }
        if let Some(words) = self.labels.as_ref().and_then(Labels::majority_words) {
            let _ = writeln!(text, "{}\n", clean_line(&words));
        }
        let missing = self.missing_lines();
        if !missing.is_empty() {
            let _ = writeln!(text, "{}\n", clean(&missing.join("\n")));
        }
        text
    }

    /// The same in Markdown.
    pub(super) fn test_markdown(&self) -> String {
        let mut page = String::new();
        if let Some(repeats) = &self.repeats {
            let _ = write!(page, "\n## Repeats\n\n{}", repeats.table().markdown());
        }
        if let Some(labels) = &self.labels {
            page.push_str("\n## Labels\n");
            for (heading, table) in labels.tables() {
                let _ = write!(page, "\n{}:\n\n{}", clean_line(&heading), table.markdown());
            }
            if let Some(words) = labels.majority_words() {
                let _ = writeln!(page, "\n{}", clean_line(&words));
            }
        }
        let missing = self.missing_lines();
        if let Some((head, rest)) = missing.split_first() {
            let _ = writeln!(page, "\n## Not measured\n\n{}\n", clean_line(head));
            for line in rest {
                let _ = writeln!(page, "- {}", clean_line(line));
            }
        }
        page
    }

    fn missing_lines(&self) -> Vec<String> {
        let all = self.unmeasured.len();
        if all == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!("{} not measured:", plural(all as u64, "held-out answer"))];
        for missing in self.unmeasured.iter().take(LISTED) {
            let (example, arm) = (&missing.example, prompt_name(&missing.arm));
            lines.push(format!("  {example}, {arm}: {}", output::short(&missing.reason, 120)));
        }
        if all > LISTED {
            lines.push(format!(
                "  and {} more: `sipdo runs examples {}` shows all",
                all - LISTED,
                self.run
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        held_out::{
            MarkName,
            tests::{answer, line, test_of},
        },
        report::render::tests::run,
    };

    #[test]
    fn what_was_not_measured_is_counted_and_listed() {
        let lines = (0..12).map(|n| {
            let lost = answer(MarkName::NotMeasured, "");
            line(
                &format!("test-{n}"),
                vec![("seed", answer(MarkName::Right, "4")), ("final", lost)],
            )
        });
        let report = Report::of(&run(), false).with_test(&test_of(lines.collect()));
        for text in [report.text(), report.markdown()] {
            assert!(text.contains("12 held-out answers not measured"), "{text}");
            assert!(text.contains("test-0, final prompt: timeout: 60 s"), "{text}");
            assert!(text.contains("and 2 more: `sipdo runs examples r1`"), "{text}");
        }
        let none = Report::of(&run(), false).text();
        assert!(!none.contains("held-out answers not measured"), "{none}");
    }

    #[test]
    fn the_first_line_says_what_was_not_measured_and_too_much_of_it_is_no_success() {
        let mut ended = run();
        ended.not_measured_by_reason = [("REASON_TIMEOUT".to_owned(), 3), ("REASON_REFUSED".to_owned(), 1)].into();
        let lost = line("test-7", vec![("seed", answer(MarkName::NotMeasured, ""))]);
        let mut report = Report::of(&ended, false).with_test(&test_of(vec![lost]));
        for text in [report.text(), report.eval_text()] {
            let first = text.lines().next().unwrap();
            assert!(first.starts_with("Not measured: 4 answers. "), "{first}");
            assert!(
                first.contains("3 timeout (such as test-7: timeout: 60 s)") && first.contains("1 refused"),
                "{first}"
            );
        }
        ended.not_measured_by_reason.clear();
        assert!(!Report::of(&ended, false).text().contains("Not measured: "));
        report.arms.truncate(1);
        for (not_measured, lacks) in [(20, false), (21, true), (100, true), (0, false)] {
            let arm = &mut report.arms[0];
            (arm.right, arm.wrong, arm.not_measured) = (0, 100 - not_measured, not_measured);
            assert_eq!(report.lacks_answers(), lacks, "{not_measured}");
        }
    }

    #[test]
    fn labels_stand_in_text_page_and_json() {
        let mut yes = answer(MarkName::Right, "4");
        yes.answered = Some(sipdo_domain::labels::Answered {
            target: 0,
            given: Some(0),
        });
        let mut test = test_of(vec![line("one", vec![("seed", yes.clone()), ("final", yes)])]);
        test.labels = vec!["4".into(), "5".into()];
        let report = Report::of(&run(), false).with_test(&test);
        for text in [report.text(), report.markdown()] {
            assert!(text.contains("(macro-F1)") && text.contains("(no label)"), "{text}");
            assert!(text.contains("always `4` would score 100.0 %"), "{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["labels"]["arms"][0]["macro_f1"], 1.0);
        assert_eq!(json["labels"]["arms"][0]["labels"][1]["f1"], serde_json::Value::Null);
        assert_eq!(json["labels"]["arms"][1]["confusion"][0][0], 1);
    }
}
