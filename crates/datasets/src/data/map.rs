//! Turning rows into examples: columns or templates for input, target and id.

use super::{
    absent::{is_missing, told, trace},
    cell::{Cell, field},
    filters,
    literal::listed,
    read::{Format, ReadOptions, table},
    table::{Row, Table},
    template::{WRITTEN, compared, environment, prepared},
    uses::{Uses, words},
    values::{Written, ordered, value},
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
    /// What parts the cells of a CSV file; none: found by the file.
    pub delimiter: Option<char>,
    /// Whether cells of a CSV or TSV file may stand in quotes; none: in a CSV file, and in a TSV file where that makes an even table.
    pub quotes: Option<bool>,
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
            delimiter: None,
            quotes: None,
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

impl Mapping {
    /// The columns that it names.
    fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        let plain = [Some(&self.input), self.target.as_ref(), self.id.as_ref()];
        for source in plain.into_iter().flatten() {
            let side = if is_template(source) {
                &mut uses.sources
            } else {
                &mut uses.names
            };
            side.push(source.clone());
        }
        if self.target.is_none() && self.targets.is_none() {
            uses.names.push("target".into());
        }
        uses.names.extend(self.columns.iter().cloned());
        uses.sources.extend(
            self.targets
                .iter()
                .chain(&self.filter)
                .chain(self.names.values())
                .cloned(),
        );
        uses
    }
}

/// [`load_examples`] with the place of each.
pub(crate) fn examples(path: &Path, mapping: &Mapping) -> Result<Vec<SourcedExample>, LoadError> {
    let options = ReadOptions {
        format: mapping.format,
        pointer: mapping.pointer.as_deref(),
        headless: !mapping.header,
        delimiter: mapping.delimiter,
        quotes: mapping.quotes,
        uses: mapping.uses(),
    };
    let Table {
        rows,
        others,
        document,
        flat,
    } = table(path, &options)?;
    let document = ordered(document.iter().map(|(key, field)| (key.clone(), value(field, key))));
    let environment = environment();
    let source = Source {
        environment: &environment,
        path,
        others: &others,
        flat,
    };
    let mut all = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        let context = Context::new(&source, row, index, mapping, &document)?;
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

/// What the rows of a file share.
struct Source<'a> {
    environment: &'a Environment<'static>,
    path: &'a Path,
    /// Columns that were not read.
    others: &'a [String],
    /// Whether lists are texts in this file.
    flat: bool,
}

/// One row before its templates.
struct Context<'a> {
    source: &'a Source<'a>,
    row: Row,
    written: Written,
    values: Value,
}

impl<'a> Context<'a> {
    fn new(
        source: &'a Source<'a>,
        row: Row,
        index: usize,
        mapping: &Mapping,
        document: &Value,
    ) -> Result<Self, LoadError> {
        let columns: Vec<(String, Value)> = row
            .columns
            .iter()
            .map(|(name, cell)| (name.clone(), value(cell, name)))
            .collect();
        let written = Written::of(&row.columns);
        // of equal names the last counts: a column goes before a name of ours
        let mut fields: Vec<(String, Value)> = vec![
            ("row".into(), ordered(columns.clone())),
            ("document".into(), document.clone()),
            ("index".into(), Value::from(index)),
            ("seed".into(), Value::from(mapping.seed)),
            (filters::INDEX.into(), Value::from(index)),
            (filters::SEED.into(), Value::from(mapping.seed)),
            (WRITTEN.into(), Value::from_object(written.clone())),
        ];
        fields.extend(columns);
        let mut context = Context {
            source,
            row,
            written,
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
                Some(source) => {
                    let named = self.expression(&format!("let.{name}"), source)?;
                    self.clean(self.written.text(&named).trim().to_owned())?
                }
                None if matches!(field(&self.row.columns, name), Some(Cell::Null)) => String::new(),
                None if field(&self.row.columns, name).is_some() => self.column("let", name)?,
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
        if !is_template(source) {
            return self.column(key, source);
        }
        let rendered = self
            .source
            .environment
            .render_str(&prepared(source), self.values.clone())
            .map_err(|error| self.refused(key, source, &error))?;
        self.clean(rendered.trim().to_owned())
    }

    fn column(&self, key: &str, name: &str) -> Result<String, LoadError> {
        match field(&self.row.columns, name) {
            Some(Cell::Text(text)) => Ok(text.trim().to_owned()),
            Some(Cell::Number(number)) => Ok(number.clone()),
            Some(Cell::Bool(value)) => Ok(value.to_string()),
            Some(Cell::Null) => Err(self.absent(name, "is null")),
            Some(Cell::NoNumber(text)) => Err(self.absent(name, &format!("is {text}"))),
            Some(Cell::Unreadable(why)) => Err(self.absent(name, why)),
            Some(Cell::List(_)) if key == "target" => Err(self.bad(
                format!("the column `{name}` is a list"),
                format!("If each element is a right answer, set `[data] targets = \"{name}\"`"),
            )),
            Some(Cell::List(_) | Cell::Object(_)) => Err(self.bad(
                format!("the column `{name}` is not text"),
                format!("Write a template in `[data] {key}`, such as \"{{{{ {name}.field }}}}\""),
            )),
            None => Err(self.bad(
                format!("`[data] {key} = \"{name}\"`: there is no column `{name}`"),
                format!(
                    "{}. A template is written with braces: \"{{{{ column }}}}\"{}",
                    self.suggest(name),
                    self.one_column()
                ),
            )),
        }
    }

    /// A table of one column is often one whose delimiter was not found.
    fn one_column(&self) -> &'static str {
        match self.source.flat && self.row.columns.len() == 1 {
            true => ". If the cells are not parted by commas, set `[data] delimiter`",
            false => "",
        }
    }

