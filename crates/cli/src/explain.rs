//! `sipdo eval --explain`: for each example and prompt what was taken for the answer, and by which rule.

use serde_json::json;
use sipdo_domain::{Example, Task};

use crate::{
    failure::Failure,
    held_out::{Answer, HeldOut},
    output::{self, Table},
    words::prompt_name,
};

/// Longest cell of the table, in characters.
const WIDE: usize = 40;

/// One answer, explained.
struct Explained<'a> {
    id: &'a str,
    arm: &'a str,
    target: &'a str,
    answer: &'a Answer,
    taken: String,
    rule: &'static str,
    read_as: Option<String>,
}

/// Prints one line for each measured or unmeasured answer: a table, or with `--json` one object a line.
///
/// # Errors
/// Stdout is closed.
pub fn print(task: &Task, test: &HeldOut) -> Result<(), Failure> {
    let all = explained(task, test);
    if output::json() {
        for one in &all {
            output::json_line(&json!({
                "id": one.id,
                "arm": one.arm,
                "target": one.target,
                "mark": one.answer.mark,
                "taken": one.taken,
                "rule": one.rule,
                "read_as": one.read_as,
                "answer": one.answer.answer,
            }))?;
        }
        return Ok(());
    }
    output::data(&table(&all).render(output::stdout_color()))?;
    Ok(())
}

fn explained<'a>(task: &Task, test: &'a HeldOut) -> Vec<Explained<'a>> {
    let mut all = Vec::new();
    for line in &test.lines {
        let example = task.form.readable_example(&Example {
            id: line.id.clone(),
            input: line.input.clone(),
            target: line.target.clone(),
            aliases: Vec::new(),
        });
        for (arm, answers) in &line.arms {
            for answer in answers.all() {
                let taken = answer.answer.as_deref().map(|text| task.metric.taken(text, &example));
                let (text, rule, read_as) = match (taken, task.metric.needs_judge()) {
                    (Some(taken), false) => (taken.text, taken.rule, taken.read_as),
                    (Some(taken), true) => (taken.text, "a model decides", None),
                    (None, _) => (String::new(), "no answer", None),
                };
                all.push(Explained {
                    id: &line.id,
                    arm,
                    target: &line.target,
                    answer,
                    taken: text,
                    rule,
                    read_as,
                });
            }
        }
    }
    all
}

fn table(all: &[Explained]) -> Table {
    let mut table = Table::new(&[
        "example",
        "prompt",
        "target",
        "mark",
        "taken for the answer",
        "rule",
        "read as",
    ]);
    for one in all {
        let short = |text: &str| output::short(&output::clean_line(text), WIDE);
        table.row([
            one.id.to_owned(),
            short(&prompt_name(one.arm)),
            short(one.target),
            one.answer.mark.words().to_owned(),
            short(&one.taken),
            one.rule.to_owned(),
            short(one.read_as.as_deref().unwrap_or("-")),
        ]);
    }
    table
}
