//! `sipdo init`: a task folder to start from, by asking on a terminal or by flags. What it writes loads.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Map, Value};
use sipdo_agent::settings::FILE_NAME;

use crate::{
    failure::{Exit, Failure, Outcome},
    output,
    session::shown,
};

/// Rows looked at to propose columns and metric.
const LOOKED_AT: usize = 200;
const METRICS: [&str; 9] = [
    "exact",
    "normalized",
    "choice",
    "numeric",
    "token_f1",
    "regex",
    "json",
    "contains",
    "judge",
];
/// Names that such columns usually have, likeliest first.
const INPUTS: [&str; 9] = [
    "input", "question", "prompt", "text", "query", "problem", "sentence", "x", "q",
];
const TARGETS: [&str; 10] = [
    "target", "answer", "label", "output", "gold", "expected", "class", "response", "y", "a",
];
const SEED_PROMPT: &str = "Answer the question.";

/// Flags of `sipdo init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipdo init                                     asks
  sipdo init counting --data things.csv --description \"Count things.\"")]
pub struct InitArgs {
    /// Folder to make [default: asked, or the data file's name]
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
    /// Labelled examples: CSV, TSV, JSONL or JSON; copied into the folder
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Column of the input [default: by its name]
    #[arg(long, value_name = "COLUMN")]
    input: Option<String>,
    /// Column of the target [default: by its name]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// How answers are marked [default: by the targets]
    #[arg(long, value_parser = METRICS)]
    metric: Option<String>,
    /// Never ask
    #[arg(long)]
    no_input: bool,
    /// Write into a folder that holds a task already
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
            Failure::usage(format!("{} is there already", shown(&task))).hint("name another folder, or give --force")
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
        "{} seed examples, {} held-out; next:\n  sipdo optimize {} --dry-run      what it will cost, roughly\n  sipdo optimize {} --simulated    no key, no account; simulated scores say nothing of real models",
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
                return Err(Failure::new(Exit::Interrupted, "no more answers"));
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
            .ok_or_else(|| Failure::usage(format!("{flag} is needed where nobody can be asked")))
    }
}

fn answers(args: &InitArgs, asker: &Asker) -> Result<Answers, Failure> {
    let given = args.data.as_ref().map(|path| path.display().to_string());
    let data = PathBuf::from(asker.need(
        given.as_deref(),
        "File with labelled examples (CSV, TSV, JSONL, JSON)",
        None,
        "--data",
    )?);
    let rows = rows(&data)?;
    let columns = columns(&rows);
    let stem = data
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let given = args.dir.as_ref().map(|dir| dir.display().to_string());
    let folder = PathBuf::from(asker.need(
        given.as_deref(),
        "Folder for the task",
        Some(&plain(&stem)),
        "the folder",
    )?);
    let folder_name = std::path::absolute(&folder)?
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = plain(&folder_name.unwrap_or(stem));
    let name = asker.need(args.name.as_deref(), "Name of the task", Some(&name), "--name")?;
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
    if !columns.is_empty() {
        output::note(&format!(
            "columns of {}: {}",
            shown(&data),
            output::short(&columns.join(", "), 200)
        ));
    }
    let (input, target) = propose_columns(&columns);
    let input = column(
        asker,
        args.input.as_deref(),
        "Column of the input",
        input,
        "--input",
        &columns,
    )?;
    let target = column(
        asker,
        args.target.as_deref(),
        "Column of the target",
        target,
        "--target",
        &columns,
    )?;
    let targets: Vec<String> = rows.iter().filter_map(|row| row.get(&target)).map(words).collect();
    let proposed = propose_metric(&targets);
    let metric = asker.need(
        args.metric.as_deref(),
        "How are answers marked?",
        Some(proposed),
        "--metric",
    )?;
    if !METRICS.contains(&metric.as_str()) {
        return Err(Failure::usage(format!(
            "there is no metric {metric:?}; there are {}",
            METRICS.join(", ")
        )));
    }
    Ok(Answers {
        folder,
        name,
        description,
        prompt,
        data,
        input,
        target,
        metric,
    })
}

