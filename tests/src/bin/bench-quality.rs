//! `make bench-quality`: from a one-line seed prompt to the final one, on eight question families, with the simulated models.

use anyhow::{Context as _, Result};
use sipdo_tests::{
    Cluster, Setup,
    bench::{accuracy, figure, machine, no_data, run, task},
    families::FAMILIES,
    shared_data,
};
use std::collections::BTreeMap;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(data) = shared_data() else {
        no_data("bench-quality");
        return Ok(());
    };
    let options: serde_json::Value = match std::env::var("SIPDO_BENCH_OPTIONS") {
        Ok(text) => serde_json::from_str(&text).context("SIPDO_BENCH_OPTIONS is not a JSON object")?,
        Err(_) => serde_json::json!({}),
    };
    println!(
        "Strategy sipdo with options {options}; seed prompt `Answer the question.`; 30 seed examples, 150 held out;"
    );
    println!(
        "BIG-Bench Hard files; simulated models at their default settings, seed 7; {}.",
        machine()
    );
    println!("These are scores of a simulated model: they say that the loop works, and nothing of any real model.\n");
    println!(
        "{:<26} {:>7} {:>7} {:>7} {:>8} {:>7}  calls and tokens by role",
        "family", "seed", "cot", "final", "prompts", "calls"
    );
    let cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let mut figures = Vec::new();
    for family in &FAMILIES {
        let task = task(family, &data, cluster.folder.path(), 7)?;
        let run = run(&client, task, "sipdo", &options).await?;
        let summary = run.summary.clone().unwrap_or_default();
        let spent = summary.spent.unwrap_or_default();
        let percent = |arm: &str| accuracy(&run, arm).unwrap_or(f64::NAN);
        let roles: BTreeMap<&str, String> = summary
            .spent_by_role
            .iter()
            .map(|(role, amount)| (role.as_str(), format!("{role} {}/{}", amount.calls, amount.tokens)))
            .collect();
        println!(
            "{:<26} {:>6.1}% {:>6.1}% {:>6.1}% {:>8} {:>7}  {}",
            family.name,
            percent("seed"),
            percent("zero-shot-cot"),
            percent("final"),
            run.prompts.len(),
            spent.calls,
            roles.into_values().collect::<Vec<_>>().join(", ")
        );
        for warning in run
            .warnings
            .iter()
            .filter(|warning| warning.contains("answered wrongly"))
        {
            println!("{:<26} {warning}", "");
        }
        figures.push((
            format!("quality.{}.seed", family.name),
            format!("{:.1}", percent("seed")),
            "percent",
        ));
        figures.push((
            format!("quality.{}.final", family.name),
            format!("{:.1}", percent("final")),
            "percent",
        ));
        figures.push((
            format!("quality.{}.calls", family.name),
            spent.calls.to_string(),
            "calls",
        ));
        figures.push((
            format!("quality.{}.tokens", family.name),
            spent.tokens.to_string(),
            "tokens",
        ));
    }
    println!();
    for (name, value, unit) in figures {
        figure(&name, value, unit);
    }
    Ok(())
}
