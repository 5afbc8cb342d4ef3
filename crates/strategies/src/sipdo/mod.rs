//! SIPDO: self-improving prompts through data-augmented optimization (arXiv 2505.19514).
//!
//! A generator writes examples of rising difficulty that aim at the prompt's weaknesses; what its voters accept, the learner tries;
//! what the learner fails at, the optimizer repairs, until the prompt answers everything that it was ever shown.
//!
//! ```text
//! for each level c_1 < ... < c_n:
//!     synthesize   y ~ p*(y), x ~ q(y, c, weaknesses)      synthesize.rs
//!     verify       gates, program, three voters            verify.rs
//!     challenge    E = { (x, y) : f(p, x) != y }
//!     repair       until E is empty:                       repair.rs
//!         error analysis -> recommendation -> refinement
//!         local confirmation (E) -> global confirmation (all that was right)
//! return the best prompt by history, judged on held-out examples
//! ```
//!
//! Where we depart from the paper, an option says so and brings the paper's way back: see [`Options`].

mod estimate;
mod history;
mod noise;
mod options;
mod repair;
mod synthesize;
#[cfg(test)]
mod tests;
mod texts;
mod verify;
mod watch;

pub use estimate::forecast;
pub use options::{Acceptance, Analysis, Base, Confirmation, Options};

use crate::{
    Agents, Stop,
    conclude::{Account, conclude},
    examine::{Trial, examine},
};
use futures::future::join_all;
use history::History;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use repair::BATCH;
use sipdo_domain::{Ending, Mark, Outcome, Role, RunEvent, Score, Task, gates::Gates, prior::LabelPrior};
use std::collections::{BTreeMap, BTreeSet};
use watch::Watch;

/// Sample of a second look; those before it belong to first looks that were not measured.
const SECOND_LOOK: u32 = 4;

/// Examples that a warning names.
const NAMED: usize = 10;

/// Most errors that one repair phase takes on.
const MOST_ERRORS: usize = 30;

/// Repair phases that an error is part of before it no longer calls for one by itself.
const REPAIR_PHASES: u32 = 3;

/// Optimizes a task's prompt. `Err` is always [`Stop::Halted`]: a spent budget or an early stop ends with the best so far.
pub async fn optimize(task: &Task, options: &Options, agents: &impl Agents) -> Result<Outcome, Stop> {
    let mut run = Run::new(task, options, agents)?;
    let mut ending = ended(run.improve().await)?;
    run.tell_silent_voters().await?;
    let found = match run.best_by_history().await {
        Ok(found) => found,
        Err(stop) => {
            let late = ended(Err(stop))?;
            ending = if ending == Ending::Finished { late } else { ending };
            run.history.current
        }
    };
    conclude(agents, task, ending, run.account(found)).await
}

/// One run: what it works with, and what it knows so far.
struct Run<'a, A> {
    task: &'a Task,
    options: &'a Options,
    agents: &'a A,
    history: History<'a>,
    gates: Gates<'a>,
    prior: Option<LabelPrior>,
    warnings: Vec<String>,
    /// Failed repairs that an example outlived.
    outlived: BTreeMap<String, u32>,
    /// Confirmations in which an example could not be measured.
    unmeasured: BTreeMap<String, u32>,
    /// Synthetic examples whose votes were asked again.
    reviewed: BTreeSet<String>,
    /// Repair phases that an error was part of.
    repair_phases: BTreeMap<String, u32>,
    watch: Watch,
}

impl<'a, A: Agents> Run<'a, A> {
    fn new(task: &'a Task, options: &'a Options, agents: &'a A) -> Result<Self, Stop> {
        let labels = &task.brief.labels;
        let known: Vec<String> = task
            .train
            .iter()
            .filter_map(|example| task.metric.label_of(&example.target, labels))
            .collect();
        Ok(Run {
            task,
            options,
            agents,
            history: History::new(task),
            gates: Gates::new(task).map_err(Stop::Halted)?,
            prior: LabelPrior::estimate(labels, known.iter().map(String::as_str)),
            warnings: Vec::new(),
            outlived: BTreeMap::new(),
            unmeasured: BTreeMap::new(),
            reviewed: BTreeSet::new(),
            repair_phases: BTreeMap::new(),
            watch: Watch::default(),
        })
    }

    /// The method.
    async fn improve(&mut self) -> Result<(), Stop> {
        self.score_seed().await?;
        if self.options.repair_seed_errors {
            self.repair_outstanding(Vec::new(), 0).await?;
        } else {
            let errors = self.confirmed_errors(self.history.errors(), BATCH).await?;
            self.study(errors).await?;
        }
        for round in 1..=self.options.levels {
            if self.ends_before(round).await? {
                break;
            }
            let difficulty = self.options.curriculum.level(round, self.options.levels);
            let examples = self.synthesize(round, difficulty).await?;
            let errors = self.challenge(&examples).await?;
            self.repair_outstanding(errors, difficulty).await?;
        }
        Ok(())
    }

