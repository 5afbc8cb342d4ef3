//! What a user gets for a bad task file or bad data: an error that says where and what to do; and what small files of every format give.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail as a test does"
)]

mod kit;

use kit::{Changes, Folder, rows};
use sipdo_datasets::{Mapping, ModelChoice, TaskFile, load_examples};
use sipdo_domain::{Extraction, Role};
use std::{fs, sync::Arc};

#[test]
fn a_good_file_is_read_whole() {
    let folder = Folder::new();
    let file = folder
        .load(&[("[budget]\ncalls = 100", "[budget]\ncalls = 100\nusd = \"1.50\"\ntime = \"2h\"\n[gates]\nprogram = \"rules\"\n[models]\nchecker = \"openai/gpt-5-mini\"\n[models.learner]\nmodel = \"small\"\ntemperature = 0.2")])
        .unwrap();
    assert_eq!(
        (
            file.task.name.as_str(),
            file.task.train.len(),
            file.task.test.len(),
            file.task.seed
        ),
        ("colours", 10, 20, 7)
    );
    assert_eq!(file.task.brief.labels, ["blue", "green", "red"]);
    assert_eq!(
        (file.budget.calls, file.budget.nano_usd, file.budget.seconds),
        (Some(100), Some(1_500_000_000), Some(7200))
    );
    assert_eq!(
        (file.strategy.as_str(), file.options.to_string().as_str()),
        ("sipdo", r#"{"levels":3}"#)
    );
    let checker = ModelChoice {
        endpoint: Some("openai".into()),
        model: Some("gpt-5-mini".into()),
        ..ModelChoice::default()
    };
    assert_eq!(file.models.get(&Role::Checker.into()), Some(&checker));
    assert_eq!(
        file.models
            .get(&Role::Learner.into())
            .and_then(|choice| choice.temperature),
        Some(0.2)
    );
    assert_eq!(
        (file.task.gates.program.as_deref(), file.task.gates.max_input_chars),
        (Some("rules"), 8000)
    );
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    assert_eq!(
        (file.task.train[0].id.as_str(), file.task.test[19].id.as_str()),
        ("train-1", "test-20")
    );
    let reds = file.task.test.iter().filter(|example| example.target == "red").count();
    assert_eq!(reds, 7, "14 of 40 are red, so 7 of 20 are");
}

#[test]
fn the_split_depends_on_its_seed_alone() {
    let folder = Folder::new();
    let inputs = |file: &TaskFile| {
        file.task
            .test
            .iter()
            .map(|example| example.input.clone())
            .collect::<Vec<_>>()
    };
    let usual = inputs(&folder.load(&[]).unwrap());
    assert_eq!(usual, inputs(&folder.load(&[]).unwrap()));
    assert_eq!(
        usual,
        inputs(
            &folder
                .load(&[("seed = 7", "seed = 8"), ("train = 10", "train = 5")])
                .unwrap()
        )
    );
    let other = inputs(&folder.load(&[("[metric]", "[split]\nseed = 1\n[metric]")]).unwrap());
    assert_ne!(usual, other);
}

/// (what is changed, what the message must say)
#[test]
fn a_bad_task_file_is_refused_with_line_key_and_advice() {
    let folder = Folder::new();
    folder.write("corpus.txt", "");
    let cases: &[(Changes, &[&str])] = &[
        (&[("[task]", "[task")], &["task.toml, line 1"]),
        (
            &[("input =", "inptu =")],
            &["line 8", "unknown key `inptu`", "Did you mean `input`?"],
        ),
        (
            &[("[budget]", "[budgte]")],
            &["line 16", "unknown key `budgte`", "Did you mean `budget`?"],
        ),
        (
            &[("description = \"Name the colour.\"", "")],
            &["the key `description` is missing"],
        ),
        (
            &[("description = \"Name the colour.\"", "description = \" \"")],
            &["line 3", "the description is empty"],
        ),
        (
            &[("name = \"colours\"", "name = \"my colours\"")],
            &["line 2", "`my colours` is not a valid task name"],
        ),
        (&[("prompt = \"Answer.\"", "")], &["line 1", "no prompt"]),
        (
            &[("prompt = \"Answer.\"", "prompt = \"Q: {question}\"")],
            &["line 4", "`{question}`", "Write the input's placeholder as `{input}`"],
        ),
        (
            &[("prompt = \"Answer.\"", "prompt = \"Q: {{input}}\"")],
            &["line 4", "single braces"],
        ),
        (
            &[("prompt = \"Answer.\"", "prompt_file = \"p.txt\"")],
            &["p.txt", "no such file"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"normalised\"")],
            &["line 14", "unknown metric `normalised`", "Did you mean `normalized`?"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"numeric\"\ntolerance = 1")],
            &["line 15", "unknown key `tolerance`", "absolute, relative"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"numeric\"")],
            &["data.jsonl, line", "no number", "`[metric] kind`"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"json\"")],
            &["data.jsonl, line", "it is not JSON"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"regex\"\npattern = \"x\"")],
            &["must hold `{target}`"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"exact\"\nextract = \"first\"")],
            &["cannot be read", "last_line"],
        ),
        (
            &[("kind = \"normalized\"", "kind = \"token_f1\"\nthreshold = 2")],
            &["`threshold` is 2"],
        ),
        (&[("calls = 100", "calls = 0")], &["line 17", "`calls` is 0"]),
        (
            &[("calls = 100", "usd = \"cheap\"")],
            &["line 17", "not an amount of US dollars"],
        ),
        (
            &[("calls = 100", "time = \"soon\"")],
            &["line 17", "not a duration", "\"2h\""],
        ),
        (&[("calls = 100", "calls = \"many\"")], &["line 17"]),
        (&[("seed = 7", "seed = -1")], &["line 22", "`seed = -1`"]),
        (
            &[("[budget]", "[models]\nlerner = \"a/b\"\n[budget]")],
            &["unknown role `lerner`", "Did you mean `learner`?"],
        ),
        (
            &[("[budget]", "[models.learner]\nbase_url = \"http://x\"\n[budget]")],
            &["unknown key `base_url`", "operator's configuration"],
        ),
        (
            &[("[budget]", "[models]\nlearner = \"gpt\"\n[budget]")],
            &["`gpt` does not name a model", "endpoint/model"],
        ),
        (
            &[("[budget]", "[gates]\ninput_pattern = \"(\"\n[budget]")],
            &["`input_pattern` is not a regular expression"],
        ),
        (
            &[("[budget]", "[gates]\ntarget_pattern = \"^[0-9]+$\"\n[budget]")],
            &["does not match your example at data.jsonl, line"],
        ),
        (
            &[("[budget]", "[corpus]\nfile = \"corpus.txt\"\n[budget]")],
            &["the corpus has no passages"],
        ),
        (
            &[("description =", "labels = [\"red\", \"green\"]\ndescription =")],
            &["data.jsonl, line 3", "`blue` is not one of the labels"],
        ),
    ];
    for (changes, wanted) in cases {
        let text = folder.refusal(changes);
        for part in *wanted {
            assert!(text.contains(part), "{changes:?} should say `{part}`, says:\n{text}");
        }
        assert!(text.lines().count() >= 2, "no advice: {text}");
    }
}

