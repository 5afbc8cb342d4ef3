//! `sipdo init`: a task folder to start from, by asking on a terminal or by flags. What it writes loads.

mod look;
mod texts;

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use sipdo_agent::settings::FILE_NAME;

use look::{METRICS, Proposal, look, propose, propose_metric};
use sipdo_datasets::{Look, Mapping, load_examples};
use texts::{OPERATOR_FILE, task_file};

use crate::{
    failure::{Exit, Failure, Outcome},
    output,
    session::shown,
};

const SEED_PROMPT: &str = "Answer the question.";

/// Flags of `sipdo init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipdo init                                     asks
  sipdo init counting --data things.csv --description \"Count things.\"")]
pub struct InitArgs {
    /// Folder to create [default: asks, or uses the data file's name]
    dir: Option<PathBuf>,
    /// Name of the task [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// What the task is, in a sentence or two
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The prompt to start from
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Labelled examples: CSV, TSV, JSONL, JSON (also .gz and .zst) or Parquet; copied into the folder
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Column of the input [default: chosen by its name]
    #[arg(long, value_name = "COLUMN")]
    input: Option<String>,
    /// Column of the target [default: chosen by its name]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// How answers are graded [default: chosen by the targets]
    #[arg(long, value_parser = METRICS)]
    metric: Option<String>,
    /// Never ask a question
    #[arg(long)]
    no_input: bool,
    /// Write into a folder that already contains a task
    #[arg(long)]
    force: bool,
}

/// Everything that the task file says.
#[derive(Debug)]
struct Answers {
    folder: PathBuf,
    name: String,
    description: String,
    prompt: String,
    data: PathBuf,
    input: String,
    target: String,
    metric: String,
    pointer: Option<String>,
}

/// Writes the folder and checks that it loads.
///
/// # Errors
/// Something needed is not given and cannot be asked; a file is in the way; the data does not make a task.
pub fn run(args: &InitArgs) -> Outcome {
    let asks = !args.no_input && io::stdin().is_terminal() && io::stderr().is_terminal();
    let answers = answers(args, &Asker { asks })?;
    let task = answers.folder.join("task.toml");
    if task.exists() && !args.force {
        return Err(
            Failure::usage(format!("{} exists already", shown(&task))).hint("name another folder, or give --force")
        );
    }
    fs::create_dir_all(&answers.folder)?;
    let data = bring_data(&answers)?;
    fs::write(&task, task_file(&answers, &data))?;
    output::note(&format!("wrote {}", shown(&task)));
    write_operator_file(&answers.folder)?;
    let loaded = super::optimize::load(&task)
        .map_err(|failure| failure.hint(format!("correct {}, and see docs/tasks.md", shown(&task))))?;
    output::note(&format!(
        "{} seed examples, {} held-out; next:\n  sipdo optimize {} --dry-run      an estimate of the cost\n  sipdo optimize {} --simulated    no key, no account; simulated scores say nothing about real models",
        loaded.task.train.len(),
        loaded.task.test.len(),
        shown(&task),
        shown(&task)
    ));
    if output::json() {
        output::json_line(&serde_json::json!({ "task": task }))?;
    }
    Ok(Exit::Ok)
}

/// Asks on a terminal; elsewhere takes what is proposed.
struct Asker {
    asks: bool,
}

impl Asker {
    /// The flag's value, or the answer, or the proposal. None where there is nothing of the three.
    fn get(&self, given: Option<&str>, question: &str, proposal: Option<&str>) -> Result<Option<String>, Failure> {
        if let Some(given) = given {
            return Ok(Some(given.to_owned()));
        }
        if !self.asks {
            return Ok(proposal.map(str::to_owned));
        }
        loop {
            let shown = proposal
                .map(|text| format!(" [{}]", output::short(text, 60)))
                .unwrap_or_default();
            eprint!("{question}{shown}: ");
            io::stderr().flush()?;
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Err(Failure::new(
                    Exit::Interrupted,
                    "the input ended before all questions were answered",
                ));
            }
            match (line.trim(), proposal) {
                ("", Some(proposal)) => return Ok(Some(proposal.to_owned())),
                ("", None) => {}
                (answer, _) => return Ok(Some(answer.to_owned())),
            }
        }
    }

    fn need(&self, given: Option<&str>, question: &str, proposal: Option<&str>, flag: &str) -> Result<String, Failure> {
        self.get(given, question, proposal)?
            .ok_or_else(|| Failure::usage(format!("{flag} is required: there is no terminal to ask on")))
    }
}

