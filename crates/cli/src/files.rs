//! The files that a run leaves behind.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sipdo_datasets::export::{self, SyntheticSet};
use sipdo_protocol::pb;

use crate::{
    failure::{Exit, Failure},
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

/// Writes `prompt.txt`, `report.json`, `report.md`, `synthetic.jsonl` and `corrections.jsonl` into `folder`, and `candidate.txt` where a
/// prompt was found and refused. A run without an
/// outcome leaves only the report and the prompt that it stood on.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_files(run: &pb::Run, report: &Report, folder: &Path) -> Result<Files, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::render::tests::run;

    #[test]
    fn files_hold_the_prompt_verbatim_and_one_object_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = run();
        let report = Report::of(&run, false);
        let files = write_files(&run, &report, &dir.path().join("out")).unwrap();
        let read = |name: &str| std::fs::read_to_string(files.folder.join(name)).unwrap();
        assert_eq!(read("prompt.txt"), "Add the ```quantities```.");
        assert_eq!(read("synthetic.jsonl").lines().count(), 4);
        assert_eq!(read("corrections.jsonl"), "");
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(json["spent"]["usd"], serde_json::Value::Null);
        assert_eq!(json["arms"][1]["not_measured"], 1);
        assert_eq!(json["gain"]["p_value"], 0.000_001);
    }
}
