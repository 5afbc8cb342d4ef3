#!/usr/bin/env bash
# guessed:  A `tracing` span is exported with the time from its creation to its close, and its fields with their types.
# is so:    tracing-opentelemetry ends a span at its last exit: what it is held for after that is not in it. Entered for 20 ms
#           and held for 60 ms more, it is some 20 ms long; one that is never entered ends at its close. And an unsigned field
#           (u64, u32, usize) is exported as a text, so that no backend sums it; a signed one is an integer.
# versions: tracing-opentelemetry 0.34.0, opentelemetry_sdk 0.33.1, tracing 0.1.44
# meets it: Who keeps a span until something is over that it was not entered for, or counts tokens and bytes in unsigned fields.
# instead:  Enter the span until its end (`instrument`), convert counts to i64, or use the SDK's spans.
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
opentelemetry_sdk = { version = "=0.33.1", default-features = false, features = ["trace", "testing"] }
tracing = { version = "=0.1.44", default-features = false, features = ["std"] }
tracing-opentelemetry = { version = "=0.34.0", default-features = false }
tracing-subscriber = { version = "=0.3.23", default-features = false, features = ["registry", "std"] }
TOML

cat >src/main.rs <<'RUST'
use opentelemetry::{Value, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use std::{thread::sleep, time::{Duration, Instant}};
use tracing_subscriber::layer::SubscriberExt as _;

fn main() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("finding"));
    let subscriber = tracing_subscriber::registry().with(layer);
    // By our own clock, since a sleep on a busy machine is longer than it was asked to be.
    let (exited, closed) = tracing::subscriber::with_default(subscriber, || {
        let start = Instant::now();
        let entered = tracing::info_span!("entered", signed = 120_i64, unsigned = 120_u64);
        entered.in_scope(|| sleep(Duration::from_millis(20)));
        let exited = start.elapsed();
        sleep(Duration::from_millis(60));
        let closed = start.elapsed();
        drop(entered);
        let never_entered = tracing::info_span!("never entered");
        sleep(Duration::from_millis(60));
        drop(never_entered);
        (exited, closed)
    });
    let spans = exporter.get_finished_spans().unwrap();
    let took: Vec<Duration> = spans.iter().map(|span| span.end_time.duration_since(span.start_time).unwrap()).collect();
    println!("{}: exited after {exited:?}, closed after {closed:?}, exported as {:?}", spans[0].name, took[0]);
    println!("{}: closed after 60 ms or more, exported as {:?}", spans[1].name, took[1]);
    let value = |name: &str| {
        let found = spans[0].attributes.iter().find(|field| field.key.as_str() == name);
        found.map(|field| field.value.clone()).unwrap()
    };
    println!("signed field: {:?}, unsigned field: {:?}", value("signed"), value("unsigned"));
    let fits = took[0] >= Duration::from_millis(20)
        && took[0] <= exited
        && took[1] >= Duration::from_millis(60)
        && value("signed") == Value::I64(120)
        && value("unsigned") == Value::String("120".into());
    std::process::exit(i32::from(!fits));
}
RUST
CARGO_TARGET_DIR=$work/target cargo run --quiet
