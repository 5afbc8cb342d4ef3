//! The tables of a task file as they are written. Unknown keys are refused; what the values mean is checked elsewhere.

use crate::data::Format;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole task file. Tables with open keys are kept as they are and checked by their readers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub task: TaskTable,
    pub data: DataTable,
    pub prompt: Option<PromptTable>,
    #[serde(default)]
    pub learner: LearnerTable,
    #[serde(default)]
    pub split: SplitTable,
    pub metric: toml::Table,
    #[serde(default)]
    pub gates: GatesTable,
    pub corpus: Option<CorpusTable>,
    #[serde(default)]
    pub accept: sipdo_domain::Accept,
    #[serde(default)]
    pub budget: BudgetTable,
    #[serde(default)]
    pub models: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub strategy: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskTable {
    pub name: Option<String>,
    pub description: String,
    pub prompt: Option<String>,
    pub prompt_file: Option<String>,
    #[serde(default)]
    pub answer_format: String,
    pub labels: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataTable {
    pub file: Option<OneOrMore>,
    pub train_file: Option<OneOrMore>,
    pub test_file: Option<OneOrMore>,
    pub format: Option<Format>,
    pub pointer: Option<String>,
    pub header: Option<bool>,
    pub delimiter: Option<String>,
    pub quotes: Option<bool>,
    pub input: Option<String>,
    pub target: Option<String>,
    pub targets: Option<String>,
    pub id: Option<String>,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    #[serde(rename = "let", default)]
    pub names: BTreeMap<String, String>,
    pub train: Option<usize>,
    pub test: Option<usize>,
    #[serde(default)]
    pub contradictions: Resolve,
    #[serde(default)]
    pub overlap: Resolve,
    pub max_input_chars: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptTable {
    pub messages: Vec<MessageTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageTable {
    pub role: String,
    pub text: String,
    #[serde(default)]
    pub optimize: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LearnerTable {
    pub schema: Option<String>,
}

/// What to do with examples that must not stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Resolve {
    #[default]
    Refuse,
    Drop,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn all(&self) -> Vec<&str> {
        match self {
            OneOrMore::One(name) => vec![name],
            OneOrMore::More(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitTable {
    #[serde(default)]
    pub seed: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatesTable {
    pub input_pattern: Option<String>,
    pub target_pattern: Option<String>,
    pub program: Option<String>,
    pub max_input_chars: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CorpusTable {
    pub file: String,
    pub text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetTable {
    pub calls: Option<u64>,
    pub tokens: Option<u64>,
    pub usd: Option<toml::Value>,
    pub seconds: Option<u64>,
    pub time: Option<String>,
}

/// The model that a run wants for a role. What is absent stays as the agent has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelChoice {
    /// Name of an endpoint in the operator's configuration; never a URL or a key.
    pub endpoint: Option<String>,
    /// Model name, as the endpoint knows it.
    pub model: Option<String>,
    /// Sampling temperature, 0..=2.
    pub temperature: Option<f64>,
    /// Longest completion, in tokens.
    pub max_tokens: Option<u32>,
    /// Longest wait for one call, in seconds.
    pub timeout_seconds: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::{super::TASK_SCHEMA as SCHEMA, super::metric::KINDS, *};
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// The keys of the table at a JSON pointer of the schema.
    fn keys(pointer: &str) -> BTreeSet<String> {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let table = schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} is not in the schema"));
        assert_eq!(
            table["additionalProperties"], false,
            "{pointer} refuses unknown keys, as the reader does"
        );
        table["properties"].as_object().unwrap().keys().cloned().collect()
    }

    /// The keys that the reader takes in a table, as its own refusal of another key lists them.
    fn taken(refusal: &str) -> BTreeSet<String> {
        let listed = refusal.split_once("expected").map_or("", |(_, listed)| listed);
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn refusal<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let error = toml::from_str::<T>("no_such_key = 1")
            .err()
            .map(|error| error.message().to_owned());
        taken(&error.unwrap_or_default())
    }

    #[test]
    fn the_schema_has_the_keys_that_the_reader_takes() {
        let found = [
            ("", refusal::<File>()),
            ("/properties/task", refusal::<TaskTable>()),
            ("/properties/data", refusal::<DataTable>()),
            ("/properties/split", refusal::<SplitTable>()),
            ("/properties/gates", refusal::<GatesTable>()),
            ("/properties/corpus", refusal::<CorpusTable>()),
            ("/properties/accept", refusal::<sipdo_domain::Accept>()),
            ("/properties/budget", refusal::<BudgetTable>()),
            ("/properties/prompt", refusal::<PromptTable>()),
            (
                "/properties/prompt/properties/messages/items",
                refusal::<MessageTable>(),
            ),
            ("/properties/learner", refusal::<LearnerTable>()),
            ("/properties/models/additionalProperties", refusal::<ModelChoice>()),
        ];
        for (table, taken) in found {
            assert!(!taken.is_empty(), "{table}: the reader lists no key");
            assert_eq!(keys(table), taken, "{table}");
        }
        let own = KINDS.iter().flat_map(|(_, own)| own.iter().copied());
        let metric: BTreeSet<String> = own.chain(["kind", "extract"]).map(str::to_owned).collect();
        assert_eq!(keys("/properties/metric"), metric);
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let kinds = schema["properties"]["metric"]["properties"]["kind"]["enum"]
            .as_array()
            .unwrap();
        assert!(
            KINDS.iter().all(|(kind, _)| kinds.contains(&Value::from(*kind))),
            "{kinds:?}"
        );
    }
}
