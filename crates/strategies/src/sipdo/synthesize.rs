//! Synthesize: examples of one level, with labels that follow the prior, aimed at the prompt's weaknesses (SIPDO section 3.1).

use super::{Purpose, Run, noise};
use crate::{Agents, Stop, examine::worth_asking_again};
use futures::future::join_all;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sipdo_domain::{
    Ask, Decision, Draft, Example, GenerateRequest, Mark, Measured, Pool, Provenance, Role, RunEvent, Signed,
    SyntheticExample, Vote, Voter, independence,
};
use std::collections::{BTreeMap, BTreeSet};

/// Error analyses that a brief repeats.
const WEAKNESSES: usize = 5;

/// Reasons of refusal that a brief repeats.
const REFUSALS: usize = 5;

/// A draft of one level, for the place that it may fill.
struct Drafted {
    place: usize,
    draft: Measured<Signed<Draft>>,
}

/// A draft that became an example, refused or open to the vote.
struct Entry {
    place: usize,
    one: SyntheticExample,
    by: Provenance,
}

/// What the attempts at drafts of one round share.
struct Round {
    number: u32,
    difficulty: u32,
    attempt: u32,
    accepted: Vec<String>,
    refused: Vec<String>,
    labels: ChaCha8Rng,
    noise: ChaCha8Rng,
}

