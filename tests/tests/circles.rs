//! No circles between the files of a crate: of the modules in one folder, each counted with what is below it, no two need each other.
//!
//! Read as text: `use` trees and paths that begin with `crate`, `super` or `self`, tests aside. A module and its own submodules are
//! one thing and may share what they like. A name that `lib.rs` or a parent re-exports counts as an import of the file that defines it.

#![expect(clippy::expect_used, reason = "helpers of a test may fail it")]

use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module's place below its crate: empty for `lib.rs`.
type Module = Vec<String>;

/// The text of every module of a crate, without comments and tests.
type Source = BTreeMap<Module, String>;

/// Which modules each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn read(folder: &Path, place: &Module, source: &mut Source) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let below = || [place.clone(), vec![name.clone()]].concat();
        if path.is_dir() && name != "tests" && name != "bin" {
            read(&path, &below(), source);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests" {
            let own = matches!(name.as_str(), "lib" | "main" | "mod");
            let text = fs::read_to_string(&path).expect("a source file");
            source.insert(if own { place.clone() } else { below() }, bare(&text));
        }
    }
}

/// The code alone: no comments, and nothing from the file's test module on.
fn bare(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn branches(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((stem, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| branches(&format!("{stem}{}", part.trim())))
        .collect()
}

/// The trees of the `use` declarations of a module; of those that are re-exports if so asked.
fn uses(text: &str, exported: bool) -> Vec<String> {
    let declaration = Regex::new(r"(?s)(pub(?:\([a-z]+\))?\s+)?\buse\s+([^;]+);").expect("a pattern");
    let found = declaration
        .captures_iter(text)
        .filter(|found| !exported || found.get(1).is_some());
    found
        .filter_map(|found| found.get(2))
        .flat_map(|tree| branches(tree.as_str()))
        .collect()
}

/// The deepest module that a path leads to, re-exports followed once.
fn target(source: &Source, from: &Module, path: &str) -> Option<Module> {
    let mut steps = path.split("::").peekable();
    let mut at: Module = match steps.peek()? {
        &"crate" => Vec::new(),
        &"self" | &"super" => from.clone(),
        first if source.contains_key(&[from.clone(), vec![(*first).to_owned()]].concat()) => from.clone(),
        _ => return None,
    };
    while let Some(step) = steps.next_if(|step| matches!(*step, "crate" | "self" | "super")) {
        if step == "super" {
            at.pop();
        }
    }
    for step in steps {
        let below = [at.clone(), vec![step.to_owned()]].concat();
        if source.contains_key(&below) {
            at = below;
            continue;
        }
        let exported = uses(source.get(&at)?, true)
            .into_iter()
            .find(|path| path.rsplit("::").next() == Some(step));
        return match exported {
            Some(path) if at != *from => {
                target(source, &at, path.strip_suffix(step)?.trim_end_matches("::")).or(Some(at))
            }
            _ => Some(at),
        };
    }
    Some(at)
}

fn imports(source: &Source) -> Imports {
    let inline = Regex::new(r"\b(?:crate|super)(?:::\w+)+").expect("a pattern");
    let declaration = Regex::new(r"(?s)\buse\s+[^;]+;").expect("a pattern");
    let of = |(module, text): (&Module, &String)| {
        let code = declaration.replace_all(text, "");
        let inline = inline.find_iter(&code).map(|path| path.as_str().to_owned());
        let paths = uses(text, false).into_iter().chain(inline);
        let targets = paths
            .filter_map(|path| target(source, module, &path))
            .filter(|target| target != module);
        (module.clone(), targets.collect())
    };
    source.iter().map(of).collect()
}

/// The circles: each as the modules of one folder that need each other.
fn circles(source: &Source) -> Vec<String> {
    let imports = imports(source);
    let folders: BTreeSet<Module> = source
        .keys()
        .flat_map(|module| (0..module.len()).map(|n| module[..n].to_vec()))
        .collect();
    let mut found = BTreeSet::new();
    for folder in folders {
        let depth = folder.len();
        let within = |module: &Module| module.starts_with(&folder) && module.len() > depth;
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, targets) in imports.iter().filter(|(from, _)| within(from)) {
            let others = targets.iter().filter(|to| within(to) && to[depth] != from[depth]);
            arrows
                .entry(from[depth].clone())
                .or_default()
                .extend(others.map(|to| to[depth].clone()));
        }
        for start in arrows.keys() {
            let circle: Vec<&str> = reachable(&arrows, start)
                .into_iter()
                .filter(|other| reachable(&arrows, other).contains(start.as_str()))
                .collect();
            if !circle.is_empty() {
                found.insert(format!(
                    "{}: {}",
                    [vec!["crate".to_owned()], folder.clone()].concat().join("::"),
                    circle.join(", ")
                ));
            }
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(arrows: &'a BTreeMap<String, BTreeSet<String>>, start: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = vec![start];
    while let Some(at) = next.pop() {
        let further = arrows.get(at).into_iter().flatten().map(String::as_str);
        next.extend(further.filter(|to| seen.insert(*to)));
    }
    seen
}

#[test]
fn no_two_files_of_a_crate_need_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = fs::read_dir(root.join("crates")).expect("crates/ is there");
    let folders = crates
        .map(|entry| entry.expect("an entry").path().join("src"))
        .chain([root.join("tests/src")]);
    let mut found = Vec::new();
    for folder in folders {
        let mut source = Source::new();
        read(&folder, &Vec::new(), &mut source);
        found.extend(
            circles(&source)
                .into_iter()
                .map(|circle| format!("{}: {circle}", folder.display())),
        );
    }
    assert!(found.is_empty(), "these files need each other:\n{}", found.join("\n"));
}

#[test]
fn the_finder_sees_circles_through_folders_and_re_exports() {
    let source = |files: &[(&str, &str)]| -> Source {
        let module = |path: &str| {
            path.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        files.iter().map(|(path, text)| (module(path), bare(text))).collect()
    };
    let line = [
        ("", "mod a; mod b;"),
        ("a", "use crate::b::{B, C};"),
        ("b", "// crate::a\nuse std::fmt;"),
    ];
    assert_eq!(circles(&source(&line)), Vec::<String>::new());
    let direct = [
        ("", "mod a; mod b;"),
        ("a", "use super::b::B;"),
        ("b", "fn f() { crate::a::g() }"),
    ];
    assert_eq!(circles(&source(&direct)), ["crate: a, b"]);
    let folder = [
        ("", ""),
        ("a", ""),
        ("a/x", "use crate::b;"),
        ("b", "use crate::{a::{self, Y}};"),
    ];
    assert_eq!(circles(&source(&folder)), ["crate: a, b"]);
    let hidden = [("", "pub use a::A;"), ("a", "use crate::b::B;"), ("b", "use crate::A;")];
    assert_eq!(circles(&source(&hidden)), ["crate: a, b"]);
    let own = [
        ("", ""),
        ("a", "use x::X;"),
        ("a/x", "use super::Y;"),
        ("a/y", "use super::x::X;"),
    ];
    assert_eq!(
        circles(&source(&own)),
        Vec::<String>::new(),
        "a module and its own submodules are one thing"
    );
    let inner = [
        ("", ""),
        ("a", ""),
        ("a/x", "use super::y::Y;"),
        ("a/y", "use crate::a::x::X;"),
    ];
    assert_eq!(circles(&source(&inner)), ["crate::a: x, y"]);
    let tested = [
        ("", ""),
        ("a", "use crate::b;"),
        ("b", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}"),
    ];
    assert_eq!(circles(&source(&tested)), Vec::<String>::new());
}
