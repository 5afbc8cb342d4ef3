//! Repair: error analysis, recommendation, refinement, and the confirmations that a revision must pass (SIPDO sections 3.2, 3.3).
//!
//! What was accepted is never lost: a revision that breaks what was right is rejected and kept with the names of what it broke, and
//! a repair phase without an accepted revision leaves the last accepted prompt in force.

mod rejection;

use super::{
    Acceptance, Analysis, Base, Confirmation, Purpose, Run,
    history::right,
    texts::{Failure, Material, Step, TRY_AGAIN, TriedBefore, request},
};
use crate::{Agents, Stop};
use rand::seq::SliceRandom;
use rejection::{Rejection, Tally, global_rejection, local_rejection, unconfirmed};
use sipdo_domain::{
    Ask, Edit, EditRequest, Example, Mark, Role, RunEvent, Signed, Standing, guards::Guards, outcome::Correction,
};

/// Errors shown to the optimizer at a time.
pub(super) const BATCH: usize = 5;

/// Rejected revisions told to the next one.
const TRIED: usize = 3;

/// Failures told of each rejected revision.
const TRIED_FAILURES: usize = 3;

/// Most revisions of a repair phase, however many of them are accepted: this many times the cap on failures in a row.
pub(super) const LONGEST: u32 = 3;

/// One repair phase.
struct Repairs {
    difficulty: u32,
    /// Errors of the current prompt.
    goal: Vec<String>,
    /// The version that the next revision is written from: the paper's p~.
    base: u32,
    /// The errors that the base makes: the paper's E.
    errors: Vec<String>,
    tried: Vec<TriedBefore>,
    /// Failed repairs in a row.
    failed: u32,
    total: u32,
}

/// A revision of the prompt and what was behind it.
struct Revision {
    version: u32,
    analysis: String,
    recommendation: String,
}

/// What confirmation came to.
enum Confirmed {
    /// Fixed these, broke nothing.
    Yes {
        fixed: Vec<String>,
    },
    No(Rejection),
}

