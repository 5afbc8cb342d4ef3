//! The teaching roles over real HTTP: each reply by its contract, the error rates, and the whole chain of repairs.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod support;

use rand::SeedableRng as _;
use serde_json::{Value, json};
use sipdo_simulator::draw::Rng;
use sipdo_simulator::families::{ALL, Known, Level, Shape, exact_answer};
use sipdo_simulator::{Rates, Settings, answers};
use support::{Server, fenced, structured};

const SEED_PROMPT: &str = "Answer the question. Give only the answer, nothing else.";

impl Server {
    /// A structured reply.
    async fn structured(&self, name: &str, properties: &[&str], sections: &[(&str, &str)], seed: u64) -> Value {
        serde_json::from_str(&self.content(&structured(name, properties, sections, seed)).await).unwrap()
    }
}

/// JSON lines of examples.
fn examples(pairs: &[(String, String)]) -> String {
    let lines: Vec<String> = pairs
        .iter()
        .map(|(input, target)| json!({"input": input, "target": target}).to_string())
        .collect();
    lines.join("\n")
}

/// JSON lines of failures.
fn failures(failed: &[(String, String, String)]) -> String {
    let lines: Vec<String> = failed
        .iter()
        .map(|(question, said, right)| {
            json!({"question": question, "model_answer": said, "correct_answer": right}).to_string()
        })
        .collect();
    lines.join("\n")
}

fn calm() -> Settings {
    Settings {
        rates: Rates {
            vague_advice: 0.0,
            harmful_advice: 0.0,
            ..Rates::default()
        },
        ..Settings::default()
    }
}

/// Questions of a family with their answers, as a user would bring them.
fn questions(known: &Known, seed: u64, count: usize) -> Vec<(String, String)> {
    let mut rng = Rng::seed_from_u64(seed);
    let like = "?\nOptions:\n(A) x\n(B) x\n(C) x";
    let mut all = Vec::new();
    while all.len() < count {
        let question = known.generate(&mut rng, Level::new(5, 10), like);
        let answer = known.solve(&question).unwrap();
        all.push((question, answer));
    }
    all
}

async fn example(server: &Server, sections: &[(&str, &str)], seed: u64) -> (String, String) {
    let reply = server
        .structured("synthetic_example", &["input", "target", "rationale"], sections, seed)
        .await;
    let text = |key: &str| reply[key].as_str().unwrap().to_owned();
    assert!(!text("rationale").is_empty());
    (text("input"), text("target"))
}

#[tokio::test]
async fn the_generator_writes_new_right_questions_of_the_same_family() {
    let server = Server::start(calm()).await;
    for known in ALL.iter() {
        let shown = examples(&questions(known, 1, 2));
        let mut seen = Vec::new();
        for seed in 0..6 {
            let difficulty = format!("level {} of 10", seed + 1);
            let past = examples(&seen);
            let sections = [
                ("Examples", shown.as_str()),
                ("Past synthetic examples", &past),
                ("Difficulty", &difficulty),
                ("Current prompt", SEED_PROMPT),
            ];
            let (input, target) = example(&server, &sections, seed).await;
            assert_eq!(exact_answer(&input).as_ref(), Some(&target), "{input}");
            assert!(
                !seen.iter().any(|(old, _)| *old == input),
                "{}: repeated {input}",
                known.name()
            );
            assert_eq!(
                example(&server, &sections, seed).await,
                (input.clone(), target.clone()),
                "the same ask"
            );
            seen.push((input, target));
        }
        let sections = [
            ("Examples", shown.as_str()),
            ("Difficulty", "level 3 of 10"),
            ("Current prompt", ""),
        ];
        let drawn: std::collections::HashSet<_> = [
            example(&server, &sections, 1).await,
            example(&server, &sections, 2).await,
        ]
        .into();
        assert_eq!(drawn.len(), 2, "{}: another seed, the same question", known.name());
    }
}

