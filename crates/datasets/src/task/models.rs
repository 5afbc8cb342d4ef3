//! The `[models]` table: which model each role, or a named pool of it, should use in this run.

use super::{place::Source, schema::ModelChoice};
use crate::error::{LoadError, suggestion};
use sipdo_domain::{Pool, Role};
use std::collections::BTreeMap;

const KEYS: [&str; 5] = ["endpoint", "model", "temperature", "max_tokens", "timeout_seconds"];

pub(super) fn read(
    source: &Source,
    table: &BTreeMap<String, toml::Value>,
) -> Result<BTreeMap<Pool, ModelChoice>, LoadError> {
    let mut models = BTreeMap::new();
    for (name, value) in table {
        let pool: Pool = name.parse().map_err(|problem: String| {
            let (role, pool) = name.split_once('_').unwrap_or((name, ""));
            if role.parse::<Role>().is_ok() && !pool.is_empty() {
                return source.at(&["models", name], problem, "Write ROLE_POOL, such as checker_a");
            }
            let advice = suggestion(role, Role::ALL.map(Role::name));
            source.at(&["models", name], format!("unknown role `{role}`"), advice)
        })?;
        models.insert(pool, choice(source, name, value)?);
    }
    Ok(models)
}

fn choice(source: &Source, role: &str, value: &toml::Value) -> Result<ModelChoice, LoadError> {
    let at = |key: &str, problem: String, advice: &str| source.at(&["models", role, key], problem, advice);
    let choice = match value {
        // the short form: "endpoint/model"
        toml::Value::String(text) => match text.split_once('/') {
            Some((endpoint, model)) if !endpoint.is_empty() && !model.is_empty() => ModelChoice {
                endpoint: Some(endpoint.into()),
                model: Some(model.into()),
                ..ModelChoice::default()
            },
            _ => {
                return Err(at(
                    "",
                    format!("`{text}` does not name a model"),
                    "Write \"endpoint/model\", such as \"openai/gpt-5-mini\"",
                ));
            }
        },
        toml::Value::Table(table) => {
            if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
                let secret = ["url", "key", "token", "host"]
                    .iter()
                    .any(|part| unknown.to_lowercase().contains(part));
                let advice = if secret {
                    "URLs and keys belong into the operator's configuration; a task names only the endpoint".to_owned()
                } else {
                    suggestion(unknown, KEYS)
                };
                return Err(at(
                    unknown,
                    format!("unknown key `{unknown}` in `[models.{role}]`"),
                    &advice,
                ));
            }
            value.clone().try_into().map_err(|error: toml::de::Error| {
                at(
                    "",
                    format!("`[models.{role}]`: {}", error.message()),
                    "Write texts with quotes, numbers without",
                )
            })?
        }
        other => {
            return Err(at(
                "",
                format!("`models.{role} = {other}` does not name a model"),
                "Write \"endpoint/model\" or a table",
            ));
        }
    };
    if choice.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return Err(at(
            "temperature",
            "`temperature` must be from 0 to 2".into(),
            "Use 0 for the most repeatable answers",
        ));
    }
    if choice.max_tokens == Some(0) || choice.timeout_seconds == Some(0) {
        return Err(at(
            "max_tokens",
            "`max_tokens` and `timeout_seconds` must be above 0".into(),
            "Omit the key to use the agent's own setting",
        ));
    }
    Ok(choice)
}
