//! Reading a task file: every table, every refusal, one [`TaskFile`].

mod budget;
mod checks;
mod corpus;
mod escapes;
mod form;
mod learner;
mod messages;
mod metric;
mod models;
mod place;
mod prompt;
mod schema;
mod set;

use crate::{
    data::{Mapping, SourcedExample, examples, text},
    error::{LoadError, shorten},
};
use checks::{bad, check_gates, check_ids, check_lengths, check_metric};
use place::Source;
use regex::Regex;
pub use schema::ModelChoice;
use schema::{File, OneOrMore};
use sipdo_domain::{Budget, Comparison, Metric, Pool, PromptForm, Task, TaskBrief, TaskGates};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Longest input in the user's data, in characters, unless the task file allows more.
const LONGEST_INPUT: usize = 20_000;
/// Longest synthetic input, in characters, unless the task file says otherwise.
const LONGEST_SYNTHETIC: u32 = 8_000;
/// Train examples where the task file gives no number.
const USUAL_TRAIN: usize = 30;
/// Test examples where the task file gives no number, at most.
const USUAL_TEST: usize = 150;

/// The JSON Schema of a task file, for editors. A test holds it to the tables that are read.
pub const TASK_SCHEMA: &str = include_str!("task.schema.json");

/// A task file, read and checked.
#[derive(Debug, Clone)]
pub struct TaskFile {
    /// The task with its examples.
    pub task: Task,
    /// The caps of `[budget]`.
    pub budget: Budget,
    /// The strategy's name; `sipdo` where the file names none.
    pub strategy: String,
    /// The strategy's own options: a JSON object for the strategy to check.
    pub options: serde_json::Value,
    /// The models of `[models]`.
    pub models: BTreeMap<Pool, ModelChoice>,
    /// How rows become examples: for reading another data set in the same form.
    pub mapping: Mapping,
    /// What the user should know, though it is no error.
    pub warnings: Vec<String>,
}

/// What a caller can set.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Folder to which `[data]` files are relative, instead of the task file's own.
    pub data_dir: Option<PathBuf>,
}

/// Reads a task file and its data.
pub fn load(path: &Path) -> Result<TaskFile, LoadError> {
    load_with(path, &LoadOptions::default())
}

/// [`load`] with options.
pub fn load_with(path: &Path, options: &LoadOptions) -> Result<TaskFile, LoadError> {
    let source = Source {
        path: path.into(),
        text: text(path)?,
    };
    let file: File = toml::from_str(&source.text).map_err(|error| source.refused(&error))?;
    let mut warnings = Vec::new();

    escapes::warn(
        [
            ("[task] prompt", file.task.prompt.as_ref()),
            ("[task] description", Some(&file.task.description)),
            ("[task] answer_format", Some(&file.task.answer_format)),
        ],
        &mut warnings,
    );
    let (prompt, form) = form::read(&source, &file, &mut warnings)?;
    escapes::warn(
        form.messages
            .iter()
            .map(|message| ("[[prompt.messages]] text", Some(&message.text))),
        &mut warnings,
    );
    let mut metric = metric::read(&source, &file.metric)?;
    let gates = gates(&source, &file)?;
    let budget = budget::read(&source, &file.budget)?;
    let accept = file.accept.clone();
    accept
        .check()
        .map_err(|problem| source.at(&["accept"], problem, "docs/tasks.md describes every key of `[accept]`"))?;
    let models = models::read(&source, &file.models)?;
    let (strategy, seed, options_json) = strategy(&source, &file.strategy)?;
    let corpus = file.corpus.as_ref().map_or(Ok(Vec::new()), |table| {
        corpus::read(&source, table, options.data_dir.as_deref())
    })?;
    let name = name(&source, file.task.name.as_deref())?;
    if file.task.description.trim().is_empty() {
        return Err(source.at(
            &["task", "description"],
            "the description is empty",
            "Describe the task in a sentence or two",
        ));
    }

    let mapping = mapping(&source, &file, &form)?;
    let Sets { train, test, labels } = Sets::read(&source, &file, &mapping, options, &metric, &mut warnings)?;
    accept.check_labels(&labels).map_err(|problem| {
        source.at(
            &["accept", "objective"],
            problem,
            "docs/tasks.md describes every key of `[accept]`",
        )
    })?;
    if let Comparison::Choice { options } = &mut metric.comparison
        && options.is_empty()
    {
        options.clone_from(&labels);
    }
    check_metric(&metric, &form, train.iter().chain(&test))?;
    check_gates(&source, &gates, &form, &train)?;
    if budget == Budget::default() {
        warnings.push("no `[budget]`: calls, tokens, money and time are not capped".into());
    }
    if test.is_empty() {
        warnings.push("no test examples: the gain cannot be measured on held-out data".into());
    }
    let task = Task {
        name,
        brief: TaskBrief {
            description: file.task.description.trim().to_owned(),
            answer_format: file.task.answer_format.trim().to_owned(),
            labels,
        },
        prompt,
        metric,
        train: train.into_iter().map(|sourced| sourced.example).collect(),
        test: test.into_iter().map(|sourced| sourced.example).collect(),
        gates,
        corpus,
        seed,
        accept: Some(accept),
        form,
    };
    Ok(TaskFile {
        task,
        budget,
        strategy,
        options: options_json,
        models,
        mapping,
        warnings,
    })
}

