//! The gates themselves. What was not measured is neither right nor wrong: a gate passes or fails where it would do so however the
//! missing answers had come out, and else says that too little was measured.

use serde::Serialize;
use sipdo_domain::stats;

use super::baseline::{Baseline, Counts, Known};
use crate::{
    held_out::{Answers, Line, MarkName},
    output::{percent, plural},
    words::p_words,
};

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It lets the prompt pass.
    Passed,
    /// It does not.
    Failed,
    /// Too little was measured to say.
    Unknown,
}

/// One gate with what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// `fail-under` or `fail-if-worse-than`.
    pub gate: &'static str,
    /// `passed`, `failed` or `unknown`.
    pub verdict: Verdict,
    /// Why, in words.
    pub detail: String,
}

impl Gate {
    /// In one line.
    pub fn words(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Unknown => "UNKNOWN, too little was measured",
        };
        format!("gate --{}: {verdict}: {}", self.gate, self.detail)
    }
}

/// What both extremes of the missing answers say: `worst` takes them all against the prompt, `best` all for it.
fn verdict(fails_at_worst: bool, fails_at_best: bool) -> Verdict {
    match (fails_at_worst, fails_at_best) {
        (_, true) => Verdict::Failed,
        (false, false) => Verdict::Passed,
        (true, false) => Verdict::Unknown,
    }
}

/// Whether the accuracy reaches `least`, in 0..=1. Each repeat counts as an answer.
pub fn under(least: f64, answers: &[(&Line, &Answers)]) -> Gate {
    let counts = counts(answers);
    let Counts { right, wrong, missing } = counts;
    let all = f64::from(right + wrong + missing);
    let fails = |right: u32| all == 0.0 || f64::from(right) / all < least;
    let verdict = match right + wrong {
        0 => Verdict::Unknown,
        _ => verdict(fails(right), fails(right + missing)),
    };
    let accuracy = counts.accuracy().map_or("nothing was measured".into(), |accuracy| {
        format!(
            "{} ({right} right, {wrong} wrong, {missing} not measured)",
            percent(accuracy)
        )
    });
    Gate {
        gate: "fail-under",
        verdict,
        detail: format!("accuracy {accuracy}, wanted {} or more", percent(least)),
    }
}

fn counts(answers: &[(&Line, &Answers)]) -> Counts {
    let count = |mark| answers.iter().map(|(_, answers)| answers.count(mark)).sum();
    Counts {
        right: count(MarkName::Right),
        wrong: count(MarkName::Wrong),
        missing: count(MarkName::NotMeasured),
    }
}

/// Whether the prompt is shown to be worse than the baseline: lower, with a p-value of at most `alpha`.
pub fn worse(baseline: &Baseline, answers: &[(&Line, &Answers)], alpha: f64, seed: u64) -> Gate {
    let (verdict, detail) = match &baseline.known {
        Known::Answers(_) => paired(baseline, answers, alpha, seed),
        Known::Counts(before) => unpaired(*before, counts(answers), alpha),
    };
    Gate {
        gate: "fail-if-worse-than",
        verdict,
        detail: format!("{}: {detail}", baseline.name),
    }
}

fn paired(baseline: &Baseline, answers: &[(&Line, &Answers)], alpha: f64, seed: u64) -> (Verdict, String) {
    // Shares of right answers, before and now; none is not measured. What the baseline was never asked is no pair.
    let pairs: Vec<(Option<f64>, Option<f64>)> = answers
        .iter()
        .filter_map(|(line, answers)| Some((baseline.share(line)?, answers.share())))
        .collect();
    let fails = |before: f64, now: f64| {
        let filled = pairs
            .iter()
            .map(|pair| pair.1.unwrap_or(now) - pair.0.unwrap_or(before));
        let differences: Vec<f64> = filled.collect();
        differences.iter().sum::<f64>() < 0.0 && stats::paired(&differences, seed) <= alpha
    };
    let measured: Vec<f64> = pairs.iter().filter_map(|pair| Some(pair.1? - pair.0?)).collect();
    if measured.is_empty() {
        return (Verdict::Unknown, "no example was measured on both sides".into());
    }
    let verdict = verdict(fails(1.0, 0.0), fails(0.0, 1.0));
    let count = |sign: fn(f64) -> bool| measured.iter().filter(|one| sign(**one)).count();
    let detail = format!(
        "{:+.1} points on {} ({} gained, {} lost, {} not measured), {}, worse where p <= {alpha}",
        100.0 * measured.iter().sum::<f64>() / measured.len() as f64,
        plural(measured.len() as u64, "shared example"),
        count(|one| one > 0.0),
        count(|one| one < 0.0),
        pairs.len() - measured.len(),
        p_words(stats::paired(&measured, seed))
    );
    (verdict, detail)
}

