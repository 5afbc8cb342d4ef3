//! A record: the columns of an example as one text, a JSON object of strings in the order of the columns.

use serde_json::{Map, Value};

/// The columns as one text. The same columns give the same text.
pub fn write<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let fields = columns
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)));
    Value::Object(fields.collect::<Map<String, Value>>()).to_string()
}

/// The columns of a record, in their order; none where the text is no JSON object of strings.
pub fn read(text: &str) -> Option<Vec<(String, String)>> {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return None;
    };
    let columns = fields.into_iter().map(|(name, value)| match value {
        Value::String(value) => Some((name, value)),
        _ => None,
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_an_object_of_strings_is_a_record() {
        for text in ["", "plain", "[1]", r#"{"a": 1}"#, r#""a""#] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(r#"{"b": "1", "a": ""}"#).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(values in prop::collection::btree_map("[a-zäé .{}]{1,6}", "\\PC{0,20}", 1..5)) {
            let columns: Vec<(String, String)> = values.into_iter().rev().collect();
            let text = write(columns.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(read(&text).unwrap(), columns);
        }
    }
}
