//! What `sipdo eval` is asked to check of a prompt's test: gates that decide the exit code, and a file for the servers of CI.

pub mod baseline;
pub mod gates;
pub mod junit;

use std::path::{Path, PathBuf};

use sipdo_domain::{Example, Task};

use crate::{
    client::Api,
    explain,
    failure::{Exit, Failure},
    held_out::HeldOut,
};
use baseline::Baseline;
use gates::{Gate, Verdict};

/// Checks of one evaluated prompt.
#[derive(Debug, Clone)]
pub struct Checks {
    /// The task's name.
    pub task: String,
    /// The arm of the evaluated prompt.
    pub arm: String,
    /// The least accuracy that passes, in 0..=1.
    pub fail_under: Option<f64>,
    /// The run that the prompt must not be worse than, and the arm of it, where one is named.
    pub not_worse_than_run: Option<(String, Option<String>)>,
    /// What the prompt must not be worse than, once it is read.
    pub baseline: Option<Baseline>,
    /// A difference counts as shown where its p-value is at most this.
    pub alpha: f64,
    /// The seed of the task.
    pub seed: u64,
    /// The file for the test results.
    pub junit: Option<PathBuf>,
    /// The task by whose metric each answer is to be explained, where that is asked for.
    pub explain: Option<Box<Task>>,
}

impl Checks {
    /// Sees on this machine, before anything is started, that every check can be made: a baseline in a file shares examples with the task,
    /// and the file for the results can be written.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    pub fn check(&self, examples: &[Example]) -> Result<(), Failure> {
        if let Some(baseline) = &self.baseline {
            baseline.check(examples)?;
        }
        self.junit
            .as_deref()
            .map_or(Ok(()), |file| check_writable("--junit", file))
    }

    /// Reads the baseline from its run, before anything is spent.
    ///
    /// # Errors
    /// There is no such run, or nothing can be compared with it.
    pub async fn prepare(&mut self, api: &mut Api, examples: &[Example]) -> Result<(), Failure> {
        if let Some((run, arm)) = &self.not_worse_than_run {
            let baseline = baseline::of_run(api, run, arm.as_deref(), &self.arm).await?;
            baseline.check(examples)?;
            self.baseline = Some(baseline);
        }
        Ok(())
    }

    /// What the gates say of a test; none is one that could not be read or was not taken.
    pub fn judge(&self, test: Option<&HeldOut>) -> Vec<Gate> {
        let answers = test.map(|test| test.lines.iter().filter_map(|line| Some((line, line.arm(&self.arm)?))));
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        let mut gates = Vec::new();
        gates.extend(self.fail_under.map(|least| gates::under(least, &answers)));
        gates.extend(
            self.baseline
                .as_ref()
                .map(|baseline| gates::worse(baseline, &answers, self.alpha, self.seed)),
        );
        gates
    }

    /// Prints what was taken for each answer, where that is asked for.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn explain(&self, test: Option<&HeldOut>) -> Result<(), Failure> {
        match (&self.explain, test) {
            (Some(task), Some(test)) => explain::print(task, test),
            _ => Ok(()),
        }
    }

    /// Writes the file for the test results, where one is wanted.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_junit(&self, test: &HeldOut) -> Result<(), Failure> {
        match &self.junit {
            Some(file) => junit::write(file, &self.task, &self.arm, test),
            None => Ok(()),
        }
    }
}

/// The exit code of these gates; none where they all passed.
pub fn exit(gates: &[Gate]) -> Option<Exit> {
    let any = |verdict| gates.iter().any(|gate| gate.verdict == verdict);
    match (any(Verdict::Failed), any(Verdict::Unknown)) {
        (true, _) => Some(Exit::GateFailed),
        (_, true) => Some(Exit::TooLittleMeasured),
        _ => None,
    }
}

/// Refuses a file that cannot be written, and leaves nothing behind.
///
/// # Errors
/// Why it cannot be written.
pub fn check_writable(flag: &str, file: &Path) -> Result<(), Failure> {
    let was_there = file.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    match opened {
        Ok(_) if was_there => Ok(()),
        Ok(_) => Ok(std::fs::remove_file(file)?),
        Err(error) => Err(Failure::usage(format!(
            "{flag} {}: the file cannot be written: {error}",
            file.display()
        ))
        .hint("name a file in a folder that exists and can be written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_gate_goes_before_an_unknown_one() {
        let gate = |verdict| Gate {
            gate: "g",
            verdict,
            detail: String::new(),
        };
        let exit = |verdicts: &[Verdict]| exit(&verdicts.iter().map(|verdict| gate(*verdict)).collect::<Vec<_>>());
        assert_eq!(exit(&[]), None);
        assert_eq!(exit(&[Verdict::Passed]), None);
        assert_eq!(
            exit(&[Verdict::Passed, Verdict::Unknown]),
            Some(Exit::TooLittleMeasured)
        );
        assert_eq!(exit(&[Verdict::Unknown, Verdict::Failed]), Some(Exit::GateFailed));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_and_one_that_can_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let refused = check_writable("--junit", &dir.path().join("no/such/folder.xml")).unwrap_err();
        assert!(
            refused.message.contains("--junit") && refused.exit == Exit::Usage,
            "{refused}"
        );
        let file = dir.path().join("new.xml");
        check_writable("--junit", &file).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "old").unwrap();
        check_writable("--junit", &file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    }
}