fn unpaired(before: Counts, now: Counts, alpha: f64) -> (Verdict, String) {
    let fails = |before: (u32, u32), now: (u32, u32)| {
        let share = |(right, wrong): (u32, u32)| f64::from(right) / f64::from(right + wrong);
        share(now) < share(before) && stats::fisher(before, now) <= alpha
    };
    let (Some(was), Some(is)) = (before.accuracy(), now.accuracy()) else {
        return (Verdict::Unknown, "nothing was measured on one of the sides".into());
    };
    let verdict = verdict(
        fails(
            (before.right + before.missing, before.wrong),
            (now.right, now.wrong + now.missing),
        ),
        fails(
            (before.right, before.wrong + before.missing),
            (now.right + now.missing, now.wrong),
        ),
    );
    let detail = format!(
        "{} before, {} now, not paired, {} (Fisher), worse where p <= {alpha}",
        percent(was),
        percent(is),
        p_words(stats::fisher((before.right, before.wrong), (now.right, now.wrong)))
    );
    (verdict, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::{
        HeldOut,
        tests::{answer, line, test_of},
    };

    /// A test with one arm: so many right, wrong and not measured.
    fn marked(right: usize, wrong: usize, missing: usize) -> HeldOut {
        let marks = [
            (MarkName::Right, right),
            (MarkName::Wrong, wrong),
            (MarkName::NotMeasured, missing),
        ];
        let marks = marks
            .into_iter()
            .flat_map(|(mark, count)| std::iter::repeat_n(mark, count));
        let lines = marks
            .enumerate()
            .map(|(n, mark)| line(&format!("test-{n}"), vec![("a", answer(mark, "4"))]));
        test_of(lines.collect())
    }

    fn answers(test: &HeldOut) -> Vec<(&Line, &Answers)> {
        test.lines.iter().map(|line| (line, line.arm("a").unwrap())).collect()
    }

    fn under_of(right: usize, wrong: usize, missing: usize) -> Verdict {
        under(0.9, &answers(&marked(right, wrong, missing))).verdict
    }

    #[test]
    fn missing_answers_count_neither_way() {
        assert_eq!(under_of(90, 10, 0), Verdict::Passed);
        assert_eq!(under_of(89, 11, 0), Verdict::Failed);
        assert_eq!(under_of(95, 0, 5), Verdict::Passed, "whatever the five are");
        assert_eq!(under_of(85, 5, 10), Verdict::Unknown, "85 to 95 of 100");
        assert_eq!(under_of(70, 20, 10), Verdict::Failed, "80 at best");
        assert_eq!(under_of(0, 0, 10), Verdict::Unknown);
        assert_eq!(under(0.0, &[]).verdict, Verdict::Unknown, "there is no answer at all");
    }

    fn against(before: &HeldOut, now: &HeldOut) -> Gate {
        worse(&Baseline::of_lines("old", "a", &before.lines), &answers(now), 0.05, 1)
    }

    #[test]
    fn a_prompt_that_loses_examples_is_worse_and_one_that_loses_a_few_is_not_shown_to_be() {
        let before = marked(100, 0, 0);
        let gate = against(&before, &marked(90, 10, 0));
        assert_eq!(gate.verdict, Verdict::Failed, "{gate:?}");
        assert!(
            gate.detail
                .contains("-10.0 points on 100 shared examples (0 gained, 10 lost"),
            "{gate:?}"
        );
        assert_eq!(against(&before, &marked(97, 3, 0)).verdict, Verdict::Passed);
        assert_eq!(
            against(&marked(90, 10, 0), &before).verdict,
            Verdict::Passed,
            "it is better"
        );
    }

    #[test]
    fn what_was_not_measured_decides_nothing() {
        let before = marked(100, 0, 0);
        assert_eq!(against(&before, &marked(98, 0, 2)).verdict, Verdict::Passed);
        assert_eq!(against(&before, &marked(90, 0, 10)).verdict, Verdict::Unknown);
        assert_eq!(
            against(&before, &marked(80, 15, 5)).verdict,
            Verdict::Failed,
            "even if the five were right"
        );
        assert_eq!(against(&before, &marked(0, 0, 100)).verdict, Verdict::Unknown);
    }

    #[test]
    fn counts_alone_are_compared_without_pairs() {
        let counts = |right, wrong, missing| Counts { right, wrong, missing };
        let verdict = |before, now| unpaired(before, now, 0.05).0;
        assert_eq!(verdict(counts(95, 5, 0), counts(80, 20, 0)), Verdict::Failed);
        assert_eq!(verdict(counts(95, 5, 0), counts(90, 10, 0)), Verdict::Passed);
        assert_eq!(verdict(counts(95, 5, 0), counts(60, 0, 40)), Verdict::Unknown);
        assert_eq!(verdict(counts(0, 0, 9), counts(60, 0, 40)), Verdict::Unknown);
    }
}
