//! The end of every strategy: its result judged once on held-out examples, beside the seed prompt and a zero-shot baseline, and
//! given up for the seed where it is not better.

use crate::{Agents, Stop, examine::examine};
use futures::{TryStreamExt as _, future::join_all, stream::FuturesOrdered};
use sipdo_domain::{
    Arm, Ending, Example, Mark, Outcome, Prompt, RunEvent, Score, SyntheticExample, Task,
    outcome::{ARMS, Correction, Gain},
    prompt::PLACEHOLDER,
    stats,
};

/// Resamples of the paired bootstrap.
const RESAMPLES: u32 = 2000;

/// What a strategy hands over.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Every prompt, the seed first.
    pub prompts: Vec<Prompt>,
    /// Version of the best of them.
    pub found: u32,
    /// Every synthetic example.
    pub synthetic: Vec<SyntheticExample>,
    /// The error-and-correction log.
    pub corrections: Vec<Correction>,
    /// KL(accepted labels ‖ prior), where labels are closed.
    pub label_kl: Option<f64>,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

/// Takes the held-out test and closes the run.
///
/// The learner is asked with every test example under three prompts: seed, zero-shot chain of thought, final. A budget that does
/// not reach so far leaves a shorter test and a warning, never no outcome.
pub async fn conclude(agents: &impl Agents, task: &Task, ending: Ending, account: Account) -> Result<Outcome, Stop> {
    agents.conclude().await?;
    let text = |version: u32| {
        account
            .prompts
            .iter()
            .find(|prompt| prompt.version == version)
            .map(|p| p.text.clone())
    };
    let seed = text(0).unwrap_or_else(|| task.prompt.clone());
    let last = text(account.found).unwrap_or_else(|| seed.clone());
    let mut arms = measure(agents, task, &[&seed, &last, &zero_shot(task, &seed)])
        .await?
        .into_iter();
    let [seed, last, zero_shot] = [(); 3].map(|()| arms.next().unwrap_or_default());

    let gain = gain(&seed, &last, task.seed);
    let reverted = account.found != 0 && gain.as_ref().is_some_and(|gain| gain.difference <= 0.0);
    let mut outcome = Outcome {
        ending,
        best: if reverted { 0 } else { account.found },
        found: account.found,
        prompts: account.prompts,
        synthetic: account.synthetic,
        corrections: account.corrections,
        arms: Vec::new(),
        gain,
        reverted,
        label_kl: account.label_kl,
        warnings: account.warnings,
    };
    for (name, marks) in ARMS.into_iter().zip([seed, zero_shot, last]) {
        report(agents, task, &mut outcome, name, &marks).await?;
    }
    if outcome.gain.is_none() {
        warn(agents, &mut outcome, "the result was not judged on held-out examples").await?;
    }
    Ok(outcome)
}

/// How one prompt did on the test examples, in their order, or what kept one from being asked. The answers are not kept: there may be
/// many, and nobody looks at them again.
pub(crate) type Marks = Vec<Result<Mark, Stop>>;

/// Examples of one prompt asked at once: more than agents do at a time, and a bound on what waits in memory.
const AT_ONCE: usize = 2048;

/// Tries prompts on the test examples, all of them together. A prompt that is given twice is tried once.
pub(crate) async fn measure(agents: &impl Agents, task: &Task, prompts: &[&str]) -> Result<Vec<Marks>, Stop> {
    let mut distinct: Vec<&str> = Vec::new();
    for prompt in prompts {
        if !distinct.contains(prompt) {
            distinct.push(prompt);
        }
    }
    let arms: Vec<_> = distinct.iter().map(|prompt| try_prompt(agents, task, prompt)).collect();
    let measured = join_all(arms).await.into_iter().collect::<Result<Vec<Marks>, Stop>>()?;
    let arm = |prompt: &&str| {
        distinct
            .iter()
            .position(|known| known == prompt)
            .and_then(|at| measured.get(at))
            .cloned()
    };
    Ok(prompts.iter().map(|prompt| arm(prompt).unwrap_or_default()).collect())
}

async fn try_prompt(agents: &impl Agents, task: &Task, prompt: &str) -> Result<Marks, Stop> {
    let mut marks = Marks::with_capacity(task.test.len());
    let mut asked = FuturesOrdered::new();
    for example in &task.test {
        if asked.len() == AT_ONCE {
            marks.extend(asked.try_next().await?);
        }
        asked.push_back(try_example(agents, task, prompt, example));
    }
    marks.extend(asked.try_collect::<Marks>().await?);
    Ok(marks)
}

async fn try_example(
    agents: &impl Agents,
    task: &Task,
    prompt: &str,
    example: &Example,
) -> Result<Result<Mark, Stop>, Stop> {
    match examine(agents, task, prompt, example, 0).await {
        Err(Stop::Halted(why)) => Err(Stop::Halted(why)),
        tried => Ok(tried.map(|trial| trial.mark)),
    }
}

pub(crate) async fn report(
    agents: &impl Agents,
    task: &Task,
    outcome: &mut Outcome,
    name: &str,
    marks: &Marks,
) -> Result<(), Stop> {
    let score = Score::of(marks.iter().flatten());
    let asked = marks.iter().flatten().count();
    if asked == 0 {
        return Ok(());
    }
    if asked < task.test.len() {
        let text = format!("{name}: only {asked} of {} test examples were reached", task.test.len());
        warn(agents, outcome, &text).await?;
    }
    let arm = Arm {
        name: name.to_owned(),
        score,
        interval: stats::wilson(score.right, score.measured()),
    };
    outcome.arms.push(arm.clone());
    agents.emit(RunEvent::ArmMeasured { arm }).await
}

async fn warn(agents: &impl Agents, outcome: &mut Outcome, text: &str) -> Result<(), Stop> {
    outcome.warnings.push(text.to_owned());
    agents.emit(RunEvent::Warning { text: text.to_owned() }).await
}

/// The paired difference over what both arms measured; none where they share nothing.
pub(crate) fn gain(seed: &Marks, last: &Marks, random: u64) -> Option<Gain> {
    let right = |mark: &Result<Mark, Stop>| match mark {
        Ok(Mark::Right) => Some(true),
        Ok(Mark::Wrong) => Some(false),
        _ => None,
    };
    let pairs: Vec<(bool, bool)> = seed
        .iter()
        .zip(last)
        .filter_map(|(seed, last)| Some((right(seed)?, right(last)?)))
        .collect();
    let count = |wanted: (bool, bool)| pairs.iter().filter(|pair| **pair == wanted).count() as u32;
    let (gained, lost) = (count((false, true)), count((true, false)));
    let differences: Vec<f64> = pairs
        .iter()
        .map(|(seed, last)| f64::from(u8::from(*last)) - f64::from(u8::from(*seed)))
        .collect();
    Some(Gain {
        interval: stats::paired_bootstrap(&differences, RESAMPLES, random)?,
        difference: (f64::from(gained) - f64::from(lost)) / pairs.len() as f64,
        p_value: stats::mcnemar(gained, lost),
        pairs: pairs.len() as u32,
        gained,
        lost,
    })
}

/// A prompt that asks for nothing but the task, step by step (Kojima et al. 2022), with a placeholder where the seed has one.
fn zero_shot(task: &Task, seed: &str) -> String {
    let mut parts = vec![task.brief.description.trim()];
    if seed.contains(PLACEHOLDER) {
        parts.push(PLACEHOLDER);
    }
    parts.push("Let's think step by step. End with one line: `Answer: ` and the answer alone.");
    parts.push(task.brief.answer_format.trim());
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}
