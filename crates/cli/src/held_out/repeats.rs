//! Several answers to each example: how often each is right, and how much the score of one repeat differs from that of the next.

use serde::Serialize;

use super::{Answers, HeldOut, MarkName};
use crate::{
    output::{Table, percent},
    words::prompt_name,
};

/// The repeats of a held-out test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeats {
    /// Answers to each example.
    pub count: usize,
    /// One entry for each arm, in the order of the arms.
    pub arms: Vec<ArmRepeats>,
}

/// The repeats of one arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmRepeats {
    /// The arm.
    pub arm: String,
    /// Examples whose measured answers are all right.
    pub always_right: usize,
    /// Examples with right and with wrong answers.
    pub mixed: usize,
    /// Examples whose measured answers are all wrong.
    pub always_wrong: usize,
    /// The accuracy of each repeat alone, in 0..=1; none where it measured nothing.
    pub accuracies: Vec<Option<f64>>,
    /// The sample standard deviation of these accuracies; none for fewer than two.
    pub deviation: Option<f64>,
    /// One entry for each example, in the order of the examples.
    pub examples: Vec<ExampleRepeats>,
}

/// The answers to one example by mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExampleRepeats {
    /// The example's id.
    pub example: String,
    /// Right answers.
    pub right: u32,
    /// Wrong answers.
    pub wrong: u32,
    /// Answers that were not measured.
    pub not_measured: u32,
}

impl Repeats {
    /// The repeats of a test; none where each example has one answer.
    pub fn of(test: &HeldOut) -> Option<Self> {
        let answers = |line: &super::Line| line.arms.first().map(|(_, answers)| answers.all().count());
        let count = test.lines.first().and_then(answers).filter(|count| *count > 1)?;
        Some(Repeats {
            count,
            arms: test.arms.iter().map(|arm| ArmRepeats::of(arm, count, test)).collect(),
        })
    }

    /// A row for each arm.
    pub fn table(&self) -> Table {
        let heading = format!("{} repeats", self.count);
        let headings = [
            heading.as_str(),
            "always right",
            "mixed",
            "always wrong",
            "accuracy of a repeat",
            "deviation",
        ];
        let mut table = Table::new(&headings).right(&[1, 2, 3, 4, 5]);
        for arm in &self.arms {
            let known: Vec<f64> = arm.accuracies.iter().flatten().copied().collect();
            let least = known.iter().copied().reduce(f64::min);
            let most = known.iter().copied().reduce(f64::max);
            let range = least
                .zip(most)
                .map(|(least, most)| format!("{} to {}", percent(least), percent(most)));
            let points = arm
                .deviation
                .map(|deviation| format!("{:.1} points", 100.0 * deviation));
            table.row([
                prompt_name(&arm.arm),
                arm.always_right.to_string(),
                arm.mixed.to_string(),
                arm.always_wrong.to_string(),
                range.unwrap_or("-".into()),
                points.unwrap_or("-".into()),
            ]);
        }
        table
    }
}

impl ArmRepeats {
    fn of(arm: &str, count: usize, test: &HeldOut) -> Self {
        let answers = || test.lines.iter().filter_map(|line| Some((line, line.arm(arm)?)));
        let shares = |counts: fn(f64) -> bool| {
            let shares = answers().filter_map(|(_, answers)| answers.share());
            shares.filter(|share| counts(*share)).count()
        };
        let accuracies: Vec<Option<f64>> = (0..count)
            .map(|repeat| accuracy(answers().map(|(_, answers)| answers), repeat))
            .collect();
        ArmRepeats {
            arm: arm.to_owned(),
            always_right: shares(|share| share == 1.0),
            mixed: shares(|share| share > 0.0 && share < 1.0),
            always_wrong: shares(|share| share == 0.0),
            deviation: deviation(&accuracies.iter().flatten().copied().collect::<Vec<f64>>()),
            accuracies,
            examples: answers()
                .map(|(line, answers)| ExampleRepeats {
                    example: line.id.clone(),
                    right: answers.count(MarkName::Right),
                    wrong: answers.count(MarkName::Wrong),
                    not_measured: answers.count(MarkName::NotMeasured),
                })
                .collect(),
        }
    }
}

/// The accuracy of one repeat, from 0.
fn accuracy<'a>(answers: impl Iterator<Item = &'a Answers>, repeat: usize) -> Option<f64> {
    let marks: Vec<MarkName> = answers
        .filter_map(|answers| Some(answers.all().nth(repeat)?.mark))
        .filter(|mark| *mark != MarkName::NotMeasured)
        .collect();
    let right = marks.iter().filter(|mark| **mark == MarkName::Right).count();
    (!marks.is_empty()).then(|| right as f64 / marks.len() as f64)
}

fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::tests::{answer, line, test_of};

    #[test]
    fn repeats_are_counted_by_example_and_by_repeat() {
        use MarkName::{NotMeasured, Right, Wrong};
        let marks = [
            [Right, Right, Right],
            [Right, Wrong, NotMeasured],
            [Wrong, Wrong, Wrong],
        ];
        let lines = marks.iter().enumerate().map(|(n, marks)| {
            let mut line = line(&format!("test-{n}"), vec![("a", answer(marks[0], "4"))]);
            line.arms[0].1.repeats = marks[1..].iter().map(|mark| answer(*mark, "4")).collect();
            line
        });
        let repeats = Repeats::of(&test_of(lines.collect())).unwrap();
        let arm = &repeats.arms[0];
        assert_eq!(
            (repeats.count, arm.always_right, arm.mixed, arm.always_wrong),
            (3, 1, 1, 1)
        );
        assert_eq!(arm.accuracies, [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(0.5)]);
        assert!((arm.deviation.unwrap() - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!((arm.examples[1].right, arm.examples[1].not_measured), (1, 1));
        let text = repeats.table().render(false);
        assert!(
            text.contains("33.3 % to 66.7 %") && text.contains("16.7 points"),
            "{text}"
        );
        let single = test_of(vec![line("one", vec![("a", answer(Right, "4"))])]);
        assert_eq!(Repeats::of(&single), None);
    }
}
