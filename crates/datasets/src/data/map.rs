//! Turning rows into examples: columns or templates for input, target and id.

use super::{
    read::{Format, ReadOptions, Row, Table, table},
    template::{environment, ordered, value},
};
use crate::error::{LoadError, shorten, suggestion};
use minijinja::{Environment, ErrorKind, Value};
use sipdo_domain::{Example, record};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// How the rows of a data file become examples. `Default` reads the columns `input` and `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The file's format; none: by its extension.
    pub format: Option<Format>,
    /// JSON pointer to the list of examples; none: the only list.
    pub pointer: Option<String>,
    /// Whether a CSV or TSV file has a header; without one the columns are `c0`, `c1`, ...
    pub header: bool,
    /// Column, or template, of the input.
    pub input: String,
    /// Columns, or names of `names`, whose record is the input; empty where `input` says what it is.
    pub columns: Vec<String>,
    /// Column, or template, of the target; none with `targets`: its first element.
    pub target: Option<String>,
    /// Expression for a list of accepted targets.
    pub targets: Option<String>,
    /// Column, or template, of an id; none: numbers.
    pub id: Option<String>,
    /// Expression that a row must fulfil.
    pub filter: Option<String>,
    /// Named expressions that the others may use.
    pub names: BTreeMap<String, String>,
    /// Seed of the filter `shuffled`.
    pub seed: u64,
}

impl Default for Mapping {
    fn default() -> Self {
        Mapping {
            format: None,
            pointer: None,
            header: true,
            input: "input".into(),
            columns: Vec::new(),
            target: None,
            targets: None,
            id: None,
            filter: None,
            names: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// An example and the row that it came from.
#[derive(Debug, Clone)]
pub struct SourcedExample {
    /// The example; its id is empty where the mapping names none.
    pub example: Example,
    /// The file.
    pub path: PathBuf,
    /// `line 12`, `element 3`, `row 5`.
    pub place: String,
}

/// Reads the examples of one data file, in its order: for measuring a prompt on any data set. Ids without a mapping are `row-1`, ...
pub fn load_examples(path: &Path, mapping: &Mapping) -> Result<Vec<Example>, LoadError> {
    let all = examples(path, mapping)?;
    Ok(all
        .into_iter()
        .enumerate()
        .map(|(at, SourcedExample { mut example, .. })| {
            if example.id.is_empty() {
                example.id = format!("row-{}", at + 1);
            }
            example
        })
        .collect())
}

/// [`load_examples`] with the place of each.
pub(crate) fn examples(path: &Path, mapping: &Mapping) -> Result<Vec<SourcedExample>, LoadError> {
    let options = ReadOptions {
        format: mapping.format,
        pointer: mapping.pointer.as_deref(),
        header: mapping.header,
    };
    let Table { rows, document } = table(path, &options)?;
    let document = ordered(document.iter().map(|(key, field)| (key.clone(), value(field))));
    let environment = environment();
    let mut all = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        let context = Context::new(&environment, path, row, index, mapping, &document)?;
        if let Some(example) = context.example(mapping)? {
            all.push(SourcedExample {
                example,
                path: path.into(),
                place: context.row.place,
            });
        }
    }
    if all.is_empty() {
        return Err(LoadError::Examples {
            path: path.into(),
            problem: "it has no examples".into(),
            advice: "Check the file, and `[data] where` and `[data] pointer` if they are set".into(),
        });
    }
    Ok(all)
}

/// One row before its templates.
struct Context<'a> {
    environment: &'a Environment<'static>,
    path: &'a Path,
    row: Row,
    values: Value,
}

impl<'a> Context<'a> {
    fn new(
        environment: &'a Environment<'static>,
        path: &'a Path,
        row: Row,
        index: usize,
        mapping: &Mapping,
        document: &Value,
    ) -> Result<Self, LoadError> {
        let columns: Vec<(String, Value)> = row
            .columns
            .iter()
            .map(|(name, cell)| (name.clone(), value(cell)))
            .collect();
        let mut fields = columns.clone();
        fields.push(("row".into(), ordered(columns)));
        fields.push(("document".into(), document.clone()));
        fields.push(("index".into(), Value::from(index)));
        fields.push(("seed".into(), Value::from(mapping.seed)));
        let mut context = Context {
            environment,
            path,
            row,
            values: ordered(fields.clone()),
        };
        for (name, source) in &mapping.names {
            let named = context.expression(&format!("let.{name}"), source)?;
            fields.push((name.clone(), named));
        }
        context.values = ordered(fields);
        Ok(context)
    }

    /// None where the filter leaves the row out.
    fn example(&self, mapping: &Mapping) -> Result<Option<Example>, LoadError> {
        if let Some(filter) = &mapping.filter
            && !self.expression("where", filter)?.is_true()
        {
            return Ok(None);
        }
        let mut targets = mapping
            .targets
            .as_ref()
            .map_or(Ok(Vec::new()), |source| self.list("targets", source))?;
        if mapping.target.is_some() || mapping.targets.is_none() {
            let target = self.text("target", mapping.target.as_deref().unwrap_or("target"))?;
            targets.retain(|other| *other != target);
            targets.insert(0, target);
        }
        let id = mapping
            .id
            .as_ref()
            .map_or(Ok(String::new()), |source| self.text("id", source))?;
        let input = match mapping.columns.as_slice() {
            [] => self.text("input", &mapping.input)?,
            columns => self.record(columns, &mapping.names)?,
        };
        let mut targets = targets.into_iter();
        let target = targets.next().unwrap_or_default();
        for (key, text) in [("input", &input), ("target", &target)] {
            if text.is_empty() {
                let advice = format!("Fill it in, or exclude such rows: `[data] where = \"{key}\"`");
                return Err(self.bad(format!("the {key} is empty"), advice));
            }
        }
        Ok(Some(Example {
            id,
            input,
            target,
            aliases: targets.collect(),
        }))
    }

