//! The architecture as a test: what `ARCHITECTURE.md` describes, which of our crates may depend on which, and what may come from outside.

#![expect(clippy::expect_used, reason = "helpers of a test may fail it")]

use serde_json::Value;
use sipdo_bus::{
    AgentId, JobId, Role, RunId,
    subjects::{self, *},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Which of our crates each crate may use. A new arrow is a change of the design: it belongs here, in a diff that somebody reads.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("telemetry", &[]),
    ("llm", &["domain"]),
    ("simulator", &[]),
    ("strategies", &["domain"]),
    ("protocol", &["domain"]),
    ("datasets", &["domain"]),
    ("bus", &["telemetry"]),
    ("process", &["bus", "telemetry"]),
    ("agent", &["bus", "domain", "llm", "process", "protocol", "telemetry"]),
    ("generator", &["agent", "domain", "llm"]),
    ("checker", &["agent", "domain", "llm"]),
    ("verifier", &["agent", "domain", "llm"]),
    ("learner", &["agent", "domain", "llm"]),
    ("optimizer", &["agent", "domain", "llm"]),
    (
        "coordinator",
        &["bus", "domain", "process", "protocol", "strategies", "telemetry"],
    ),
    (
        "cli",
        &["agent", "bus", "datasets", "domain", "llm", "protocol", "strategies"],
    ),
];

/// Outside crates that only one of ours may use.
const DOORS: &[(&str, &[&str])] = &[
    ("async-nats", &["bus"]),
    // To models; and to a collector by OTLP over HTTP.
    ("reqwest", &["llm", "telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("parquet", &["datasets"]),
    ("tonic-health", &["coordinator"]),
];

/// Outside crates of which two versions in one program would be two of something that must be one.
const ONCE: &[&str] = &[
    "async-nats",
    "axum",
    "hyper",
    "prost",
    "reqwest",
    "ring",
    "rustls",
    "tokio",
    "tonic",
];

/// What must not enter the tree: a second TLS stack, a C library of the system, an abandoned format.
const BANNED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "serde_yaml",
];

/// Licences that go with ours.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `cargo metadata` of the workspace; with `resolve`, every package of this platform as well.
fn metadata(resolve: bool) -> Value {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root());
    if resolve {
        command.args(["--filter-platform", &host()]);
    } else {
        command.arg("--no-deps");
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// The platform's triple, as the compiler names it.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc names its host").to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The folders under `crates/`.
fn crates() -> BTreeSet<String> {
    fs::read_dir(root().join("crates"))
        .expect("crates/ is there")
        .map(|entry| entry.expect("can be read"))
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect()
}

/// What each of our crates uses, by dependency name; development dependencies aside.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(false);
    let packages = list(&metadata, "packages").filter(|package| text(package, "name") != "sipdo-tests");
    packages
        .map(|package| {
            let used = list(package, "dependencies").filter(|dependency| text(dependency, "kind") != "dev");
            let used = used.map(|dependency| text(dependency, "name").to_owned()).collect();
            (text(package, "name").trim_start_matches("sipdo-").to_owned(), used)
        })
        .collect()
}

#[test]
fn each_crate_has_its_section() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `crates/")?.strip_suffix('`'))
        .collect();
    let unique: BTreeSet<String> = sections.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        unique,
        crates(),
        "sections of ARCHITECTURE.md against the folders of crates/"
    );
    assert_eq!(sections.len(), unique.len(), "a crate has two sections");
    for section in page.split("\n### `crates/").skip(1) {
        let name = section.split('`').next().unwrap_or_default();
        assert!(
            section.contains("*Invariants*"),
            "the section of {name} names no invariants"
        );
    }
}

#[test]
fn the_page_names_every_subject_stream_and_bucket_of_the_bus() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let (run, role) = (RunId::new("RUN").expect("a token"), Role::new("ROLE").expect("a token"));
    let (job, agent) = (
        JobId::new("JOB").expect("a token"),
        AgentId::new("AGENT").expect("a token"),
    );
    let subjects = [
        run_log(&run),
        run_result(&run, &role, &job),
        run_lost(&run, &role, &job, 7),
        run_control(&run),
        subjects::attempt(&run, &role, &job, 7),
        jobs(&role, &run),
        dead(&role, &run),
        ping(&agent),
        cancel(&run),
        ROLL_CALL.to_owned(),
    ];
    let placeholders = [
        ("RUN", "<run>"),
        ("ROLE", "<role>"),
        ("JOB", "<job>"),
        ("AGENT", "<agent>"),
        (".7", ".<n>"),
    ];
    let subjects = subjects.map(|subject| {
        placeholders.iter().fold(subject, |subject, (token, placeholder)| {
            subject.replace(token, placeholder)
        })
    });
    let places = [
        RUN_STREAM,
        ATTEMPT_STREAM,
        JOB_STREAM,
        DEAD_STREAM,
        TASK_BUCKET,
        MODEL_BUCKET,
        COMPLETION_BUCKET,
    ];
    for name in subjects.iter().map(String::as_str).chain(places) {
        assert!(
            page.contains(&format!("`{name}`")),
            "ARCHITECTURE.md does not name `{name}`"
        );
    }
}

