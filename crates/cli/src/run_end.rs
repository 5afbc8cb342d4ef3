//! How the end of a run is told: its report, the files with its results, and the exit code.

use std::path::{Path, PathBuf};

use serde_json::json;
use sipdo_protocol::pb;

use crate::{
    checks,
    client::Api,
    failure::{Exit, Outcome},
    files,
    held_out::{HeldOut, rebuild},
    output,
    report::Report,
    session::{EVAL, shown},
};

/// What a run is for; decides how its end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A better prompt.
    Optimize,
    /// Scores of given prompts.
    Eval,
}

impl Goal {
    /// What a run was for.
    pub fn of(run: &pb::Run) -> Self {
        match &run.summary {
            Some(summary) if summary.strategy == EVAL => Goal::Eval,
            _ => Goal::Optimize,
        }
    }
}

/// The folder for a run's results unless another is named.
pub fn default_out(run: &str) -> PathBuf {
    Path::new("sipdo-out").join(run)
}

/// The answers of a run's held-out test; none where it was not taken. Answers that cannot be read cost a warning, and not the report.
pub async fn held_out_test(api: &mut Api, run: &pb::Run) -> Option<HeldOut> {
    let taken = |outcome: &pb::Outcome| !outcome.arms.is_empty();
    if !run.outcome.as_ref().is_some_and(taken) {
        return None;
    }
    let name = run
        .summary
        .as_ref()
        .map(|summary| summary.run.as_str())
        .unwrap_or_default();
    match rebuild::fetch(api, name).await {
        Ok(test) => Some(test),
        Err(failure) => {
            output::warning(&format!("the held-out answers cannot be read: {}", failure.message));
            None
        }
    }
}

/// The report of a run, with what the answers of its `test` say.
pub fn report_of(run: &pb::Run, simulated: bool, test: Option<&HeldOut>) -> Report {
    let report = Report::of(run, simulated);
    match test {
        Some(test) => report.with_test(test),
        None => report,
    }
}

/// Writes a run's results into `folder`, if one is given, prints its report, and gives the exit code.
///
/// # Errors
/// Results cannot be written.
pub fn print_end(run: &pb::Run, report: &Report, test: Option<&HeldOut>, folder: Option<&Path>) -> Outcome {
    let goal = Goal::of(run);
    let written = folder.map(|folder| files::write_files(run, report, test, folder));
    let files = written.transpose()?;
    let exit = exit(run, goal, report);
    if output::json() {
        let folder = files.as_ref().map(|files| &files.folder);
        output::json_line(&json!({ "report": report, "folder": folder }))?;
        return Ok(exit);
    }
    match goal {
        Goal::Optimize => output::prose(&report.text())?,
        Goal::Eval => output::prose(&report.eval_text())?,
    }
    if let Some(files) = &files {
        output::note(&format!(
            "written to {}: {}",
            shown(&files.folder),
            files.names.join(", ")
        ));
    }
    Ok(exit)
}

fn exit(run: &pb::Run, goal: Goal, report: &Report) -> Exit {
    let ended = Report::exit(run);
    // A run that failed says nothing of its prompt, whatever a gate makes of the missing answers.
    if let (true, Some(exit)) = (ended != Exit::Failure, checks::exit(&report.gates)) {
        return exit;
    }
    match (goal, ended) {
        (_, Exit::Ok | Exit::NothingBetter | Exit::Worse) if report.lacks_answers() => Exit::TooLittleMeasured,
        // Nothing is reverted by measuring.
        (Goal::Eval, Exit::NothingBetter | Exit::Worse) => Exit::Ok,
        (_, exit) => exit,
    }
}