impl<A: Agents> Run<'_, A> {
    /// Accepted examples of a level, by id. Drafts that gates or votes refuse are written anew with the reasons, up to a cap; a
    /// level that stays without an example is passed over with a warning.
    pub(super) async fn synthesize(&mut self, number: u32, difficulty: u32) -> Result<Vec<String>, Stop> {
        let mut work = Round {
            number,
            difficulty,
            attempt: 0,
            accepted: Vec::new(),
            refused: Vec::new(),
            labels: self.random(Purpose::Labels, number),
            noise: self.random(Purpose::Noise, number),
        };
        let wanted = self.options.examples_per_level as usize;
        while work.accepted.len() < wanted && work.attempt < self.options.attempts_per_level {
            let targets = self.draw_targets(wanted - work.accepted.len(), &mut work.labels);
            if work.attempt == 0 {
                self.tell_level(&work, &targets).await?;
            }
            let drafts = self.draft(&work, targets).await?;
            let entries = self.admit(drafts, &mut work);
            let entries = self.judge(entries).await?;
            self.keep(entries, &mut work).await?;
            work.attempt += 1;
        }
        if work.accepted.is_empty() {
            let why = work.refused.last().map_or("no reason is known", String::as_str);
            self.warn(format!(
                "level {difficulty}: none of {} rounds of drafts gave an example: {why}",
                work.attempt
            ))
            .await?;
        }
        self.watch.round_ended(!work.accepted.is_empty());
        Ok(work.accepted)
    }

    /// The labels of the next examples: `y ~ p*(y)`, in proportion to what the accepted labels still miss.
    fn draw_targets(&self, count: usize, random: &mut ChaCha8Rng) -> Vec<Option<String>> {
        let Some(prior) = &self.prior else {
            return vec![None; count];
        };
        let mut counts = self.history.label_counts(prior);
        let draws = (0..count).map(|_| {
            let label = prior.draw(&counts, random);
            prior.count(&mut counts, &label);
            Some(label)
        });
        draws.collect()
    }

    async fn tell_level(&self, work: &Round, targets: &[Option<String>]) -> Result<(), Stop> {
        let targets: Vec<&str> = targets.iter().flatten().map(String::as_str).collect();
        let begun = RunEvent::LevelBegun {
            level: work.difficulty,
            of: self.options.levels,
            target: (!targets.is_empty()).then(|| targets.join(", ")),
        };
        self.agents.emit(begun).await
    }

    /// Asks for all drafts of a round at once: for each place as many candidates as the options say.
    async fn draft(&self, work: &Round, targets: Vec<Option<String>>) -> Result<Vec<Drafted>, Stop> {
        let candidates = self.options.candidates_per_level;
        let mut asks = Vec::new();
        for (place, target) in targets.into_iter().enumerate() {
            let brief = self.brief(work, place, target);
            let first = (work.attempt * self.options.examples_per_level + place as u32) * candidates;
            for sample in first..first + candidates {
                let ask = self.agents.ask_for::<Draft>(Ask::Synthesize(brief.clone()), sample);
                asks.push(async move { ask.await.map(|draft| Drafted { place, draft }) });
            }
        }
        join_all(asks).await.into_iter().collect()
    }

    fn brief(&self, work: &Round, place: usize, target: Option<String>) -> GenerateRequest {
        let turn = (work.number + work.attempt) as usize * self.options.examples_per_level as usize + place;
        let shown = self.options.shown as usize;
        let train: Vec<(String, String)> = self
            .history
            .train()
            .map(|example| (example.input.clone(), example.target.clone()))
            .collect();
        let first = if train.is_empty() {
            0
        } else {
            turn * shown % train.len()
        };
        let weaknesses = &self.history.weaknesses;
        GenerateRequest {
            task: self.task.brief.clone(),
            shown: train
                .iter()
                .cycle()
                .skip(first)
                .take(shown.min(train.len()))
                .cloned()
                .collect(),
            past: self.history.past(self.options.past),
            level: work.difficulty,
            max_level: self.options.levels,
            extreme: self.options.curriculum.extreme(),
            target,
            prompt: self.history.text(self.history.current).to_owned(),
            weaknesses: weaknesses
                .iter()
                .skip(weaknesses.len().saturating_sub(WEAKNESSES))
                .cloned()
                .collect(),
            passage: self
                .task
                .corpus
                .iter()
                .cycle()
                .nth(turn % self.task.corpus.len().max(1))
                .cloned(),
            refused: work.refused.iter().rev().take(REFUSALS).rev().cloned().collect(),
            columns: self.task.form.columns(),
        }
    }

    /// The gates, draft by draft in their order. Noise is put on what passed, before anybody votes.
    fn admit(&mut self, drafts: Vec<Drafted>, work: &mut Round) -> Vec<Entry> {
        let mut entries = Vec::new();
        for drafted in drafts {
            let signed = match drafted.draft {
                Ok(signed) => signed,
                Err(why) => {
                    self.watch.no_draft(&why);
                    let note = format!("no draft came back ({})", why.reason.name());
                    if worth_asking_again(&why) {
                        work.refused.push(note);
                    } else {
                        work.refused.push(format!("{note}: {}", why.detail));
                    }
                    continue;
                }
            };
            let id = format!("synthetic-{}", self.history.synthetic.len() + entries.len() + 1);
            let (example, decision) = match self.gates.admit(&signed.value, &id) {
                Ok(example) => (self.with_noise(example, &mut work.noise), Decision::Accepted),
                Err(refusal) => (as_drafted(id, &signed.value), rejected(refusal.gate, refusal.reason)),
            };
            entries.push(Entry {
                place: drafted.place,
                one: SyntheticExample {
                    votes: vec![claim(&example, &signed.by)],
                    example,
                    level: work.difficulty,
                    rationale: signed.value.rationale,
                    decision,
                    prompt_version: self.history.current,
                    quarantined: false,
                },
                by: signed.by,
            });
        }
        entries
    }

    fn with_noise(&self, mut example: Example, random: &mut ChaCha8Rng) -> Example {
        let falsified = self.options.label_noise > 0.0 && random.random_bool(self.options.label_noise);
        if let (true, Some(target)) = (falsified, noise::falsify(self.task, &example, random)) {
            example.target = target;
        }
        example
    }

    /// The votes on everything that passed the gates, all at once.
    async fn judge(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Stop> {
        let open = entries.iter().filter(|entry| entry.one.decision == Decision::Accepted);
        let verified: Vec<_> = open
            .map(|entry| self.verify(&entry.one.example, &entry.by, 0))
            .collect();
        let mut verified = join_all(verified)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, Stop>>()?
            .into_iter();
        for entry in entries
            .iter_mut()
            .filter(|entry| entry.one.decision == Decision::Accepted)
        {
            if let Some((votes, decision)) = verified.next() {
                entry.one.votes = votes;
                entry.one.decision = decision;
            }
        }
        Ok(entries)
    }

    /// Writes a round's examples down. Of several valid ones for one place only the hardest counts.
    async fn keep(&mut self, entries: Vec<Entry>, work: &mut Round) -> Result<(), Stop> {
        let mut rivals: Vec<Vec<String>> = vec![Vec::new(); self.options.examples_per_level as usize];
        let first = self.history.synthetic.len();
        for entry in entries {
            if let (Decision::Accepted, Some(place)) = (&entry.one.decision, rivals.get_mut(entry.place)) {
                place.push(entry.one.example.id.clone());
            }
            self.history.synthetic.push(entry.one);
        }
        for place in rivals.iter().filter(|place| place.len() > 1) {
            self.keep_hardest(place).await?;
        }
        let judged: Vec<SyntheticExample> = self.history.synthetic.iter().skip(first).cloned().collect();
        for example in judged {
            match &example.decision {
                Decision::Accepted => work.accepted.push(example.example.id.clone()),
                Decision::Rejected { by, .. } if by == SELECTION => {}
                // The program's reason names it already.
                Decision::Rejected { by, reason } if by == "program" => work.refused.push(reason.clone()),
                Decision::Rejected { by, reason } => work.refused.push(format!("{by}: {reason}")),
                Decision::SetAside { reason } => work.refused.push(reason.clone()),
            }
            if !matches!(&example.decision, Decision::Rejected { by, .. } if by == SELECTION) {
                self.watch.judged(&example.votes, &example.decision);
            }
            self.warn_if_dependent(&example.votes).await?;
            self.agents.emit(RunEvent::ExampleJudged { example }).await?;
        }
        Ok(())
    }

    /// The paper's objective as a choice: `argmax loss - weight * rise of KL(accepted labels || prior)`, the first among equals.
    /// (The printed formula minimises the loss; its own assumption A2 has the form meant. What was not measured has no loss.)
    async fn keep_hardest(&mut self, rivals: &[String]) -> Result<(), Stop> {
        let counts = self.prior.as_ref().map(|prior| {
            let mut others = sipdo_domain::prior::LabelCounts::default();
            let settled = self.history.accepted().filter(|one| !rivals.contains(&one.example.id));
            settled.for_each(|one| prior.count(&mut others, &one.example.target));
            others
        });
        let trials = self.try_all(self.history.current, rivals).await?;
        let mut best: Option<(f64, &String)> = None;
        for (id, trial) in rivals.iter().zip(&trials) {
            let loss = if trial.mark == Mark::Wrong { 1.0 } else { 0.0 };
            let label = self.history.example(id).map_or("", |example| example.target.as_str());
            let rise = match (&self.prior, &counts) {
                (Some(prior), Some(counts)) => prior.divergence_rise(counts, label),
                _ => 0.0,
            };
            let worth = loss - self.options.label_penalty_weight * rise;
            if best.is_none_or(|(known, _)| worth > known) {
                best = Some((worth, id));
            }
        }
        let kept = best.map(|(_, id)| id.clone());
        for one in self
            .history
            .synthetic
            .iter_mut()
            .filter(|one| rivals.contains(&one.example.id))
        {
            if Some(&one.example.id) != kept.as_ref() {
                one.decision = rejected(
                    SELECTION,
                    "another candidate was harder, or balanced the labels better".to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Voters that share a model share its errors. Said of an example that all voted on, so that it is said once for all of them.
    async fn warn_if_dependent(&mut self, votes: &[Vote]) -> Result<(), Stop> {
        if votes.iter().any(|vote| vote.supports.is_err()) {
            return Ok(());
        }
        let mut models: BTreeMap<Pool, BTreeSet<String>> = BTreeMap::new();
        for vote in votes {
            let pool = match vote.voter {
                Voter::Generator => Role::Generator.into(),
                Voter::Checker(checker) => {
                    Pool::new(Role::Checker, self.options.pool_of(checker)).unwrap_or_else(|_| Role::Checker.into())
                }
                Voter::Verifier => Role::Verifier.into(),
                Voter::Program => continue,
            };
            models.entry(pool).or_default().insert(vote.by.label());
        }
        let shared = independence::shared(&models, false);
        for text in shared.iter().map(|(label, pools)| independence::sentence(label, pools)) {
            self.warn(text).await?;
        }
        Ok(())
    }
}

/// What refuses a valid candidate that was not the hardest.
const SELECTION: &str = "selection";

fn rejected(by: &str, reason: String) -> Decision {
    Decision::Rejected {
        by: by.to_owned(),
        reason,
    }
}

/// The generator votes for the label that it claims.
pub(super) fn claim(example: &Example, by: &Provenance) -> Vote {
    Vote {
        voter: Voter::Generator,
        answer: example.target.clone(),
        supports: Ok(true),
        reason: String::new(),
        by: by.clone(),
    }
}

/// A refused draft as it came, within the limits of what is worth keeping.
fn as_drafted(id: String, draft: &Draft) -> Example {
    let keep = |text: &str| text.chars().take(4000).collect::<String>();
    Example {
        id,
        input: keep(&draft.input),
        target: keep(&draft.target),
        aliases: Vec::new(),
    }
}