impl Asker {
    /// An answer that `check` accepts. On a terminal a wrong one is told and asked for again; elsewhere it is a wrong use.
    fn valid<T>(
        &self,
        given: Option<&str>,
        question: &str,
        proposal: Option<&str>,
        flag: &str,
        check: impl Fn(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut given = given;
        loop {
            let answer = self.need(given, question, proposal, flag)?;
            match check(&answer) {
                Err(failure) if self.asks => {
                    output::warning(&failure.to_string());
                    given = None;
                }
                checked => return checked,
            }
        }
    }
}

fn answers(args: &InitArgs, asker: &Asker) -> Result<Answers, Failure> {
    let given = args.data.as_ref().map(|path| path.display().to_string());
    let question = "File with labelled examples (CSV, TSV, JSONL, JSON, Parquet)";
    let (data, seen) = asker.valid(given.as_deref(), question, None, "--data", |answer| {
        let path = PathBuf::from(answer);
        look(&path).map(|seen| (path, seen))
    })?;
    let (folder, name) = place(args, asker, &data)?;
    let description = asker.need(
        args.description.as_deref(),
        "What is the task, in a sentence or two?",
        None,
        "--description",
    )?;
    let prompt = asker.need(
        args.prompt.as_deref(),
        "Prompt to start from",
        Some(SEED_PROMPT),
        "--prompt",
    )?;
    let names: Vec<&str> = seen.columns.iter().map(|column| column.name.as_str()).collect();
    output::note(&format!(
        "{}: {} rows; columns: {}",
        shown(&data),
        seen.rows,
        output::short(&names.join(", "), 200)
    ));
    if let Some(pointer) = &seen.pointer {
        output::note(&format!("of its lists {pointer} is taken, the longest"));
    }
    let (input, target) = propose(&seen);
    let input = column(
        asker,
        args.input.as_deref(),
        "Column or template of the input",
        input,
        "--input",
        &seen,
        &data,
    )?;
    let target = column(
        asker,
        args.target.as_deref(),
        "Column or template of the target",
        target,
        "--target",
        &seen,
        &data,
    )?;
    let (proposed, reason) = propose_metric(&targets(&data, &seen, &target)?);
    if args.metric.is_none() {
        output::note(&format!("metric: {proposed}, since {reason}"));
    }
    let metric = asker.valid(
        args.metric.as_deref(),
        "How are answers graded?",
        Some(proposed),
        "--metric",
        |answer| match METRICS.contains(&answer) {
            true => Ok(answer.to_owned()),
            false => Err(Failure::usage(format!(
                "there is no metric {answer:?}; there are {}",
                METRICS.join(", ")
            ))),
        },
    )?;
    Ok(Answers {
        folder,
        name,
        description,
        prompt,
        data,
        input,
        target,
        metric,
        pointer: seen.pointer,
    })
}

/// The folder and the task's name.
fn place(args: &InitArgs, asker: &Asker, data: &Path) -> Result<(PathBuf, String), Failure> {
    let name = data
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = name
        .split('.')
        .find(|part| !part.is_empty())
        .unwrap_or_default()
        .to_owned();
    let given = args.dir.as_ref().map(|dir| dir.display().to_string());
    let folder = asker.valid(
        given.as_deref(),
        "Folder for the task",
        Some(&plain(&stem)),
        "the folder",
        |answer| {
            let folder = PathBuf::from(answer);
            match folder.join("task.toml").exists() && !args.force {
                true => Err(
                    Failure::usage(format!("{} exists already", shown(&folder.join("task.toml"))))
                        .hint("name another folder, or give --force"),
                ),
                false => Ok(folder),
            }
        },
    )?;
    let folder_name = std::path::absolute(&folder)?
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let proposal = plain(&folder_name.unwrap_or(stem));
    let name = asker.valid(
        args.name.as_deref(),
        "Name of the task",
        Some(&proposal),
        "--name",
        |answer| match plain(answer) == answer {
            true => Ok(answer.to_owned()),
            false => Err(Failure::usage(format!("{answer:?} is no name of a task"))
                .hint("use up to 64 letters, digits, `-` and `_`")),
        },
    )?;
    Ok((folder, name))
}

/// A column, or a template that gives a text on the first rows.
fn column(
    asker: &Asker,
    given: Option<&str>,
    question: &str,
    proposal: Option<Proposal>,
    flag: &str,
    seen: &Look,
    data: &Path,
) -> Result<String, Failure> {
    if let (None, Some(Proposal { text, reason })) = (given, &proposal) {
        output::note(&format!(
            "{}: {}, {reason}",
            flag.trim_start_matches('-'),
            output::short(text, 100)
        ));
    }
    let proposal = proposal.map(|proposal| proposal.text);
    asker.valid(given, question, proposal.as_deref(), flag, |answer| {
        // on a terminal a line break is typed as `\n`
        let answer = answer.replace("\\n", "\n");
        let is_column = seen.columns.iter().any(|column| column.name == answer);
        if is_column || answer.contains("{{") || answer.contains("{%") {
            targets(data, seen, &answer).map(|_| answer)
        } else {
            let names: Vec<&str> = seen.columns.iter().map(|column| column.name.as_str()).collect();
            Err(Failure::usage(format!(
                "the data has no column {answer:?}; it has {}",
                names.join(", ")
            )))
        }
    })
}

/// What a column or template gives, by the loader of tasks.
fn targets(data: &Path, seen: &Look, source: &str) -> Result<Vec<String>, Failure> {
    let mapping = Mapping {
        pointer: seen.pointer.clone(),
        input: source.to_owned(),
        target: Some(source.to_owned()),
        ..Mapping::default()
    };
    let examples = load_examples(data, &mapping).map_err(|error| Failure::usage(output::clean(&error.to_string())))?;
    Ok(examples.into_iter().map(|example| example.target).collect())
}

/// Letters, digits, `-` and `_` only.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "task".into()
    } else {
        name.to_owned()
    }
}

