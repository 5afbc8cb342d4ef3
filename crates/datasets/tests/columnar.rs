//! Parquet as the tools write it: codecs, types, nested values, class labels; only what is used is decoded.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as a test does")]

use parquet::{
    basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel},
    data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
        Int64Type,
    },
    file::{
        metadata::KeyValue,
        properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};
use sipdo_datasets::{Kind, Mapping, load_examples, look};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// The values of one leaf: numbers or texts, with definition and repetition levels where it is nested.
enum Leaf {
    Texts(Vec<&'static str>, Levels),
    Fixed(Vec<Vec<u8>>, Levels),
    Ints(Vec<i32>, Levels),
    Longs(Vec<i64>, Levels),
    Floats(Vec<f32>, Levels),
    Doubles(Vec<f64>, Levels),
    Bools(Vec<bool>, Levels),
}
use Leaf::{Bools, Doubles, Fixed, Floats, Ints, Longs, Texts};

type Levels = Option<(Vec<i16>, Vec<i16>)>;

/// Levels of a column that is not repeated.
fn optional(levels: &[i16]) -> Levels {
    Some((levels.to_vec(), vec![0; levels.len()]))
}

fn write(schema: &str, leaves: Vec<Leaf>, properties: WriterPropertiesBuilder) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let schema = Arc::new(parse_message_type(&format!("message m {{ {schema} }}")).unwrap());
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in leaves {
        let mut column = group.next_column().unwrap().unwrap();
        macro_rules! put {
            ($kind:ty, $values:expr, $levels:expr) => {{
                let (def, rep) = $levels.as_ref().map_or((None, None), |(def, rep)| {
                    (Some(def.as_slice()), Some(rep.as_slice()))
                });
                column.typed::<$kind>().write_batch($values, def, rep).unwrap();
            }};
        }
        match leaf {
            Texts(values, levels) => put!(
                ByteArrayType,
                &values.into_iter().map(ByteArray::from).collect::<Vec<_>>(),
                levels
            ),
            Fixed(values, levels) => {
                let values: Vec<FixedLenByteArray> =
                    values.into_iter().map(|bytes| ByteArray::from(bytes).into()).collect();
                put!(FixedLenByteArrayType, &values, levels);
            }
            Ints(values, levels) => put!(Int32Type, &values, levels),
            Longs(values, levels) => put!(Int64Type, &values, levels),
            Floats(values, levels) => put!(FloatType, &values, levels),
            Doubles(values, levels) => put!(DoubleType, &values, levels),
            Bools(values, levels) => put!(BoolType, &values, levels),
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    (folder, path)
}

fn read(file: &(TempDir, PathBuf), input: &str, target: &str) -> Result<Vec<String>, String> {
    let mapping = Mapping {
        input: input.into(),
        target: Some(target.into()),
        ..Mapping::default()
    };
    let examples = load_examples(&file.1, &mapping).map_err(|error| error.to_string())?;
    Ok(examples
        .iter()
        .map(|example| format!("{} -> {}", example.input, example.target))
        .collect())
}

const TWO: &str = "required binary q (STRING); required int64 t;";

fn two() -> Vec<Leaf> {
    vec![Texts(vec!["a", "b"], None), Longs(vec![1, 2], None)]
}

#[test]
fn every_codec_and_encoding_of_the_tools_is_read() {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let file = write(
                TWO,
                two(),
                WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version),
            );
            assert_eq!(
                read(&file, "q", "t").unwrap(),
                ["a -> 1", "b -> 2"],
                "{codec:?} {version:?}"
            );
        }
    }
    for (text, number) in [
        (Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BINARY_PACKED),
        (Encoding::DELTA_BYTE_ARRAY, Encoding::BYTE_STREAM_SPLIT),
    ] {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_column_encoding("q".into(), text)
            .set_column_encoding("t".into(), number);
        let file = write(TWO, two(), properties);
        assert_eq!(read(&file, "q", "t").unwrap(), ["a -> 1", "b -> 2"], "{text} {number}");
    }
}