    /// A text without the trace of an absent value.
    fn clean(&self, text: String) -> Result<String, LoadError> {
        match trace(&text) {
            None => Ok(text),
            Some((name, why)) => Err(self.absent(name, why)),
        }
    }

    fn absent(&self, name: &str, why: &str) -> LoadError {
        // a filter such as `upper` may have changed the trace
        let same = |column: &&(String, Cell)| column.0.eq_ignore_ascii_case(name);
        let name = self.row.columns.iter().find(same).map_or(name, |(name, _)| name);
        let why = ["is null", "is NaN"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(why))
            .unwrap_or(why);
        let advice = match why {
            "is null" | "is NaN" => format!(
                "Exclude such rows with `[data] where = \"{name} is not none\"`, or say what stands for it: \"{{{{ {name} | or('...') }}}}\""
            ),
            _ => "Exclude such rows with `[data] where`, or correct the file".into(),
        };
        self.bad(format!("the column `{name}` {why}"), advice)
    }

    /// The elements of a list; a single value where the file has one in place of a list.
    fn list(&self, key: &str, source: &str) -> Result<Vec<String>, LoadError> {
        let mut found = self.expression(key, source)?;
        if let Some(Cell::List(list)) = found.as_str().filter(|_| self.source.flat).and_then(listed) {
            found = list.iter().map(|cell| value(cell, source)).collect();
        }
        let single = found.as_str().is_some() || found.is_number() || told(&found).is_some() || is_missing(&found);
        let items: Vec<Value> = match single {
            true => vec![found],
            false => match found.try_iter() {
                Ok(items) => items.collect(),
                Err(_) => {
                    let problem = format!("`[data] {key} = \"{source}\"` does not give a list");
                    return Err(self.bad(problem, "Give an expression whose value is a list of texts".into()));
                }
            },
        };
        let texts = items
            .iter()
            .map(|item| self.clean(self.written.text(item).trim().to_owned()));
        let texts: Result<Vec<String>, LoadError> = texts.collect();
        Ok(texts?.into_iter().filter(|text| !text.is_empty()).collect())
    }

    fn expression(&self, key: &str, source: &str) -> Result<Value, LoadError> {
        let trimmed = source.trim();
        let bare = trimmed
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
            .unwrap_or(trimmed);
        let bare = compared(bare);
        let refuse = |error: minijinja::Error| self.refused(key, source, &error);
        let found = self
            .source
            .environment
            .compile_expression(&bare)
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
                format!("In addition to Jinja's filters there are {}", filters::NAMES)
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
        field(&self.row.columns, word).is_some() || matches!(word, "row" | "document" | "index" | "seed")
    }

    fn suggest(&self, name: &str) -> String {
        let columns = self.row.columns.iter().map(|(name, _)| name).chain(self.source.others);
        suggestion(name, columns.map(String::as_str)).replace("Known here", "The columns are")
    }

    fn bad(&self, problem: String, advice: String) -> LoadError {
        LoadError::Data {
            path: self.source.path.into(),
            place: Some(self.row.place.clone()),
            problem,
            advice,
        }
    }
}

/// Whether a text is a template, and not a column's name.
fn is_template(source: &str) -> bool {
    source.contains("{{") || source.contains("{%")
}
