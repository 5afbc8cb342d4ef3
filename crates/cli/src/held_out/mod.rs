//! Every answer of a run's held-out test: which example, under which prompt, how it was marked, what it cost.

pub mod labels;
pub mod rebuild;
pub mod records;
pub mod repeats;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use sipdo_domain::labels::Answered;

/// Why an example has no answer where none was asked for.
pub const NOT_ASKED: &str = "not asked";

/// The held-out test of one run.
#[derive(Debug, Clone, Default)]
pub struct HeldOut {
    /// The run.
    pub run: String,
    /// One line for each test example, in the task's order.
    pub lines: Vec<Line>,
    /// Names of the arms, in the order in which they are reported.
    pub arms: Vec<String>,
    /// The arm that another is compared with, and that other one.
    pub compared: Option<(String, String)>,
    /// The label space; empty where answers are open.
    pub labels: Vec<String>,
}

/// One example with its answers: a line of `heldout.jsonl`. Fields may be added, never renamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The example's id.
    pub id: String,
    /// What the learner was given.
    pub input: String,
    /// The right answer.
    pub target: String,
    /// What the second of the compared prompts changed; absent where nothing did, or one of the two was not measured.
    pub change: Option<Change>,
    /// The answers by arm, in the order in which the arms are reported.
    #[serde(serialize_with = "write_arms", deserialize_with = "read_arms")]
    pub arms: Vec<(String, Answers)>,
}

/// What became of an example between two prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// More often right than before.
    Gained,
    /// Less often right than before.
    Lost,
}

/// The three marks of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkName {
    /// The metric accepts it.
    Right,
    /// The metric rejects it.
    Wrong,
    /// There is none to mark.
    NotMeasured,
}

/// The answers of one prompt to one example: the first, and those of further repeats.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answers {
    /// The first.
    #[serde(flatten)]
    pub first: Answer,
    /// Those of repeats 2, 3, ...; absent where there was one answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Answer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its mark.
    pub mark: MarkName,
    /// The model's text; null where there is none.
    pub answer: Option<String>,
    /// Why it was not measured, `not asked` where nothing was asked; null where it was measured.
    pub reason: Option<String>,
    /// The label that it means, where labels are closed; null where it means none, or several.
    pub label: Option<String>,
    /// `endpoint/model` of the learner; null where nothing answered.
    pub model: Option<String>,
    /// Completions bought for it, grades included.
    pub calls: u64,
    /// Their tokens.
    pub tokens: u64,
    /// US dollars; null where a price is unknown.
    pub usd: Option<f64>,
    /// Target and label as places in the label space.
    #[serde(skip)]
    pub answered: Option<Answered>,
}

impl MarkName {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            MarkName::Right => "right",
            MarkName::Wrong => "wrong",
            MarkName::NotMeasured => "not measured",
        }
    }
}

impl Answer {
    /// Whether anybody was asked for it: an example that the budget did not reach was not.
    pub fn asked(&self) -> bool {
        self.reason.as_deref() != Some(NOT_ASKED)
    }
}

impl Answers {
    /// All of them, the first repeat first.
    pub fn all(&self) -> impl Iterator<Item = &Answer> {
        std::iter::once(&self.first).chain(&self.repeats)
    }

    /// How many have this mark.
    pub fn count(&self, mark: MarkName) -> u32 {
        self.all().filter(|answer| answer.mark == mark).count() as u32
    }

    /// The share of right ones among the measured, in 0..=1; none where nothing was measured.
    pub fn share(&self) -> Option<f64> {
        let (right, wrong) = (self.count(MarkName::Right), self.count(MarkName::Wrong));
        (right + wrong > 0).then(|| f64::from(right) / f64::from(right + wrong))
    }
}

impl Line {
    /// The answers of an arm.
    pub fn arm(&self, name: &str) -> Option<&Answers> {
        self.arms
            .iter()
            .find(|(arm, _)| arm == name)
            .map(|(_, answers)| answers)
    }
}

impl Change {
    /// What the second of two prompts changed of an example; none where nothing did, or one was not measured.
    pub fn between(before: Option<&Answers>, after: Option<&Answers>) -> Option<Self> {
        match after?.share()?.total_cmp(&before?.share()?) {
            std::cmp::Ordering::Greater => Some(Change::Gained),
            std::cmp::Ordering::Less => Some(Change::Lost),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Change::Gained => "gained",
            Change::Lost => "lost",
        }
    }
}

impl HeldOut {
    /// The lines of `heldout.jsonl`.
    ///
    /// # Errors
    /// A number that is none.
    pub fn jsonl(&self) -> Result<String, serde_json::Error> {
        self.lines
            .iter()
            .map(|line| Ok(serde_json::to_string(line)? + "\n"))
            .collect()
    }

    /// Answers that were asked for and not measured: example, arm, reason, in the order of the examples.
    pub fn not_measured(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.lines.iter().flat_map(|line| {
            line.arms.iter().flat_map(move |(arm, answers)| {
                let missing = answers.all().filter(|answer| answer.asked());
                missing.filter_map(move |answer| Some((line.id.as_str(), arm.as_str(), answer.reason.as_deref()?)))
            })
        })
    }
}

fn write_arms<S: Serializer>(arms: &[(String, Answers)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(arms.len()))?;
    for (name, answers) in arms {
        map.serialize_entry(name, answers)?;
    }
    map.end()
}

fn read_arms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Answers)>, D::Error> {
    let arms = Map::<String, Value>::deserialize(deserializer)?;
    let read = |(name, value)| Ok((name, serde_json::from_value(value).map_err(D::Error::custom)?));
    arms.into_iter().map(read).collect()
}

#[cfg(test)]
pub(crate) mod tests;
