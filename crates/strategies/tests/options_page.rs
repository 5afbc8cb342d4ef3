//! `docs/options.md` is what the code says: the comments of the options, their defaults, and the values that they take.
//!
//! `make docs` writes the page; without that variable the test compares.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of a test may fail it")]

use serde_json::{Value, json};
use sipdo_strategies::{NAMES, check_options, resolve};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Set by `make docs`.
const WRITE: &str = "SIPDO_WRITE_DOCS";

const HEAD: &str = "# Options of the strategies

This page is made from the comments and defaults of the code: `make docs` writes it, and a test compares it. Do not edit it by hand.

An option stands in the table `[strategy]` of a task file, beside `name` and `seed` ([tasks.md](tasks.md#strategy)). On the command line it
is `--set strategy.KEY=VALUE`. An unknown option, or a value that an option does not take, is refused before the run is created.
A run stores all options when it is created. A later version of sipdo with other defaults does not change it.
";

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A field of a struct or a variant of an enum: its name, its type (of a variant: none), its comment, its own `rename`.
#[derive(Debug, PartialEq)]
struct Item {
    name: String,
    kind: String,
    comment: String,
    rename: Option<String>,
}

/// The items of a type whose declaration begins with `head` in a file; none where the file does not declare it.
fn items(source: &str, head: &str) -> Option<Vec<Item>> {
    let body = source.split_once(&format!("\n{head} {{\n"))?.1;
    let (mut found, mut comment, mut rename) = (Vec::new(), Vec::new(), None);
    for line in body.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else if line.starts_with('#') {
            let value = line
                .split_once("rename = \"")
                .and_then(|(_, rest)| rest.split_once('"'));
            rename = value.map(|(name, _)| name.to_owned()).or(rename);
        } else if let Some(item) = line.strip_suffix(',') {
            let item = item.strip_prefix("pub ").unwrap_or(item);
            let (name, kind) = item.split_once(": ").unwrap_or((item, ""));
            found.push(Item {
                name: name.to_owned(),
                kind: kind.to_owned(),
                comment: comment.join(" "),
                rename: rename.take(),
            });
            comment.clear();
        }
    }
    Some(found)
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of sources")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The words of an enum as a task file writes them, each with its comment. Empty where the type is no enum of ours.
fn words(kind: &str, home: &str, all: &[String]) -> Vec<(String, String)> {
    let head = format!("pub enum {kind}");
    let declares = |source: &&String| items(source, &head).is_some();
    let declared: Vec<&String> = match items(home, &head) {
        Some(_) => return written(home, &head),
        None => all.iter().filter(declares).collect(),
    };
    assert!(
        declared.len() < 2,
        "{kind} is declared in {} files: give one another name",
        declared.len()
    );
    declared
        .first()
        .map(|source| written(source, &head))
        .unwrap_or_default()
}

fn written(source: &str, head: &str) -> Vec<(String, String)> {
    let before = source
        .split_once(&format!("\n{head} {{\n"))
        .map_or("", |(before, _)| before);
    let attributes = before.rsplit_once("\n\n").map_or(before, |(_, last)| last);
    let joint = if attributes.contains("rename_all = \"kebab-case\"") {
        "-"
    } else {
        ""
    };
    let variants = items(source, head).unwrap_or_default().into_iter();
    let name = |item: &Item| item.rename.clone().unwrap_or_else(|| lower(&item.name, joint));
    variants.map(|item| (name(&item), item.comment)).collect()
}

/// `TryAgain` in small letters, with `joint` between its words.
fn lower(name: &str, joint: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push_str(joint);
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// The file that declares a strategy's options, and the one whose first lines say what the strategy is.
fn files(strategy: &str) -> (String, String) {
    let module = crates().join("strategies/src").join(strategy.replace('-', "_"));
    match module.is_dir() {
        true => (read(&module.join("options.rs")), read(&module.join("mod.rs"))),
        false => {
            let source = read(&module.with_extension("rs"));
            (source.clone(), source)
        }
    }
}

/// The first paragraph of a file's own comment.
fn purpose(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    plain(&lines.join(" "))
}

/// A comment without links to code.
fn plain(comment: &str) -> String {
    comment.replace("[`", "`").replace("`]", "`")
}

/// What an option takes, in words. Bounds are those that the refusal of a value outside them states.
fn takes(strategy: &str, item: &Item, words: &[(String, String)]) -> String {
    let kind = match item.kind.trim_start_matches("Option<").trim_end_matches('>') {
        _ if !words.is_empty() => {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            return words.join(", ");
        }
        "bool" => "`true`, `false`",
        "u32" | "u64" | "usize" => "whole number",
        "f64" => "number",
        "String" => "text",
        kind if kind.starts_with("Vec<String") => "list of texts",
        kind if kind.starts_with("BTreeMap<String, String") => "table of texts",
        kind => panic!(
            "{strategy}: `{}` is a {kind}: say in {} how it is called",
            item.name,
            file!()
        ),
    };
    let refusal = |value: Value| check_options(strategy, &json!({ &item.name: value })).err();
    let refusals = [json!(u32::MAX), json!(-1.0)].into_iter().filter_map(refusal);
    let bounds = refusals.filter_map(|words| {
        Some(
            words
                .rsplit_once("must ")?
                .1
                .replace("lie in ", "in ")
                .replace("be ", "")
                .replace("a number of ", ""),
        )
    });
    bounds
        .map(|bounds| format!("{kind} {bounds}"))
        .next()
        .unwrap_or_else(|| kind.into())
}

/// A value as TOML writes it.
fn toml(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::Object(table) if table.is_empty() => "none".into(),
        value => format!("`{value}`"),
    }
}

/// The default of an option that is not stored where it has its default: the value that a run with it does not store.
fn left_out(strategy: &str, name: &str, words: &[(String, String)]) -> Value {
    let usual = [
        json!(0),
        json!(1),
        json!(0.0),
        json!(1.0),
        json!(true),
        json!(false),
        json!(""),
        json!([]),
        json!({}),
    ];
    let mut values = usual.into_iter().chain(words.iter().map(|(word, _)| json!(word)));
    let not_stored = |value: &Value| {
        let resolved = resolve(strategy, &json!({ name: value }));
        resolved.is_ok_and(|resolved| resolved.get(name).is_none())
    };
    let found = values.find(not_stored);
    found.unwrap_or_else(|| {
        panic!(
            "{strategy}: the default of `{name}` is not known: store it, or add its value to {}",
            file!()
        )
    })
}

/// A strategy's part of the page.
fn section(strategy: &str, all: &[String]) -> String {
    let (source, module) = files(strategy);
    let items = items(&source, "pub struct Options").unwrap_or_default();
    let defaults = resolve(strategy, &Value::Null).expect("defaults are valid");
    let keys = defaults.as_object().expect("options are a table");
    let named: BTreeSet<&str> = items.iter().map(|item| item.name.as_str()).collect();
    let unread: Vec<&String> = keys.keys().filter(|key| !named.contains(key.as_str())).collect();
    assert!(
        unread.is_empty(),
        "{strategy}: {unread:?} stand in no struct that the page knows"
    );

    let mut page = format!("\n## {strategy}\n\n{}\n", purpose(&module));
    if items.is_empty() {
        page.push_str("\nIt has no options.\n");
        return page;
    }
    page.push_str("\n| option | value | default | meaning |\n|---|---|---|---|\n");
    let mut explained = String::new();
    for item in &items {
        assert!(!item.comment.is_empty(), "{strategy}: `{}` has no comment", item.name);
        let words = words(&item.kind, &source, all);
        let stored = keys.get(&item.name).cloned();
        let default = stored.unwrap_or_else(|| left_out(strategy, &item.name, &words));
        let (values, default) = (takes(strategy, item, &words), toml(&default));
        let comment = plain(&item.comment).replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {values} | {default} | {comment} |", item.name);
        if !words.is_empty() {
            let _ = writeln!(explained, "\n**`{}`**\n", item.name);
        }
        for (word, comment) in &words {
            let taken = check_options(strategy, &json!({ &item.name: word }));
            assert_eq!(taken, Ok(()), "{strategy}: `{}` takes the word of the page", item.name);
            let _ = writeln!(explained, "* `{word}`: {}", plain(comment));
        }
    }
    page + &explained
}

#[test]
fn the_page_of_options_is_what_the_code_says() {
    let mut paths = Vec::new();
    for folder in ["strategies/src", "domain/src"] {
        sources(&crates().join(folder), &mut paths);
    }
    let all: Vec<String> = paths.iter().map(|path| read(path)).collect();
    let page: String = NAMES.iter().map(|strategy| section(strategy, &all)).collect();
    let (page, path) = (format!("{HEAD}{page}"), crates().join("../docs/options.md"));
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page).expect("the page can be written");
        return;
    }
    assert!(
        read(&path) == page,
        "docs/options.md is not what the code says: run `make docs`"
    );
}

#[test]
fn comments_types_and_words_are_read() {
    let source = "//! A way.\n//! Of two lines.\n//!\n//! More.\n\npub struct Options {\n    /// How\n    /// many.\n    pub few: u32,\n}\n\n\
                  /// Kinds.\n#[serde(rename_all = \"kebab-case\")]\npub enum Kind {\n    /// One.\n    #[default]\n    TryAgain,\n    \
                  /// Two.\n    #[serde(rename = \"a+b\")]\n    Both,\n}\n";
    let few = Item {
        name: "few".into(),
        kind: "u32".into(),
        comment: "How many.".into(),
        rename: None,
    };
    assert_eq!(items(source, "pub struct Options"), Some(vec![few]));
    assert_eq!(items(source, "pub struct Other"), None);
    let both = [("try-again", "One."), ("a+b", "Two.")].map(|(word, text)| (word.to_owned(), text.to_owned()));
    assert_eq!(words("Kind", source, &[]), both);
    assert_eq!(purpose(source), "A way. Of two lines.");
    assert_eq!(
        (lower("LocalGlobal", ""), lower("LocalGlobal", "-")),
        ("localglobal".into(), "local-global".into())
    );
}
