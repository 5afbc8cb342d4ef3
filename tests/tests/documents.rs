//! The documents against the repository: every path that they name and every relative link that they hold leads somewhere.

#![expect(clippy::expect_used, reason = "helpers of a test may fail it")]

use regex::Regex;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The documents at the root; those of `docs/` come with them.
const AT_ROOT: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// Folders at the root: quoted text that begins with one is a path.
const TOPS: &[&str] = &["crates", "deploy", "docs", "examples", "proto", "scripts", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document, by its path from the root, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let folder = fs::read_dir(root().join("docs")).expect("docs/ is there");
    let names = folder.map(|entry| PathBuf::from("docs").join(entry.expect("an entry").file_name()));
    let pages = names.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let all = AT_ROOT.iter().map(PathBuf::from).chain(pages);
    all.map(|path| {
        let text = fs::read_to_string(root().join(&path)).expect("a document is UTF-8");
        (path, text)
    })
    .collect()
}

/// A document without its blocks of code, which may show other people's files.
fn prose(text: &str) -> String {
    let parts = text.split("\n```");
    parts.step_by(2).collect::<Vec<_>>().join("\n")
}

/// The words in backticks that look like a path of this repository: they begin with a folder of its root, or name a source file.
fn paths(text: &str) -> Vec<String> {
    let prose = prose(text);
    let quoted = prose.split('`').skip(1).step_by(2);
    let words = quoted.flat_map(str::split_whitespace);
    words
        .filter(|word| word.ends_with(".rs") || TOPS.iter().any(|top| word.starts_with(&format!("{top}/"))))
        .map(str::to_owned)
        .collect()
}

/// Whether a path exists: from the root, or, of a source file, as the end of some file's path. Of a path with a placeholder
/// (`<name>`, `*`) the folders before it must exist.
fn exists(path: &str, sources: &[PathBuf]) -> bool {
    let known = Path::new(path)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['<', '*']));
    let known: PathBuf = known.collect();
    root().join(&known).exists() || (path.ends_with(".rs") && sources.iter().any(|source| source.ends_with(path)))
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The targets of the links in a document that do not lead to another site.
fn links(text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a regular expression");
    // Quoted text may look like a link.
    let quoted = Regex::new("`[^`\n]*`").expect("a regular expression");
    let prose = prose(text);
    link.captures_iter(&quoted.replace_all(&prose, "``"))
        .map(|found| found[1].to_owned())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// What is wrong with a link of the document at `from`; none where it leads somewhere.
fn broken(from: &Path, text: &str, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => root().join(from),
        path => root().join(from.parent().unwrap_or(Path::new(""))).join(path),
    };
    if !target.exists() {
        return Some(format!("{} links to {link}, which is not there", from.display()));
    }
    let page = match path {
        "" => text.to_owned(),
        _ if anchor.is_empty() => return None,
        _ => fs::read_to_string(&target).ok()?,
    };
    let there = anchors(&page).iter().any(|known| known == anchor);
    (!there).then(|| format!("{} links to {link}, which is no heading", from.display()))
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut files = Vec::new();
    for top in ["crates", "tests"] {
        sources(&root().join(top), &mut files);
    }
    let mut missing = Vec::new();
    for (document, text) in documents() {
        let paths = paths(&text);
        if document == Path::new("ARCHITECTURE.md") || document == Path::new("CONTRIBUTING.md") {
            assert!(
                paths.len() > 5,
                "{} names only {} paths",
                document.display(),
                paths.len()
            );
        }
        let absent = paths.iter().filter(|path| !exists(path, &files));
        missing.extend(absent.map(|path| format!("{} names `{path}`, which is not there", document.display())));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_relative_link_of_a_document_leads_somewhere() {
    let documents = documents();
    let mut found = 0;
    let mut wrong = Vec::new();
    for (document, text) in &documents {
        let links = links(text);
        found += links.len();
        wrong.extend(links.iter().filter_map(|link| broken(document, text, link)));
    }
    assert!(found > 5, "only {found} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_or_link_that_leads_nowhere_is_found() {
    let text = "See `crates/no/where.rs`, `nobody.rs`, `make x`, `proto/sipdo/v1/*.proto`, `crates/<name>`.\n\n```\n`crates/in/code`\n```\n";
    let found = paths(text);
    assert_eq!(
        found,
        [
            "crates/no/where.rs",
            "nobody.rs",
            "proto/sipdo/v1/*.proto",
            "crates/<name>"
        ]
    );
    let exist: Vec<bool> = found.iter().map(|path| exists(path, &[])).collect();
    assert_eq!(exist, [false, false, true, true]);
    assert!(!exists("proto/no/*.proto", &[]));

    let page = "# A title: `with` marks\n[a](docs/cli.md) [b](docs/none.md) [c](https://example.org) [d](#a-title-with-marks) [e](#none) `[f](G)`";
    let from = Path::new("README.md");
    let wrong: Vec<String> = links(page)
        .into_iter()
        .filter(|link| broken(from, page, link).is_some())
        .collect();
    assert_eq!(wrong, ["docs/none.md", "#none"]);
}