#[test]
fn bad_data_is_refused_with_place_and_advice() {
    let folder = Folder::new();
    let good = rows(40);
    let cases: &[(&str, Changes, &[&str])] = &[
        ("", &[], &["has no examples"]),
        ("not json\n", &[], &["data.jsonl, line 1", "not a JSON object"]),
        (&format!("{good}[oops"), &[], &["data.jsonl, line 41"]),
        (
            &good,
            &[("\"question\"", "\"qeustion\"")],
            &[
                "line 1",
                "no column `qeustion`",
                "Did you mean `question`?",
                "question, answer, number",
            ],
        ),
        (
            &good,
            &[("\"question\"", "\"{{ qeustion }}\"")],
            &["line 1", "undefined", "Did you mean `question`?"],
        ),
        (
            &good,
            &[("\"question\"", "\"{{ question \"")],
            &["line 1", "syntax error"],
        ),
        (
            &good,
            &[("\"question\"", "'{{ question | after(\"#\") }}'")],
            &["does not contain it"],
        ),
        (
            &good,
            &[(
                "\"question\"",
                "\"{% for x in range(9999) %}{% for y in range(9999) %}{{ x }}{% endfor %}{% endfor %}\"",
            )],
            &["too much work"],
        ),
        (
            &good,
            &[("\"data.jsonl\"", "\"nowhere.jsonl\"")],
            &["nowhere.jsonl", "no such file"],
        ),
        (
            &good,
            &[("\"data.jsonl\"", "\"data.xyz\"")],
            &["data.xyz", "`[data] format`"],
        ),
        (
            &good,
            &[("test = 20", "test = 31")],
            &["line 10", "need 41 examples, but there are only 40"],
        ),
        (&good, &[("train = 10", "train = 1")], &["too few"]),
        (
            &good,
            &[("test = 20", "test = 20\nmax_input_chars = 5")],
            &["line 1", "the input has 16 characters; at most 5 are allowed"],
        ),
        (
            &good,
            &[("test = 20", "test = 20\nwhere = \"number > 100\"")],
            &["has no examples"],
        ),
        (&good, &[("test = 20", "test = 20\nid = \"answer\"")], &["not unique"]),
        (
            &format!("{good}{{\"question\": \" \", \"answer\": \"red\"}}\n"),
            &[],
            &["line 41", "the input is empty"],
        ),
        (
            &good.replace("red", "blue").replace("green", "blue"),
            &[],
            &["all 40 examples have the same target, `blue`"],
        ),
        (
            &format!("{good}{{\"question\": \"What is  thing 0?\", \"answer\": \"blue\"}}\n"),
            &[],
            &[
                "data.jsonl, line 1 and data.jsonl, line 41 have the same input",
                "`red` and `blue`",
            ],
        ),
    ];
    for (data, changes, wanted) in cases {
        folder.write("data.jsonl", data);
        let text = folder.refusal(changes);
        for part in *wanted {
            assert!(text.contains(part), "{changes:?} should say `{part}`, says:\n{text}");
        }
        assert!(text.lines().count() >= 2, "no advice: {text}");
    }

    fs::write(
        folder.0.path().join("data.jsonl"),
        b"{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": \"caf\xe9\"}",
    )
    .unwrap();
    let text = folder.refusal(&[]);
    assert!(
        text.contains("line 2") && text.contains("offset 50") && text.contains("UTF-8"),
        "{text}"
    );
}

