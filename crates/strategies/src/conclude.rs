//! The end of every strategy: its result judged once on held-out examples, beside the seed prompt and a zero-shot baseline, and
//! given up for the seed where it is not better.

use crate::{
    Agents, Stop,
    examine::{Trial, examine, sample_of},
    revisions::{By, Sources, comparable, outdated},
};
use futures::{TryStreamExt as _, future::join_all, stream::FuturesOrdered};
use sipdo_domain::{
    Arm, Ending, Example, Mark, Outcome, Prompt, RunEvent, Score, Shown, SyntheticExample, Task,
    accept::Objective,
    ask::ANEW,
    labels::{self, Answered},
    outcome::{ARMS, Correction, Gain, MacroF1Gain},
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
    let [seed, zero_shot_prompt, last] = prompts(task, &account.prompts, account.found);
    let (arms, renewed) = measure(agents, task, &[&seed, &last, &zero_shot_prompt], ONCE).await?;
    let mut arms = arms.into_iter();
    let [seed, last, zero_shot_arm] = [(); 3].map(|()| arms.next().unwrap_or_default());

    let changed = changed_model(&seed, &last);
    let judged = judge(task, account.found, gain(task, &seed, &last, ONCE));
    let better_without = zero_shot_is_better(task, &last, &zero_shot_arm);
    let mut outcome = Outcome {
        ending,
        best: if judged.reverted { 0 } else { account.found },
        found: account.found,
        prompts: account.prompts,
        synthetic: account.synthetic,
        corrections: account.corrections,
        arms: Vec::new(),
        gain: judged.gain,
        reverted: judged.reverted,
        label_kl: account.label_kl,
        warnings: account.warnings,
        shown: judged.shown,
        more_examples: judged.more_examples,
    };
    for (name, marks) in ARMS.into_iter().zip([seed, zero_shot_arm, last]) {
        report(agents, task, &mut outcome, name, &marks, ONCE).await?;
    }
    for text in renewed_words(renewed).into_iter().chain(changed) {
        warn(agents, &mut outcome, &text).await?;
    }
    if let Some(gain) = better_without {
        let (of, difference, p_value) = match gain.macro_f1 {
            Some(gain) => (" of macro-F1", gain.difference, gain.p_value),
            None => ("", gain.difference, gain.p_value),
        };
        let text = format!(
            "zero-shot chain of thought is better than the final prompt by {:.1} points{of} (p = {p_value:.4}). Its prompt is: {}",
            100.0 * difference,
            zero_shot(task, &task.prompt)
        );
        warn(agents, &mut outcome, &text).await?;
    }
    if outcome.gain.is_none() {
        warn(agents, &mut outcome, "the result was not judged on held-out examples").await?;
    }
    Ok(outcome)
}

/// The texts of the prompts that take the held-out test, in the order of [`ARMS`].
pub(crate) fn prompts(task: &Task, prompts: &[Prompt], found: u32) -> [String; 3] {
    let text = |version: u32| {
        let prompt = prompts.iter().find(|prompt| prompt.version == version);
        prompt.map(|prompt| prompt.text.clone())
    };
    let seed = text(0).unwrap_or_else(|| task.prompt.clone());
    let last = text(found).unwrap_or_else(|| seed.clone());
    [seed.clone(), zero_shot(task, &seed), last]
}

/// What the held-out test says of a found prompt.
struct Judged {
    gain: Option<Gain>,
    shown: Option<Shown>,
    more_examples: Option<u32>,
    reverted: bool,
}

fn judge(task: &Task, found: u32, gain: Option<Gain>) -> Judged {
    let rule = task.accept.as_ref().zip(gain.as_ref());
    let shown = rule.map(|(rule, gain)| rule.shown(gain));
    let kept = match (rule, shown, &gain) {
        (Some((rule, _)), Some(shown), _) => rule.keeps(shown),
        // A task of a version without a rule: any higher score is kept.
        (_, _, Some(gain)) => gain.difference > 0.0,
        (_, _, None) => true,
    };
    Judged {
        more_examples: rule.and_then(|(rule, gain)| rule.more_examples(gain)),
        shown,
        reverted: found != 0 && !kept,
        gain,
    }
}

