//! Files as people have them: what spreadsheets, pandas, DuckDB and Hugging Face write is read, or refused with its place.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail as a test does"
)]

use sipdo_datasets::{Mapping, load_examples};
use std::{fs, io::Write as _, path::Path};
use tempfile::TempDir;

fn mapping(input: &str, target: &str) -> Mapping {
    Mapping {
        input: input.into(),
        target: Some(target.into()),
        ..Mapping::default()
    }
}

/// `input -> target` of every example, or the refusal.
fn read(name: &str, bytes: &[u8], mapping: &Mapping) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let examples = load_examples(&path, mapping).map_err(|error| error.to_string())?;
    Ok(examples
        .iter()
        .map(|example| format!("{} -> {}", example.input, example.target))
        .collect())
}

fn refused(name: &str, text: &str, mapping: &Mapping, wanted: &[&str]) {
    let error = read(name, text.as_bytes(), mapping).unwrap_err();
    for part in wanted {
        assert!(error.contains(part), "{text:?} should say {part:?}, says: {error}");
    }
    assert!(error.lines().count() >= 2, "no advice: {error}");
}

fn given(name: &str, text: &str, mapping: &Mapping, wanted: &[&str]) {
    let found = read(name, text.as_bytes(), mapping).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(found, wanted, "{text:?}");
}

#[test]
fn a_column_goes_before_a_name_of_ours() {
    let row = r#"{"document": "a letter", "index": "page 9", "seed": "oats", "row": "r", "input": "i", "options": ["x", "y", "z"], "target": "t"}"#;
    let all = mapping("{{ document }}, {{ index }}, {{ seed }}, {{ row }}", "target");
    given("a.jsonl", row, &all, &["a letter, page 9, oats, r -> t"]);
    given(
        "a.jsonl",
        r#"{"target": "t"}"#,
        &mapping("{{ index }} {{ seed }}", "target"),
        &["0 0 -> t"],
    );
    let shuffled = |seed: u64| {
        let mapping = Mapping {
            seed,
            ..mapping("{{ options | shuffled | join(' ') }}", "target")
        };
        read("a.jsonl", row.as_bytes(), &mapping).unwrap().concat()
    };
    let orders: std::collections::BTreeSet<String> = (0..20).map(shuffled).collect();
    assert!(
        orders.len() > 1,
        "the split's seed decides, whatever a column is called: {orders:?}"
    );
    refused(
        "a.jsonl",
        row,
        &mapping("{{ range }}", "target"),
        &["line 1", "this name is no column"],
    );
}

#[test]
fn numbers_stand_as_they_are_written() {
    let row = r#"{"a": 31415926535897932384, "b": 1.10, "c": 0.1, "d": 1e3, "e": 170141183460469231731687303715884105728000, "f": -0.50, "g": [1.50]}"#;
    let all = mapping("{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }}", "a");
    let wanted =
        "31415926535897932384 1.10 0.1 1e3 170141183460469231731687303715884105728000 -0.50 -> 31415926535897932384";
    given("a.jsonl", row, &all, &[wanted]);
    for column in ["b", "d", "e", "f"] {
        let (mapping, digits) = (
            mapping("c", column),
            read("a.jsonl", row.as_bytes(), &mapping("c", column)).unwrap(),
        );
        assert!(row.contains(digits[0].trim_start_matches("0.1 -> ")), "{digits:?}");
        assert!(mapping.target.is_some());
    }
    let computed = Mapping {
        filter: Some("b > 1 and d == 1000 and a > 5".into()),
        ..mapping("{{ b + 1 }}", "{{ c }}")
    };
    given("a.jsonl", row, &computed, &["2.1 -> 0.1"]);
    let targets = Mapping {
        target: None,
        targets: Some("g".into()),
        ..mapping("c", "")
    };
    given("a.jsonl", row, &targets, &["0.1 -> 1.50"]);
}

