//! `sipdo eval`: a prompt on a task's examples, alone or against a second one on the same examples. Nothing is optimized.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use sipdo_domain::Task;
use uuid::Uuid;

use super::{cross, optimize};
use crate::{
    caps::Caps,
    checks::{
        Checks,
        baseline::{is_file, of_file},
    },
    failure::{Failure, Outcome},
    global::Global,
    known_tasks,
    launch::{NewRun, launch},
    missing::Missing,
    operator::{self, StackArgs},
    output,
    reuse::Reuse,
    session::EVAL,
};

const AFTER_HELP: &str = "\
Examples:
  sipdo eval task.toml                                  the seed prompt on the held-out examples
  sipdo prompt latest | sipdo eval task.toml --prompt - --against-seed
  sipdo eval task.toml --prompt a.txt --against b.txt --split all
  sipdo eval task.toml --prompt a.txt --data others.jsonl
  sipdo eval task.toml --limit 20 --explain             what is taken for each answer, and why
  sipdo eval task.toml --prompt a.txt --against-seed --models openai/gpt-5-nano,local/qwen3:4b
  sipdo eval task.toml --prompt a.txt --fail-under 0.9 --fail-if-worse-than main/report.json --junit tests.xml

With a second prompt the gain is the first one's score minus the second one's, paired on the same examples.";

/// The examples that a prompt is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    /// The held-out examples.
    Test,
    /// The seed examples.
    Train,
    /// Both.
    All,
}

/// Flags of `sipdo eval`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct EvalArgs {
    /// The task file: data, metric and seed prompt
    #[arg(value_name = "TASK.toml")]
    task: PathBuf,
    /// File with the prompt; `-` reads stdin [default: the task's seed prompt]
    #[arg(long, value_name = "FILE", group = "first")]
    prompt: Option<PathBuf>,
    /// The prompt itself
    #[arg(long, value_name = "TEXT", group = "first")]
    text: Option<String>,
    /// File with a second prompt, measured on the same examples; `-` reads stdin
    #[arg(long, value_name = "FILE", group = "second")]
    against: Option<PathBuf>,
    /// The second prompt itself
    #[arg(long, value_name = "TEXT", group = "second")]
    against_text: Option<String>,
    /// Take the task's seed prompt as the second one
    #[arg(long, group = "second")]
    against_seed: bool,
    /// Another data set in the format of the task's, used instead of its held-out examples
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    data: Option<PathBuf>,
    /// Which of the task's examples to use
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: Split,
    /// Use only the first N examples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Measure with each of these models in turn, one run per model
    #[arg(long, value_name = "ENDPOINT/MODEL,..", value_delimiter = ',')]
    models: Vec<String>,
    /// Ask for so many answers to each example, each bought on its own
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Fail with exit code 9 if the accuracy is lower: 0.9 is 90 %
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "models")]
    fail_under: Option<f64>,
    /// Fail with exit code 9 if the prompt is shown to be worse than this run, report.json or heldout.jsonl
    #[arg(long, value_name = "RUN|FILE", conflicts_with = "models")]
    fail_if_worse_than: Option<String>,
    /// The prompt in that run or file [default: the one it left in use, else one of the same name]
    #[arg(long, value_name = "NAME", requires = "fail_if_worse_than")]
    than_arm: Option<String>,
    /// Write the test results as JUnit XML, one test case for each example
    #[arg(long, value_name = "FILE", conflicts_with = "models")]
    junit: Option<PathBuf>,
    /// Print for each example what was taken for the answer, and by which rule
    #[arg(long, conflicts_with = "models")]
    explain: bool,
    /// Folder for report and answers [default: none is written]
    #[arg(long, value_name = "DIR", conflicts_with = "models")]
    out: Option<PathBuf>,
    #[command(flatten)]
    missing: Missing,
    #[command(flatten)]
    caps: Caps,
    #[command(flatten)]
    reuse: Reuse,
    #[command(flatten)]
    stack: StackArgs,
}

