//! Prompts of several messages with columns, and answers by a schema, through the command with the real programs.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sipdo_tests::User;
use std::path::Path;

/// A user with the example task of support tickets.
fn user() -> Result<User> {
    let user = User::new()?;
    for file in ["task.toml", "data.jsonl"] {
        user.write(file, example(file)?)?;
    }
    Ok(user)
}

fn example(file: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/support-tickets");
    Ok(std::fs::read_to_string(folder.join(file))?)
}

fn arm<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let arms = report["arms"].as_array().context("arms")?;
    arms.iter().find(|arm| arm["name"] == name).context("no such arm")
}

const KEPT: &str = "The queues are account, billing, returns, sales, shipping and technical.";

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_messages_is_improved_and_its_examples_keep_their_columns() -> Result<()> {
    let user = user()?;
    let done = user.sipdo("optimize task.toml --simulated --set strategy.levels=4 --json --out out")?;
    anyhow::ensure!(done.code == Some(0), "{done}");
    let report = done.json_lines()?.pop().context("no line")?["report"].take();
    let right = |name| arm(&report, name)?["right"].as_u64().context("right");
    assert!(right("final")? > right("seed")?, "{}", report["arms"]);

    let prompt = user.read("out/prompt.txt")?;
    assert!(prompt.contains(KEPT), "protected text is lost: {prompt}");
    assert!(!prompt.contains("keep>") && !prompt.contains("[[message"), "{prompt}");
    assert!(!user.read("out/report.json")?.contains("<keep>"));

    let mut accepted = 0;
    for line in user.read("out/synthetic.jsonl")?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let [subject, body] = ["subject", "body"].map(|column| row[column].as_str().unwrap_or_default());
        assert!(!subject.is_empty() && !body.is_empty(), "a column is missing: {row}");
        if row["decision"] == "accepted" {
            let ticket = format!("{subject}\n\n{body}");
            let queue = sipdo_simulator::families::exact_answer(&ticket).context("no ticket")?;
            assert_eq!(row["target"], queue, "{row}");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "no synthetic example came about");

    // What the run wrote is data of the same form, and its prompt is one for `eval`.
    let task = example("task.toml")?.replace("target = \"queue\"", "target = \"target\"");
    user.write("again.toml", task.replace("data.jsonl", "again.jsonl"))?;
    user.write("again.jsonl", example("data.jsonl")?.replace("\"queue\"", "\"target\""))?;
    let eval = "eval again.toml --data out/synthetic.jsonl --prompt out/prompt.txt --against-seed --simulated --json";
    let report = user.well(eval)?.json_lines()?.pop().context("no line")?["report"].take();
    assert_eq!(arm(&report, "prompt")?["not_measured"], 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_does_not_fit_the_messages_is_refused_before_anything_is_bought() -> Result<()> {
    let user = user()?;
    user.write("bad.txt", "Route {{body}}.")?;
    let done = user.sipdo("eval task.toml --prompt bad.txt --simulated")?;
    assert_eq!(done.code, Some(2), "{done}");
    assert!(
        done.err.contains("message 1 (system) has a placeholder {{body}}"),
        "{done}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_by_a_schema_are_credited_field_by_field() -> Result<()> {
    let user = user()?;
    let rows: Vec<Value> = example("data.jsonl")?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let rows = rows.into_iter().enumerate().map(|(at, mut row)| {
        let answer = json!({"queue": row["queue"].take(), "urgent": at % 2 == 0});
        row["queue"] = Value::String(answer.to_string());
        format!("{row}\n")
    });
    user.write("data.jsonl", rows.collect::<String>())?;
    let labels = ["account", "billing", "returns", "sales", "shipping", "technical"];
    let schema = json!({
        "type": "object",
        "properties": {"queue": {"type": "string", "enum": labels}, "urgent": {"type": "boolean"}},
        "required": ["queue", "urgent"],
        "additionalProperties": false,
    });
    user.write("answer.schema.json", schema.to_string())?;
    let task: Vec<String> = example("task.toml")?
        .lines()
        .filter(|line| !line.starts_with("labels"))
        .map(String::from)
        .collect();
    let task = task.join("\n").replace(
        "kind = \"choice\"",
        "kind = \"json\"\npartial = true\n\n[learner]\nschema = \"answer.schema.json\"",
    );
    user.write("task.toml", task)?;
    let done = user.well("eval task.toml --simulated --json")?;
    let report = done.json_lines()?.pop().context("no line")?["report"].take();
    let arm = arm(&report, "seed")?;
    let (accuracy, credit) = (arm["accuracy"].as_f64(), arm["credit"].as_f64());
    let (accuracy, credit) = (accuracy.context("accuracy")?, credit.context("credit")?);
    // The simulated learner knows no urgent ticket: half of the answers are half right at best.
    assert!(accuracy > 0.0 && credit > accuracy + 0.1 && credit < 1.0, "{arm}");
    assert_eq!(arm["not_measured"], 0, "{arm}");

    user.write("answer.schema.json", "{\"type\": \"strnig\"}")?;
    let refused = user.sipdo("eval task.toml --simulated")?;
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.err.contains("is no JSON Schema"), "{refused}");
    Ok(())
}