#[test]
fn duplicates_are_dropped_aloud_and_contradictions_if_asked() {
    let folder = Folder::new();
    let doubled = format!("{}{}", rows(40), rows(2));
    folder.write("data.jsonl", &doubled);
    let file = folder.load(&[]).unwrap();
    assert!(
        file.warnings
            .iter()
            .any(|warning| warning.contains("2 duplicates dropped") && warning.contains("line 41")),
        "{:?}",
        file.warnings
    );

    folder.write(
        "data.jsonl",
        &format!(
            "{}{{\"question\": \"What is thing 0?\", \"answer\": \"blue\"}}\n",
            rows(40)
        ),
    );
    let file = folder
        .load(&[("test = 20", "test = 20\ncontradictions = \"drop\"")])
        .unwrap();
    assert!(
        file.warnings.iter().any(|warning| warning.contains("contradiction")),
        "{:?}",
        file.warnings
    );
    let all = file.task.train.iter().chain(&file.task.test);
    assert!(all.into_iter().all(|example| example.input != "What is thing 0?"));
}

#[test]
fn what_is_tested_is_not_trained_on() {
    let folder = Folder::new();
    folder.write(
        "test.jsonl",
        "{\"question\": \"what  is THING 3?\", \"answer\": \"red\"}\n{\"question\": \"new\", \"answer\": \"blue\"}\n",
    );
    let two = (
        "file = \"data.jsonl\"",
        "train_file = \"data.jsonl\"\ntest_file = \"test.jsonl\"",
    );
    let text = folder.refusal(&[two, ("test = 20", "")]);
    assert!(
        text.contains("share 1 input, such as data.jsonl, line 4 and test.jsonl, line 1") && text.contains("overlap"),
        "{text}"
    );
    let file = folder
        .load(&[two, ("test = 20", "overlap = \"drop\""), ("train = 10", "")])
        .unwrap();
    assert_eq!((file.task.train.len(), file.task.test.len()), (39, 2));
}

