//! The `[metric]` table.

use super::place::Source;
use crate::error::{LoadError, suggestion};
use sipdo_domain::{Metric, metric::NEWEST};

/// Each kind of metric and the keys that it has beside `kind` and `extract`.
pub(super) const KINDS: [(&str, &[&str]); 9] = [
    ("exact", &[]),
    ("normalized", &[]),
    ("choice", &["options"]),
    ("numeric", &["absolute", "relative"]),
    ("token_f1", &["threshold"]),
    ("regex", &["pattern"]),
    ("json", &["partial", "right_from"]),
    ("contains", &[]),
    ("judge", &["criteria"]),
];

pub(super) fn read(source: &Source, table: &toml::Table) -> Result<Metric, LoadError> {
    let kinds = KINDS.iter().map(|(kind, _)| *kind);
    let written = table.get("kind").and_then(toml::Value::as_str);
    let Some(written) = written else {
        return Err(source.at(&["metric"], "`[metric]` has no `kind`", suggestion("", kinds)));
    };
    let kind = written.replace('-', "_");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return Err(source.at(
            &["metric", "kind"],
            format!("unknown metric `{written}`"),
            suggestion(&kind, kinds),
        ));
    };
    let known = ["kind", "extract"].into_iter().chain(own.iter().copied());
    if let Some(unknown) = table.keys().find(|key| !known.clone().any(|name| name == key.as_str())) {
        let problem = format!("unknown key `{unknown}` for the metric `{kind}`");
        return Err(source.at(&["metric", unknown], problem, suggestion(unknown, known)));
    }
    let mut value = serde_json::to_value(table).map_err(|error| source.at(&["metric"], error.to_string(), ""))?;
    if let Some(place) = value.get_mut("kind") {
        *place = kind.clone().into();
    }
    let mut metric: Metric = serde_json::from_value(value).map_err(|error| {
        let advice = "`extract` is \"auto\", \"last_line\", \"whole\", { after = \"..\" }, { regex = \"..\" } or { json = \"/..\" }; \
                      numbers are written without quotes";
        source.at(&["metric"], format!("the metric `{kind}` cannot be read: {error}"), advice)
    })?;
    // what is loaded begins now; a run that has begun carries its own rules
    metric.reading = NEWEST;
    metric.check().map_err(|problem| {
        source.at(
            &["metric"],
            format!("metric `{kind}`: {problem}"),
            "Correct it, or omit the key",
        )
    })?;
    Ok(metric)
}