/// How one prompt did on a test example, and who answered. The answer itself is not kept: there may be many, and nobody looks at them
/// again.
#[derive(Debug, Clone)]
pub(crate) struct Tested {
    pub mark: Mark,
    /// Target and label as places in the label space, where the task's objective needs them.
    pub answered: Option<Answered>,
    pub by: Box<[By]>,
    pub credit: Option<f64>,
}

/// How one prompt did on the test examples, in their order, the repeats of each beside each other; or what kept one from being asked.
pub(crate) type Marks = Vec<Result<Tested, Stop>>;

/// The conclusion asks each prompt for one answer to each example.
const ONCE: u32 = 1;

/// Examples of one prompt asked at once: more than agents do at a time, and a bound on what waits in memory.
const AT_ONCE: usize = 2048;

/// Tries prompts on the test examples, all of them together, so many times each. A prompt that is given twice is tried once.
/// Gives the marks of each prompt, and how many stored answers were asked anew.
pub(crate) async fn measure(
    agents: &impl Agents,
    task: &Task,
    prompts: &[&str],
    repeats: u32,
) -> Result<(Vec<Marks>, usize), Stop> {
    let mut distinct: Vec<&str> = Vec::new();
    for prompt in prompts {
        if !distinct.contains(prompt) {
            distinct.push(prompt);
        }
    }
    let sources = Sources::default();
    let test = HeldOut {
        agents,
        task,
        sources: &sources,
        repeats,
    };
    let arms: Vec<_> = distinct.iter().map(|prompt| test.try_prompt(prompt)).collect();
    let mut measured = join_all(arms).await.into_iter().collect::<Result<Vec<Marks>, Stop>>()?;
    let renewed = test.renew_outdated(&distinct, &mut measured).await?;
    let arm = |prompt: &&str| {
        distinct
            .iter()
            .position(|known| known == prompt)
            .and_then(|at| measured.get(at))
            .cloned()
    };
    let arms = prompts.iter().map(|prompt| arm(prompt).unwrap_or_default()).collect();
    Ok((arms, renewed))
}

/// One held-out test of several prompts.
struct HeldOut<'a, A> {
    agents: &'a A,
    task: &'a Task,
    sources: &'a Sources,
    repeats: u32,
}

impl<A: Agents> HeldOut<'_, A> {
    async fn try_prompt(&self, prompt: &str) -> Result<Marks, Stop> {
        let mut marks = Marks::with_capacity(self.task.test.len() * self.repeats as usize);
        let mut asked = FuturesOrdered::new();
        for example in &self.task.test {
            for repeat in 0..self.repeats {
                if asked.len() == AT_ONCE {
                    marks.extend(asked.try_next().await?);
                }
                asked.push_back(self.try_example(prompt, example, sample_of(repeat, 0)));
            }
        }
        marks.extend(asked.try_collect::<Marks>().await?);
        Ok(marks)
    }

    /// Asks anew what was answered by a revision of the model that does not answer now, and says how many answers that were. New answers
    /// may show that others are outdated, so it looks again; what was asked anew never is.
    async fn renew_outdated(&self, prompts: &[&str], arms: &mut [Marks]) -> Result<usize, Stop> {
        let mut renewed = 0;
        loop {
            let places: Vec<(usize, usize)> = (0..)
                .zip(arms.iter())
                .flat_map(|(arm, marks)| (0..marks.len()).map(move |at| (arm, at)))
                .collect();
            let answered = |(arm, at): &(usize, usize)| Some(arms.get(*arm)?.get(*at)?.as_ref().ok()?.by.as_ref());
            let by: Vec<&[By]> = places.iter().map(|place| answered(place).unwrap_or_default()).collect();
            let outdated: Vec<(usize, usize)> = outdated(&by)
                .into_iter()
                .filter_map(|at| places.get(at).copied())
                .collect();
            if outdated.is_empty() {
                return Ok(renewed);
            }
            renewed += outdated.len();
            let mut anew = FuturesOrdered::new();
            for (arm, at) in &outdated {
                let repeats = self.repeats as usize;
                if let (Some(prompt), Some(example)) = (prompts.get(*arm), self.task.test.get(at / repeats)) {
                    let sample = sample_of((at % repeats) as u32, ANEW);
                    anew.push_back(self.try_example(prompt, example, sample));
                }
            }
            for ((arm, at), tested) in outdated.into_iter().zip(anew.try_collect::<Marks>().await?) {
                if let Some(place) = arms.get_mut(arm).and_then(|marks| marks.get_mut(at)) {
                    *place = tested;
                }
            }
        }
    }

    async fn try_example(&self, prompt: &str, example: &Example, sample: u32) -> Result<Result<Tested, Stop>, Stop> {
        let Task {
            metric, brief, accept, ..
        } = self.task;
        let by_label = accept.as_ref().is_some_and(|rule| rule.objective == Objective::MacroF1);
        match examine(self.agents, self.task, prompt, example, sample).await {
            Err(Stop::Halted(why)) => Err(Stop::Halted(why)),
            tried => Ok(tried.map(
                |Trial {
                     mark,
                     by,
                     answer,
                     credit,
                 }| Tested {
                    answered: by_label
                        .then(|| Answered::of(metric, &brief.labels, example, &answer, &mark))
                        .flatten(),
                    mark,
                    by: self.sources.by(by),
                    credit,
                },
            )),
        }
    }
}

