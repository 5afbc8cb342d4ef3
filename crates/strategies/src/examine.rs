//! Examining a prompt: the learner answers, the metric marks.

use crate::{Agents, Stop};
use sipdo_domain::{
    Answer, AnswerRequest, Ask, Example, Grade, GradeRequest, Mark, Measured, NotMeasured, Provenance, Reason, Role,
    Signed, Task, metric::Comparison,
};

/// How a prompt did on an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Right, wrong or not measured.
    pub mark: Mark,
    /// The learner's answer; empty where there is none.
    pub answer: String,
    /// Who answered, and who graded where the metric is a judge; empty where nobody did.
    pub by: Vec<(Role, Provenance)>,
    /// What of the answer is right, in 0..=1; none where the metric does not say, or nothing was measured.
    pub credit: Option<f64>,
}

impl Trial {
    fn not_measured(why: NotMeasured) -> Self {
        Trial {
            mark: Mark::NotMeasured(why),
            answer: String::new(),
            by: Vec::new(),
            credit: None,
        }
    }
}

/// The sample under which the answer of a repeat, from 0, is asked for, counted from sample 0 or [`ANEW`](sipdo_domain::ask::ANEW). Each
/// repeat has two: the second is for an answer that was not measured.
pub fn sample_of(repeat: u32, from: u32) -> u32 {
    from + 2 * repeat
}

/// Asks for an answer and marks it; what was not measured is asked again once, as the next sample.
pub async fn examine(
    agents: &impl Agents,
    task: &Task,
    prompt: &str,
    example: &Example,
    sample: u32,
) -> Result<Trial, Stop> {
    let trial = examine_once(agents, task, prompt, example, sample).await?;
    match &trial.mark {
        Mark::NotMeasured(why) if worth_asking_again(why) => {
            examine_once(agents, task, prompt, example, sample + 1).await
        }
        _ => Ok(trial),
    }
}

/// Whether the same ask may fare better a second time.
pub fn worth_asking_again(why: &NotMeasured) -> bool {
    !matches!(why.reason, Reason::Misconfigured | Reason::TooLarge)
}

async fn examine_once(
    agents: &impl Agents,
    task: &Task,
    prompt: &str,
    example: &Example,
    sample: u32,
) -> Result<Trial, Stop> {
    let question = match question(task, prompt, example) {
        Ok(question) => question,
        Err(why) => return Ok(Trial::not_measured(NotMeasured::new(Reason::Misconfigured, why))),
    };
    let Signed { value: answer, by } = match agents.ask_for::<Answer>(Ask::Answer(question), sample).await? {
        Ok(signed) => signed,
        Err(why) => return Ok(Trial::not_measured(why)),
    };
    let answer = answer.text;
    let mut by = vec![(Role::Learner, by)];
    let mark = if task.metric.needs_judge() {
        match grade(agents, task, example, task.metric.shown_to_judge(&answer), sample).await? {
            Ok(graded) => {
                by.push((Role::Verifier, graded.by));
                Mark::from_bool(graded.value)
            }
            Err(why) => Mark::NotMeasured(why),
        }
    } else {
        task.mark(&answer, example)
    };
    let credit = task.metric.credit(&answer, example);
    Ok(Trial {
        mark,
        answer,
        by,
        credit,
    })
}

/// What the learner is asked: the prompt with the example's input, or the task's messages with its columns filled in.
fn question(task: &Task, prompt: &str, example: &Example) -> Result<AnswerRequest, String> {
    let messages = task.form.messages(prompt, &example.input)?;
    let schema = task.form.answer_schema.clone().unwrap_or_default();
    if !messages.is_empty() {
        return Ok(AnswerRequest {
            messages,
            schema,
            ..AnswerRequest::default()
        });
    }
    Ok(AnswerRequest {
        prompt: prompt.to_owned(),
        input: example.input.clone(),
        schema,
        ..AnswerRequest::default()
    })
}

/// The verifier's word on whether an answer is right: the metric `judge`.
pub async fn grade(
    agents: &impl Agents,
    task: &Task,
    example: &Example,
    answer: &str,
    sample: u32,
) -> Result<Measured<Signed<bool>>, Stop> {
    let grading = GradeRequest {
        task: task.brief.clone(),
        input: example.input.clone(),
        target: example.target.clone(),
        answer: answer.to_owned(),
        criteria: match &task.metric.comparison {
            Comparison::Judge { criteria } => criteria.clone(),
            _ => String::new(),
        },
    };
    let grade = agents.ask_for::<Grade>(Ask::Grade(grading), sample).await?;
    Ok(grade.map(|Signed { value, by }| Signed {
        value: value.correct,
        by,
    }))
}