#[test]
fn numbers_dates_and_other_values_are_printed_as_people_write_them() {
    let nanos = 1_541_186_529_153_000_007_i64;
    let schema = "required float f; required double d; required int32 m (DECIMAL(9,2)); required int32 day (DATE); \
                  required int64 ns (TIMESTAMP(NANOS,true)); required fixed_len_byte_array(16) u (UUID); required boolean b; \
                  required int32 small (INTEGER(8,false)); required binary j (JSON);";
    let leaves = vec![
        Floats(vec![0.4], None),
        Doubles(vec![0.1], None),
        Ints(vec![-105], None),
        Ints(vec![0], None),
        Longs(vec![nanos], None),
        Fixed(vec![(0..16).collect()], None),
        Bools(vec![true], None),
        Ints(vec![200], None),
        Texts(vec!["{}"], None),
    ];
    let file = write(schema, leaves, WriterProperties::builder());
    let of = |column: &str| {
        read(&file, "{{ small }}", column)
            .unwrap_or_else(|error| panic!("{error}"))
            .concat()
    };
    for (column, wanted) in [
        ("f", "0.4"),
        ("{{ f }}", "0.4"),
        ("d", "0.1"),
        ("m", "-1.05"),
        ("day", "1970-01-01"),
        ("ns", "2018-11-02 19:22:09.153000007 +00:00"),
        ("u", "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ("b", "true"),
        ("j", "{}"),
    ] {
        assert_eq!(of(column), format!("200 -> {wanted}"), "{column}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name_and_only_where_it_is_used() {
    let schema = "required binary q (STRING); required int64 t; required fixed_len_byte_array(12) span (INTERVAL); \
                  required fixed_len_byte_array(16) wide; required binary bson (BSON);";
    let leaves = || {
        let mut all = two();
        all.extend([
            Fixed(vec![vec![1; 12]; 2], None),
            Fixed(vec![vec![1; 16]; 2], None),
            Texts(vec!["x", "y"], None),
        ]);
        all
    };
    let file = write(schema, leaves(), WriterProperties::builder());
    assert_eq!(read(&file, "q", "t").unwrap(), ["a -> 1", "b -> 2"]);
    assert_eq!(read(&file, "{{ q }}", "{{ row.t }}").unwrap(), ["a -> 1", "b -> 2"]);
    for (column, kind) in [("span", "INTERVAL"), ("wide", "FIXED_LEN_BYTE_ARRAY"), ("bson", "BSON")] {
        for error in [
            read(&file, &format!("{{{{ q }}}} {{{{ {column} }}}}"), "t"),
            read(&file, column, "t"),
        ] {
            let error = error.unwrap_err();
            assert!(
                error.contains(&format!("the column `{column}` has the type {kind}")),
                "{error}"
            );
        }
    }
    assert!(read(&file, "{{ row }}", "t").unwrap_err().contains("INTERVAL"));
    let error = read(&file, "spam", "t").unwrap_err();
    assert!(
        error.contains("no column `spam`") && error.contains("Did you mean `span`?"),
        "{error}"
    );
    let seen = look(&file.1).unwrap();
    assert_eq!(
        seen.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect::<Vec<_>>(),
        ["q", "t"]
    );
    let bytes = write(
        "required binary q; required int64 t;",
        two(),
        WriterProperties::builder(),
    );
    assert_eq!(
        read(&bytes, "q", "t").unwrap(),
        ["a -> 1", "b -> 2"],
        "texts of old writers have no type"
    );
}

#[test]
fn lists_structs_and_nulls_keep_their_shape() {
    let schema = "required binary q (STRING); optional group o (LIST) { repeated group list { optional binary element (STRING); } } \
                  optional group s { optional binary a (STRING); optional double x; } optional int32 none;";
    let leaves = vec![
        Texts(vec!["a", "b"], None),
        Texts(vec!["tea", "milk", "ale"], Some((vec![3, 3, 3], vec![0, 1, 0]))),
        Texts(vec!["in"], optional(&[2, 1])),
        Doubles(vec![f64::NAN], optional(&[2, 1])),
        Ints(vec![], optional(&[0, 0])),
    ];
    let file = write(schema, leaves, WriterProperties::builder());
    assert_eq!(
        read(&file, "{{ q }} {{ o | lettered }}", "q").unwrap(),
        ["a (A) tea\n(B) milk -> a", "b (A) ale -> b"]
    );
    let error = read(&file, "{{ q }} {{ s.a }}", "q").unwrap_err();
    assert!(
        error.contains("row 2") && error.contains("the column `s.a` is null"),
        "{error}"
    );
    let error = read(&file, "{{ q }} {{ s.x }}", "q").unwrap_err();
    assert!(
        error.contains("row 1") && error.contains("the column `s.x` is NaN"),
        "{error}"
    );
    assert_eq!(
        read(&file, "{{ q }} {{ s.a | or('-') }} {{ none_of | or('?') }}", "q").unwrap(),
        ["a in ? -> a", "b - ? -> b"]
    );
    let seen = look(&file.1).unwrap();
    let kinds: Vec<Kind> = seen.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [Kind::Text, Kind::List, Kind::Object, Kind::Empty]);
    assert_eq!(seen.columns[3].nulls, 2);
}

#[test]
fn class_labels_are_their_names() {
    let features = r#"{"info": {"features": {"q": {"dtype": "string", "_type": "Value"}, "t": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}"#;
    let with = |numbers: Vec<i64>| {
        let known = vec![KeyValue::new("huggingface".into(), features.to_owned())];
        let leaves = vec![Texts(vec!["a", "b"], None), Longs(numbers, None)];
        write(
            TWO,
            leaves,
            WriterProperties::builder().set_key_value_metadata(Some(known)),
        )
    };
    assert_eq!(read(&with(vec![1, 0]), "q", "t").unwrap(), ["a -> pos", "b -> neg"]);
    let error = read(&with(vec![1, -1]), "q", "t").unwrap_err();
    assert!(
        error.contains("row 2") && error.contains("the column `t` is null"),
        "{error}"
    );
    let error = read(&with(vec![1, 7]), "q", "t").unwrap_err();
    assert!(
        error.contains("row 2") && error.contains("holds the label 7"),
        "{error}"
    );
}

#[test]
fn too_many_cells_are_refused_before_they_are_decoded() {
    let count = 5_000_001;
    let schema = "required binary q (STRING); repeated boolean flags;";
    let mut repeats = vec![1; count];
    repeats[0] = 0;
    let leaves = || {
        vec![
            Texts(vec!["a"], None),
            Bools(vec![true; count], Some((vec![1; count], repeats.clone()))),
        ]
    };
    let file = write(schema, leaves(), WriterProperties::builder());
    let error = read(&file, "{{ flags }}", "q").unwrap_err();
    assert!(error.contains("more than 5000000 cells"), "{error}");
    assert_eq!(read(&file, "q", "q").unwrap(), ["a -> a"], "unused, it does not matter");
}