/// Scores the prompts.
///
/// # Errors
/// Whatever is wrong with task, prompts, models or stack.
pub async fn run(global: &Global, args: &EvalArgs) -> Outcome {
    let mut file = optimize::load(&args.task)?;
    let Prompts {
        prompts,
        evaluated,
        baseline,
    } = prompts(args, &file.task)?;
    check_form(&prompts, &file.task)?;
    if let Some(data) = &args.data {
        let examples = sipdo_datasets::load_examples(data, &file.mapping);
        file.task.test = examples.map_err(|error| Failure::usage(output::clean(&error.to_string())))?;
    }
    choose(&mut file.task, args)?;
    let mut options = json!({ "prompts": prompts });
    if let Some(baseline) = baseline {
        options["baseline"] = Value::String(baseline);
    }
    if args.repeat > 1 {
        options["repeat"] = Value::from(args.repeat);
    }
    let forecast = optimize::check(&file.task, EVAL, &options)?;
    let checks = checks(args, evaluated, &file.task)?;
    let config = operator::operator_file(&args.stack, args.task.parent())?;
    if global.simulated {
        known_tasks::warn(&file.task);
    }
    output::note(&format!(
        "{} on {}",
        output::plural(prompts.len() as u64, "prompt"),
        output::plural(file.task.test.len() as u64, "example")
    ));
    let order = NewRun {
        models: optimize::models(&file, &[])?,
        task: file.task,
        strategy: EVAL.into(),
        options,
        budget: args.caps.over(sipdo_domain::Budget::default()),
        roles: optimize::roles(&forecast),
        request_id: Uuid::now_v7().to_string(),
        out: args.out.clone(),
        detach: false,
        require_independent: false,
        reuse: args.reuse,
        checks: Some(checks),
        most_not_measured: args.missing.max_not_measured,
    };
    if args.models.is_empty() {
        return launch(global, &args.stack, config, order).await;
    }
    cross::run(global, &args.stack, config, &order, &args.models).await
}

/// A share as the command line gives it.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text
        .parse()
        .map_err(|_| "it is no number; write 0.9 for 90 %".to_owned())?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err("it must lie in 0..=1; write 0.9 for 90 %".into()),
    }
}

/// What is to be checked, seen to be possible as far as this machine can say.
fn checks(args: &EvalArgs, evaluated: String, task: &Task) -> Result<Checks, Failure> {
    let arm = args.than_arm.as_deref();
    let named = args.fail_if_worse_than.as_deref();
    let (file, run) = (
        named.filter(|named| is_file(named)),
        named.filter(|named| !is_file(named)),
    );
    let baseline = file.map(|file| of_file(Path::new(file), arm, &evaluated)).transpose()?;
    let checks = Checks {
        task: task.name.clone(),
        fail_under: args.fail_under,
        not_worse_than_run: run.map(|run| (run.to_owned(), args.than_arm.clone())),
        baseline,
        arm: evaluated,
        alpha: task.accept.clone().unwrap_or_default().alpha,
        seed: task.seed,
        junit: args.junit.clone(),
        explain: args.explain.then(|| Box::new(task.clone())),
    };
    checks.check(&task.test)?;
    Ok(checks)
}

/// The prompts to try.
struct Prompts {
    /// Texts by name.
    prompts: Map<String, Value>,
    /// The name of the one that is evaluated.
    evaluated: String,
    /// The name of the one that it is compared with.
    baseline: Option<String>,
}

fn prompts(args: &EvalArgs, task: &Task) -> Result<Prompts, Failure> {
    let named = |file: &Path| match file.file_stem() {
        Some(stem) if file != Path::new("-") => stem.to_string_lossy().into_owned(),
        _ => "stdin".into(),
    };
    let first = match (&args.prompt, &args.text) {
        (Some(file), _) => (named(file), read(file)?),
        (None, Some(text)) => ("prompt".into(), text.clone()),
        (None, None) => ("seed".into(), task.prompt.clone()),
    };
    let second = match (&args.against, &args.against_text) {
        (Some(file), _) => Some((named(file), read(file)?)),
        (None, Some(text)) => Some(("against".into(), text.clone())),
        (None, None) => args.against_seed.then(|| ("seed".to_owned(), task.prompt.clone())),
    };
    let Some((mut name, text)) = second else {
        return Ok(Prompts {
            evaluated: first.0.clone(),
            prompts: [(first.0, Value::String(first.1))].into_iter().collect(),
            baseline: None,
        });
    };
    if name == first.0 {
        name.push_str("-2");
    }
    let evaluated = first.0.clone();
    let both = [(name.clone(), Value::String(text)), (first.0, Value::String(first.1))];
    Ok(Prompts {
        prompts: both.into_iter().collect(),
        evaluated,
        baseline: Some(name),
    })
}

