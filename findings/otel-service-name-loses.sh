#!/usr/bin/env bash
# guessed:  OTEL_SERVICE_NAME wins over `service.name` in OTEL_RESOURCE_ATTRIBUTES, and values there are percent-decoded, as the
#           specification says of both.
# is so:    opentelemetry_sdk for Rust takes `service.name` of OTEL_RESOURCE_ATTRIBUTES, and hands its values on as they stand:
#           `team=a%20b` is exported as `a%20b`.
# versions: opentelemetry_sdk 0.33.1
# meets it: Who sets attributes for all programs of a machine and names each by OTEL_SERVICE_NAME: all go by one name.
# instead:  Read both variables in code and hand them to the resource's builder: what code says wins.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src

cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
opentelemetry = { version = "=0.33.1", default-features = false, features = ["trace"] }
opentelemetry_sdk = { version = "=0.33.1", default-features = false, features = ["trace"] }
TOML

cat >src/main.rs <<'RUST'
use opentelemetry::Key;
use opentelemetry_sdk::Resource;

fn main() {
    let by_variables = Resource::builder().build();
    let by_code = Resource::builder().with_service_name("code").build();
    let value = |resource: &Resource, name: &'static str| resource.get(&Key::from(name)).map(|value| value.to_string());
    let name = value(&by_variables, "service.name");
    let team = value(&by_variables, "team");
    let named = value(&by_code, "service.name");
    println!("service.name {name:?}, team {team:?}; with a name in code {named:?}");
    let seen = [name, team, named].map(Option::unwrap_or_default);
    std::process::exit(i32::from(seen != ["attributes", "a%20b", "code"]));
}
RUST
export OTEL_SERVICE_NAME=variable OTEL_RESOURCE_ATTRIBUTES=service.name=attributes,team=a%20b
echo "OTEL_SERVICE_NAME=$OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES=$OTEL_RESOURCE_ATTRIBUTES"
CARGO_TARGET_DIR=$work/target cargo run --quiet