#[test]
fn our_crates_depend_on_each_other_only_as_the_table_says() {
    let ours: BTreeMap<String, BTreeSet<String>> = uses()
        .into_iter()
        .map(|(name, used)| {
            let used = used.iter().filter_map(|other| other.strip_prefix("sipdo-"));
            (name, used.map(str::to_owned).collect())
        })
        .collect();
    let rows: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rows, crates(), "rows of the table against the folders of crates/");
    for (name, allowed) in ARROWS {
        let allowed: BTreeSet<String> = allowed.iter().map(|other| (*other).to_owned()).collect();
        assert_eq!(
            ours[*name], allowed,
            "what {name} declares against what the table allows it"
        );
    }
}

#[test]
fn arrows_go_down_the_table() {
    for (row, (name, used)) in ARROWS.iter().enumerate() {
        for other in *used {
            let above = ARROWS.iter().take(row).any(|(earlier, _)| earlier == other);
            assert!(above, "{name} uses {other}, which does not stand above it");
        }
    }
}

#[test]
fn outside_systems_are_reached_through_one_door() {
    let uses = uses();
    for (outside, doors) in DOORS {
        let users: Vec<&str> = uses
            .iter()
            .filter(|(_, used)| used.contains(*outside))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(&users, doors, "users of {outside}");
    }
}

#[test]
fn every_crate_keeps_the_workspace_lints_and_licence() {
    for name in crates() {
        let path = root().join("crates").join(&name).join("Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(path).expect("is there").parse().expect("is TOML");
        assert_eq!(
            manifest["package"]["name"].as_str(),
            Some(format!("sipdo-{name}").as_str())
        );
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
        for inherited in ["version", "edition", "rust-version", "license", "publish"] {
            assert_eq!(
                manifest["package"][inherited]["workspace"].as_bool(),
                Some(true),
                "{name}: {inherited}"
            );
        }
    }
}

#[test]
fn what_comes_from_outside_is_fit_to_come_in() {
    let metadata = metadata(true);
    let alive: BTreeSet<&str> = list(&metadata["resolve"], "nodes")
        .map(|node| text(node, "id"))
        .collect();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut found = Vec::new();
    for package in list(&metadata, "packages").filter(|package| alive.contains(text(package, "id"))) {
        let (name, source) = (text(package, "name"), text(package, "source"));
        versions.entry(name).or_default().insert(text(package, "version"));
        if BANNED.contains(&name) {
            found.push(format!("{name} is banned"));
        }
        if !source.is_empty() && !source.starts_with("registry+") && !source.starts_with("sparse+") {
            found.push(format!("{name} comes from {source}, not from a registry"));
        }
        if !licence_is_fit(text(package, "license")) {
            found.push(format!("{name} has the licence `{}`", text(package, "license")));
        }
    }
    for name in ONCE {
        let count = versions.get(name).map_or(0, BTreeSet::len);
        if count != 1 {
            found.push(format!("{name} is in the tree {count} times, not once"));
        }
    }
    assert!(versions.len() > 100, "only {} packages were looked at", versions.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Reads an SPDX expression as far as crates use it: of `OR` one side must be fit, of `AND` each.
fn licence_is_fit(expression: &str) -> bool {
    let fit = |text: &str| LICENCES.contains(&text.trim().trim_matches(['(', ')']).trim());
    let expression = expression.replace('/', " OR ");
    // Brackets only ever surround a choice between two licences of one part, so AND binds the whole.
    let parts = expression.split(" AND ");
    !expression.is_empty() && parts.into_iter().all(|part| part.split(" OR ").any(fit))
}

#[test]
fn licence_expressions_are_read_as_meant() {
    for fit in [
        "MIT",
        "MIT OR GPL-3.0",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert!(licence_is_fit(fit), "{fit}");
    }
    for unfit in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-2.0"] {
        assert!(!licence_is_fit(unfit), "{unfit}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut files = Vec::new();
    for top in ["crates", "tests"] {
        sources(&root().join(top), &mut files);
    }
    assert!(files.len() > 50, "only {} files were found", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("UTF-8");
        assert!(text.starts_with("//! "), "{} does not open with `//!`", file.display());
        let ignored = ["#[", "ignore"].concat();
        assert!(!text.contains(&ignored), "{} holds an ignored test", file.display());
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("can be listed") {
        let path = entry.expect("can be read").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_row_of_the_tables_of_failures_and_promises_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/failures.md")).expect("docs/failures.md is there");
    let mut files = Vec::new();
    for top in ["crates", "tests"] {
        sources(&root().join(top), &mut files);
    }
    let code: String = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("UTF-8"))
        .collect();
    // Two tables; the line above the rule of each is its head.
    let lines: Vec<&str> = page.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let rows = pairs.filter(|(line, next)| line.starts_with("| ") && !next.starts_with("|---"));
    let rows: Vec<&str> = rows.map(|(line, _)| *line).collect();
    assert!(rows.len() > 45, "only {} rows were found", rows.len());
    for row in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named: {row}");
        for name in named {
            let exists = match name.ends_with(".rs") || name.ends_with('/') {
                true => root().join(name).exists(),
                false => code.contains(&format!("fn {name}(")),
            };
            assert!(exists, "there is no {name}, which this row names: {row}");
        }
    }
}
