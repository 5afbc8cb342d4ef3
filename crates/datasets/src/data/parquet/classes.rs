//! Names of class labels, which Hugging Face keeps in a Parquet file's metadata while the column holds their numbers.

use parquet::file::metadata::KeyValue;
use serde_json::Value;

/// The key under which `datasets` writes what it knows of the columns.
const KEY: &str = "huggingface";

/// The label names of a column and what is inside of it.
#[derive(Debug, Default, Clone)]
pub(super) enum Classes {
    /// No labels.
    #[default]
    None,
    /// `names[number]`.
    Names(Vec<String>),
    /// A list whose elements have labels.
    List(Box<Classes>),
    /// By field.
    Fields(Vec<(String, Classes)>),
}

impl Classes {
    /// Of the whole file. What is not understood names nothing.
    pub fn of(metadata: Option<&Vec<KeyValue>>) -> Classes {
        let text = metadata.and_then(|all| all.iter().find(|entry| entry.key == KEY)?.value.as_deref());
        let document: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let features = document
            .as_ref()
            .and_then(|document| document.pointer("/info/features"));
        features.map(Classes::read).unwrap_or_default()
    }

    /// Of a column or field.
    pub fn field(&self, name: &str) -> &Classes {
        match self {
            Classes::Fields(fields) => fields
                .iter()
                .find(|(key, _)| key == name)
                .map_or(&Classes::None, |(_, classes)| classes),
            _ => &Classes::None,
        }
    }

    /// Of a list's elements.
    pub fn element(&self) -> &Classes {
        match self {
            Classes::List(inner) => inner,
            _ => &Classes::None,
        }
    }

    fn read(feature: &Value) -> Classes {
        match feature {
            Value::Array(list) => Classes::List(Box::new(list.first().map(Classes::read).unwrap_or_default())),
            Value::Object(fields) => match fields.get("_type").and_then(Value::as_str) {
                Some("ClassLabel") => {
                    let names = fields.get("names").and_then(Value::as_array).into_iter().flatten();
                    Classes::Names(names.filter_map(Value::as_str).map(str::to_owned).collect())
                }
                Some("Sequence" | "List" | "LargeList") => {
                    let inner = fields.get("feature").map(Classes::read).unwrap_or_default();
                    match inner {
                        // a `Sequence` of fields is stored as fields of lists
                        Classes::Fields(inner) if fields.get("_type").and_then(Value::as_str) == Some("Sequence") => {
                            Classes::Fields(
                                inner
                                    .into_iter()
                                    .map(|(name, classes)| (name, Classes::List(Box::new(classes))))
                                    .collect(),
                            )
                        }
                        inner => Classes::List(Box::new(inner)),
                    }
                }
                // a value of another type; a column may itself be called `_type`, and is then no text
                Some(_) => Classes::None,
                None => Classes::Fields(
                    fields
                        .iter()
                        .map(|(name, inner)| (name.clone(), Classes::read(inner)))
                        .collect(),
                ),
            },
            _ => Classes::None,
        }
    }
}
