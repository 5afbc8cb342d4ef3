//! `make bench-answers`: the share of answers that are read rightly, form by form, and how long it takes to read one of 1 kB. No model.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sipdo_domain::{Comparison, Example, Mark, Metric};
use sipdo_tests::bench::{figure, machine, median};
use std::{collections::BTreeMap, hint::black_box, time::Instant};

/// Answers with their right reading, one JSON object a line.
const CASES: &str = include_str!("../../../crates/domain/tests/answers/cases.jsonl");
/// Length of an answer whose reading is timed, in bytes.
const LONG: usize = 1024;
/// Times that each answer is read.
const TIMES: usize = 20;

/// One answer.
#[derive(Deserialize)]
struct Case {
    form: String,
    metric: String,
    #[serde(default)]
    input: String,
    target: String,
    answer: String,
    right: bool,
}

/// A case, ready to be marked.
struct Ready {
    metric: Metric,
    example: Example,
}

fn main() -> Result<()> {
    println!(
        "Answers in the forms that models write, each with its right reading; {}.",
        machine()
    );
    let cases: Vec<Case> = CASES
        .lines()
        .map(|line| serde_json::from_str(line).context("a case"))
        .collect::<Result<_>>()?;
    let (mut forms, mut micros) = (BTreeMap::<&str, (u32, u32)>::new(), Vec::new());
    for case in &cases {
        let ready = ready(case)?;
        let read = (ready.metric.mark(&case.answer, &ready.example) == Mark::Right) == case.right;
        let (good, all) = forms.entry(&case.form).or_default();
        (*good, *all) = (*good + u32::from(read), *all + 1);
        micros.push(reading_micros(&ready, &case.answer));
    }
    for (form, (good, all)) in forms {
        let percent = 100.0 * f64::from(good) / f64::from(all);
        figure(&format!("answers.{form}"), format!("{percent:.1}"), "percent");
    }
    let worst = micros.iter().copied().fold(0.0, f64::max);
    figure("reading.median_us", format!("{:.1}", median(micros)), "us");
    figure("reading.worst_us", format!("{worst:.1}"), "us");
    Ok(())
}

fn ready(case: &Case) -> Result<Ready> {
    let comparison: Comparison = serde_json::from_value(serde_json::json!({"kind": case.metric}))?;
    let example = Example {
        id: "test-1".into(),
        input: case.input.clone(),
        target: case.target.clone(),
        aliases: Vec::new(),
    };
    Ok(Ready {
        metric: comparison.into(),
        example,
    })
}

/// The usual time to mark an answer of 1 kB, in microseconds: the case's answer behind a text that says nothing.
fn reading_micros(ready: &Ready, answer: &str) -> f64 {
    let filler = "We look at the question first, step by step, and weigh what it says.\n";
    let mut text = filler.repeat(LONG.saturating_sub(answer.len()) / filler.len());
    text.push_str(answer);
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let start = Instant::now();
        black_box(ready.metric.mark(black_box(&text), &ready.example));
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    median(times)
}