    /// Whether no further round can help, and says why: a role gives nothing, or too many rounds in a row gave no example.
    async fn ends_before(&mut self, round: u32) -> Result<bool, Stop> {
        let useless = self.options.watch_roles.then(|| self.watch.useless_role()).flatten();
        let Some(why) = useless.or_else(|| self.watch.too_many_empty_rounds(self.options.empty_levels)) else {
            return Ok(false);
        };
        let of = self.options.levels;
        self.warn(format!("the curriculum ends before level {round} of {of}: {why}"))
            .await?;
        Ok(true)
    }

    /// Names the voters that never dissented.
    async fn tell_silent_voters(&mut self) -> Result<(), Stop> {
        let silent = self.options.watch_roles.then(|| self.watch.silent_voters()).flatten();
        match silent {
            Some(text) => self.warn(text).await,
            None => Ok(()),
        }
    }

    /// A repair phase for new errors and older ones.
    async fn repair_outstanding(&mut self, new: Vec<String>, difficulty: u32) -> Result<(), Stop> {
        let errors = self.confirmed_errors(self.outstanding(new), MOST_ERRORS).await?;
        self.repair(errors, difficulty).await
    }

    /// The first `most` of these examples that the current prompt does answer wrongly, with a second look. What was not tried with this
    /// prompt is tried first: an older prompt's wrong answer is no error of this one.
    async fn confirmed_errors(&mut self, mut ids: Vec<String>, most: usize) -> Result<Vec<String>, Stop> {
        if !self.options.try_before_repair {
            ids.truncate(most);
            return Ok(ids);
        }
        let version = self.history.current;
        let mut errors = Vec::new();
        while !ids.is_empty() && errors.len() < most {
            let some: Vec<String> = ids.drain(..ids.len().min(most - errors.len())).collect();
            self.try_all(version, &some).await?;
            let wrong = some.into_iter().filter(|id| self.is_wrong(version, id)).collect();
            errors.extend(self.look_again(version, wrong).await?);
        }
        Ok(errors)
    }

    /// Whether a version is known to answer an example wrongly.
    fn is_wrong(&self, version: u32, id: &str) -> bool {
        let trial = self.history.trial(version, id);
        trial.is_some_and(|trial| trial.mark == Mark::Wrong)
    }

    /// How the seed prompt does on the train examples: its first known weaknesses, and what must not be lost.
    async fn score_seed(&mut self) -> Result<(), Stop> {
        let train: Vec<String> = self.task.train.iter().map(|example| example.id.clone()).collect();
        let trials = self.try_all(0, &train).await?;
        let score = Score::of(trials.iter().map(|trial| &trial.mark));
        self.agents.emit(scored("train", "seed", score)).await
    }

    /// The learner tries new examples with the current prompt; gives those that it answers wrongly.
    async fn challenge(&mut self, examples: &[String]) -> Result<Vec<String>, Stop> {
        let version = self.history.current;
        let trials = self.try_all(version, examples).await?;
        let wrong = examples
            .iter()
            .zip(&trials)
            .filter(|(_, trial)| trial.mark == Mark::Wrong);
        let wrong = wrong.map(|(id, _)| id.clone()).collect();
        let wrong = self.look_again(version, wrong).await?;
        for id in examples {
            if let Some(trial) = self.history.trial(version, id) {
                let challenged = RunEvent::Challenged {
                    example: id.clone(),
                    version,
                    mark: trial.mark.clone(),
                };
                self.agents.emit(challenged).await?;
            }
        }
        Ok(wrong)
    }

    /// Gives the examples, of those answered wrongly, that are not answered rightly as another sample either.
    async fn look_again(&mut self, version: u32, wrong: Vec<String>) -> Result<Vec<String>, Stop> {
        if !self.options.second_look {
            return Ok(wrong);
        }
        let text = self.history.text(version);
        let examples = wrong.iter().filter_map(|id| self.history.example(id));
        let again: Vec<_> = examples
            .map(|example| examine(self.agents, self.task, text, example, SECOND_LOOK))
            .collect();
        let again = join_all(again)
            .await
            .into_iter()
            .collect::<Result<Vec<Trial>, Stop>>()?;
        let mut still = Vec::new();
        for (id, trial) in wrong.into_iter().zip(again) {
            if trial.mark == Mark::Right {
                self.history.remember(version, &id, trial);
            } else {
                still.push(id);
            }
        }
        Ok(still)
    }

    /// New errors, and with them older ones that were not given up yet.
    fn outstanding(&self, new: Vec<String>) -> Vec<String> {
        let hopeful = |id: &String| self.repair_phases.get(id).is_none_or(|phases| *phases < REPAIR_PHASES);
        let ours = |id: &String| self.options.repair_seed_errors || self.history.synthetic(id).is_some();
        let mut errors = new;
        for id in self.history.errors() {
            if !errors.contains(&id) && hopeful(&id) && ours(&id) {
                errors.push(id);
            }
        }
        errors
    }

