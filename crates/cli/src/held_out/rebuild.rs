//! The held-out test rebuilt from a run's records. It asks what the strategy asked, and takes each answer from the result of the job that
//! has the same identity, so that nothing is marked by another rule than in the run.

use std::sync::Mutex;

use anyhow::Context as _;
use sipdo_domain::{
    Ask, Example, Mark, Measured, NotMeasured, Prompt, Reason, Reply, RunEvent, Signed, Task, ask::ANEW,
    labels::Answered,
};
use sipdo_protocol::{JobOutcome, job_id, pb};
use sipdo_strategies::{
    Agents, Stop,
    examine::{examine, sample_of},
    held_out,
};

use super::{Answer, Answers, Change, HeldOut, Line, MarkName, NOT_ASKED, records::Records};
use crate::{
    client::Api,
    failure::{Exit, Failure},
};

/// The held-out test of a run, read from its coordinator.
///
/// # Errors
/// The coordinator does not answer; there is no such run; it was not tested.
pub async fn fetch(api: &mut Api, run: &str) -> Result<HeldOut, Failure> {
    of(&Records::fetch(api, run).await?).await
}

/// The held-out test that these records hold.
///
/// # Errors
/// The run was not tested, or its records are not whole.
pub async fn of(records: &Records) -> Result<HeldOut, Failure> {
    let task = records.task.as_ref().context("the records hold no task")?;
    let (strategy, options) = records.strategy();
    let outcome = records.outcome.clone().unwrap_or_default();
    if records.outcome.is_none() && strategy != "eval" {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "run {} has no held-out answers: its test is taken when it ends, and it has no result",
                records.run
            ),
        )
        .hint(format!("`sipdo runs show {}` shows its state", records.run)));
    }
    let prompts: Result<Vec<Prompt>, _> = outcome.prompts.into_iter().map(Prompt::try_from).collect();
    let prompts = prompts.map_err(anyhow::Error::from)?;
    let test = held_out(&strategy, &options, task, &prompts, outcome.found).map_err(anyhow::Error::msg)?;
    let mut lines = Vec::with_capacity(task.test.len());
    for example in &task.test {
        let mut arms = Vec::with_capacity(test.arms.len());
        for (name, prompt) in &test.arms {
            let answers = answers(records, task, prompt, example, test.repeats).await;
            arms.push((name.clone(), answers));
        }
        let mut line = Line {
            id: example.id.clone(),
            input: example.input.clone(),
            target: example.target.clone(),
            change: None,
            arms,
        };
        if let Some((before, after)) = &test.compared {
            line.change = Change::between(line.arm(before), line.arm(after));
        }
        lines.push(line);
    }
    Ok(HeldOut {
        run: records.run.clone(),
        lines,
        arms: test.arms.into_iter().map(|(name, _)| name).collect(),
        compared: test.compared,
        labels: task.brief.labels.clone(),
    })
}

async fn answers(records: &Records, task: &Task, prompt: &str, example: &Example, count: u32) -> Answers {
    let first = counting(records, task, prompt, example, 0).await;
    let mut repeats = Vec::new();
    for repeat in 1..count {
        repeats.push(counting(records, task, prompt, example, repeat).await);
    }
    Answers { first, repeats }
}

/// The answer that counts: the one that was asked anew, since the stored one was of another revision of the model, or else the first.
async fn counting(records: &Records, task: &Task, prompt: &str, example: &Example, repeat: u32) -> Answer {
    let anew = answer(records, task, prompt, example, sample_of(repeat, ANEW)).await;
    match anew.asked() {
        true => anew,
        false => answer(records, task, prompt, example, sample_of(repeat, 0)).await,
    }
}

async fn answer(records: &Records, task: &Task, prompt: &str, example: &Example, sample: u32) -> Answer {
    let asked = Asked {
        records,
        used: Mutex::default(),
    };
    let trial = examine(&asked, task, prompt, example, sample).await;
    let used = asked.used.into_inner().unwrap_or_default();
    let (mark, text) = match trial {
        Ok(trial) => (Some(trial.mark), trial.answer),
        Err(_) => (None, String::new()),
    };
    let answered = mark
        .as_ref()
        .and_then(|mark| Answered::of(&task.metric, &task.brief.labels, example, &text, mark));
    let label = answered.and_then(|answered| task.brief.labels.get(answered.given?).cloned());
    let usage = |of: fn(&pb::Usage) -> u64| used.iter().filter_map(|result| result.usage.as_ref()).map(of).sum();
    Answer {
        reason: match &mark {
            None => Some(NOT_ASKED.into()),
            Some(Mark::NotMeasured(why)) => Some(why.to_string()),
            Some(_) => None,
        },
        mark: match mark {
            Some(Mark::Right) => MarkName::Right,
            Some(Mark::Wrong) => MarkName::Wrong,
            Some(Mark::NotMeasured(_)) | None => MarkName::NotMeasured,
        },
        answer: (!text.is_empty()).then_some(text),
        label,
        model: learner(&used),
        calls: usage(|usage| usage.calls.into()),
        tokens: usage(|usage| usage.input_tokens + usage.output_tokens),
        usd: usd(&used),
        answered,
    }
}

/// The model behind the last answer of a learner.
fn learner(used: &[&pb::JobResult]) -> Option<String> {
    let answered = |result: &&&pb::JobResult| {
        let reply = match &result.finding {
            Some(pb::job_result::Finding::Reply(reply)) => reply.reply.as_ref(),
            _ => None,
        };
        matches!(reply, Some(pb::reply::Reply::Answer(_)))
    };
    let last = used.iter().rev().find(answered).or(used.first())?.by.as_ref()?;
    (!last.model.is_empty()).then(|| format!("{}/{}", last.endpoint, last.model))
}

/// The price of all of them; none where one is unknown.
fn usd(used: &[&pb::JobResult]) -> Option<f64> {
    let usages = used.iter().filter_map(|result| result.usage.as_ref());
    let prices = usages.map(|usage| usage.nano_usd.or((usage.calls == 0).then_some(0)));
    let nano: u64 = prices.sum::<Option<u64>>()?;
    #[expect(clippy::cast_precision_loss, reason = "money for reading")]
    Some(nano as f64 / 1e9)
}

/// The port of a run that is over: each ask is answered by the result that the run has, and nothing is bought.
struct Asked<'a> {
    records: &'a Records,
    /// The results that were taken, in the order asked.
    used: Mutex<Vec<&'a pb::JobResult>>,
}

impl Agents for Asked<'_> {
    async fn ask(&self, ask: Ask, sample: u32) -> Result<Measured<Signed<Reply>>, Stop> {
        let job = job_id(&self.records.run, &pb::Ask::from(ask), sample);
        let Some(result) = self.records.results.get(&job) else {
            return Err(Stop::Halted(NOT_ASKED.into()));
        };
        if let Ok(mut used) = self.used.lock() {
            used.push(result);
        }
        Ok(match JobOutcome::try_from(result.clone()) {
            Ok(outcome) => outcome.signed(),
            Err(error) => Err(NotMeasured::new(Reason::Malformed, error.to_string())),
        })
    }

    async fn emit(&self, _: RunEvent) -> Result<(), Stop> {
        Ok(())
    }

    async fn conclude(&self) -> Result<(), Stop> {
        Ok(())
    }
}