#[test]
fn a_null_is_refused_by_row_and_column_and_never_becomes_a_word() {
    let rows = "{\"q\": \"a\", \"n\": \"x\", \"o\": [\"p\", \"q\"], \"t\": \"1\"}\n{\"q\": \"b\", \"n\": null, \"o\": [\"p\", null], \"t\": \"2\"}\n";
    for template in [
        "{{ q }} {{ n }}",
        "{{ n ~ q }}",
        "{{ q ~ n }}",
        "{{ [q, n] | join(' ') }}",
        "{{ n | upper }}",
        "{{ n | trim }}",
        "{{ [n] }}",
        "{{ n | string }}",
        "{{ row }}",
    ] {
        refused(
            "a.jsonl",
            rows,
            &mapping(template, "t"),
            &["line 2", "the column `n` is null", "is not none", "or('...')"],
        );
    }
    for template in [
        "{{ o | lettered }}",
        "{{ o | join(' ') }}",
        "{{ o }}",
        "{{ o | shuffled | join(' ') }}",
    ] {
        refused(
            "a.jsonl",
            rows,
            &mapping(template, "t"),
            &["line 2", "the column `o` is null"],
        );
    }
    for (input, target) in [("n", "t"), ("q", "n")] {
        refused(
            "a.jsonl",
            rows,
            &mapping(input, target),
            &["line 2", "the column `n` is null"],
        );
    }
    let targets = Mapping {
        target: None,
        targets: Some("o".into()),
        ..mapping("q", "")
    };
    refused("a.jsonl", rows, &targets, &["line 2", "the column `o` is null"]);
    for (template, second) in [
        ("{{ q }} {{ n | or('-') }}", "b -"),
        ("{{ q }} {{ n or '-' }}", "b -"),
        ("{{ q }} {{ n | default('-') }}", "b -"),
        ("{{ q }} {{ '-' if n is none else n }}", "b -"),
        ("{{ q }} {{ '-' if n == none else n }}", "b -"),
        ("{{ q }} {{ n if n != None else '-' }}", "b -"),
        ("{{ q }}{% if n %} {{ n }}{% else %} -{% endif %}", "b -"),
        ("{{ q }} {{ gone | or(n | or('-')) }}", "b -"),
    ] {
        given(
            "a.jsonl",
            rows,
            &mapping(template, "t"),
            &["a x -> 1", &format!("{second} -> 2")].map(|text| text),
        );
    }
    for filter in ["n is not none", "n", "n != none", "n is not none and t != '2'"] {
        let mapping = Mapping {
            filter: Some(filter.into()),
            ..mapping("{{ q }} {{ n }}", "t")
        };
        given("a.jsonl", rows, &mapping, &["a x -> 1"]);
    }
    given("a.jsonl", rows, &mapping("q", "t"), &["a -> 1", "b -> 2"]);
}

#[test]
fn a_word_for_no_number_matters_only_where_it_is_used() {
    let rows = "{\"q\": \"a\", \"s\": 0.5, \"t\": \"1\"}\n{\"q\": \"b\", \"s\": NaN, \"t\": \"2\"}\n{\"q\": \"c\", \"s\": -Infinity, \"t\": \"3\"}\n";
    given("a.jsonl", rows, &mapping("q", "t"), &["a -> 1", "b -> 2", "c -> 3"]);
    refused(
        "a.jsonl",
        rows,
        &mapping("{{ q }} {{ s }}", "t"),
        &["line 2", "the column `s` is NaN"],
    );
    refused(
        "a.jsonl",
        rows,
        &mapping("q", "s"),
        &["line 2", "the column `s` is NaN"],
    );
    refused(
        "a.jsonl",
        rows,
        &mapping("{{ q }} {{ s | or('-') }}", "t"),
        &["line 3", "the column `s` is -Infinity"],
    );
    let list = format!("[{}]", rows.trim().replace('\n', ","));
    refused("a.json", &list, &mapping("{{ s }}", "t"), &["element 2", "is NaN"]);
    refused(
        "a.jsonl",
        "{\"q\": nothing}",
        &mapping("q", "t"),
        &["line 1", "a value is expected (column 7)"],
    );
}