/// The two sets of examples, checked against each other.
struct Sets {
    train: Vec<SourcedExample>,
    test: Vec<SourcedExample>,
    labels: Vec<String>,
}

impl Sets {
    fn read(
        source: &Source,
        file: &File,
        mapping: &Mapping,
        options: &LoadOptions,
        metric: &Metric,
        warnings: &mut Vec<String>,
    ) -> Result<Sets, LoadError> {
        let data = &file.data;
        let mut pool = |files: &OneOrMore| -> Result<Vec<SourcedExample>, LoadError> {
            let mut all = Vec::new();
            for name in files.all() {
                all.extend(examples(&source.resolve(name, options.data_dir.as_deref()), mapping)?);
            }
            check_lengths(&all, data.max_input_chars.unwrap_or(LONGEST_INPUT))?;
            set::unique(all, data.contradictions, warnings)
        };
        let (train_files, test_files) = match (&data.file, &data.train_file, &data.test_file) {
            (Some(file), None, None) => (file, None),
            (Some(train), None, Some(test)) | (None, Some(train), Some(test)) => (train, Some(test)),
            (None, Some(train), None) => (train, None),
            (Some(_), Some(_), _) => {
                return Err(source.at(
                    &["data", "train_file"],
                    "both `file` and `train_file` are given",
                    "Keep `train_file`, or name one `file` to be split",
                ));
            }
            (None, None, _) => {
                return Err(source.at(
                    &["data"],
                    "`[data]` names no file",
                    "Add `file = \"examples.jsonl\"`, or `train_file` and `test_file`",
                ));
            }
        };
        let train_pool = pool(train_files)?;
        let test_pool = test_files.map(&mut pool).transpose()?;

        let mut everything = train_pool.clone();
        everything.extend(test_pool.iter().flatten().cloned());
        set::check_variety(&source.path, &everything, metric)?;
        let labels = labels(file, &everything, metric)?;

        let seed = file.split.seed;
        let (mut train, mut test) = match test_pool {
            None => {
                let (train, test) = sizes(source, train_pool.len(), data.train, data.test)?;
                set::split(train_pool, train, test, seed)
            }
            Some(test_pool) => {
                let train_pool = set::disjoint(train_pool, &test_pool, data.overlap, warnings)?;
                let train = enough(
                    source,
                    "train",
                    data.train.unwrap_or(train_pool.len()),
                    train_pool.len(),
                )?;
                let test = enough(source, "test", data.test.unwrap_or(test_pool.len()), test_pool.len())?;
                (
                    set::split(train_pool, train, 0, seed).0,
                    set::split(test_pool, 0, test, seed).1,
                )
            }
        };
        if file.data.id.is_none() {
            number(&mut train, "train");
            number(&mut test, "test");
        }
        check_ids(train.iter().chain(&test))?;
        canonical(&mut train, &labels, metric);
        canonical(&mut test, &labels, metric);
        Ok(Sets { train, test, labels })
    }
}

fn number(set: &mut [SourcedExample], name: &str) {
    for (at, sourced) in set.iter_mut().enumerate() {
        sourced.example.id = format!("{name}-{}", at + 1);
    }
}

/// Targets in the spelling of the label space.
fn canonical(set: &mut [SourcedExample], labels: &[String], metric: &Metric) {
    for sourced in set {
        if let Some(label) = metric.label_of(&sourced.example.target, labels) {
            sourced.example.target = label;
        }
    }
}

/// The given label space, which must hold every target; else the inferred one.
fn labels(file: &File, all: &[SourcedExample], metric: &Metric) -> Result<Vec<String>, LoadError> {
    let Some(given) = &file.task.labels else {
        return Ok(set::closed_labels(all, metric));
    };
    let labels: Vec<String> = given.iter().map(|label| label.trim().to_owned()).collect();
    let strange = all
        .iter()
        .find(|sourced| !labels.is_empty() && metric.label_of(&sourced.example.target, &labels).is_none());
    match strange {
        None => Ok(labels),
        Some(sourced) => Err(bad(
            sourced,
            format!(
                "the target `{}` is not one of the labels in `[task] labels`",
                shorten(&sourced.example.target)
            ),
            format!(
                "Labels: {}. Add it, correct the row, or omit `labels`",
                labels.join(", ")
            ),
        )),
    }
}

/// Sizes of the two sets out of one pool.
fn sizes(
    source: &Source,
    available: usize,
    train: Option<usize>,
    test: Option<usize>,
) -> Result<(usize, usize), LoadError> {
    let usual_train = USUAL_TRAIN.min(available / 2).max(1);
    let wanted_train = train.unwrap_or_else(|| usual_train.min(available.saturating_sub(test.unwrap_or(0))));
    let wanted_test = test.unwrap_or_else(|| USUAL_TEST.min(available.saturating_sub(wanted_train)));
    if wanted_train + wanted_test > available {
        let problem = format!(
            "`train = {wanted_train}` and `test = {wanted_test}` need {} examples, but there are only {available}",
            wanted_train + wanted_test
        );
        return Err(source.at(&["data", "train"], problem, "Lower one of them, or add data"));
    }
    Ok((enough(source, "train", wanted_train, available)?, wanted_test))
}

