//! The published data sets load with the task files in `examples/datasets`. Skipped, aloud, where the data is absent.

#![expect(clippy::panic, reason = "a failure should show the whole refusal")]

use sipdo_datasets::{LoadOptions, TaskFile, load_with};
use sipdo_domain::{Comparison, Mark};
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shared data's folder, or none with the reason printed.
fn data() -> Option<PathBuf> {
    let shared = std::env::var_os("SIPDO_SHARED").map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let data = shared.join("data");
    if data.is_dir() {
        return Some(data);
    }
    eprintln!("SKIPPED: no benchmark data at {} (set SIPDO_SHARED)", data.display());
    None
}

fn read(name: &str, data: &Path) -> TaskFile {
    let path = workspace().join("examples/datasets").join(name).with_extension("toml");
    load_with(
        &path,
        &LoadOptions {
            data_dir: Some(data.into()),
        },
    )
    .unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_example_configuration_loads() {
    let Some(data) = data() else { return };
    // name, train, test, labels, a piece of every input
    let expected = [
        ("bbh-logical-deduction", 30, 150, 5, "(A)"),
        ("bbh-navigate", 30, 150, 2, "- Yes"),
        ("bbh-word-sorting", 30, 150, 0, "List:"),
        ("bigbench-penguins", 30, 100, 0, "name, age, height (cm), weight (kg)"),
        ("bigbench-geometric-shapes", 30, 150, 0, "(A) circle\n(B) heptagon"),
        ("bigbench-object-counting", 30, 150, 0, "I have"),
        ("gsm8k", 30, 150, 0, " "),
        ("mmlu", 16, 102, 4, "Options:\n(A) "),
        ("truthfulqa", 30, 150, 0, "Options:\n(A) "),
        ("folio", 30, 204, 3, "Conclusion: "),
        ("prontoqa", 30, 150, 2, "(A) True\n(B) False"),
        ("proofwriter", 30, 150, 3, "(C) Unknown"),
        ("medqa", 30, 150, 5, "(E) "),
    ];
    let listed = std::fs::read_dir(workspace().join("examples/datasets")).unwrap();
    let files = listed
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|extension| extension == "toml")
        })
        .count();
    assert_eq!(files, expected.len(), "every file is tested");
    for (name, train, test, labels, piece) in expected {
        let TaskFile { task, warnings, .. } = read(name, &data);
        println!(
            "{name}: {} train, {} test, labels {:?}, {warnings:?}",
            task.train.len(),
            task.test.len(),
            task.brief.labels
        );
        assert_eq!(
            (task.train.len(), task.test.len(), task.brief.labels.len()),
            (train, test, labels),
            "{name}"
        );
        for example in task.train.iter().chain(&task.test) {
            assert!(example.input.contains(piece), "{name}: {}", example.input);
            assert_eq!(
                task.metric.mark(&format!("The answer is {}.", example.target), example),
                Mark::Right,
                "{name}: {}",
                example.target
            );
        }
    }
}

#[test]
fn what_is_special_about_each_file_is_read() {
    let Some(data) = data() else { return };
    let shapes = read("bigbench-geometric-shapes", &data).task;
    let two = shapes
        .train
        .iter()
        .chain(&shapes.test)
        .filter(|example| !example.aliases.is_empty())
        .count();
    assert!(two > 0, "some figures have two right names");

    let truthful = read("truthfulqa", &data).task;
    let first = truthful.test.iter().filter(|example| example.target == "(A)").count();
    assert!(
        first > 5 && first < 75,
        "the right option has no usual place: {first} of 150 are (A)"
    );

    let navigate = read("bbh-navigate", &data).task;
    let no = navigate.test.iter().filter(|example| example.target == "No").count();
    assert_eq!(no, 87, "145 of 250 are No, so 87 of 150 are");
    assert!(matches!(navigate.metric.comparison, Comparison::Choice { options } if options == ["No", "Yes"]));
}

/// Every BIG-Bench Hard file loads with the same three lines of `[data]`, and its answers are marked in the forms of the families.
#[test]
fn every_bbh_file_loads() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("bbh"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert_eq!(files.len(), 27);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let open = matches!(
            name.as_str(),
            "word_sorting" | "dyck_languages" | "object_counting" | "multistep_arithmetic_two"
        );
        // two files hold one stray target each that is no option
        let stray = matches!(name.as_str(), "movie_recommendation" | "ruin_names");
        let kind = if open { "exact" } else { "choice" };
        let extra = if stray { "where = '\"(\" in target'" } else { "" };
        let text = format!(
            "[task]\ndescription = \"d\"\nprompt = \"Answer.\"\n[data]\nfile = \"bbh/{name}.json\"\ncontradictions = \"drop\"\n{extra}\n[metric]\nkind = \"{kind}\"\n"
        );
        let path = folder.path().join(format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        let read = load_with(
            &path,
            &LoadOptions {
                data_dir: Some(data.clone()),
            },
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.task.train.len(), 30, "{name}");
        assert_eq!(
            read.task.brief.labels.is_empty(),
            open || name == "reasoning_about_colored_objects",
            "{name}: {:?}",
            read.task.brief.labels
        );
        for example in read.task.train.iter().chain(&read.task.test) {
            for form in ["{}", "Answer: {}", "**{}**", "So the answer is {}."] {
                let answer = form.replace("{}", &example.target);
                assert_eq!(
                    read.task.metric.mark(&answer, example),
                    Mark::Right,
                    "{name}: {answer}\n{}",
                    example.input
                );
            }
        }
        println!("{name}: {:?} {:?}", read.task.brief.labels, read.warnings);
    }
}