impl<A: Agents> Run<'_, A> {
    /// Revises the prompt until it makes none of these errors, or the cap is met.
    pub(super) async fn repair(&mut self, errors: Vec<String>, difficulty: u32) -> Result<(), Stop> {
        let mut repairs = Repairs {
            difficulty,
            goal: errors.clone(),
            base: self.history.current,
            errors,
            tried: Vec::new(),
            failed: 0,
            total: 0,
        };
        let cap = self.options.repairs_per_level;
        for id in &repairs.goal {
            *self.repair_phases.entry(id.clone()).or_default() += 1;
        }
        while !repairs.errors.is_empty() && repairs.failed < cap && repairs.total < LONGEST * cap {
            repairs.total += 1;
            match self.revise(&mut repairs).await? {
                None => repairs.failed += 1,
                Some(revision) => match self.confirm(&revision, &mut repairs).await? {
                    Confirmed::Yes { fixed } => self.accept(revision, fixed, &mut repairs).await?,
                    Confirmed::No(rejection) => self.reject(revision, rejection, &mut repairs).await?,
                },
            }
        }
        let given_up = repairs.failed > 0 && repairs.failed >= cap;
        let left = if given_up { repairs.goal } else { Vec::new() };
        self.review(&left).await
    }

    /// Learns the weaknesses behind errors without repairing them.
    pub(super) async fn study(&mut self, errors: Vec<String>) -> Result<(), Stop> {
        if errors.is_empty() || self.options.analysis == Analysis::TryAgain {
            return Ok(());
        }
        let version = self.history.current;
        let batch: Vec<String> = errors.into_iter().take(BATCH).collect();
        let failures = self.failures(version, &batch);
        let Some(analysis) = self.analyse(version, &failures).await? else {
            return Ok(());
        };
        let analysed = RunEvent::ErrorsAnalysed {
            examples: batch,
            version,
            analysis,
            recommendation: String::new(),
        };
        self.agents.emit(analysed).await
    }

    /// Error analysis, recommendation, refinement. None where a step gave nothing, or the guards refused what it gave.
    async fn revise(&mut self, repairs: &mut Repairs) -> Result<Option<Revision>, Stop> {
        let batch = repairs.batch();
        let failures = self.failures(repairs.base, &batch);
        let Some((analysis, recommendation)) = self.advise(repairs, &batch, &failures).await? else {
            return Ok(None);
        };
        let material = Material {
            failures: &failures,
            analysis: "",
            recommendation: &recommendation,
            tried: &repairs.tried,
        };
        let Some(text) = self.edit(Step::Refinement, repairs.base, &material, 0).await? else {
            return Ok(None);
        };
        let guard_result = self.guard(&text.value, repairs.base);
        let reason = recommendation.chars().take(300).collect();
        let version = self.history.propose(repairs.base, text, reason, repairs.difficulty);
        let revision = Revision {
            version,
            analysis,
            recommendation,
        };
        let Err(refusal) = guard_result else {
            return Ok(Some(revision));
        };
        self.record_rejection(&revision, "guard", &refusal, &[], repairs)
            .await?;
        Ok(None)
    }

    /// Error analysis and recommendation, or what takes their place.
    async fn advise(
        &mut self,
        repairs: &Repairs,
        batch: &[String],
        failures: &[Failure],
    ) -> Result<Option<(String, String)>, Stop> {
        if self.options.analysis == Analysis::TryAgain {
            return Ok(Some((String::new(), TRY_AGAIN.to_owned())));
        }
        let Some(analysis) = self.analyse(repairs.base, failures).await? else {
            return Ok(None);
        };
        let material = Material {
            failures,
            analysis: &analysis,
            recommendation: "",
            tried: &repairs.tried,
        };
        // Samples in pairs: the first ask, and the one after an answer that was not measured.
        let sample = 2 * repairs.total;
        let Some(recommendation) = self.edit(Step::Recommendation, repairs.base, &material, sample).await? else {
            return Ok(None);
        };
        let recommendation = recommendation.value;
        let analysed = RunEvent::ErrorsAnalysed {
            examples: batch.to_vec(),
            version: repairs.base,
            analysis: analysis.clone(),
            recommendation: recommendation.clone(),
        };
        self.agents.emit(analysed).await?;
        Ok(Some((analysis, recommendation)))
    }

    /// Error analysis. What it finds is a known weakness from now on, and the generator's aim.
    async fn analyse(&mut self, version: u32, failures: &[Failure]) -> Result<Option<String>, Stop> {
        let material = Material {
            failures,
            ..Material::default()
        };
        let analysis = self.edit(Step::ErrorAnalysis, version, &material, 0).await?;
        let analysis = analysis.map(|signed| signed.value);
        if let Some(analysis) = analysis.as_ref().filter(|new| !self.history.weaknesses.contains(new)) {
            self.history.weaknesses.push(analysis.clone());
        }
        Ok(analysis)
    }

    async fn edit(
        &mut self,
        step: Step,
        version: u32,
        material: &Material<'_>,
        sample: u32,
    ) -> Result<Option<Signed<String>>, Stop> {
        let prompt = self.history.text(version);
        let request: EditRequest = request(step, self.task, prompt, self.options.max_prompt_chars, material)?;
        let name = request.step.clone();
        let edited = self.ask_firmly::<Edit>(Ask::Edit(request), sample).await?;
        self.watch.answered(Role::Optimizer, edited.as_ref().err());
        match edited {
            Ok(Signed { value: edit, by }) => Ok(Some(Signed { value: edit.text, by })),
            Err(why) => {
                self.warn(format!("a repair failed at the step `{name}`: {why}"))
                    .await?;
                Ok(None)
            }
        }
    }

    /// The wrong answers of a version, as the optimizer is shown them.
    fn failures(&self, version: u32, ids: &[String]) -> Vec<Failure> {
        let strict = self.options.try_before_repair;
        let failure = |id: &String| {
            let example = self.history.example(id)?;
            let own = self.history.trial(version, id);
            if strict && !self.is_wrong(version, id) {
                return None;
            }
            let trial = own.or_else(|| self.history.trial(self.history.current, id));
            let answer = trial.map_or("", |trial| trial.answer.as_str());
            Some(Failure::new(&example.input, answer, &example.target))
        };
        ids.iter().filter_map(failure).collect()
    }

    fn guard(&self, text: &str, parent: u32) -> Result<(), String> {
        let tried: Vec<&str> = self.history.prompts.iter().map(|prompt| prompt.text.as_str()).collect();
        let train = self.task.train.iter().map(|example| example.input.as_str());
        let synthetic = self.history.synthetic.iter().map(|one| one.example.input.as_str());
        let inputs: Vec<&str> = train.chain(synthetic).collect();
        let guards = Guards {
            seed: &self.task.prompt,
            parent: self.history.text(parent),
            tried: &tried,
            inputs: &inputs,
            max_chars: self.options.max_prompt_chars as usize,
            form: &self.task.form,
        };
        guards.check(text)
    }

    /// Local confirmation: the current errors. Global confirmation: everything that was right.
    async fn confirm(&mut self, revision: &Revision, repairs: &mut Repairs) -> Result<Confirmed, Stop> {
        if self.options.confirmation == Confirmation::None {
            return Ok(Confirmed::Yes { fixed: Vec::new() });
        }
        let errors = repairs.errors.clone();
        let local = self.tally(revision.version, &errors, repairs).await?;
        let unfixed = local.wrong.len() + local.unmeasured.len();
        let enough = match self.options.acceptance {
            Acceptance::All => unfixed == 0,
            Acceptance::Progress => unfixed < repairs.errors.len(),
        };
        if !enough {
            return Ok(Confirmed::No(local_rejection(local, repairs)));
        }
        let mut broken: Vec<String> = Vec::new();
        if self.options.confirmation == Confirmation::LocalGlobal {
            let to_confirm = self.examples_to_confirm(repairs);
            let global = self.tally(revision.version, &to_confirm, repairs).await?;
            if !global.unmeasured.is_empty() {
                return Ok(Confirmed::No(unconfirmed(global, repairs)));
            }
            let wrong = global.wrong.into_iter().chain(local.wrong);
            broken = wrong.filter(|id| self.history.is_right(id) == Some(true)).collect();
            broken = self.look_again(revision.version, broken).await?;
        }
        if self.options.try_before_repair {
            // After a local confirmation alone, errors that the base did not make were not tried.
            let goal = repairs.goal.clone();
            self.try_all(revision.version, &goal).await?;
        }
        let outcome = |id: &String| self.history.trial(revision.version, id).and_then(right);
        let (fixed, still): (Vec<String>, Vec<String>) =
            repairs.goal.iter().cloned().partition(|id| outcome(id) == Some(true));
        if !broken.is_empty() {
            return Ok(Confirmed::No(global_rejection(broken, still)));
        }
        if fixed.is_empty() || (self.options.acceptance == Acceptance::All && !still.is_empty()) {
            let still = Tally {
                wrong: still,
                unmeasured: Vec::new(),
            };
            return Ok(Confirmed::No(local_rejection(still, repairs)));
        }
        Ok(Confirmed::Yes { fixed })
    }

    /// What a global confirmation asks beyond the current errors: all synthetic history, a sample of the train examples that were
    /// right, and the errors that this repair phase set out to fix.
    fn examples_to_confirm(&self, repairs: &Repairs) -> Vec<String> {
        let right = self
            .history
            .train()
            .filter(|example| self.history.is_right(&example.id) == Some(true));
        let mut train: Vec<String> = right.map(|example| example.id.clone()).collect();
        let most = self.options.confirm_seed_sample as usize;
        if train.len() > most {
            train.shuffle(&mut self.random(Purpose::Sample, repairs.difficulty));
            train.truncate(most);
        }
        let synthetic = self.history.accepted().map(|one| one.example.id.clone());
        let mut ids: Vec<String> = Vec::new();
        for id in synthetic.chain(train).chain(repairs.goal.iter().cloned()) {
            if !repairs.errors.contains(&id) && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// Tries a version on examples. Those that have stood in the way too often are reviewed, and drop out if they are quarantined.
    async fn tally(&mut self, version: u32, ids: &[String], repairs: &mut Repairs) -> Result<Tally, Stop> {
        // Twice: the first pass asks what was never asked, the second one asks once more, as another sample, what the first could not
        // measure. What is measured already is not asked again.
        self.try_all(version, ids).await?;
        let trials = self.try_all(version, ids).await?;
        let of = |wanted: fn(&Mark) -> bool| {
            let found = ids.iter().zip(&trials).filter(|(_, trial)| wanted(&trial.mark));
            found.map(|(id, _)| id.clone()).collect::<Vec<String>>()
        };
        let mut tally = Tally {
            wrong: of(|mark| *mark == Mark::Wrong),
            unmeasured: of(|mark| matches!(mark, Mark::NotMeasured(_))),
        };
        let mut blockers = Vec::new();
        for id in &tally.wrong {
            let outlived = self.outlived.entry(id.clone()).or_default();
            *outlived += 1;
            if *outlived >= self.options.repairs_before_review {
                blockers.push(id.clone());
            }
        }
        self.review(&blockers).await?;
        tally.unmeasured = self.quarantine_unmeasured(tally.unmeasured, ids.len()).await?;
        let counts = self.history.ids();
        for list in [&mut tally.wrong, &mut repairs.goal, &mut repairs.errors] {
            list.retain(|id| counts.contains(id));
        }
        Ok(tally)
    }

    /// Quarantines an example that could not be measured in two confirmations, so that it cannot block a run. Where most of the examples
    /// are unmeasured at once, the fault is not theirs, and none is quarantined. Gives those that stay in doubt.
    async fn quarantine_unmeasured(&mut self, unmeasured: Vec<String>, of: usize) -> Result<Vec<String>, Stop> {
        let few = unmeasured.len() == 1 || 2 * unmeasured.len() <= of;
        let mut doubtful = Vec::new();
        for id in unmeasured {
            let times = self.unmeasured.entry(id.clone()).or_default();
            *times += 1;
            if few && *times > 1 {
                self.quarantine(&id, "it cannot be measured".to_owned()).await?;
                self.warn(format!("{id} cannot be measured and is quarantined")).await?;
            } else {
                doubtful.push(id);
            }
        }
        Ok(doubtful)
    }

    async fn accept(&mut self, revision: Revision, fixed: Vec<String>, repairs: &mut Repairs) -> Result<(), Stop> {
        let corrections: Vec<Correction> = fixed.iter().filter_map(|id| self.correction(&revision, id)).collect();
        self.history
            .settle(revision.version, Standing::Accepted { fixed: fixed.clone() });
        self.tell_judged(revision.version).await?;
        if !corrections.is_empty() {
            self.history.corrections.extend(corrections.iter().cloned());
            self.agents.emit(RunEvent::Corrected { corrections }).await?;
        }
        repairs.base = revision.version;
        repairs.failed = 0;
        repairs.goal.retain(|id| !fixed.contains(id));
        if self.options.confirmation == Confirmation::None {
            // Nobody looked: nothing is known of the errors until a later level shows them again.
            repairs.goal.drain(..).for_each(|id| self.history.forget(&id));
        }
        if self.options.try_before_repair {
            // What the new prompt was not measured on is no error that it is known to make; a later phase tries it again.
            repairs.goal.retain(|id| self.is_wrong(revision.version, id));
        }
        repairs.errors = repairs.goal.clone();
        Ok(())
    }

    fn correction(&self, revision: &Revision, id: &str) -> Option<Correction> {
        let from = self.history.current;
        if self.options.try_before_repair && !self.is_wrong(from, id) {
            return None;
        }
        let Example { input, target, .. } = self.history.example(id)?.clone();
        let answer = |version| self.history.trial(version, id).map(|trial| trial.answer.clone());
        Some(Correction {
            example: id.to_owned(),
            input,
            target,
            wrong_answer: answer(from).unwrap_or_default(),
            right_answer: answer(revision.version)?,
            from_version: from,
            to_version: revision.version,
            analysis: revision.analysis.clone(),
            recommendation: revision.recommendation.clone(),
        })
    }

    async fn reject(&mut self, revision: Revision, rejection: Rejection, repairs: &mut Repairs) -> Result<(), Stop> {
        let Rejection {
            stage,
            reason,
            broke,
            errors,
        } = rejection;
        self.record_rejection(&revision, stage, &reason, &broke, repairs)
            .await?;
        repairs.failed += 1;
        (repairs.base, repairs.errors) = match self.options.base {
            Base::Revised => (revision.version, errors),
            Base::Accepted => (self.history.current, repairs.goal.clone()),
        };
        self.keep_to_errors_of_base(repairs);
        Ok(())
    }

    /// Keeps the errors that the base is known to make: what it answers rightly, or what was not measured, is no failure that could be
    /// shown. A rejected base without a known error is left for the current prompt.
    fn keep_to_errors_of_base(&self, repairs: &mut Repairs) {
        if !self.options.try_before_repair || self.options.confirmation == Confirmation::None {
            return;
        }
        repairs.errors.retain(|id| self.is_wrong(repairs.base, id));
        if repairs.errors.is_empty() && repairs.base != self.history.current {
            repairs.base = self.history.current;
            repairs.errors = repairs.goal.clone();
        }
    }

    async fn record_rejection(
        &mut self,
        revision: &Revision,
        stage: &str,
        reason: &str,
        broke: &[String],
        repairs: &mut Repairs,
    ) -> Result<(), Stop> {
        let shown: Vec<String> = broke.iter().take(TRIED_FAILURES).cloned().collect();
        repairs.tried.push(TriedBefore {
            recommendation: revision.recommendation.clone(),
            outcome: reason.to_owned(),
            failed: self.failures(revision.version, &shown),
        });
        if repairs.tried.len() > TRIED {
            repairs.tried.remove(0);
        }
        let standing = Standing::Rejected {
            stage: stage.to_owned(),
            reason: reason.to_owned(),
            broke: broke.to_vec(),
        };
        self.history.settle(revision.version, standing);
        self.tell_judged(revision.version).await
    }

    async fn tell_judged(&self, version: u32) -> Result<(), Stop> {
        match self.history.prompts.get(version as usize) {
            Some(prompt) => {
                self.agents
                    .emit(RunEvent::CandidateJudged { prompt: prompt.clone() })
                    .await
            }
            None => Ok(()),
        }
    }
}

impl Repairs {
    /// The next errors to show; after a failure others, where there are more.
    fn batch(&self) -> Vec<String> {
        let first = self.failed as usize * BATCH % self.errors.len().max(1);
        self.errors
            .iter()
            .cycle()
            .skip(first)
            .take(BATCH.min(self.errors.len()))
            .cloned()
            .collect()
    }
}
