//! What a prompt must not be worse than: an earlier run, or a file that one left behind.

use std::{collections::HashMap, path::Path};

use serde_json::Value;
use sipdo_domain::Example;

use crate::{
    client::Api,
    failure::{Exit, Failure},
    held_out::{Line, rebuild},
    output::clean_line,
    session::{get_run, shown},
};

/// How an earlier prompt did.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Where it is from, for people.
    pub name: String,
    /// What is known of it.
    pub known: Known,
}

/// What is known of an earlier prompt.
#[derive(Debug, Clone)]
pub enum Known {
    /// Its answers: by input and target the share of right ones, none where it was not measured.
    Answers(HashMap<(String, String), Option<f64>>),
    /// Its counts alone.
    Counts(Counts),
}

/// Answers by mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Right ones.
    pub right: u32,
    /// Wrong ones.
    pub wrong: u32,
    /// Those that were not measured.
    pub missing: u32,
}

impl Counts {
    /// The share of right ones among the measured; none where nothing was measured.
    pub fn accuracy(self) -> Option<f64> {
        (self.right + self.wrong > 0).then(|| f64::from(self.right) / f64::from(self.right + self.wrong))
    }
}

/// Whether the command line names a file, and no run: there is one of this name, or no run could have it.
pub fn is_file(named: &str) -> bool {
    Path::new(named).exists() || named.contains(['/', '.'])
}

/// The answers of a run, read from its coordinator. `arm` names the prompt in it; without, it is the prompt that the run left in use, or
/// one with the name `evaluated`.
///
/// # Errors
/// There is no such run, it was not tested, or it holds no such arm.
pub async fn of_run(api: &mut Api, run: &str, arm: Option<&str>, evaluated: &str) -> Result<Baseline, Failure> {
    let run = get_run(api, run).await?;
    let name = run.summary.map(|summary| summary.run).unwrap_or_default();
    let test = rebuild::fetch(api, &name).await?;
    let reverted = run.outcome.is_some_and(|outcome| outcome.reverted);
    of_lines(&format!("run {name}"), &test.lines, arm, evaluated, reverted)
}

impl Baseline {
    /// The answers of one arm.
    pub fn of_lines(name: &str, arm: &str, lines: &[Line]) -> Self {
        let asked = lines.iter().filter_map(|line| {
            let answers = line.arm(arm)?;
            let key = (line.input.clone(), line.target.clone());
            answers
                .all()
                .any(|answer| answer.asked())
                .then(|| (key, answers.share()))
        });
        Baseline {
            name: name.to_owned(),
            known: Known::Answers(asked.collect()),
        }
    }

    /// The share of right answers to an example: the outer none is an example that it was not asked.
    pub fn share(&self, line: &Line) -> Option<Option<f64>> {
        match &self.known {
            Known::Answers(answers) => answers.get(&(line.input.clone(), line.target.clone())).copied(),
            Known::Counts(_) => None,
        }
    }

    /// Refuses a baseline that cannot be compared on these examples.
    ///
    /// # Errors
    /// None of them is among its own.
    pub fn check(&self, examples: &[Example]) -> Result<(), Failure> {
        let Known::Answers(answers) = &self.known else {
            return Ok(());
        };
        let key = |example: &Example| (example.input.clone(), example.target.clone());
        if examples.iter().any(|example| answers.contains_key(&key(example))) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--fail-if-worse-than: {} has answers to none of these examples, so that nothing can be compared",
            self.name
        ))
        .hint("compare with a run on the same examples, or choose the examples with --split or --data"))
    }
}

/// The arm that is named; else the prompt in use, `seed` after a revert and else `final`; else the only arm, or that of the same name.
fn of_lines(
    name: &str,
    lines: &[Line],
    arm: Option<&str>,
    evaluated: &str,
    reverted: bool,
) -> Result<Baseline, Failure> {
    let arms: Vec<&str> = lines
        .first()
        .map(|line| line.arms.iter().map(|(arm, _)| arm.as_str()).collect())
        .unwrap_or_default();
    let chosen = choose(name, &arms, arm, evaluated, reverted)?;
    Ok(Baseline::of_lines(&format!("{name}, {chosen}"), chosen, lines))
}

