//! `sipdo eval --models a,b,c`: the same prompts answered by several models, one run for each, as one table.

use std::path::PathBuf;

use serde_json::json;
use sipdo_domain::{Pool, Role};
use sipdo_protocol::pb;
use uuid::Uuid;

use super::models::split;
use crate::{
    ask::try_first,
    client::Api,
    failure::{Exit, Failure, Outcome},
    global::Global,
    launch::{NewRun, launch_each},
    operator::StackArgs,
    output::{self, Table, clean_line},
    report::{Report, SIMULATED},
};

/// Runs `order` once for each of `models`, as the learner's model of that run, and prints what each scored.
///
/// # Errors
/// A model that is not `ENDPOINT/MODEL`, or does not work; whatever stands between a run and its end.
pub async fn run(
    global: &Global,
    stack: &StackArgs,
    config: Option<PathBuf>,
    order: &NewRun,
    models: &[String],
) -> Outcome {
    let learner = Pool::from(Role::Learner);
    let mut orders = Vec::new();
    for model in models {
        let (endpoint, name) = split(model)?;
        let mut order = order.clone();
        let choice = order.models.entry(learner.to_string()).or_default();
        (choice.endpoint, choice.model) = (endpoint, name);
        order.request_id = Uuid::now_v7().to_string();
        orders.push(order);
    }
    let check = async |api: &mut Api| {
        nothing_goes_before(api, &learner).await?;
        for order in orders.iter().filter(|_| !stack.no_probe) {
            if let Some(choice) = order.models.get(learner.role.name()) {
                try_first(api, &learner, "", choice).await?;
            }
        }
        Ok(())
    };
    let runs = launch_each(global, stack, config, &orders, check).await?;
    let mut reports: Vec<Report> = runs.iter().map(|run| Report::of(run, global.simulated)).collect();
    for report in &mut reports {
        report.most_not_measured = order.most_not_measured;
    }
    tell(models, &reports)?;
    let failed = reports.iter().find(|report| !report.failure.is_empty());
    match failed {
        Some(report) => Err(Failure::new(
            Exit::Failure,
            format!("run {} failed: {}", report.run, clean_line(&report.failure)),
        )),
        None => Ok(runs
            .iter()
            .map(Report::exit)
            .find(|exit| *exit == Exit::BudgetExhausted)
            .unwrap_or(match reports.iter().any(Report::lacks_answers) {
                true => Exit::TooLittleMeasured,
                false => Exit::Ok,
            })),
    }
}

/// The registry's word goes before a run's own: with one on the learner every row would be of the same model.
async fn nothing_goes_before(api: &mut Api, learner: &Pool) -> Result<(), Failure> {
    let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner();
    match registry.models.contains_key(&learner.to_string()) {
        true => Err(
            Failure::usage("the registry sets the learner's model, which overrides --models")
                .hint("`sipdo models unset learner` removes that entry; `sipdo models show learner` shows it"),
        ),
        false => Ok(()),
    }
}

fn tell(models: &[String], reports: &[Report]) -> Result<(), Failure> {
    if output::json() {
        let rows = models
            .iter()
            .zip(reports)
            .map(|(model, report)| json!({"model": model, "report": report}));
        return output::json_line(&json!({ "models": rows.collect::<Vec<_>>() }));
    }
    if reports.iter().any(|report| report.simulated) {
        output::data_line(SIMULATED)?;
    }
    output::data(&table(models, reports).render(output::stdout_color()))?;
    for (model, report) in models.iter().zip(reports) {
        for line in below(report) {
            output::data_line(&format!("{}: {line}", clean_line(model)))?;
        }
        for warning in &report.warnings {
            output::warning(&format!("{}: {}", clean_line(model), clean_line(warning)));
        }
    }
    Ok(())
}

/// What a model's rows do not say: the gain, or that there is none to tell, and why examples were not measured.
fn below(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    match &report.gain {
        Some(gain) => lines.push(gain.words()),
        None if report.arms.len() > 1 => {
            lines.push("the gain is unknown: no example was measured with both prompts".into())
        }
        None => {}
    }
    if !report.not_measured.is_empty() {
        let reasons = report.not_measured.iter();
        let reasons: Vec<String> = reasons.map(|(reason, number)| format!("{reason} {number}")).collect();
        lines.push(format!("not measured: {}", reasons.join(", ")));
    }
    lines
}

/// One row for each model and prompt.
fn table(models: &[String], reports: &[Report]) -> Table {
    let headings = [
        "model",
        "prompt",
        "accuracy",
        "95 % interval",
        "right",
        "wrong",
        "not measured",
        "calls",
    ];
    let mut table = Table::new(&headings).right(&[2, 3, 4, 5, 6, 7]);
    for (model, report) in models.iter().zip(reports) {
        for (at, arm) in report.arms.iter().enumerate() {
            // Calls are the run's, over all its prompts.
            let calls = if at == 0 {
                output::count(report.spent.calls)
            } else {
                String::new()
            };
            let cells = [clean_line(model)].into_iter().chain(arm.cells()).chain([calls]);
            table.row(cells);
        }
        if report.arms.is_empty() {
            let cells = [clean_line(model), "-".into(), report.state.clone()];
            table.row(cells.into_iter().chain(std::iter::repeat_n("-".to_owned(), 5)));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_answered_nothing_has_no_gain_and_says_why() {
        let arm = |name: &str| pb::Arm {
            name: name.into(),
            score: Some(pb::Score {
                right: 0,
                wrong: 0,
                not_measured: 5,
            }),
            interval: None,
            credit: None,
        };
        let run = pb::Run {
            outcome: Some(pb::Outcome {
                arms: vec![arm("seed"), arm("better")],
                ..Default::default()
            }),
            not_measured_by_reason: [("REASON_EMPTY".to_owned(), 10)].into(),
            ..Default::default()
        };
        assert_eq!(
            below(&Report::of(&run, false)),
            [
                "the gain is unknown: no example was measured with both prompts",
                "not measured: empty 10"
            ]
        );
    }

    #[test]
    fn each_model_and_prompt_has_a_row_with_its_interval() {
        let arm = |name: &str, right| pb::Arm {
            name: name.into(),
            score: Some(pb::Score {
                right,
                wrong: 10 - right,
                not_measured: 0,
            }),
            interval: Some(pb::Interval { low: 0.25, high: 0.75 }),
            credit: None,
        };
        let run = |arms: Vec<pb::Arm>| pb::Run {
            outcome: Some(pb::Outcome {
                arms,
                ..Default::default()
            }),
            ..Default::default()
        };
        let runs = [run(vec![arm("seed", 4), arm("better", 9)]), run(Vec::new())];
        let reports: Vec<Report> = runs.iter().map(|run| Report::of(run, false)).collect();
        let models = ["cloud/small".to_owned(), "cloud/large".to_owned()];
        let text = table(&models, &reports).render(false);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        assert_eq!(
            lines[1], "cloud/small seed prompt 40.0 % 25.0 to 75.0 4 6 0 0",
            "{text}"
        );
        assert_eq!(lines[2], "cloud/small better 90.0 % 25.0 to 75.0 9 1 0", "{text}");
        assert!(lines[3].starts_with("cloud/large -"), "{text}");
    }
}