#[test]
fn every_format_gives_the_same_examples() {
    let folder = Folder::new();
    folder.write("a.csv", "\u{feff}input,target\n\"one, two\",1\nthree,2\n");
    folder.write("b.tsv", "one, two\t1\nthree\t2\n");
    folder.write(
        "c.json",
        r#"{"about": "x", "items": [{"input": "one, two", "target": 1}, {"input": "three", "target": "2"}]}"#,
    );
    folder.write("d.json", r#"[["one, two", 1], ["three", 2]]"#);
    folder.write(
        "e.jsonl",
        "{\"input\": \"one, two\", \"target\": 1}\n\n{\"input\": \"three\", \"target\": 2}\n",
    );
    parquet(&folder.0.path().join("f.parquet"));
    let plain = Mapping::default();
    let bare = Mapping {
        header: false,
        input: "c0".into(),
        target: Some("{{ c1 }}".into()),
        ..Mapping::default()
    };
    for (name, mapping) in [
        ("a.csv", &plain),
        ("b.tsv", &bare),
        ("c.json", &plain),
        ("d.json", &bare),
        ("e.jsonl", &plain),
        ("f.parquet", &plain),
    ] {
        let examples = load_examples(&folder.0.path().join(name), mapping).unwrap_or_else(|error| panic!("{error}"));
        let pairs: Vec<(&str, &str)> = examples
            .iter()
            .map(|example| (example.input.as_str(), example.target.as_str()))
            .collect();
        assert_eq!(pairs, [("one, two", "1"), ("three", "2")], "{name}");
        assert_eq!(examples[1].id, "row-2");
    }
    for (name, text, wanted) in [
        ("g.csv", "input,target\na,1,2\n", "3 columns; expected 2"),
        ("g.csv", "input,input\na,1\n", "names the column `input` twice"),
        (
            "h.json",
            r#"{"a": [{"x": 1}], "b": [{"x": 1}]}"#,
            "several lists: /a, /b",
        ),
        ("h.json", r#"{"a": 1}"#, "no list of examples"),
        ("h.json", "{", "line 1"),
        ("i.parquet", "PAR?", "cannot be read as Parquet"),
    ] {
        let path = folder.write(name, text);
        let error = load_examples(&path, &plain).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn extraction_and_corpus_are_read() {
    let folder = Folder::new();
    folder.write("corpus.txt", "First passage,\nsecond line.\n\n\nSecond passage.\n");
    let file = folder
        .load(&[
            (
                "kind = \"normalized\"",
                "kind = \"token-f1\"\nextract = { after = \"Answer:\" }",
            ),
            ("[budget]", "[corpus]\nfile = \"corpus.txt\"\n[budget]"),
        ])
        .unwrap();
    assert_eq!(file.task.metric.extract, Extraction::After("Answer:".into()));
    assert_eq!(file.task.corpus, ["First passage,\nsecond line.", "Second passage."]);
    assert!(file.task.brief.labels.is_empty(), "F1 has no label space");
}

#[test]
fn counts_are_no_labels_unless_the_user_says_so() {
    let folder = Folder::new();
    folder.write(
        "data.jsonl",
        &rows(40).replace("red", "1").replace("green", "2").replace("blue", "3"),
    );
    assert!(folder.load(&[]).unwrap().task.brief.labels.is_empty());
    let given = folder
        .load(&[("description =", "labels = [\"1\", \"2\", \"3\"]\ndescription =")])
        .unwrap();
    assert_eq!(given.task.brief.labels, ["1", "2", "3"]);
}

/// Two rows, written with the library's low-level writer.
fn parquet(path: &std::path::Path) {
    use parquet::{
        data_type::{ByteArray, ByteArrayType, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let schema =
        Arc::new(parse_message_type("message row { required binary input (UTF8); required int64 target; }").unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&[ByteArray::from("one, two"), ByteArray::from("three")], None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}