fn choose<'a>(
    name: &str,
    arms: &[&'a str],
    arm: Option<&str>,
    evaluated: &str,
    reverted: bool,
) -> Result<&'a str, Failure> {
    let known = |wanted: &str| arms.iter().copied().find(|arm| *arm == wanted);
    let found = match (arm, arms) {
        (Some(arm), _) => known(arm),
        (None, [only]) => Some(*only),
        (None, _) => {
            let in_use = known("final").and_then(|last| if reverted { known("seed") } else { Some(last) });
            in_use.or_else(|| known(evaluated))
        }
    };
    found.ok_or_else(|| {
        let wanted = arm.map_or(String::new(), |arm| format!("no prompt `{}`; it has ", clean_line(arm)));
        Failure::usage(format!(
            "--fail-if-worse-than: {name} has {wanted}{}",
            clean_line(&arms.join(", "))
        ))
        .hint("name one of its prompts with --than-arm NAME")
    })
}

/// The answers in a `heldout.jsonl`, or beside a `report.json`; the counts of the report where there are none. The arm is as in [`of_run`].
///
/// # Errors
/// There is no such file, it is broken, or it holds no such arm.
pub fn of_file(file: &Path, arm: Option<&str>, evaluated: &str) -> Result<Baseline, Failure> {
    let name = shown(file);
    let wrong = |problem: String| {
        Failure::usage(format!("--fail-if-worse-than {name}: {problem}"))
            .hint("name a run, or a report.json or heldout.jsonl that one left behind")
    };
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Exit::NotFound,
            format!("--fail-if-worse-than {name}: there is no such file"),
        )
        .hint("name a run, or a report.json or heldout.jsonl that one left behind"),
        _ => wrong(error.to_string()),
    })?;
    let Ok(report) = serde_json::from_str::<Value>(&text)
        .map_err(drop)
        .and_then(|value| match value.get("run") {
            Some(_) => Ok(value),
            None => Err(()),
        })
    else {
        return of_lines(&name, &lines(&text).map_err(wrong)?, arm, evaluated, false);
    };
    let reverted = report.get("reverted").and_then(Value::as_bool).unwrap_or(false);
    let beside = file.with_file_name("heldout.jsonl");
    // The answers of the same run lie beside its report: with them the examples are paired.
    if let Ok(text) = std::fs::read_to_string(&beside) {
        let lines = lines(&text).map_err(|problem| wrong(format!("{} beside it: {problem}", shown(&beside))))?;
        return of_lines(&name, &lines, arm, evaluated, reverted);
    }
    of_report(&name, &report, arm, evaluated, reverted).map_err(|failure| match failure {
        Some(failure) => failure,
        None => wrong("it is no report with scores".into()),
    })
}

/// The counts of one arm of a `report.json`; the error is none where it has no scores.
fn of_report(
    name: &str,
    report: &Value,
    arm: Option<&str>,
    evaluated: &str,
    reverted: bool,
) -> Result<Baseline, Option<Failure>> {
    let arms = report.get("arms").and_then(Value::as_array).ok_or(None)?;
    let names: Vec<&str> = arms.iter().filter_map(|arm| arm.get("name")?.as_str()).collect();
    if names.is_empty() {
        return Err(None);
    }
    let chosen = choose(name, &names, arm, evaluated, reverted)?;
    let of = arms
        .iter()
        .find(|arm| arm.get("name").and_then(Value::as_str) == Some(chosen));
    let count = |key: &str| {
        let count = of.and_then(|arm| arm.get(key)?.as_u64());
        count.and_then(|count| u32::try_from(count).ok()).ok_or(None)
    };
    Ok(Baseline {
        name: format!("{name}, {chosen}"),
        known: Known::Counts(Counts {
            right: count("right")?,
            wrong: count("wrong")?,
            missing: count("not_measured")?,
        }),
    })
}

