//! The files that a run leaves behind.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sipdo_datasets::export::{self, SyntheticSet};
use sipdo_protocol::pb;

use crate::{
    failure::{Exit, Failure},
    held_out::HeldOut,
    report::Report,
};

/// The files that a run leaves behind.
#[derive(Debug, Clone, Serialize)]
pub struct Files {
    /// Their folder.
    pub folder: PathBuf,
    /// Names in it.
    pub names: Vec<String>,
}

/// Writes `prompt.txt`, `report.json`, `report.md`, `synthetic.jsonl` and `corrections.jsonl` into `folder`, `heldout.jsonl` where there is
/// a `test`, and `candidate.txt` where a prompt was found and refused. A run without an outcome leaves only the report and the prompt that
/// it stood on.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_files(run: &pb::Run, report: &Report, test: Option<&HeldOut>, folder: &Path) -> Result<Files, Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot write {path}: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut names = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        names.push(name.to_owned());
        std::fs::write(&path, bytes).map_err(failed(&path))
    };
    // The prompt is what a user came for: it is written first, whatever becomes of the rest.
    write("prompt.txt", report.prompt.as_bytes())?;
    let json = serde_json::to_string_pretty(report).map_err(anyhow::Error::from)?;
    write("report.json", (json + "\n").as_bytes())?;
    write("report.md", report.markdown().as_bytes())?;
    if let Some(test) = test {
        let lines = test.jsonl().map_err(anyhow::Error::from)?;
        write("heldout.jsonl", lines.as_bytes())?;
    }
    if let Some(outcome) = &run.outcome {
        let outcome = sipdo_domain::Outcome::try_from(outcome.clone()).map_err(anyhow::Error::from)?;
        let (mut synthetic, mut corrections) = (Vec::new(), Vec::new());
        export::write_synthetic(&outcome, SyntheticSet::All, &mut synthetic)?;
        export::write_corrections(&outcome, &mut corrections)?;
        // A refused prompt is paid for: it is kept beside the one to use.
        if let Some(refused) = outcome
            .prompts
            .iter()
            .find(|prompt| prompt.version == outcome.found && outcome.reverted)
        {
            write("candidate.txt", refused.text.as_bytes())?;
        }
        write("synthetic.jsonl", &synthetic)?;
        write("corrections.jsonl", &corrections)?;
    }
    Ok(Files {
        folder: folder.to_owned(),
        names,
    })
}

/// Refuses a folder for results that cannot be written, or that holds something else than results of `run`: nothing is overwritten
/// unless that is asked for.
///
/// # Errors
/// Which folder, and what to do.
pub fn check_folder(folder: &Path, run: Option<&str>, force: bool) -> Result<(), Failure> {
    let shown = folder.display();
    let other = "name another folder with --out";
    let standing = std::path::absolute(folder)?;
    // What is not there yet is made in the first folder above it that is.
    let there = standing.ancestors().find(|place| place.exists()).unwrap_or(&standing);
    if !there.is_dir() {
        return Err(Failure::usage(format!("results folder {shown}: {} is no folder", there.display())).hint(other));
    }
    if let Err(error) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        return Err(Failure::usage(format!(
            "results folder {shown}: cannot write to {}: {error}",
            there.display()
        ))
        .hint(other));
    }
    let empty = there != standing || std::fs::read_dir(folder)?.next().is_none();
    if empty || force || run.is_some_and(|run| holds(folder, run)) {
        return Ok(());
    }
    Err(
        Failure::usage(format!("results folder {shown}: it is not empty")).hint(format!(
            "{other}, or give --force to write into it and overwrite what has the same names"
        )),
    )
}

/// Refuses a file that is there already.
///
/// # Errors
/// Which file, and what to do.
pub fn check_file(file: &Path, force: bool) -> Result<(), Failure> {
    match file.exists() && !force {
        true => Err(Failure::usage(format!("{}: the file is there already", file.display()))
            .hint("name another file, or give --force to overwrite it")),
        false => Ok(()),
    }
}

/// Whether the folder holds the results of this run.
fn holds(folder: &Path, run: &str) -> bool {
    let report = std::fs::read_to_string(folder.join("report.json")).ok();
    let report = report.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    report.is_some_and(|report| report.get("run").and_then(serde_json::Value::as_str) == Some(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        held_out::{
            MarkName,
            tests::{answer, line, test_of},
        },
        report::render::tests::run,
    };

    #[test]
    fn files_hold_the_prompt_verbatim_and_one_object_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = run();
        let report = Report::of(&run, false);
        let test = test_of(vec![line("one", vec![("seed", answer(MarkName::Right, "4"))])]);
        let files = write_files(&run, &report, Some(&test), &dir.path().join("out")).unwrap();
        let read = |name: &str| std::fs::read_to_string(files.folder.join(name)).unwrap();
        assert_eq!(read("prompt.txt"), "Add the ```quantities```.");
        assert_eq!(read("synthetic.jsonl").lines().count(), 4);
        assert_eq!(read("corrections.jsonl"), "");
        assert_eq!(read("heldout.jsonl").lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(json["spent"]["usd"], serde_json::Value::Null);
        assert_eq!(json["arms"][1]["not_measured"], 1);
        assert_eq!(json["gain"]["p_value"], 0.000_001);
    }

    #[test]
    fn nothing_is_overwritten_unless_asked_for_or_of_the_same_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        check_folder(&folder, None, false).unwrap();
        assert!(!folder.exists(), "looking makes nothing");
        std::fs::create_dir_all(&folder).unwrap();
        check_folder(&folder, None, false).unwrap();
        std::fs::write(folder.join("report.json"), "{\"run\": \"r1\"}").unwrap();
        let failure = check_folder(&folder, Some("r2"), false).unwrap_err();
        assert!(
            failure.message.contains("not empty") && failure.hint.contains("--force"),
            "{failure}"
        );
        check_folder(&folder, Some("r2"), true).unwrap();
        check_folder(&folder, Some("r1"), false).unwrap();
        let below = folder.join("report.json/out");
        assert!(
            check_folder(&below, None, true)
                .unwrap_err()
                .message
                .contains("is no folder")
        );
        let file = folder.join("report.json");
        assert!(check_file(&file, false).unwrap_err().hint.contains("--force"));
        check_file(&file, true).unwrap();
        check_file(&folder.join("new"), false).unwrap();
    }
}