/// Copies the data beside the task, unless it is there already. Returns its name there.
fn bring_data(answers: &Answers) -> Result<String, Failure> {
    let name = answers
        .data
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let there = answers.folder.join(&name);
    let same = fs::canonicalize(&there)
        .ok()
        .is_some_and(|path| fs::canonicalize(&answers.data).is_ok_and(|data| data == path));
    if !same {
        if there.exists() {
            return Err(Failure::usage(format!(
                "{} exists already and is another file",
                shown(&there)
            )));
        }
        fs::copy(&answers.data, &there)
            .map_err(|error| Failure::usage(format!("cannot copy {}: {error}", answers.data.display())))?;
    }
    Ok(name)
}

fn write_operator_file(folder: &Path) -> Result<(), Failure> {
    let file = folder.join(FILE_NAME);
    // A file here would go before the user's own: nothing is written where one is in force already.
    if let Some(there) = crate::operator::operator_file(&crate::operator::StackArgs::default(), Some(folder))? {
        output::note(&format!("models: using {}", shown(&there)));
        return Ok(());
    }
    fs::write(&file, OPERATOR_FILE)?;
    output::note(&format!(
        "wrote {} (everything is commented out: enter your models there)",
        shown(&file)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(data: &Path, dir: &Path) -> InitArgs {
        InitArgs {
            dir: Some(dir.to_owned()),
            name: None,
            description: Some("Count \"things\".\nAll of them.".into()),
            prompt: None,
            data: Some(data.to_owned()),
            input: None,
            target: None,
            metric: None,
            no_input: true,
            force: false,
        }
    }

    fn csv(dir: &Path) -> PathBuf {
        let path = dir.join("things.csv");
        let rows: String = (0..40).map(|n| format!("\"How many, {n}?\",{n}\n")).collect();
        fs::write(&path, format!("Question,Answer\n{rows}")).unwrap();
        path
    }

    #[test]
    fn what_it_writes_loads() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("My counting");
        run(&args(&csv(dir.path()), &folder)).unwrap();
        let loaded = sipdo_datasets::load(&folder.join("task.toml")).unwrap();
        assert_eq!(loaded.task.name, "My-counting");
        assert_eq!(loaded.task.brief.description, "Count \"things\".\nAll of them.");
        assert_eq!(
            (loaded.task.prompt.as_str(), loaded.budget.calls),
            (SEED_PROMPT, Some(3000))
        );
        assert_eq!(loaded.task.train.len() + loaded.task.test.len(), 40);
        let text = fs::read_to_string(folder.join("task.toml")).unwrap();
        assert!(
            text.contains("kind = \"numeric\"") && text.contains("input = \"Question\""),
            "{text}"
        );
        sipdo_agent::settings::Settings::load(&folder.join(FILE_NAME)).unwrap();
        let failure = run(&args(&csv(dir.path()), &folder)).unwrap_err();
        assert!(failure.message.contains("exists already"), "{failure}");
    }

    #[test]
    fn the_commented_operator_file_loads_when_uncommented() {
        let text: String = OPERATOR_FILE
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let settings = sipdo_agent::settings::Settings::parse(Path::new(FILE_NAME), &text).unwrap();
        for role in sipdo_domain::Role::ALL {
            settings.model(role).unwrap();
        }
        assert_eq!(settings.endpoints.len(), 4);
    }

    #[test]
    fn missing_answers_are_named_where_nobody_can_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let data = csv(dir.path());
        let failure = run(&InitArgs {
            description: None,
            ..args(&data, &dir.path().join("t"))
        })
        .unwrap_err();
        assert!(failure.message.contains("--description"), "{failure}");
        let failure = run(&InitArgs {
            input: Some("nope".into()),
            ..args(&data, &dir.path().join("t"))
        })
        .unwrap_err();
        assert!(failure.message.contains("Question, Answer"), "{failure}");
    }
}
