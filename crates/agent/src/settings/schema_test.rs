//! The schema of the operator's file has the keys that the reader takes, and no other.

use super::{SCHEMA, Settings};
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

#[test]
fn the_schema_has_the_keys_that_the_reader_takes() {
    let endpoint = "/properties/endpoints/additionalProperties";
    let below = |table: &str| format!("{endpoint}/properties/{table}");
    for (table, text) in [
        (String::new(), "KEY"),
        ("/properties/nats".into(), "[nats]\nKEY"),
        (endpoint.into(), "[endpoints.a]\nprovider = \"openai\"\nKEY"),
        (
            below("retry"),
            "[endpoints.a]\nprovider = \"openai\"\n[endpoints.a.retry]\nKEY",
        ),
        (
            below("abilities"),
            "[endpoints.a]\nprovider = \"openai\"\n[endpoints.a.abilities]\nKEY",
        ),
        (
            below("prices") + "/additionalProperties",
            "[endpoints.a]\nprovider = \"openai\"\n[endpoints.a.prices.m]\nKEY",
        ),
        (
            "/properties/models/additionalProperties".into(),
            "[models.default]\nKEY",
        ),
        ("/properties/programs/additionalProperties".into(), "[programs.p]\nKEY"),
        ("/properties/agent".into(), "[agent]\nKEY"),
        ("/properties/admin".into(), "[admin]\nKEY"),
    ] {
        let text = text.replace("KEY", "no_such_key = 1");
        let error = toml::from_str::<Settings>(&text).unwrap_err();
        let taken = taken(error.message());
        assert!(!taken.is_empty(), "{table}: {error}");
        assert_eq!(keys(&table), taken, "{table}");
    }
}

/// The page for operators, with its recipes.
const PAGE: &str = include_str!("../../../../docs/endpoints.md");

#[test]
fn the_page_on_endpoints_has_every_key() {
    let endpoint = "/properties/endpoints/additionalProperties";
    let below = |table: &str| format!("{endpoint}/properties/{table}");
    let tables = [
        endpoint.to_owned(),
        below("retry"),
        below("abilities"),
        below("prices") + "/additionalProperties",
        "/properties/models/additionalProperties".to_owned(),
    ];
    for key in tables.iter().flat_map(|table| keys(table)) {
        let table = ["retry", "abilities", "prices"].contains(&key.as_str());
        let named = if table {
            format!("[endpoints.NAME.{key}")
        } else {
            format!("`{key}`")
        };
        assert!(PAGE.contains(&named), "docs/endpoints.md does not say what {key} means");
    }
}

#[test]
fn every_recipe_is_a_file_that_the_reader_takes() {
    let recipes: Vec<&str> = PAGE
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(recipes.len() >= 9, "{}", recipes.len());
    for recipe in recipes {
        let settings: Settings = toml::from_str(recipe).unwrap_or_else(|error| panic!("{recipe}\n{error}"));
        for (name, endpoint) in &settings.endpoints {
            endpoint
                .validate(name)
                .unwrap_or_else(|error| panic!("{recipe}\n{error}"));
        }
    }
}