#[tokio::test]
async fn the_generator_keeps_to_the_target_and_aims_at_weaknesses() {
    let server = Server::start(calm()).await;
    for (name, labels) in [
        ("navigate", &["Yes", "No"][..]),
        ("boolean_expressions", &["True", "False"]),
        ("logical_deduction", &["(A)", "(C)"]),
    ] {
        let known = sipdo_simulator::families::family(name).unwrap();
        let shown = examples(&questions(known, 1, 2));
        for (seed, label) in labels.iter().cycle().take(8).enumerate() {
            let sections = [
                ("Examples", shown.as_str()),
                ("Difficulty", "level 8 of 10"),
                ("Target answer", label),
            ];
            let (_, target) = example(&server, &sections, seed as u64).await;
            assert_eq!(target, *label, "{name}");
        }
    }
    let known = sipdo_simulator::families::family("object_counting").unwrap();
    let shown = examples(&questions(known, 1, 2));
    let taught = known
        .skills()
        .iter()
        .filter(|skill| skill.name != "categories")
        .map(|skill| skill.rules[0]);
    let prompt = taught.collect::<Vec<_>>().join("\n");
    let mut missed = 0;
    for seed in 0..20 {
        let sections = [
            ("Examples", shown.as_str()),
            ("Difficulty", "extreme"),
            ("Current prompt", prompt.as_str()),
        ];
        let (input, target) = example(&server, &sections, seed).await;
        missed += usize::from(known.weak_solve(&input, known.taught(&prompt)).unwrap() != target);
    }
    assert_eq!(
        missed, 20,
        "the hardest questions show the one skill that is not taught"
    );
}

#[tokio::test]
async fn error_rates_are_errors() {
    let rates = Rates {
        label_error: 1.0,
        checker_error: 1.0,
        verifier_error: 1.0,
        judge_error: 1.0,
        learner_noise: 1.0,
        ..Rates::default()
    };
    let server = Server::start(Settings {
        rates,
        ..Settings::default()
    })
    .await;
    for known in ALL.iter() {
        let all = questions(known, 3, 3);
        let (question, right) = &all[0];
        let (input, target) = example(
            &server,
            &[("Examples", &examples(&all)), ("Difficulty", "level 5 of 10")],
            1,
        )
        .await;
        assert_ne!(exact_answer(&input), Some(target), "{input}");
        let solved = server
            .structured("solution", &["working", "answer"], &[("Question", question)], 1)
            .await;
        assert_ne!(solved["answer"], json!(right), "{question}");
        let case = [("Question", question.as_str()), ("Claimed answer", right.as_str())];
        let verdict = server
            .structured("verdict", &["verdict", "answer", "reasons"], &case, 1)
            .await;
        assert_eq!(verdict["verdict"], "wrong_label");
        assert_ne!(verdict["answer"], json!(right));
        let rules: Vec<&str> = known.skills().iter().map(|skill| skill.rules[0]).collect();
        let prompt = format!("Only the answer, nothing else.\n{}", rules.join("\n"));
        assert_ne!(server.answer(&prompt, question).await, *right, "{question}");
    }
    let grade = server
        .structured(
            "grade",
            &["correct", "reason"],
            &[("Reference answer", "5"), ("Answer", "5")],
            1,
        )
        .await;
    assert_eq!(grade["correct"], false);
}

