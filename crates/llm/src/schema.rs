//! A JSON schema, prepared once and used for many calls: compiling a validator costs far more than running it.

use serde_json::{Map, Value};

use crate::text::clip;

/// A named JSON schema with its validator. Make it once per role and share it in an `Arc`.
pub struct Schema {
    name: String,
    json: Value,
    strict: Value,
    closed: Value,
    text: String,
    validator: jsonschema::Validator,
}

/// Most findings that are told of one value.
const MAX_FINDINGS: usize = 5;
/// Most that is told of the place of a finding, and of its words, in bytes.
const FINDING_PART: usize = 160;
/// Most bytes of all findings: each has a place and words, an ellipsis after either, and separators.
pub(crate) const MAX_FINDING_BYTES: usize = MAX_FINDINGS * 2 * (FINDING_PART + '…'.len_utf8() + 2);

/// The schema given is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("JSON schema \"{name}\" is not usable: {problem}")]
pub struct SchemaError {
    name: String,
    problem: String,
}

impl Schema {
    /// Prepares `json` under `name` (letters, digits, `_`, `-`; at most 64: what providers take).
    pub fn new(name: impl Into<String>, json: Value) -> Result<Self, SchemaError> {
        let name = name.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(SchemaError {
                name,
                problem: "its name must be 1 to 64 letters, digits, _ or -".to_owned(),
            });
        }
        let validator = match jsonschema::validator_for(&json) {
            Ok(validator) => validator,
            Err(error) => {
                return Err(SchemaError {
                    name,
                    problem: error.to_string(),
                });
            }
        };
        let strict = closed(&json, true);
        let closed = closed(&json, false);
        let text = json.to_string();
        Ok(Self {
            name,
            json,
            strict,
            closed,
            text,
            validator,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema as given.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The schema as given, as compact text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether every value that satisfies it is an object, as its own `type` says.
    pub(crate) fn is_object(&self) -> bool {
        self.json().get("type").and_then(Value::as_str) == Some("object")
    }

    /// The schema in the dialect of strict constrained decoding: every property required, none additional.
    pub(crate) fn strict(&self) -> &Value {
        &self.strict
    }

    /// The schema with its objects closed: none takes a property that it does not name.
    pub(crate) fn closed(&self) -> &Value {
        &self.closed
    }

    /// Takes `value` if it satisfies the schema, else says what is wrong (at most five findings, each short).
    ///
    /// Strict decoding makes optional properties required, so that models write `null` for "not there": such a `null`
    /// is dropped first where the schema allows absence but not `null`.
    pub fn check(&self, mut value: Value) -> Result<Value, String> {
        if self.validator.is_valid(&value) {
            return Ok(value);
        }
        drop_null_options(&mut value, &self.json, 0);
        let findings: Vec<String> = self
            .validator
            .iter_errors(&value)
            .take(MAX_FINDINGS)
            .map(|finding| {
                let place = finding.instance_path().to_string();
                let place = if place.is_empty() { "the whole" } else { place.as_str() };
                let [place, words] = [place, &finding.to_string()].map(|part| clip(part, FINDING_PART));
                format!("{place}: {words}")
            })
            .collect();
        if findings.is_empty() {
            Ok(value)
        } else {
            Err(findings.join("; "))
        }
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema")
            .field("name", &self.name)
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

/// Keywords whose members are schemas by name.
const NAMED: &[&str] = &["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that hold a list of schemas.
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords that hold one schema.
const SINGLE: &[&str] = &["items", "not", "if", "then", "else", "contains"];

/// A schema whose objects take no property that they do not name, as constrained decoding wants it; with `all_required` they also
/// require each one that they name.
fn closed(schema: &Value, all_required: bool) -> Value {
    let Value::Object(members) = schema else {
        return schema.clone();
    };
    let inner = |schema: &Value| closed(schema, all_required);
    let mut closed: Map<String, Value> = Map::new();
    for (keyword, value) in members {
        let value = match (keyword.as_str(), value) {
            (name, Value::Object(named)) if NAMED.contains(&name) => Value::Object(
                named
                    .iter()
                    .map(|(name, schema)| (name.clone(), inner(schema)))
                    .collect(),
            ),
            (name, Value::Array(list)) if LISTS.contains(&name) => list.iter().map(inner).collect(),
            (name, one) if SINGLE.contains(&name) => inner(one),
            (_, other) => other.clone(),
        };
        closed.insert(keyword.clone(), value);
    }
    let is_object = members.get("type").is_some_and(|of| match of {
        Value::Array(several) => several.iter().any(|one| one == "object"),
        one => one == "object",
    });
    let names = members.get("properties").and_then(Value::as_object);
    if is_object || names.is_some() {
        closed.insert("additionalProperties".to_owned(), false.into());
        if let (true, Some(names)) = (all_required, names) {
            closed.insert("required".to_owned(), names.keys().cloned().collect());
        }
    }
    Value::Object(closed)
}

/// Removes members that are `null` though optional, down through `properties` and `items`.
fn drop_null_options(value: &mut Value, schema: &Value, depth: usize) {
    if depth > 16 {
        return;
    }
    match value {
        Value::Object(members) => {
            let required = |name: &str| {
                schema
                    .get("required")
                    .and_then(Value::as_array)
                    .is_some_and(|list| list.iter().any(|item| item == name))
            };
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (name, of) in properties {
                match members.get_mut(name) {
                    Some(Value::Null) if !required(name) && !admits_null(of) => {
                        members.shift_remove(name);
                    }
                    Some(member) => drop_null_options(member, of, depth + 1),
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                items.iter_mut().for_each(|item| drop_null_options(item, of, depth + 1));
            }
        }
        _ => {}
    }
}

fn admits_null(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == "null",
        Some(Value::Array(several)) => several.iter().any(|one| one == "null"),
        _ => schema
            .get("enum")
            .and_then(Value::as_array)
            .is_none_or(|list| list.contains(&Value::Null)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict() -> Schema {
        let json = json!({
            "type": "object",
            "properties": {"verdict": {"enum": ["valid", "wrong"]}, "note": {"type": "string"}},
            "required": ["verdict"],
        });
        Schema::new("verdict", json).unwrap()
    }

    #[test]
    fn a_null_for_an_absent_option_is_accepted_and_dropped() {
        assert_eq!(
            verdict().check(json!({"verdict": "valid", "note": null})),
            Ok(json!({"verdict": "valid"}))
        );
    }

    #[test]
    fn a_null_for_a_required_member_is_not() {
        let said = verdict().check(json!({"verdict": null})).unwrap_err();
        assert!(said.contains("/verdict"), "{said}");
    }

    #[test]
    fn the_strict_form_requires_everything_and_closes_objects() {
        let schema = verdict();
        assert_eq!(schema.strict()["required"], json!(["verdict", "note"]));
        assert_eq!(schema.strict()["additionalProperties"], json!(false));
    }

    #[test]
    fn objects_are_closed_wherever_they_stand() {
        let point = json!({"type": "object", "properties": {"x": {"type": "number"}}});
        let json = json!({"type": "object", "properties": {"list": {"type": "array", "items": point},
            "either": {"anyOf": [point, {"type": "null"}]}}, "$defs": {"point": point}});
        let schema = Schema::new("points", json).unwrap();
        for place in ["/properties/list/items", "/properties/either/anyOf/0", "/$defs/point"] {
            let strict = schema.strict().pointer(place).unwrap();
            assert_eq!(
                (&strict["additionalProperties"], &strict["required"]),
                (&json!(false), &json!(["x"])),
                "{place}"
            );
            let closed = schema.closed().pointer(place).unwrap();
            assert_eq!(
                (&closed["additionalProperties"], closed.get("required")),
                (&json!(false), None),
                "{place}"
            );
        }
    }

    #[test]
    fn names_and_schemas_that_providers_refuse_are_refused_here() {
        assert!(Schema::new("two words", json!({})).is_err());
        assert!(Schema::new("odd", json!({"type": "no such type"})).is_err());
    }
}
