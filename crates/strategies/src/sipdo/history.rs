//! What a run knows so far: prompts, synthetic examples, and how each prompt did on each example. Bookkeeping without a single ask.

use crate::examine::Trial;
use sipdo_domain::{
    Decision, Example, Mark, PastExample, Prompt, Signed, Standing, SyntheticExample, Task,
    outcome::Correction,
    prior::{LabelCounts, LabelPrior},
};
use std::collections::{BTreeMap, BTreeSet};

/// A run's memory. Examples are known by their ids, prompts by their versions.
#[derive(Debug)]
pub struct History<'a> {
    task: &'a Task,
    /// Every prompt, by version.
    pub prompts: Vec<Prompt>,
    /// Version of the last accepted prompt.
    pub current: u32,
    /// Every synthetic example, accepted or not, in the order drafted.
    pub synthetic: Vec<SyntheticExample>,
    /// Error analyses, newest last.
    pub weaknesses: Vec<String>,
    /// What accepted prompts corrected.
    pub corrections: Vec<Correction>,
    /// Every trial of a prompt version on an example.
    trials: BTreeMap<(u32, String), Trial>,
    /// What the current prompt's answer to an example is believed to be worth: its last measured trial in the accepted line.
    right: BTreeMap<String, bool>,
    /// Train examples that cannot be measured.
    aside: BTreeSet<String>,
}

impl<'a> History<'a> {
    /// A run at its start.
    pub fn new(task: &'a Task) -> Self {
        History {
            task,
            prompts: vec![Prompt::seed(&task.prompt)],
            current: 0,
            synthetic: Vec::new(),
            weaknesses: Vec::new(),
            corrections: Vec::new(),
            trials: BTreeMap::new(),
            right: BTreeMap::new(),
            aside: BTreeSet::new(),
        }
    }

    /// The text of a version.
    pub fn text(&self, version: u32) -> &str {
        self.prompts
            .get(version as usize)
            .map_or(self.task.prompt.as_str(), |prompt| prompt.text.as_str())
    }

    /// Adds a candidate that is not judged yet, and gives its version.
    pub fn propose(&mut self, parent: u32, text: Signed<String>, reason: String, level: u32) -> u32 {
        let Signed { value: text, by } = text;
        let version = self.prompts.len() as u32;
        self.prompts.push(Prompt {
            version,
            parent: Some(parent),
            text,
            reason,
            level,
            standing: Standing::Rejected {
                stage: "unfinished".into(),
                reason: "the run ended before it was confirmed".into(),
                broke: Vec::new(),
            },
            written_by: Some(by),
        });
        version
    }

    /// Settles what became of a candidate. An accepted one is the current prompt from now on.
    pub fn settle(&mut self, version: u32, standing: Standing) {
        let accepted = matches!(standing, Standing::Accepted { .. });
        if let Some(prompt) = self.prompts.get_mut(version as usize) {
            prompt.standing = standing;
        }
        if accepted {
            self.current = version;
            let of_version = self.trials.iter().filter(|((tried, _), _)| *tried == version);
            for ((_, id), trial) in of_version {
                if let Some(right) = right(trial) {
                    self.right.insert(id.clone(), right);
                }
            }
        }
    }

    /// Remembers a trial.
    pub fn remember(&mut self, version: u32, id: &str, trial: Trial) {
        if let (true, Some(right)) = (version == self.current, right(&trial)) {
            self.right.insert(id.to_owned(), right);
        }
        self.trials.insert((version, id.to_owned()), trial);
    }

    /// A trial that took place.
    pub fn trial(&self, version: u32, id: &str) -> Option<&Trial> {
        self.trials.get(&(version, id.to_owned()))
    }

    /// Whether the current prompt is believed right on an example; none where nobody knows.
    pub fn is_right(&self, id: &str) -> Option<bool> {
        self.right.get(id).copied()
    }

    /// Gives up a belief that a new prompt has made worthless.
    pub fn forget(&mut self, id: &str) {
        self.right.remove(id);
    }

    /// An example, train or synthetic, by id.
    pub fn example(&self, id: &str) -> Option<&Example> {
        let synthetic = self.synthetic(id).map(|synthetic| &synthetic.example);
        synthetic.or_else(|| self.task.train.iter().find(|example| example.id == id))
    }

    /// A synthetic example by id.
    pub fn synthetic(&self, id: &str) -> Option<&SyntheticExample> {
        self.synthetic.iter().find(|synthetic| synthetic.example.id == id)
    }

    /// Accepted synthetic examples that still count, oldest first: the paper's D_t.
    pub fn accepted(&self) -> impl Iterator<Item = &SyntheticExample> {
        self.synthetic
            .iter()
            .filter(|one| one.decision == Decision::Accepted && !one.quarantined)
    }

    /// Train examples that still count.
    pub fn train(&self) -> impl Iterator<Item = &'a Example> {
        self.task
            .train
            .iter()
            .filter(|example| !self.aside.contains(&example.id))
    }

    /// Ids of every example that counts.
    pub fn ids(&self) -> Vec<String> {
        let synthetic = self.accepted().map(|one| one.example.id.clone());
        self.train()
            .map(|example| example.id.clone())
            .chain(synthetic)
            .collect()
    }

    /// Ids of examples that the current prompt is believed to answer wrongly.
    pub fn errors(&self) -> Vec<String> {
        self.ids()
            .into_iter()
            .filter(|id| self.is_right(id) == Some(false))
            .collect()
    }

    /// Takes an example out of everything that follows.
    pub fn set_aside(&mut self, id: &str) {
        match self.synthetic.iter_mut().find(|one| one.example.id == id) {
            Some(synthetic) => synthetic.quarantined = true,
            None => _ = self.aside.insert(id.to_owned()),
        }
    }

    /// The latest accepted examples, as the generator is shown them.
    pub fn past(&self, most: u32) -> Vec<PastExample> {
        let accepted: Vec<&SyntheticExample> = self.accepted().collect();
        let skipped = accepted.len().saturating_sub(most as usize);
        let past = accepted.into_iter().skip(skipped).map(|one| PastExample {
            level: one.level,
            input: one.example.input.clone(),
            target: one.example.target.clone(),
        });
        past.collect()
    }

    /// How often each label was accepted and still counts.
    pub fn label_counts(&self, prior: &LabelPrior) -> LabelCounts {
        let mut counts = LabelCounts::default();
        for one in self.accepted() {
            prior.count(&mut counts, &one.example.target);
        }
        counts
    }

    /// Versions that were the current prompt at some time, newest first.
    pub fn line(&self) -> Vec<u32> {
        self.prompts
            .iter()
            .rev()
            .filter(|prompt| prompt.was_current())
            .map(|prompt| prompt.version)
            .collect()
    }

    /// How many known errors a version makes on these examples.
    pub fn known_errors(&self, version: u32, ids: &[String]) -> usize {
        ids.iter()
            .filter(|id| self.trial(version, id).and_then(right) == Some(false))
            .count()
    }
}

/// Right, wrong, or nobody knows.
pub fn right(trial: &Trial) -> Option<bool> {
    match trial.mark {
        Mark::Right => Some(true),
        Mark::Wrong => Some(false),
        Mark::NotMeasured(_) => None,
    }
}