/// A prompt must have the task's messages, each with its placeholders: else the model would not see the example. What the task protects
/// is not looked at: here a person chooses.
fn check_form(prompts: &Map<String, Value>, task: &Task) -> Result<(), Failure> {
    let mut form = task.form.clone();
    form.kept.clear();
    form.messages.iter_mut().for_each(|message| message.kept.clear());
    for (name, text) in prompts {
        form.check(text.as_str().unwrap_or_default()).map_err(|why| {
            Failure::usage(format!("the prompt `{name}` does not fit the task: {why}"))
                .hint("`sipdo prompt` prints a prompt in the form that the task needs")
        })?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
    } else {
        bytes = std::fs::read(file).map_err(failed)?;
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: is not UTF-8 text", file.display())))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{}: holds no prompt", file.display())));
    }
    Ok(text)
}

/// Puts the chosen examples where the strategy tests.
fn choose(task: &mut Task, args: &EvalArgs) -> Result<(), Failure> {
    match args.split {
        Split::Test => {}
        Split::Train => task.test.clone_from(&task.train),
        Split::All => task.test.extend(task.train.iter().cloned()),
    }
    if let Some(limit) = args.limit {
        task.test.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    // Nothing is learnt from the seed examples here, and an example must not count as both.
    task.train.clear();
    if task.test.is_empty() {
        return Err(Failure::usage("the task has no held-out examples")
            .hint("give it a [data.test], or use the seed examples with --split train"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use sipdo_domain::{Example, TaskBrief, task::TaskGates};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: EvalArgs,
    }

    fn args(line: &[&str]) -> EvalArgs {
        Line::try_parse_from([&["eval", "t.toml"], line].concat()).unwrap().args
    }

    fn task() -> Task {
        let example = |id: &str| Example {
            id: id.into(),
            input: id.into(),
            target: "1".into(),
            aliases: vec![],
        };
        Task {
            name: "t".into(),
            brief: TaskBrief {
                description: "d".into(),
                answer_format: String::new(),
                labels: vec![],
            },
            prompt: "the seed".into(),
            metric: serde_json::from_value(json!({"kind": "exact"})).unwrap(),
            train: vec![example("train-1"), example("train-2")],
            test: vec![example("test-1")],
            gates: TaskGates::default(),
            corpus: vec![],
            seed: 0,
            accept: None,
            form: sipdo_domain::PromptForm::default(),
        }
    }

    #[test]
    fn the_second_prompt_is_the_baseline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("better.txt");
        std::fs::write(&file, "count well").unwrap();
        let file = file.to_str().unwrap();
        let names = |line: &[&str]| {
            let Prompts { prompts, baseline, .. } = prompts(&args(line), &task()).unwrap();
            let mut names: Vec<String> = prompts.keys().cloned().collect();
            names.sort();
            (names.join(" "), baseline)
        };
        assert_eq!(names(&[]), ("seed".into(), None));
        assert_eq!(names(&["--prompt", file]), ("better".into(), None));
        assert_eq!(
            names(&["--prompt", file, "--against-seed"]),
            ("better seed".into(), Some("seed".into()))
        );
        assert_eq!(
            names(&["--prompt", file, "--against", file]),
            ("better better-2".into(), Some("better-2".into()))
        );
        assert!(prompts(&args(&["--prompt", "/no/such"]), &task()).is_err());
    }

    #[test]
    fn the_split_decides_the_examples() {
        let chosen = |line: &[&str]| {
            let mut task = task();
            choose(&mut task, &args(line)).map(|()| task.test.iter().map(|e| e.id.clone()).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap(), ["test-1"]);
        assert_eq!(chosen(&["--split", "train", "--limit", "1"]).unwrap(), ["train-1"]);
        assert_eq!(chosen(&["--split", "all"]).unwrap().len(), 3);
        let mut empty = Task { test: vec![], ..task() };
        assert!(choose(&mut empty, &args(&[])).is_err());
    }
}