fn column(
    asker: &Asker,
    given: Option<&str>,
    question: &str,
    proposal: Option<&str>,
    flag: &str,
    columns: &[String],
) -> Result<String, Failure> {
    let column = asker.need(given, question, proposal, flag)?;
    if columns.is_empty() || columns.contains(&column) {
        return Ok(column);
    }
    Err(Failure::usage(format!(
        "the data has no column {column:?}; it has {}",
        columns.join(", ")
    )))
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

/// The first rows of a data file as objects. Only a look: the task's own loader decides what is right.
fn rows(path: &Path) -> Result<Vec<Map<String, Value>>, Failure> {
    let text = || {
        let bytes = fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: is not UTF-8 text", path.display())))
    };
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let objects = |values: Vec<Value>| {
        let objects = values.into_iter().filter_map(|value| {
            if let Value::Object(object) = value {
                Some(object)
            } else {
                None
            }
        });
        objects.take(LOOKED_AT).collect()
    };
    Ok(match extension.as_str() {
        "jsonl" | "ndjson" => {
            let text = text()?;
            let lines = text.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT);
            objects(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
        }
        "json" => match serde_json::from_str(&text()?) {
            Ok(Value::Array(values)) => objects(values),
            Ok(Value::Object(document)) => {
                let list = document.into_iter().find_map(|(_, value)| {
                    if let Value::Array(list) = value {
                        Some(list)
                    } else {
                        None
                    }
                });
                objects(list.unwrap_or_default())
            }
            Ok(_) => Vec::new(),
            Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
        },
        "csv" | "tsv" | "tab" => delimited(&text()?, if extension == "csv" { b',' } else { b'\t' }),
        // Other forms are the loader's to read; their columns have to be named.
        _ if path.is_file() => Vec::new(),
        _ => return Err(Failure::usage(format!("{}: there is no such file", path.display()))),
    })
}

fn delimited(text: &str, delimiter: u8) -> Vec<Map<String, Value>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let Ok(headers) = reader.headers().cloned() else {
        return Vec::new();
    };
    let row = |record: csv::StringRecord| {
        headers
            .iter()
            .zip(record.iter())
            .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
            .collect()
    };
    reader
        .records()
        .take(LOOKED_AT)
        .filter_map(Result::ok)
        .map(row)
        .collect()
}

/// Names of columns, in the order of their first row.
fn columns(rows: &[Map<String, Value>]) -> Vec<String> {
    rows.first()
        .map(|row| row.keys().cloned().collect())
        .unwrap_or_default()
}

fn propose_columns(columns: &[String]) -> (Option<&str>, Option<&str>) {
    let named = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| columns.iter().find(|column| column.eq_ignore_ascii_case(name)))
            .map(String::as_str)
    };
    let (input, target) = (named(&INPUTS), named(&TARGETS));
    match (columns, input, target) {
        // With two columns the one that is known tells the other.
        ([one, other], Some(input), None) => (Some(input), Some(if one == input { other } else { one })),
        ([one, other], None, Some(target)) => (Some(if one == target { other } else { one }), Some(target)),
        ([one, other], None, None) => (Some(one), Some(other)),
        _ => (input, target),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

fn propose_metric(targets: &[String]) -> &'static str {
    let all = |test: fn(&str) -> bool| !targets.is_empty() && targets.iter().all(|target| test(target));
    let letter = |target: &str| {
        let inner = target.trim_matches(['(', ')', '.', ' ']);
        inner.len() == 1 && inner.chars().all(|c| c.is_ascii_uppercase())
    };
    let long = targets.iter().map(|target| target.chars().count()).sum::<usize>() > 80 * targets.len();
    let distinct: BTreeSet<&String> = targets.iter().collect();
    if all(letter) && distinct.len() <= 10 {
        "choice"
    } else if all(|target| target.replace(',', "").parse::<f64>().is_ok()) {
        "numeric"
    } else if long {
        "judge"
    } else {
        "normalized"
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
                "{} is there already and is another file",
                shown(&there)
            )));
        }
        fs::copy(&answers.data, &there)
            .map_err(|error| Failure::usage(format!("cannot copy {}: {error}", answers.data.display())))?;
    }
    Ok(name)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn task_file(answers: &Answers, data: &str) -> String {
    let judge = if answers.metric == "judge" {
        "criteria = \"the answer means the same as the target\"\n"
    } else {
        ""
    };
    format!(
        "# A task for `sipdo optimize`. Every key is described in docs/tasks.md; unknown keys are refused.\n\
         \n\
         [task]\n\
         name = {name}\n\
         description = {description}\n\
         # The prompt to start from. Put {{input}} where the input goes; without it the prompt is the system message.\n\
         prompt = {prompt}\n\
         # How an answer must look, as the teaching roles are told:\n\
         # answer_format = \"the last line is `Answer: <number>`\"\n\
         \n\
         [data]\n\
         file = {data}\n\
         # A column, or a template such as \"{{{{ question }}}}\\n{{{{ options }}}}\"\n\
         input = {input}\n\
         target = {target}\n\
         # Seed examples and held-out examples [default: 30, and what is left up to 150]\n\
         # train = 30\n\
         # test = 100\n\
         \n\
         [metric]\n\
         # exact, normalized, choice, numeric, token_f1, regex, json, contains, judge\n\
         kind = {metric}\n\
         {judge}\
         \n\
         [budget]\n\
         # Hard caps over all roles together; also: tokens, usd, seconds\n\
         calls = 3000\n\
         \n\
         [strategy]\n\
         name = \"sipdo\"\n\
         seed = 0\n\
         \n\
         # Models of this run, by the names of the operator's endpoints (see sipdo.toml):\n\
         # [models]\n\
         # learner = \"openai/gpt-5-nano\"\n",
        name = quoted(&answers.name),
        description = quoted(&answers.description),
        prompt = quoted(&answers.prompt),
        data = quoted(data),
        input = quoted(&answers.input),
        target = quoted(&answers.target),
        metric = quoted(&answers.metric),
    )
}