pub(crate) async fn report(
    agents: &impl Agents,
    task: &Task,
    outcome: &mut Outcome,
    name: &str,
    marks: &Marks,
    repeats: u32,
) -> Result<(), Stop> {
    let score = Score::of(marks.iter().flatten().map(|tested| &tested.mark));
    let asked = marks.iter().flatten().count();
    if asked == 0 {
        return Ok(());
    }
    let all = task.test.len() * repeats as usize;
    if asked < all {
        let what = if repeats == ONCE {
            "test examples"
        } else {
            "answers to test examples"
        };
        let text = format!("{name}: only {asked} of {all} {what} were reached");
        warn(agents, outcome, &text).await?;
    }
    let arm = Arm {
        name: name.to_owned(),
        score,
        interval: interval(marks, score, repeats),
        credit: mean_credit(marks),
    };
    outcome.arms.push(arm.clone());
    agents.emit(RunEvent::ArmMeasured { arm }).await
}

/// The interval of the accuracy. Repeats of one example are not independent, and count only for as many answers as they are worth.
fn interval(marks: &Marks, score: Score, repeats: u32) -> Option<(f64, f64)> {
    if repeats == ONCE {
        return stats::wilson(score.right, score.measured());
    }
    let shares: Vec<f64> = marks
        .chunks(repeats as usize)
        .filter_map(|answers| share(answers.iter().flatten()))
        .collect();
    stats::wilson_of_shares(&shares, score.measured())
}

/// The share of right answers among the measured ones to one example; none where none was measured.
fn share<'a>(answers: impl IntoIterator<Item = &'a Tested>) -> Option<f64> {
    Score::of(answers.into_iter().map(|tested| &tested.mark)).accuracy()
}

pub(crate) async fn warn(agents: &impl Agents, outcome: &mut Outcome, text: &str) -> Result<(), Stop> {
    outcome.warnings.push(text.to_owned());
    agents.emit(RunEvent::Warning { text: text.to_owned() }).await
}

/// Mean credit of what was measured; none where nothing has one.
fn mean_credit(marks: &Marks) -> Option<f64> {
    let credits: Vec<f64> = marks.iter().flatten().filter_map(|tested| tested.credit).collect();
    (!credits.is_empty()).then(|| credits.iter().sum::<f64>() / credits.len() as f64)
}

/// The answers of one arm to one example.
type Repeats<'a> = &'a [Result<Tested, Stop>];

/// The answers of two arms to one example, of the same revision of the model and measured on both sides.
type Compared<'a> = (Vec<&'a Tested>, Vec<&'a Tested>);