#[test]
fn tables_of_spreadsheets_are_read() {
    let plain = mapping("question", "answer");
    let wanted = ["Tea, or milk? -> 1,5", "Why? -> 2"];
    for text in [
        "question;answer\nTea, or milk?;1,5\nWhy?;2\n",
        "sep=;\r\nquestion;answer\r\nTea, or milk?;1,5\r\nWhy?;2\r\n",
        "question;answer;;\nTea, or milk?;1,5;;\nWhy?;2;;\n;;;\n",
        "\u{feff}question\tanswer\rTea, or milk?\t1,5\rWhy?\t2\r",
        "question|answer\nTea, or milk?|1,5\n\nWhy?|2",
        "question,answer,,\n\"Tea, or milk?\",\"1,5\",,\nWhy?,2,,\n,,,\n",
    ] {
        given("a.csv", text, &plain, &wanted);
    }
    let set = Mapping {
        delimiter: Some(':'),
        ..plain.clone()
    };
    given("a.csv", "question:answer\nTea, or milk?:1,5\nWhy?:2\n", &set, &wanted);
    refused(
        "a.csv",
        "question:answer\nTea:1\n",
        &plain,
        &["there is no column `", "`[data] delimiter`"],
    );
    given(
        "a.csv",
        ",question,answer\n0,Why?,2\n",
        &mapping("{{ c0 }} {{ question }}", "answer"),
        &["0 Why? -> 2"],
    );
    let bare = Mapping {
        header: false,
        ..mapping("c0", "c1")
    };
    given("a.csv", "Why?;2\nTea;1\n", &bare, &["Why? -> 2", "Tea -> 1"]);
}

#[test]
fn line_numbers_are_those_of_an_editor() {
    let plain = mapping("question", "answer");
    for (text, line) in [
        ("question,answer\n\"a\nb\",1\n\nc,\n", "line 5"),
        ("sep=,\r\nquestion,answer\r\n\"a\r\nb\",1\r\nc,\r\n", "line 5"),
        ("question,answer\rx,1\rc,\r", "line 3"),
    ] {
        refused("a.csv", text, &plain, &[line, "the target is empty"]);
    }
    refused(
        "a.csv",
        "question,answer\na,1\nb,2,3\n",
        &plain,
        &["line 3", "3 columns; expected 2"],
    );
    refused(
        "a.csv",
        "question,answer\na,1\nb\n",
        &plain,
        &["line 3", "1 columns; expected 2"],
    );
}

#[test]
fn a_quote_swallows_no_rows() {
    let plain = mapping("question", "answer");
    let text = "question,answer\na,1\n\"b,2\nc,3\n";
    refused("a.csv", text, &plain, &["line 3", "never closed", "quotes = false"]);
    refused(
        "a.csv",
        "question,answer\n\"Hello\" she said,2\n",
        &plain,
        &["line 2", "follows the closing quote"],
    );
    let none = Mapping {
        quotes: Some(false),
        ..plain.clone()
    };
    given("a.csv", text, &none, &["a -> 1", "\"b -> 2", "c -> 3"]);
    let tabs = "question\tanswer\n\"a\t1\nb\"\t2\nc\t3\n";
    given("a.tsv", tabs, &plain, &["\"a -> 1", "b\" -> 2", "c -> 3"]);
    given(
        "a.tsv",
        "question\tanswer\n\"Hi\" he said\t1\nb\t2\n",
        &plain,
        &["\"Hi\" he said -> 1", "b -> 2"],
    );
    given(
        "a.tsv",
        "question\tanswer\n\"a\tb\tc\nd \"\"e\"\"\"\t1\nb\t2\n",
        &plain,
        &["a\tb\tc\nd \"e\" -> 1", "b -> 2"],
    );
    given(
        "a.tsv",
        "question\tanswer\n\"say \"\"d\"\"\"\t1\nb\t2\n",
        &plain,
        &["say \"d\" -> 1", "b -> 2"],
    );
    let quoted = Mapping {
        quotes: Some(true),
        ..plain
    };
    given("a.tsv", tabs, &quoted, &["a\t1\nb -> 2", "c -> 3"]);
}

#[test]
fn a_list_that_is_written_as_text_is_read_or_refused() {
    let options = mapping("{{ o | lettered }}", "{{ o | letter_of(t) }}");
    for cell in [
        "['tea', 'milk']",
        "['tea' 'milk']",
        "[tea, milk]",
        "[\"\"tea\"\", \"\"milk\"\"]",
    ] {
        given(
            "a.csv",
            &format!("o,t\n\"{cell}\",milk\n"),
            &options,
            &["(A) tea\n(B) milk -> (B)"],
        );
    }
    refused(
        "a.csv",
        "o,t\ntea and milk,milk\n",
        &options,
        &["line 2", "a list is needed", "tea and milk"],
    );
    refused(
        "a.csv",
        "o,t\n[0 1 ... 8 9],8\n",
        &options,
        &["line 2", "a list is needed"],
    );
    let looped = mapping("{% for x in o | listed %}<{{ x }}>{% endfor %}", "t");
    given(
        "a.csv",
        "o,t\n\"['tea', 'milk']\",milk\n",
        &looped,
        &["<tea><milk> -> milk"],
    );
}