    /// The record of these columns; empty where they are all empty.
    fn record(&self, columns: &[String], names: &BTreeMap<String, String>) -> Result<String, LoadError> {
        let mut texts: Vec<String> = Vec::with_capacity(columns.len());
        for name in columns {
            texts.push(match names.get(name) {
                Some(source) => self
                    .expression(&format!("let.{name}"), source)?
                    .to_string()
                    .trim()
                    .to_owned(),
                None if self.row.columns.contains_key(name) => self.column("let", name)?,
                None => {
                    let advice = format!("{}. `[data.let]` makes a column out of others", self.suggest(name));
                    let problem = format!("`[[prompt.messages]]` names {{{{{name}}}}}: there is no column `{name}`");
                    return Err(self.bad(problem, advice));
                }
            });
        }
        if texts.iter().all(String::is_empty) {
            return Ok(String::new());
        }
        let columns = columns.iter().zip(&texts);
        Ok(record::write(
            columns.map(|(name, text)| (name.as_str(), text.as_str())),
        ))
    }

    /// A column's text, or a template's.
    fn text(&self, key: &str, source: &str) -> Result<String, LoadError> {
        let is_template = source.contains("{{") || source.contains("{%");
        if !is_template {
            return self.column(key, source);
        }
        let rendered = self
            .environment
            .render_str(source, self.values.clone())
            .map_err(|error| self.refused(key, source, &error))?;
        Ok(rendered.trim().to_owned())
    }

    fn column(&self, key: &str, name: &str) -> Result<String, LoadError> {
        use serde_json::Value as Json;
        match self.row.columns.get(name) {
            Some(Json::String(text)) => Ok(text.trim().to_owned()),
            Some(Json::Number(number)) => Ok(number.to_string()),
            Some(Json::Bool(value)) => Ok(value.to_string()),
            Some(Json::Null) => Ok(String::new()),
            Some(Json::Array(_)) if key == "target" => Err(self.bad(
                format!("the column `{name}` is a list"),
                format!("If each element is a right answer, set `[data] targets = \"{name}\"`"),
            )),
            Some(_) => Err(self.bad(
                format!("the column `{name}` is not text"),
                format!("Write a template in `[data] {key}`, such as \"{{{{ {name}.field }}}}\""),
            )),
            None => Err(self.bad(
                format!("`[data] {key} = \"{name}\"`: there is no column `{name}`"),
                format!(
                    "{}. A template is written with braces: \"{{{{ column }}}}\"",
                    self.suggest(name)
                ),
            )),
        }
    }

    fn list(&self, key: &str, source: &str) -> Result<Vec<String>, LoadError> {
        let found = self.expression(key, source)?;
        let bad = || {
            self.bad(
                format!("`[data] {key} = \"{source}\"` does not give a list"),
                "Give an expression whose value is a list of texts".into(),
            )
        };
        if found.as_str().is_some() {
            return Err(bad());
        }
        Ok(found
            .try_iter()
            .map_err(|_| bad())?
            .map(|item| item.to_string().trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect())
    }

    fn expression(&self, key: &str, source: &str) -> Result<Value, LoadError> {
        let trimmed = source.trim();
        let bare = trimmed
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
            .unwrap_or(trimmed);
        let refuse = |error: minijinja::Error| self.refused(key, source, &error);
        let found = self
            .environment
            .compile_expression(bare)
            .and_then(|expression| expression.eval(self.values.clone()))
            .map_err(refuse)?;
        if found.is_undefined() {
            return Err(refuse(minijinja::Error::from(ErrorKind::UndefinedError)));
        }
        Ok(found)
    }

    fn refused(&self, key: &str, source: &str, error: &minijinja::Error) -> LoadError {
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        let advice = match error.kind() {
            ErrorKind::UndefinedError => {
                let unknown = words(source).find(|word| !self.known(word)).unwrap_or_default();
                format!(
                    "{}. A name with spaces is written row[\"Best Answer\"]",
                    self.suggest(unknown)
                )
            }
            ErrorKind::OutOfFuel => "The template does too much work for one row: simplify it".into(),
            ErrorKind::UnknownFilter => {
                "In addition to Jinja's filters there are best, after, lettered, letter_of and shuffled".into()
            }
            _ => "Templates use the syntax of Jinja; see docs/tasks.md".into(),
        };
        self.bad(
            format!(
                "`[data] {key}` = `{}` failed: {}{detail}",
                shorten(source),
                error.kind()
            ),
            advice,
        )
    }

    fn known(&self, word: &str) -> bool {
        self.row.columns.contains_key(word) || matches!(word, "row" | "document" | "index" | "seed")
    }

    fn suggest(&self, name: &str) -> String {
        suggestion(name, self.row.columns.keys().map(String::as_str)).replace("Known here", "The columns are")
    }

    fn bad(&self, problem: String, advice: String) -> LoadError {
        LoadError::Data {
            path: self.path.into(),
            place: Some(self.row.place.clone()),
            problem,
            advice,
        }
    }
}

/// The names in a template's source.
fn words(source: &str) -> impl Iterator<Item = &str> {
    source
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}
