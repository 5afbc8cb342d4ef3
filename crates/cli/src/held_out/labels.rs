//! How each label of a closed label space did: the counts, and tables for people.

use serde::Serialize;
use sipdo_domain::labels::{Answered, Confusion};

use super::HeldOut;
use crate::{
    output::{Table, clean_line, percent},
    words::prompt_name,
};

/// More labels than this make no table that can be read; `report.json` has them all.
const MOST_COLUMNS: usize = 12;

/// The labels of a held-out test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labels {
    /// The label space.
    pub labels: Vec<String>,
    /// What always giving the most frequent label would score.
    pub majority: Option<Majority>,
    /// One entry for each arm, in the order of the arms.
    pub arms: Vec<ArmLabels>,
}

/// The baseline of whoever always gives the most frequent label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Majority {
    /// That label; the first among equals.
    pub label: String,
    /// Its share among the test examples, in 0..=1.
    pub accuracy: f64,
}

/// The labels of one arm, over its measured answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmLabels {
    /// The arm.
    pub arm: String,
    /// The mean F1 of the labels that an example has, in 0..=1; none where nothing was measured.
    pub macro_f1: Option<f64>,
    /// One entry for each label.
    pub labels: Vec<LabelScore>,
    /// Answers by target (row) and label given (column), in the order of the labels; the last column is answers that mean no label.
    pub confusion: Vec<Vec<u32>>,
}

/// How one label did. Each share is in 0..=1, and none where it is a share of nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// Of the answers with this label, the share that is right.
    pub precision: Option<f64>,
    /// Of the examples with this label, the share that got it.
    pub recall: Option<f64>,
    /// The harmonic mean of the two.
    pub f1: Option<f64>,
    /// Answers to examples with this label.
    pub targets: u32,
}

impl Labels {
    /// The labels of a test; none where answers are open.
    pub fn of(test: &HeldOut) -> Option<Self> {
        if test.labels.is_empty() {
            return None;
        }
        let count = test.labels.len();
        let confusion = |arm: &str| {
            let answers = test.lines.iter().filter_map(|line| line.arm(arm));
            let answered: Vec<Answered> = answers
                .flat_map(|answers| answers.all())
                .filter_map(|answer| answer.answered)
                .collect();
            Confusion::of(count, &answered)
        };
        let arms: Vec<ArmLabels> = test
            .arms
            .iter()
            .map(|arm| ArmLabels::of(arm, &test.labels, &confusion(arm)))
            .collect();
        Some(Labels {
            majority: majority(test),
            labels: test.labels.clone(),
            arms,
        })
    }

    /// The tables: one of precision, recall and F1, and one of the confusions of each arm, with their headings.
    pub fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = vec![("labels".to_owned(), self.scores())];
        if self.labels.len() <= MOST_COLUMNS {
            let confusions = self.arms.iter().map(|arm| {
                let heading = format!("{}: targets (rows) and labels given", prompt_name(&arm.arm));
                (heading, arm.table(&self.labels))
            });
            tables.extend(confusions);
        }
        tables
    }

    fn scores(&self) -> Table {
        let share = |share: Option<f64>| share.map_or("-".into(), percent);
        let mut table = Table::new(&["prompt", "label", "precision", "recall", "F1", "examples"]).right(&[2, 3, 4, 5]);
        for arm in &self.arms {
            for score in &arm.labels {
                table.row([
                    prompt_name(&arm.arm),
                    score.label.clone(),
                    share(score.precision),
                    share(score.recall),
                    share(score.f1),
                    score.targets.to_string(),
                ]);
            }
            let all: u32 = arm.labels.iter().map(|score| score.targets).sum();
            table.row([
                prompt_name(&arm.arm),
                "(macro-F1)".into(),
                String::new(),
                String::new(),
                share(arm.macro_f1),
                all.to_string(),
            ]);
        }
        table
    }

    /// The majority baseline in one sentence.
    pub fn majority_words(&self) -> Option<String> {
        let majority = self.majority.as_ref()?;
        Some(format!(
            "majority baseline: always `{}` would score {}",
            majority.label,
            percent(majority.accuracy)
        ))
    }
}

impl ArmLabels {
    fn of(arm: &str, labels: &[String], confusion: &Confusion) -> Self {
        let score = |(at, label): (usize, &String)| {
            let score = confusion.label(at);
            LabelScore {
                label: label.clone(),
                precision: score.precision,
                recall: score.recall,
                f1: score.f1,
                targets: score.targets,
            }
        };
        ArmLabels {
            arm: arm.to_owned(),
            macro_f1: confusion.macro_f1(),
            labels: labels.iter().enumerate().map(score).collect(),
            confusion: confusion.rows().to_vec(),
        }
    }

    fn table(&self, labels: &[String]) -> Table {
        let names: Vec<String> = labels.iter().map(|label| clean_line(label)).collect();
        let columns = names.iter().map(String::as_str).chain(["(no label)"]);
        let headings: Vec<&str> = ["target"].into_iter().chain(columns).collect();
        let numbers: Vec<usize> = (1..headings.len()).collect();
        let mut table = Table::new(&headings).right(&numbers);
        for (label, row) in labels.iter().zip(&self.confusion) {
            table.row([label.clone()].into_iter().chain(row.iter().map(u32::to_string)));
        }
        table
    }
}

/// Over all test examples, whether or not they were measured.
fn majority(test: &HeldOut) -> Option<Majority> {
    let place = |target: &str| test.labels.iter().position(|label| label == target);
    let targets: Vec<Answered> = test
        .lines
        .iter()
        .filter_map(|line| place(&line.target))
        .map(|target| Answered { target, given: None })
        .collect();
    let (label, accuracy) = Confusion::of(test.labels.len(), &targets).majority()?;
    Some(Majority {
        label: test.labels.get(label)?.clone(),
        accuracy,
    })
}
