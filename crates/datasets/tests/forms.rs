//! The form of a prompt in a task file: messages, columns, protected text, and the schema of the answers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail as a test does"
)]

mod kit;

use kit::{Changes, Folder};

/// The usual task with messages in place of its prompt and its input.
const MESSAGES: Changes = &[
    ("prompt = \"Answer.\"\n", ""),
    ("input = \"question\"\n", ""),
    (
        "[metric]",
        "[[prompt.messages]]\nrole = \"system\"\noptimize = true\ntext = \"Be brief. <keep>Say a colour.</keep>\"\n\n\
         [[prompt.messages]]\nrole = \"user\"\ntext = \"{{ number }}: {{question}} {other}\"\n\n[metric]",
    ),
];

#[test]
fn messages_become_the_prompt_and_the_columns_the_input() {
    let folder = Folder::new();
    let file = folder.load(MESSAGES).unwrap();
    let task = file.task;
    assert_eq!(task.prompt, "Be brief. Say a colour.");
    assert_eq!(task.form.messages[0].kept, ["Say a colour."]);
    assert_eq!(task.form.columns(), ["number", "question"]);
    let input = &task.train[0].input;
    assert!(
        input.starts_with("{\"number\":\"") && input.contains("\"question\":\"What is thing"),
        "{input}"
    );
    let messages = task.form.messages(&task.prompt, input).unwrap();
    assert!(
        messages[1].text.contains(": What is thing") && messages[1].text.ends_with("{other}"),
        "{messages:?}"
    );
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    assert_eq!(file.mapping.columns, ["number", "question"]);
}

#[test]
fn a_single_text_is_read_as_before_and_may_protect_a_part() {
    let folder = Folder::new();
    assert!(folder.load(&[]).unwrap().task.form.is_plain());
    let task = folder
        .load(&[("\"Answer.\"", "\"<keep>Answer.</keep> Well.\"")])
        .unwrap()
        .task;
    assert_eq!(
        (task.prompt.as_str(), task.form.kept),
        ("Answer. Well.", vec!["Answer.".to_owned()])
    );
}

#[test]
fn bad_messages_are_refused_with_file_and_key() {
    let folder = Folder::new();
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "role = \"user\"",
            "role = \"usr\"",
            &["task.toml", "line 17", "message 2", "unknown role `usr`", "user"],
        ),
        (
            "optimize = true",
            "optimize = false",
            &["line 14", "protects text, but is not optimized"],
        ),
        (
            "optimize = true\ntext = \"Be brief. <keep>Say a colour.</keep>\"",
            "text = \"Be brief.\"",
            &["line 11", "no message is to be optimized"],
        ),
        (
            "{{question}}",
            "{{qestion}}",
            &["data.jsonl", "line 1", "[[prompt.messages]]", "{{qestion}}", "question"],
        ),
        (
            "{{question}}",
            "{{answer}}",
            &["task.toml", "`{{answer}}`, the column of the right answers"],
        ),
        ("{{ number }}: {{question}}", "Hello", &["no message names a column"]),
        (
            "role = \"user\"",
            "role = \"assistant\"",
            &["the last message is not the user's"],
        ),
        (
            "<keep>Say",
            "<keep>Say <keep>",
            &["line 14", "message 1", "inside another"],
        ),
        (
            "{other}",
            "<keep>x</keep>",
            &["message 2", "protects text, but is not optimized"],
        ),
        (
            "Be brief.",
            "A\\n[[message 2: user]]\\nB",
            &["message 1", "[[message 2: user]]"],
        ),
        (
            "text = \"Be brief. <keep>Say a colour.</keep>\"",
            "text = \" \"",
            &["message 1", "empty"],
        ),
        ("optimize = true", "optimise = true", &["unknown key `optimise`"]),
        (
            "[data]",
            "prompt = \"Answer.\"\n[data]",
            &["line 5", "both `[task] prompt` and `[[prompt.messages]]`"],
        ),
        (
            "[data]\n",
            "[data]\ninput = \"question\"\n",
            &["`[data] input` is given"],
        ),
        (
            "[metric]",
            "[[prompt.messages]]\nrole = \"system\"\ntext = \"x\"\n[[prompt.messages]]\nrole = \"user\"\ntext = \"x\"\n[metric]",
            &["line 21", "a system message stands behind another"],
        ),
    ];
    for (from, to, wanted) in cases {
        let changes = [MESSAGES, &[(*from, *to)]].concat();
        let error = folder.refusal(&changes);
        for word in *wanted {
            assert!(error.contains(word), "{to}: {word} is not in: {error}");
        }
    }
    let file = folder
        .load(&[MESSAGES, &[("{other}", "{{ x | upper }}")]].concat())
        .unwrap();
    assert!(
        file.warnings.iter().any(|warning| warning.contains("message 2")),
        "{:?}",
        file.warnings
    );
}

#[test]
fn only_a_json_schema_below_the_folder_is_one_for_the_learner() {
    let folder = Folder::new();
    let with = |name: &str| [("[budget]", format!("[learner]\nschema = \"{name}\"\n\n[budget]"))];
    let changes = |change: &[(&'static str, String); 1]| change.clone().map(|(from, to)| (from, to.leak() as &str));
    folder.write(
        "good.json",
        "{\"type\": \"object\",\n \"properties\": {\"a\": {\"type\": \"string\"}}}",
    );
    let task = folder.load(&changes(&with("good.json"))).unwrap().task;
    let compact = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    assert_eq!(task.form.answer_schema.as_deref(), Some(compact));
    folder.write("type.json", r#"{"type": "strnig"}"#);
    folder.write("list.json", "[1]");
    folder.write("text.json", "no JSON");
    for (name, wanted) in [
        ("type.json", "`type.json` is no JSON Schema: "),
        ("list.json", "it is not an object"),
        ("text.json", "`text.json` is not JSON"),
        ("../good.json", "not a path below the task's folder"),
        ("missing.json", "missing.json"),
    ] {
        let error = folder.refusal(&changes(&with(name)));
        assert!(error.contains(wanted), "{error}");
    }
}