/// What an operator's file holds, to be uncommented.
const OPERATOR_FILE: &str = "\
# Endpoints and models for sipdo on this machine. Everything is commented out: uncomment one endpoint and the models,
# or use `--simulated` to try sipdo without any. A key is never written here: only where it is found.

# [endpoints.openai]
# provider = \"openai\"
# api_key_env = \"OPENAI_API_KEY\"
# requests_per_minute = 500
# [endpoints.openai.prices.gpt-5-mini]      # US dollars per million tokens; without prices cost is unknown
# input_per_million = 0.25
# output_per_million = 2.00

# [endpoints.anthropic]
# provider = \"anthropic\"
# api_key_env = \"ANTHROPIC_API_KEY\"

# [endpoints.local]                         # vLLM, llama.cpp, LiteLLM, ... : anything that speaks OpenAI's API
# provider = \"openai\"
# base_url = \"http://localhost:8000/v1\"

# [endpoints.ollama]
# provider = \"ollama\"

# [models.default]                          # for every role
# endpoint = \"openai\"
# model = \"gpt-5-mini\"

# [models.learner]                          # the model that the prompt is for
# model = \"gpt-5-nano\"

# [models.verifier]                         # votes are worth more from models that differ
# endpoint = \"anthropic\"
# model = \"claude-haiku-4-5\"
";

fn write_operator_file(folder: &Path) -> Result<(), Failure> {
    let file = folder.join(FILE_NAME);
    // A file here would go before the user's own: nothing is written where one is in force already.
    if let Some(there) = crate::operator::operator_file(&crate::operator::StackArgs::default(), Some(folder))? {
        output::note(&format!("models: {} is used", shown(&there)));
        return Ok(());
    }
    fs::write(&file, OPERATOR_FILE)?;
    output::note(&format!(
        "wrote {} (all commented out: name your models there)",
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
        assert!(failure.message.contains("is there already"), "{failure}");
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
    fn columns_are_proposed_by_name_or_by_elimination() {
        let propose = |names: &[&str]| {
            let columns: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let (input, target) = propose_columns(&columns);
            (input.map(str::to_owned), target.map(str::to_owned))
        };
        let both = |input: &str, target: &str| (Some(input.to_owned()), Some(target.to_owned()));
        assert_eq!(propose(&["id", "Question", "Answer"]), both("Question", "Answer"));
        assert_eq!(propose(&["statement", "label"]), both("statement", "label"));
        assert_eq!(propose(&["a1", "b1"]), both("a1", "b1"));
        assert_eq!(propose(&["id", "foo", "bar"]), (None, None));
    }

    #[test]
    fn the_metric_follows_the_targets() {
        let metric = |targets: &[&str]| propose_metric(&targets.iter().map(|&t| t.to_owned()).collect::<Vec<_>>());
        assert_eq!(metric(&["(A)", "B", "C."]), "choice");
        assert_eq!(metric(&["1", "-2.5", "1,000"]), "numeric");
        assert_eq!(metric(&["yes", "no"]), "normalized");
        assert_eq!(metric(&[&"long ".repeat(40)]), "judge");
        assert_eq!(metric(&[]), "normalized");
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