/// The lines of a `heldout.jsonl`; an error names the line.
fn lines(text: &str) -> Result<Vec<Line>, String> {
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: it is no held-out example: {error}", at + 1))
    };
    let lines: Vec<Line> = filled.map(read).collect::<Result<_, _>>()?;
    match lines.is_empty() {
        true => Err("it is empty".into()),
        false => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::{
        MarkName,
        tests::{answer, line, test_of},
    };
    use serde_json::json;

    fn lines_of(arms: &[&str]) -> String {
        let arms = arms.iter().map(|arm| (*arm, answer(MarkName::Right, "4"))).collect();
        test_of(vec![line("one", arms)]).jsonl().unwrap()
    }

    #[test]
    fn a_name_with_a_dot_or_a_slash_is_a_file() {
        assert!(!is_file("latest") && !is_file("r0123"));
        assert!(is_file("gone/report.json") && is_file("heldout.jsonl"));
    }

    #[test]
    fn the_prompt_in_use_is_the_baseline() {
        let three = ["seed", "zero-shot-cot", "final"];
        let chosen = |arms: &[&'static str], arm, evaluated, reverted| choose("f", arms, arm, evaluated, reverted).ok();
        assert_eq!(chosen(&three, None, "seed", false), Some("final"));
        assert_eq!(chosen(&three, None, "new", true), Some("seed"));
        assert_eq!(
            chosen(&three, Some("zero-shot-cot"), "new", true),
            Some("zero-shot-cot")
        );
        assert_eq!(chosen(&["old"], None, "new", false), Some("old"));
        assert_eq!(chosen(&["a", "b"], None, "b", false), Some("b"));
        assert_eq!(chosen(&["a", "b"], None, "new", false), None);
        let refused = choose("f", &["a", "b"], Some("c"), "a", false).unwrap_err();
        assert!(refused.message.contains("no prompt `c`; it has a, b"), "{refused}");
    }

    #[test]
    fn files_are_read_with_their_answers_where_they_have_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let arms = json!([{"name": "seed", "right": 3, "wrong": 1, "not_measured": 2}]);
        let report = file(
            "report.json",
            &serde_json::to_string_pretty(&json!({"run": "r", "arms": arms})).unwrap(),
        );
        let counts = of_file(&report, None, "seed").unwrap();
        let expected = Counts {
            right: 3,
            wrong: 1,
            missing: 2,
        };
        assert!(
            matches!(counts.known, Known::Counts(counts) if counts == expected),
            "{counts:?}"
        );
        let held_out = file("heldout.jsonl", &lines_of(&["seed", "final"]));
        for path in [&held_out, &report] {
            let read = of_file(path, None, "x");
            assert!(matches!(read.unwrap().known, Known::Answers(answers) if answers.len() == 1));
        }
        for (text, problem) in [("{\"id\": 1}\n", "line 1"), ("", "it is empty"), ("[]", "line 1")] {
            let refused = of_file(&file("bad.jsonl", text), None, "x").unwrap_err();
            assert!(refused.message.contains(problem), "{refused}");
        }
        assert_eq!(
            of_file(&dir.path().join("gone.json"), None, "x").unwrap_err().exit,
            Exit::NotFound
        );
    }

    #[test]
    fn a_baseline_on_other_examples_is_refused() {
        let lines: Vec<Line> = lines(&lines_of(&["seed"])).unwrap();
        let baseline = Baseline::of_lines("f, seed", "seed", &lines);
        let example = |input: &str| Example {
            id: "e".into(),
            input: input.into(),
            target: "4".into(),
            aliases: vec![],
        };
        assert!(baseline.check(&[example("input of one")]).is_ok());
        assert!(baseline.check(&[example("another")]).is_err());
    }
}
