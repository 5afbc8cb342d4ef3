//! `sipdo runs show`: where a run stands, or how it ended, its models, its prompts, and what nobody could handle.

use sipdo_protocol::pb;

use crate::{
    failure::{Exit, Failure, Outcome},
    global::Global,
    held_out::HeldOut,
    json,
    output::{self, Table},
    report::Report,
    run_end::{self, Goal},
    session::get_run,
    words::{amount_words, cancel_hint, is_over, level_words, prompt_name, score_words, standing_name},
};

/// Shows a run.
///
/// # Errors
/// The coordinator does not answer, or there is no such run.
pub async fn run(global: &Global, name: &str) -> Outcome {
    global
        .with_session(Some(name), async |session| {
            let run = get_run(&mut session.api, name).await?;
            let test = match output::json() {
                true => None,
                false => run_end::held_out_test(&mut session.api, &run).await,
            };
            print(&run, session.simulated(), test.as_ref())?;
            Ok(Exit::Ok)
        })
        .await
}

/// Prints a run, with what the answers of its `test` say. `simulated`: this machine knows that its models were.
///
/// # Errors
/// The output is closed.
pub fn print(run: &pb::Run, simulated: bool, test: Option<&HeldOut>) -> Result<(), Failure> {
    if output::json() {
        return output::json_line(&json::message("Run", run)?);
    }
    let report = run_end::report_of(run, simulated, test);
    let models = report.model_table().map_or_else(String::new, |table| {
        format!("\n{}", table.render(output::stdout_color()))
    });
    let letters = dead_letters(run);
    if !run.summary.as_ref().is_some_and(|summary| is_over(summary.state())) {
        return output::data(&(standing(run, &report) + &models + &lineage(run) + &letters));
    }
    match Goal::of(run) {
        Goal::Optimize => output::prose(&(report.text() + &models + &lineage(run) + &letters)),
        Goal::Eval => output::prose(&(report.eval_text() + &models + &letters)),
    }
}

/// What nobody could handle of a run: how much, and why the last of it.
fn dead_letters(run: &pb::Run) -> String {
    if run.dead_letters_total == 0 {
        return String::new();
    }
    let total = output::plural(run.dead_letters_total, "message");
    let mut text =
        format!("\n{total} about this run could not be processed and were ignored (dead letters); the last ones:\n");
    for letter in &run.dead_letters {
        let reason = output::short(&letter.reason, 160);
        text.push_str(&format!("  {} {}: {reason}\n", output::when(letter.at_ms), letter.role));
    }
    text
}

/// A run that has not ended, in a few lines.
fn standing(run: &pb::Run, report: &Report) -> String {
    let summary = run.summary.clone().unwrap_or_default();
    let spent = summary.spent.unwrap_or_default();
    let mut lines = vec![format!(
        "Run {}: task {}, strategy {}, {}",
        summary.run,
        summary.task,
        summary.strategy,
        standing_name(&summary)
    )];
    if summary.levels > 0 {
        lines.push(format!(
            "level {}, prompt v{}, examples {} accepted, {} rejected",
            level_words(&summary),
            summary.prompt_version,
            summary.accepted,
            summary.rejected
        ));
    }
    lines.push(format!("spent {}", amount_words(&spent, summary.unpriced_calls)));
    if let Some(score) = &summary.seed_score {
        lines.push(format!("held-out {}: {}", prompt_name("seed"), score_words(score)));
    }
    if summary.left {
        lines.push(format!(
            "left unfinished: `sipdo runs resume {}` continues it",
            summary.run
        ));
    }
    // What it waited for when it was left holds no longer.
    if !summary.left && !summary.waiting.is_empty() {
        lines.push(format!("waiting: {}", summary.waiting));
    }
    if !summary.left && summary.stopping {
        lines.push(format!(
            "stopping early: prompt v{} is tested first; {}",
            summary.prompt_version,
            cancel_hint(&summary.run)
        ));
    }
    if !summary.coordinator.is_empty() {
        lines.push(format!("coordinator: {}", summary.coordinator));
    }
    lines.extend(report.model_changes());
    lines.extend(report.reused_answers());
    lines.extend(run.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.iter().map(|line| output::clean_line(line) + "\n").collect()
}

/// Every prompt with what became of it.
fn lineage(run: &pb::Run) -> String {
    let prompts = run.outcome.as_ref().map_or(&run.prompts, |outcome| &outcome.prompts);
    let mut table = Table::new(&["prompt", "from", "level", "standing", "why"]).right(&[2]);
    for prompt in prompts {
        let (standing, why) = match prompt.standing() {
            pb::prompt::Standing::Seed => ("seed".to_owned(), &prompt.reason),
            pb::prompt::Standing::Rejected => (format!("rejected at {}", prompt.stage), &prompt.rejection),
            _ => ("accepted".to_owned(), &prompt.reason),
        };
        table.row([
            format!("v{}", prompt.version),
            prompt.parent.map_or("-".into(), |parent| format!("v{parent}")),
            prompt.level.to_string(),
            standing,
            output::short(why, 80),
        ]);
    }
    if table.is_empty() {
        String::new()
    } else {
        format!("\n{}", table.render(output::stdout_color()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_is_listed_with_what_became_of_it() {
        let prompt = |version, standing: pb::prompt::Standing, reason: &str| pb::Prompt {
            version,
            parent: version.checked_sub(1),
            standing: standing.into(),
            reason: reason.into(),
            stage: "local".into(),
            rejection: "fixes nothing".into(),
            ..Default::default()
        };
        let run = pb::Run {
            prompts: vec![
                prompt(0, pb::prompt::Standing::Seed, "seed prompt"),
                prompt(1, pb::prompt::Standing::Rejected, "count"),
                prompt(2, pb::prompt::Standing::Accepted, "add the\nnumbers"),
            ],
            ..Default::default()
        };
        let text = lineage(&run);
        assert!(
            text.contains("v1      v0        0  rejected at local  fixes nothing"),
            "{text}"
        );
        assert!(
            text.contains("v2      v1        0  accepted           add the numbers"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_is_stopping_says_what_it_waits_for_and_how_to_end_it_at_once() {
        let mut summary = pb::Summary {
            run: "r1".into(),
            state: pb::State::Running.into(),
            levels: 3,
            level: 2,
            prompt_version: 4,
            waiting: "learner (e/m): the endpoint is unavailable".into(),
            stopping: true,
            ..Default::default()
        };
        let text = |summary: &pb::Summary| {
            let run = pb::Run {
                summary: Some(summary.clone()),
                ..Default::default()
            };
            standing(&run, &Report::of(&run, false))
        };
        let told = text(&summary);
        assert!(told.contains("level 2/3"), "{told}");
        assert!(told.contains("waiting: learner (e/m)"), "{told}");
        assert!(
            told.contains("stopping early: prompt v4 is tested first; `sipdo runs cancel r1` ends it now and keeps its prompts, untested"),
            "{told}"
        );
        summary.left = true;
        let told = text(&summary);
        assert!(
            told.contains(", left\n") && told.contains("`sipdo runs resume r1` continues it"),
            "{told}"
        );
        assert!(!told.contains("waiting") && !told.contains("stopping"), "{told}");
        summary.left = false;
        (summary.stopping, summary.levels) = (false, 0);
        let told = text(&summary);
        assert!(!told.contains("stopping") && !told.contains("level"), "{told}");
    }
}
