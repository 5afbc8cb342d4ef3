//! The example tasks in the folder `examples/`, written by our own generators: nothing in them is copied from a published data set.

use std::collections::HashSet;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use serde_json::json;

use crate::draw::Rng;
use crate::families::{self, Known, Level, Shape};

/// The seed from which all examples are drawn.
const SEED: u64 = 7;
/// How many levels the questions are spread over.
const LEVELS: u32 = 10;

/// One example task.
struct Example {
    folder: &'static str,
    family: &'static str,
    description: &'static str,
    answer_format: &'static str,
    labels: &'static [&'static str],
    metric: &'static str,
    train: usize,
    test: usize,
    /// A question whose number of options the family imitates.
    like: &'static str,
    /// More lines of the table of strategy options.
    options: &'static str,
    /// The prompt as messages with the columns `subject` and `body`; empty where it is one text over the column `input`.
    messages: &'static str,
}

/// For the demo: the paper's loop, in which every repair comes from a question that the run wrote itself.
const PAPERS_LOOP: &str = "\
# Learn from the questions that the run writes itself, as in the paper. Without this line the failed seed examples are repaired first.
repair_seed_errors = false
";

/// A prompt as it is in production: instructions that are optimized but for one sentence, and a user message that stays.
const TICKET_MESSAGES: &str = r#"[[prompt.messages]]
role = "system"
optimize = true
text = """
You route support tickets.
<keep>The queues are account, billing, returns, sales, shipping and technical.</keep>
"""

[[prompt.messages]]
role = "user"
text = """
Subject: {{subject}}

{{body}}
"""

"#;

const EXAMPLES: &[Example] = &[
    Example {
        folder: "object-counting",
        family: "object_counting",
        description: "Count how many things of one category are in the list.",
        answer_format: "a whole number in digits",
        labels: &[],
        metric: "numeric",
        train: 30,
        test: 120,
        like: "",
        options: PAPERS_LOOP,
        messages: "",
    },
    Example {
        folder: "boolean-expressions",
        family: "boolean_expressions",
        description: "Find the value of a Boolean expression.",
        answer_format: "True or False",
        labels: &["True", "False"],
        metric: "normalized",
        train: 30,
        test: 120,
        like: "",
        options: "",
        messages: "",
    },
    Example {
        folder: "navigate",
        family: "navigate",
        description: "Say whether a walk ends where it began.",
        answer_format: "Yes or No",
        labels: &["Yes", "No"],
        metric: "normalized",
        train: 30,
        test: 120,
        like: "",
        options: "",
        messages: "",
    },
    Example {
        folder: "logical-deduction",
        family: "logical_deduction",
        description: "Choose the option that follows from the statements about an order of five objects.",
        answer_format: "the letter of the right option in brackets, such as (B)",
        labels: &["(A)", "(B)", "(C)", "(D)", "(E)"],
        metric: "choice",
        train: 30,
        test: 120,
        like: "\nOptions:\n(A) a\n(B) b\n(C) c\n(D) d\n(E) e",
        options: "",
        messages: "",
    },
    Example {
        folder: "term-explanation",
        family: "term_explanation",
        description: "Explain a term to somebody who does not know it.",
        answer_format: "one to three sentences",
        labels: &[],
        metric: "judge",
        train: 12,
        test: 20,
        like: "",
        options: "",
        messages: "",
    },
    Example {
        folder: "support-tickets",
        family: "ticket_routing",
        description: "Say which queue a support ticket belongs to.",
        answer_format: "the name of one queue",
        labels: &["account", "billing", "returns", "sales", "shipping", "technical"],
        metric: "choice",
        train: 36,
        test: 120,
        like: "",
        options: "",
        messages: TICKET_MESSAGES,
    },
];

/// All files of the folder `examples/`, as (path, content).
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for example in EXAMPLES {
        let Some(known) = families::family(example.family) else {
            continue;
        };
        files.push((format!("{}/task.toml", example.folder), task_file(example)));
        files.push((format!("{}/data.jsonl", example.folder), data(example, known)));
    }
    files
}

fn task_file(example: &Example) -> String {
    let labels: Vec<String> = example.labels.iter().map(|label| format!("{label:?}")).collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("labels = [{}]\n", labels.join(", "))
    };
    let (prompt, columns) = match example.messages {
        "" => (
            "prompt = \"Answer the question.\"\n",
            "input = \"{{ input }}\"\ntarget = \"{{ target }}\"\n",
        ),
        _ => ("", "target = \"queue\"\n"),
    };
    format!(
        r#"[task]
name = "{}"
description = "{}"
{prompt}answer_format = "{}"
{labels}
{}[data]
file = "data.jsonl"
{columns}train = {}
test = {}

[metric]
kind = "{}"

[budget]
calls = 5000

[strategy]
name = "sipdo"
levels = {LEVELS}
seed = {SEED}
{}"#,
        example.folder,
        example.description,
        example.answer_format,
        example.messages,
        example.train,
        example.test,
        example.metric,
        example.options
    )
}

/// A question as a row of data.
fn row(example: &Example, question: &str, answer: &str) -> String {
    let columns = question.split_once("\n\n").filter(|_| !example.messages.is_empty());
    let row = match columns {
        Some((subject, body)) => json!({"subject": subject, "body": body, "queue": answer}),
        None => json!({"input": question, "target": answer}),
    };
    row.to_string()
}

/// Distinct questions of all levels, shuffled, each with its answer.
fn data(example: &Example, known: &Known) -> String {
    let mut rng = Rng::seed_from_u64(SEED);
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    let wanted = example.train + example.test;
    for round in 0u32.. {
        let level = Level::new(1 + round % LEVELS, LEVELS);
        let question = known.generate(&mut rng, level, example.like);
        // Explanations differ in their term alone: one question for each term.
        let key = if known.shape() == Shape::Text {
            question.split('"').nth(1).unwrap_or_default().to_owned()
        } else {
            question.clone()
        };
        let Some(answer) = known.solve(&question).filter(|_| seen.insert(key)) else {
            continue;
        };
        rows.push(row(example, &question, &answer));
        if rows.len() == wanted {
            break;
        }
    }
    rows.shuffle(&mut rng);
    rows.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_holds_what_the_program_writes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        for (path, content) in files() {
            let kept = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
            assert!(
                kept == content,
                "examples/{path} is not what `make-examples` writes: run it again"
            );
        }
    }

    #[test]
    fn labels_are_spread_and_questions_differ() {
        for example in EXAMPLES {
            let data = data(example, families::family(example.family).unwrap());
            let rows: Vec<serde_json::Value> = data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let (question, target) = match example.messages {
                "" => ("input", "target"),
                _ => ("body", "queue"),
            };
            let distinct: HashSet<&str> = rows.iter().map(|row| row[question].as_str().unwrap()).collect();
            assert_eq!(
                (rows.len(), distinct.len()),
                (example.train + example.test, example.train + example.test)
            );
            for label in example.labels {
                let share = rows.iter().filter(|row| row[target] == *label).count() as f64 / rows.len() as f64;
                let even = 1.0 / example.labels.len() as f64;
                assert!(
                    (0.5 * even..1.6 * even).contains(&share),
                    "{}: {label} has {share}",
                    example.folder
                );
            }
        }
    }
}