fn enough(source: &Source, key: &str, wanted: usize, available: usize) -> Result<usize, LoadError> {
    if wanted > available {
        let problem = format!("`{key} = {wanted}` needs more examples than there are ({available})");
        return Err(source.at(&["data", key], problem, "Lower it, or add data"));
    }
    if key == "train" && wanted < 2 {
        return Err(source.at(
            &["data", "train"],
            format!("{wanted} train examples are too few"),
            "Give at least 2; about 30 is a good number",
        ));
    }
    Ok(wanted)
}

fn gates(source: &Source, file: &File) -> Result<TaskGates, LoadError> {
    let table = &file.gates;
    for (key, pattern) in [
        ("input_pattern", &table.input_pattern),
        ("target_pattern", &table.target_pattern),
    ] {
        if let Some(Err(error)) = pattern.as_ref().map(|pattern| Regex::new(pattern)) {
            return Err(source.at(
                &["gates", key],
                format!("`{key}` is not a regular expression: {error}"),
                "Correct it, or omit it",
            ));
        }
    }
    Ok(TaskGates {
        input_pattern: table.input_pattern.clone(),
        target_pattern: table.target_pattern.clone(),
        program: table.program.clone(),
        max_input_chars: table.max_input_chars.unwrap_or(LONGEST_SYNTHETIC),
    })
}

fn mapping(source: &Source, file: &File, form: &PromptForm) -> Result<Mapping, LoadError> {
    let data = &file.data;
    let reserved = ["row", "document", "index", "seed"];
    if let Some(name) = data.names.keys().find(|name| reserved.contains(&name.as_str())) {
        return Err(source.at(
            &["data", "let"],
            format!("`let.{name}` hides a built-in name"),
            "Choose another name",
        ));
    }
    Ok(Mapping {
        format: data.format,
        pointer: data.pointer.clone(),
        header: data.header.unwrap_or(true),
        delimiter: delimiter(source, data.delimiter.as_deref())?,
        quotes: data.quotes,
        input: data.input.clone().unwrap_or_else(|| "input".into()),
        columns: form.columns(),
        target: data.target.clone(),
        targets: data.targets.clone(),
        id: data.id.clone(),
        filter: data.filter.clone(),
        names: data.names.clone(),
        seed: file.split.seed,
    })
}

/// What parts the cells: one character.
fn delimiter(source: &Source, given: Option<&str>) -> Result<Option<char>, LoadError> {
    let Some(given) = given else { return Ok(None) };
    let mut chars = given.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) if !matches!(one, '"' | '\n' | '\r') => Ok(Some(one)),
        _ => Err(source.at(
            &["data", "delimiter"],
            format!("`delimiter` is `{}`, which is not one character", given.escape_debug()),
            "Write the character that parts the cells, such as \";\" or \"\\t\"",
        )),
    }
}

/// Name, run's seed, and all other keys.
fn strategy(source: &Source, table: &toml::Table) -> Result<(String, u64, serde_json::Value), LoadError> {
    let mut table = table.clone();
    let name = match table.remove("name") {
        None => "sipdo".to_owned(),
        Some(toml::Value::String(name)) => name,
        Some(other) => {
            return Err(source.at(
                &["strategy", "name"],
                format!("`name = {other}` is not text"),
                "Write it in quotes: name = \"sipdo\"",
            ));
        }
    };
    let seed = match table.remove("seed") {
        None => 0,
        Some(value) => value
            .as_integer()
            .and_then(|seed| u64::try_from(seed).ok())
            .ok_or_else(|| {
                source.at(
                    &["strategy", "seed"],
                    format!("`seed = {value}` is not a whole number of at least 0"),
                    "Write a number without quotes: seed = 7",
                )
            })?,
    };
    let options = serde_json::to_value(table)
        .map_err(|error| source.at(&["strategy"], error.to_string(), "Use texts, numbers, lists and tables"))?;
    Ok((name, seed, options))
}

fn name(source: &Source, given: Option<&str>) -> Result<String, LoadError> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() <= 64
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if let Some(name) = given {
        let advice = "Use up to 64 letters, digits, `-` and `_`";
        return if plain(name) {
            Ok(name.to_owned())
        } else {
            Err(source.at(&["task", "name"], format!("`{name}` is not a valid task name"), advice))
        };
    }
    let text = |part: Option<&std::ffi::OsStr>| part.map_or_else(String::new, |part| part.to_string_lossy().into());
    let stem = text(source.path.file_stem());
    let folder = text(source.path.parent().and_then(Path::file_name));
    let found = if stem == "task" && !folder.is_empty() {
        folder
    } else {
        stem
    };
    let clean: String = found
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(64)
        .collect();
    Ok(if plain(&clean) { clean } else { "task".into() })
}