/// The examples that can be compared. Of repeats, each is set against the one of the same number.
fn compared<'a>(before: &'a Marks, after: &'a Marks, repeats: u32) -> Vec<Compared<'a>> {
    let of_example = |(before, after): (Repeats<'a>, Repeats<'a>)| {
        let both = before.iter().zip(after).filter_map(|pair| match pair {
            (Ok(before), Ok(after)) => Some((before, after)),
            _ => None,
        });
        let (before, after): Compared = both.filter(|(before, after)| comparable(&before.by, &after.by)).unzip();
        (share(before.iter().copied()).is_some() && share(after.iter().copied()).is_some()).then_some((before, after))
    };
    let (before, after) = (before.chunks(repeats as usize), after.chunks(repeats as usize));
    before.zip(after).filter_map(of_example).collect()
}

/// The paired difference over what both arms measured with the same revision of the model; none where they share nothing.
pub(crate) fn gain(task: &Task, before: &Marks, after: &Marks, repeats: u32) -> Option<Gain> {
    let examples = compared(before, after, repeats);
    let share = |answers: &[&Tested]| share(answers.iter().copied());
    let differences: Vec<f64> = examples
        .iter()
        .filter_map(|(before, after)| Some(share(after)? - share(before)?))
        .collect();
    let count = |counts: fn(f64) -> bool| differences.iter().filter(|one| counts(**one)).count() as u32;
    Some(Gain {
        interval: stats::paired_bootstrap(&differences, RESAMPLES, task.seed)?,
        difference: differences.iter().sum::<f64>() / differences.len() as f64,
        p_value: stats::paired(&differences, task.seed),
        pairs: differences.len() as u32,
        gained: count(|one| one > 0.0),
        lost: count(|one| one < 0.0),
        macro_f1: macro_f1(task, &examples),
    })
}

/// The difference in macro-F1; none where the task's objective is another one.
fn macro_f1(task: &Task, examples: &[Compared]) -> Option<MacroF1Gain> {
    if task.accept.as_ref()?.objective != Objective::MacroF1 {
        return None;
    }
    let labels =
        |answers: &[&Tested]| -> Vec<Answered> { answers.iter().filter_map(|tested| tested.answered).collect() };
    let pairs: Vec<labels::Pair> = examples
        .iter()
        .map(|(before, after)| (labels(before), labels(after)))
        .collect();
    let (difference, p_value) = labels::macro_f1_test(task.brief.labels.len(), &pairs, task.seed)?;
    Some(MacroF1Gain { difference, p_value })
}

/// What to say where stored answers were asked anew.
pub(crate) fn renewed_words(renewed: usize) -> Option<String> {
    (renewed > 0).then(|| {
        format!("{renewed} stored answers came from another revision of the model: they were asked anew, and only the new ones count")
    })
}

/// What to say where the two answers to an example came of different revisions of the model, so that they were not compared.
pub(crate) fn changed_model(before: &Marks, after: &Marks) -> Option<String> {
    let both = before.iter().flatten().zip(after.iter().flatten());
    let apart = both
        .filter(|(before, after)| !comparable(&before.by, &after.by))
        .count();
    (apart > 0).then(|| {
        format!(
            "the model changed during the held-out test: on {apart} examples the prompts are not compared, since different revisions \
             answered; repeat the comparison with `sipdo eval --fresh`"
        )
    })
}

/// The gain of the zero-shot baseline over the final prompt, where the task's rule takes it for better.
fn zero_shot_is_better(task: &Task, last: &Marks, zero_shot: &Marks) -> Option<Gain> {
    let gain = gain(task, last, zero_shot, ONCE)?;
    (task.accept.as_ref()?.shown(&gain) == Shown::Better).then_some(gain)
}

/// A prompt that asks for nothing but the task, step by step (Kojima et al. 2022), with placeholders where the seed has them.
fn zero_shot(task: &Task, seed: &str) -> String {
    let mut parts = vec![task.brief.description.trim()];
    if task.form.messages.is_empty() && seed.contains(PLACEHOLDER) {
        parts.push(PLACEHOLDER);
    }
    parts.push("Let's think step by step. End with one line: `Answer: ` and the answer alone.");
    parts.push(task.brief.answer_format.trim());
    parts.retain(|part| !part.is_empty());
    task.form.bare(&parts.join("\n\n"))
}