#[test]
fn a_target_may_be_a_text_in_one_row_and_a_list_in_the_next() {
    let targets = Mapping {
        target: None,
        targets: Some("t".into()),
        ..mapping("q", "")
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{\"q\": \"a\", \"t\": \"five\"}\n{\"q\": \"b\", \"t\": [\"five\", 5]}\n{\"q\": \"c\", \"t\": \"[1, 2]\"}\n{\"q\": \"d\", \"t\": 1.50}\n").unwrap();
    let all = load_examples(&path, &targets).unwrap();
    assert_eq!((all[0].target.as_str(), all[0].aliases.len()), ("five", 0));
    assert_eq!(
        (all[1].target.as_str(), all[1].aliases.clone()),
        ("five", vec!["5".to_owned()])
    );
    assert_eq!((all[2].target.as_str(), all[3].target.as_str()), ("[1, 2]", "1.50"));
    let path = folder.path().join("a.csv");
    fs::write(&path, "q,t\na,five\nb,\"['five', '5']\"\n").unwrap();
    let all = load_examples(&path, &targets).unwrap();
    assert_eq!(
        (all[0].target.as_str(), all[1].aliases.clone()),
        ("five", vec!["5".to_owned()])
    );
}

#[test]
fn compressed_files_are_read_by_what_they_hold() {
    let plain = mapping("q", "t");
    let gz = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zst = |text: &str| zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    let (jsonl, json, csv) = ("{\"q\": \"a\", \"t\": 1}\n", "[{\"q\": \"a\", \"t\": 1}]", "q,t\na,1\n");
    for (name, bytes) in [
        ("a.jsonl.gz", gz(jsonl)),
        ("a.jsonl.zst", zst(jsonl)),
        ("a.json.gz", gz(json)),
        ("a.json.zst", zst(json)),
        ("a.csv.gz", gz(csv)),
        ("a.CSV.ZST", zst(csv)),
        ("a.jsonl", gz(jsonl)),
        ("a.jsonl.gz", jsonl.as_bytes().to_vec()),
        ("two.jsonl.gz", [gz(jsonl.trim_end()), gz("\n")].concat()),
    ] {
        assert_eq!(
            read(name, &bytes, &plain).unwrap_or_else(|error| panic!("{name}: {error}")),
            ["a -> 1"],
            "{name}"
        );
    }
    let cut = gz(&jsonl.repeat(100));
    let error = read("a.jsonl.gz", &cut[..cut.len() / 2], &plain).unwrap_err();
    assert!(error.contains("begins as gzip") && error.contains("cut off"), "{error}");
    for (bytes, what) in [
        (&b"PK\x03\x04rest"[..], "Excel workbook"),
        (b"BZh91AY", "bzip2"),
        (b"PAR1....", "a Parquet file"),
    ] {
        let error = read("a.csv", bytes, &plain).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn only_regular_files_within_the_caps_are_read() {
    let plain = mapping("q", "t");
    let folder: TempDir = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| load_examples(path, &plain).unwrap_err().to_string();
    let named = folder.path().join("folder.jsonl");
    fs::create_dir(&named).unwrap();
    assert!(refusal(&named).contains("it is a folder"));
    let long = folder.path().join("long.jsonl");
    fs::File::create(&long).unwrap().set_len((256 << 20) + 1).unwrap();
    assert!(refusal(&long).contains("at most 268435456 are read"));
    let wide = format!(
        "{{{}}}",
        (0..4097).map(|at| format!("\"c{at}\":1")).collect::<Vec<_>>().join(",")
    );
    refused("a.jsonl", &wide, &plain, &["line 1", "more than 4096 columns"]);
    let many = "{\"q\":1}\n".repeat(1_000_001);
    refused(
        "a.jsonl",
        &many,
        &mapping("q", "q"),
        &["line 1000001", "more than 1000000 rows"],
    );
    refused(
        "a.jsonl",
        &format!("{{\"q\":{}1{}}}", "[".repeat(90), "]".repeat(90)),
        &plain,
        &["line 1", "more than 64 lists"],
    );
    #[cfg(unix)]
    {
        let socket = folder.path().join("socket.jsonl");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(refusal(&socket).contains("no regular file"));
    }
}