    /// `argmax s_D(p)` over the prompts that were accepted, where D is everything the run has seen; the newest among equals. A prompt
    /// that is known to make at least as many errors as the best one is not tried on the remaining examples.
    async fn best_by_history(&mut self) -> Result<u32, Stop> {
        let ids = self.history.ids();
        let mut best: Option<(u32, Score)> = None;
        for version in self.history.line() {
            let errors = self.history.known_errors(version, &ids);
            if best.is_some_and(|(_, score)| errors >= score.wrong as usize) {
                continue;
            }
            let trials = self.try_all(version, &ids).await?;
            let score = Score::of(trials.iter().map(|trial| &trial.mark));
            self.agents.emit(scored("history", &version.to_string(), score)).await?;
            if best.is_none_or(|(_, known)| score.accuracy() > known.accuracy()) {
                best = Some((version, score));
            }
        }
        let best = best.map_or(self.history.current, |(version, _)| version);
        self.tell_what_is_left(best, &ids).await?;
        Ok(best)
    }

    /// Tries a prompt version on examples, in their order, all in flight at once. What was measured before is not asked again; what
    /// could not be measured is asked again as the next sample.
    async fn try_all(&mut self, version: u32, ids: &[String]) -> Result<Vec<Trial>, Stop> {
        let mut asked: Vec<&str> = Vec::new();
        let mut trials = Vec::new();
        let text = self.history.text(version);
        for id in ids {
            let sample = match self.history.trial(version, id).map(|trial| &trial.mark) {
                None => 0,
                Some(Mark::NotMeasured(_)) => 2,
                Some(Mark::Right | Mark::Wrong) => continue,
            };
            if let Some(example) = self.history.example(id) {
                asked.push(id);
                trials.push(examine(self.agents, self.task, text, example, sample));
            }
        }
        let trials = join_all(trials)
            .await
            .into_iter()
            .collect::<Result<Vec<Trial>, Stop>>()?;
        for (id, trial) in asked
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .iter()
            .zip(trials)
        {
            self.watch_trial(&trial);
            self.history.remember(version, id, trial);
        }
        Ok(ids
            .iter()
            .filter_map(|id| self.history.trial(version, id).cloned())
            .collect())
    }

    /// Counts a trial for the role that left it without a mark: where the verifier grades, the learner has answered.
    fn watch_trial(&mut self, trial: &Trial) {
        let unmeasured = match &trial.mark {
            Mark::NotMeasured(why) => Some(why),
            Mark::Right | Mark::Wrong => None,
        };
        let graded = self.task.metric.needs_judge() && !trial.answer.is_empty();
        if graded {
            self.watch.answered(Role::Learner, None);
            self.watch.answered(Role::Verifier, unmeasured);
        } else {
            self.watch.answered(Role::Learner, unmeasured);
        }
    }

    async fn tell_what_is_left(&mut self, version: u32, ids: &[String]) -> Result<(), Stop> {
        let wrong = |id: &&String| self.is_wrong(version, id);
        let errors: Vec<&str> = ids.iter().filter(wrong).map(String::as_str).collect();
        if errors.is_empty() {
            return Ok(());
        }
        let named = errors.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let mut text = match errors.len() {
            1 => format!("1 example is still answered wrongly: {named}"),
            all if all > NAMED => format!(
                "{all} examples are still answered wrongly: {named} and {} more",
                all - NAMED
            ),
            all => format!("{all} examples are still answered wrongly: {named}"),
        };
        if let Some(analysis) = self.history.weaknesses.last() {
            text.push_str(&format!(". The last error analysis: {analysis}"));
        }
        self.warn(text).await
    }

    /// Says something that the user should know, once.
    async fn warn(&mut self, text: String) -> Result<(), Stop> {
        if self.warnings.contains(&text) {
            return Ok(());
        }
        self.warnings.push(text.clone());
        self.agents.emit(RunEvent::Warning { text }).await
    }

    /// Randomness for one purpose at one step: never shared, so that no part of a run disturbs another.
    fn random(&self, purpose: Purpose, step: u32) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.task.seed);
        random.set_stream(((purpose as u64) << 32) | u64::from(step));
        random
    }

    fn account(self, found: u32) -> Account {
        let label_kl = self
            .prior
            .as_ref()
            .map(|prior| prior.divergence(&self.history.label_counts(prior)));
        Account {
            prompts: self.history.prompts,
            found,
            synthetic: self.history.synthetic,
            corrections: self.history.corrections,
            label_kl,
            warnings: self.warnings,
        }
    }
}

/// What randomness is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Labels = 1,
    Noise = 2,
    Sample = 3,
}

fn scored(set: &str, arm: &str, score: Score) -> RunEvent {
    RunEvent::Scored {
        set: set.to_owned(),
        arm: arm.to_owned(),
        score,
    }
}

fn ended(result: Result<(), Stop>) -> Result<Ending, Stop> {
    match result {
        Ok(()) => Ok(Ending::Finished),
        Err(Stop::BudgetExhausted(cap)) => Ok(Ending::BudgetExhausted(cap)),
        Err(Stop::StoppedEarly) => Ok(Ending::StoppedEarly),
        Err(Stop::Halted(why)) => Err(Stop::Halted(why)),
    }
}