#[tokio::test]
async fn checker_verifier_and_judge_are_right_by_default() {
    let server = Server::start(Settings::default()).await;
    for known in ALL.iter() {
        for (question, right) in questions(known, 4, 4) {
            let solved = server
                .structured("solution", &["working", "answer"], &[("Question", &question)], 1)
                .await;
            assert_eq!(solved["answer"], json!(right));
            let ask = async |claim: &str| {
                let case = [
                    ("Question", question.as_str()),
                    ("Claimed answer", claim),
                    ("Checker's answer", right.as_str()),
                ];
                server
                    .structured("verdict", &["verdict", "answer", "reasons"], &case, 1)
                    .await
            };
            assert_eq!(ask(&right).await["verdict"], "valid");
            let wrong = ask("something else").await;
            assert_eq!(
                (&wrong["verdict"], &wrong["answer"]),
                (&json!("wrong_label"), &json!(right))
            );
        }
    }
    let broken = "Question: Vina tells the truth. Helene says Nobody lies. Does Helene tell the truth?";
    let verdict = server
        .structured(
            "verdict",
            &["verdict", "answer", "reasons"],
            &[("Question", broken), ("Claimed answer", "Yes")],
            1,
        )
        .await;
    assert_eq!(verdict["verdict"], "unsolvable");
    let whole = exact_answer("Explain the term \"cache\".").unwrap();
    for (said, right) in [(whole.as_str(), true), ("A cache is a small fast store.", false)] {
        let case = [
            ("Question", "Explain the term \"cache\"."),
            ("Reference answer", whole.as_str()),
            ("Answer", said),
        ];
        assert_eq!(
            server.structured("grade", &["correct", "reason"], &case, 1).await["correct"],
            right
        );
    }
}

