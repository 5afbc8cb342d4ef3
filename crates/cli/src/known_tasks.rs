//! Whether the simulated models know the questions of a task. They solve a few families by rules; anything else they can only make up.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde::Deserialize;
use sipdo_domain::Task;

use crate::{output, stack::children::find_program};

/// What the simulator says of some questions.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Known {
    /// How many of them it can solve.
    known: usize,
    /// How many there were.
    of: usize,
    /// What it can solve.
    families: Vec<String>,
}

/// Warns where the simulated models do not know the task: their scores are noise then, and nobody should read anything into them.
pub fn warn(task: &Task) {
    let questions: Vec<&str> = task
        .train
        .iter()
        .chain(&task.test)
        .map(|example| example.input.as_str())
        .collect();
    match ask(&questions) {
        Ok(known) => {
            if let Some(words) = words(&known) {
                output::warning(&words);
            }
        }
        // The run itself will tell what is wrong with the program.
        Err(error) => tracing::debug!(
            error = format!("{error:#}"),
            "the simulator was not asked what it knows"
        ),
    }
}

fn ask(questions: &[&str]) -> anyhow::Result<Known> {
    let program = find_program("sipdo-simulator").map_err(|failure| anyhow::anyhow!(failure.message))?;
    let mut child = Command::new(program)
        .arg("--knows")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::to_string(questions)?.as_bytes())?;
    }
    Ok(serde_json::from_slice(&child.wait_with_output()?.stdout)?)
}

fn words(known: &Known) -> Option<String> {
    let Known { known, of, families } = known;
    let which = match known {
        known if known == of => return None,
        0 => "do not know this task".to_owned(),
        known => format!("know only {known} of the {of} questions of this task"),
    };
    Some(format!(
        "the simulated models {which}: they answer the rest by rules of thumb, and no prompt improves that. Use this run to try the \
         machinery only. They know questions like those of {} (examples/)",
        families.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_known_is_warned_of() {
        let known = |known| Known {
            known,
            of: 20,
            families: vec!["navigate".into()],
        };
        assert_eq!(words(&known(20)), None);
        assert!(words(&known(0)).unwrap().contains("do not know this task"));
        assert!(words(&known(5)).unwrap().contains("only 5 of the 20"));
    }
}