/// One repair of a prompt by the three steps.
async fn repair(server: &Server, prompt: &str, failed: &str, seed: u64) -> String {
    let step = async |name: &str, field: &str, more: &[(&str, &str)]| {
        let sections = [&[("Current prompt", prompt), ("Failed examples", failed)][..], more].concat();
        server.structured(name, &[field], &sections, seed).await[field]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let analysis = step("error_analysis", "analysis", &[]).await;
    let recommendation = step("recommendation", "recommendation", &[("Error analysis", &analysis)]).await;
    step("refinement", "prompt", &[("Recommendation", &recommendation)]).await
}

async fn try_again(server: &Server, prompt: &str, failed: &str, seed: u64) -> String {
    let words = "The prompt leads to wrong answers. Try again: write a better prompt.";
    let sections = [
        ("Current prompt", prompt),
        ("Failed examples", failed),
        ("Recommendation", words),
    ];
    server.structured("refinement", &["prompt"], &sections, seed).await["prompt"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Share of questions answered rightly, and up to four failures.
async fn examine(
    server: &Server,
    known: &Known,
    prompt: &str,
    all: &[(String, String)],
) -> (f64, Vec<(String, String, String)>) {
    let mut failed = Vec::new();
    for (question, right) in all {
        let said = server.answer(prompt, question).await;
        let agrees = if known.shape() == Shape::Text {
            answers::agree(&said, right)
        } else {
            said == *right
        };
        if !agrees {
            failed.push((question.clone(), said, right.clone()));
        }
    }
    (
        1.0 - failed.len() as f64 / all.len() as f64,
        failed.into_iter().take(4).collect(),
    )
}

#[tokio::test]
async fn repairs_lead_to_a_prompt_that_teaches_everything_and_trying_again_does_not() {
    let server = Server::start(Settings::default()).await;
    let mut blind_total = 0.0;
    for known in ALL.iter() {
        let all = questions(known, 9, 60);
        let (seed_score, _) = examine(&server, known, SEED_PROMPT, &all).await;
        let (mut prompt, mut blind) = (SEED_PROMPT.to_owned(), SEED_PROMPT.to_owned());
        for round in 0..8 {
            let (score, failed) = examine(&server, known, &prompt, &all).await;
            if score < 1.0 {
                prompt = repair(&server, &prompt, &failures(&failed), round).await;
            }
            let (score, failed) = examine(&server, known, &blind, &all).await;
            if score < 1.0 {
                blind = try_again(&server, &blind, &failures(&failed), round).await;
            }
        }
        let (score, _) = examine(&server, known, &prompt, &all).await;
        let (blind_score, _) = examine(&server, known, &blind, &all).await;
        println!(
            "{:28} seed {seed_score:.2}, repaired {score:.2}, trying again {blind_score:.2}",
            known.name()
        );
        assert!(score >= 0.95, "{}: {score} with\n{prompt}", known.name());
        assert!(seed_score < 0.8, "{}: the seed prompt has {seed_score}", known.name());
        assert!(
            prompt.contains("Answer the question.") && prompt.contains("## Output format"),
            "{prompt}"
        );
        blind_total += blind_score / ALL.len() as f64;
    }
    assert!(blind_total < 0.8, "trying again comes to {blind_total} on average");
}

#[tokio::test]
async fn harmful_advice_loses_a_rule_and_vague_advice_says_nothing() {
    let known = sipdo_simulator::families::family("object_counting").unwrap();
    let failed = failures(&[(
        "I have two plums, and a lamp. How many fruits do I have?".into(),
        "2".into(),
        "2".into(),
    )]);
    let rules: Vec<String> = known
        .skills()
        .iter()
        .map(|skill| format!("- {}", skill.rules[0]))
        .collect();
    let headings = ["Problem rule application", "Result verification", "Output format"]
        .map(|h| format!("## {h}\nSo."))
        .join("\n");
    let prompt = format!(
        "## Task requirements\nCount.\n## Problem rule explanation\n{}\n{headings}",
        rules.join("\n")
    );
    let refine = async |rates: Rates| {
        let server = Server::start(Settings {
            rates,
            ..Settings::default()
        })
        .await;
        let advice = "Keep a written tally: add the quantities.";
        let sections = [
            ("Current prompt", prompt.as_str()),
            ("Failed examples", failed.as_str()),
            ("Recommendation", advice),
        ];
        let reply = server.structured("refinement", &["prompt"], &sections, 1).await;
        known.taught(reply["prompt"].as_str().unwrap()).len()
    };
    assert_eq!(
        refine(Rates {
            harmful_advice: 0.0,
            ..Rates::default()
        })
        .await,
        4
    );
    assert_eq!(
        refine(Rates {
            harmful_advice: 1.0,
            ..Rates::default()
        })
        .await,
        3
    );
    let server = Server::start(Settings {
        rates: Rates {
            vague_advice: 1.0,
            ..Rates::default()
        },
        ..Settings::default()
    })
    .await;
    let sections = [("Current prompt", "Count."), ("Failed examples", failed.as_str())];
    let said = server.structured("error_analysis", &["analysis"], &sections, 1).await;
    assert!(known.mentioned(said["analysis"].as_str().unwrap()).is_empty());
}

#[tokio::test]
async fn a_placeholder_survives_and_a_paraphrase_keeps_the_rules() {
    let server = Server::start(calm()).await;
    let known = sipdo_simulator::families::family("multistep_arithmetic_two").unwrap();
    let all = questions(known, 5, 30);
    let mut prompt = "Work it out. Give only the answer, nothing else.\nTask: {input}\nResult:".to_owned();
    for round in 0..6 {
        let filled: Vec<_> = all
            .iter()
            .filter(|(q, a)| known.weak_solve(q, known.taught(&prompt)).as_ref() != Some(a))
            .collect();
        let failed: Vec<_> = filled
            .iter()
            .take(3)
            .map(|(q, a)| (q.clone(), "0".to_owned(), a.clone()))
            .collect();
        if failed.is_empty() {
            break;
        }
        prompt = repair(&server, &prompt, &failures(&failed), round).await;
        assert_eq!(prompt.matches("{input}").count(), 1, "{prompt}");
        assert!(prompt.ends_with("Task: {input}\nResult:"), "{prompt}");
    }
    let taught = known.taught(&prompt);
    assert!(taught.len() >= 3, "{prompt}");
    let reply = server
        .structured("paraphrase", &["prompt"], &[("Current prompt", &prompt)], 1)
        .await;
    let other = reply["prompt"].as_str().unwrap();
    assert_ne!(other, prompt);
    assert_eq!(known.taught(other), taught, "{other}");
}

#[tokio::test]
async fn json_asked_for_in_words_is_given() {
    let server = Server::start(Settings::default()).await;
    let mut fences = 0;
    for seed in 0..12 {
        let body = json!({"model": "sim-teacher", "seed": seed, "messages": [
            {"role": "system", "content": "You are the checker. Reply with one JSON object: {\"working\": text, \"answer\": text}."},
            {"role": "user", "content": fenced(&[("Question", "((1 + 2 * 3) - (4 - -5)) =")])}]});
        let content = server.content(&body).await;
        fences += usize::from(content.starts_with("```json"));
        let inner = content.trim_start_matches("```json").trim_end_matches("```");
        assert_eq!(serde_json::from_str::<Value>(inner).unwrap()["answer"], "-2");
    }
    assert!((1..12).contains(&fences), "{fences} of 12 in a code fence");
}

#[tokio::test]
async fn unknown_tasks_and_schemas_run_through() {
    let server = Server::start(Settings::default()).await;
    let shown = examples(&[
        ("The food was great and the staff friendly.".into(), "positive".into()),
        ("Cold soup, rude waiter.".into(), "negative".into()),
    ]);
    for (seed, label) in ["positive", "negative", "positive", "negative"].into_iter().enumerate() {
        let common = [
            ("Answer format", "the label\nOne of: positive, negative"),
            ("Labels", "positive\nnegative"),
        ];
        let sections = [
            &common[..],
            &[
                ("Examples", shown.as_str()),
                ("Difficulty", "level 2 of 5"),
                ("Target answer", label),
            ],
        ]
        .concat();
        let (input, target) = example(&server, &sections, seed as u64).await;
        assert_eq!(target, label);
        let solved = server
            .structured(
                "solution",
                &["working", "answer"],
                &[&common[..1], &[("Question", &input)]].concat(),
                1,
            )
            .await;
        assert_eq!(solved["answer"], label, "the checker agrees on {input}");
        let case = [&common[..1], &[("Question", input.as_str()), ("Claimed answer", label)]].concat();
        assert_eq!(
            server
                .structured("verdict", &["verdict", "answer", "reasons"], &case, 1)
                .await["verdict"],
            "valid"
        );
        let failed = failures(&[
            (input.clone(), "maybe".into(), "positive".into()),
            ("x".into(), "maybe".into(), "negative".into()),
        ]);
        let refined = repair(&server, "Judge the review.", &failed, 1).await;
        assert_eq!(server.answer(&refined, &input).await, label, "{refined}");
    }
    let schema = json!({"type": "object", "required": ["n", "list", "kind", "deep", "text", "flag"], "properties": {
        "n": {"type": "integer", "minimum": 1}, "list": {"type": "array", "items": {"type": "string"}}, "kind": {"enum": ["x", "y"]},
        "deep": {"type": "object", "properties": {"a": {"type": "number"}}}, "text": {"type": "string"}, "flag": {"type": "boolean"}}});
    let mut body = structured("whatever", &[], &[("Current prompt", "Do it.")], 1);
    body["response_format"]["json_schema"]["schema"] = schema;
    let reply: Value = serde_json::from_str(&server.content(&body).await).unwrap();
    assert_eq!(
        (&reply["n"], &reply["kind"], &reply["flag"]),
        (&json!(1), &json!("x"), &json!(false))
    );
    assert!(reply["list"][0].is_string() && reply["deep"]["a"].is_number() && reply["text"].is_string());
    for name in [
        "synthetic_example",
        "solution",
        "verdict",
        "grade",
        "error_analysis",
        "recommendation",
        "refinement",
        "paraphrase",
    ] {
        let properties = [
            "input",
            "target",
            "rationale",
            "working",
            "answer",
            "verdict",
            "reasons",
            "reason",
            "analysis",
            "prompt",
        ];
        let reply = server.structured(name, &properties, &[], 1).await;
        assert!(
            properties.iter().all(|property| reply[property].is_string()),
            "{name} without sections: {reply}"
        );
    }
}
