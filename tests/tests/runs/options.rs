//! Every switch of the method, tried once through the command: an option that changes nothing would be a lie.

use anyhow::{Context as _, Result};
use serde_json::Value;
use sipdo_tests::{User, command::questions};
use std::path::Path;

/// What a run with options left behind.
struct Ran {
    report: Value,
    synthetic: Vec<Value>,
    corrections: Vec<Value>,
    prompts: Vec<Value>,
}

impl Ran {
    fn levels(&self) -> Vec<u64> {
        let mut levels: Vec<u64> = self.synthetic.iter().filter_map(|one| one["level"].as_u64()).collect();
        levels.dedup();
        levels
    }

    fn calls(&self, role: &str) -> u64 {
        self.report["spent_by_role"][role]["calls"].as_u64().unwrap_or(0)
    }

    fn rejected_by(&self, by: &str) -> u64 {
        self.report["synthetic"]["rejected_by"][by].as_u64().unwrap_or(0)
    }

    fn votes(&self) -> Vec<Vec<&str>> {
        self.synthetic.iter().map(voters).collect()
    }
}

fn voters(example: &Value) -> Vec<&str> {
    let votes = example["votes"].as_array().map(Vec::as_slice).unwrap_or_default();
    votes.iter().filter_map(|vote| vote["voter"].as_str()).collect()
}

fn user() -> Result<User> {
    let user = User::new()?;
    user.write("things.csv", questions(24))?;
    user.write(
        "task.toml",
        "[task]\ndescription = \"Count things.\"\nprompt = \"Answer the question.\"\n\n[data]\nfile = \"things.csv\"\n\
         input = \"question\"\ntarget = \"answer\"\ntrain = 12\ntest = 12\n\n[metric]\nkind = \"numeric\"\n\n\
         [budget]\ncalls = 3000\n\n[strategy]\nlevels = 3\nseed = 7\n",
    )?;
    Ok(user)
}

/// The flags of a simulated run with these options.
fn set(options: &[&str]) -> String {
    let flags: String = options
        .iter()
        .map(|option| format!(" --set strategy.{option}"))
        .collect();
    format!("--simulated{flags}")
}

fn run(user: &User, flags: &str) -> Result<Ran> {
    let done = user.sipdo(&format!("optimize task.toml {flags} --json --out out --force"))?;
    anyhow::ensure!(matches!(done.code, Some(0 | 3)), "{flags}: {done}");
    let report = done.json_lines()?.pop().context("no line")?["report"].take();
    let lines = |file: &str| -> Result<Vec<Value>> {
        user.read(file)?
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    };
    let shown = user.well("runs show latest --json")?.json()?;
    Ok(Ran {
        report,
        synthetic: lines("out/synthetic.jsonl")?,
        corrections: lines("out/corrections.jsonl")?,
        prompts: shown["prompts"].as_array().cloned().unwrap_or_default(),
    })
}

#[test]
fn every_switch_does_what_it_says() -> Result<()> {
    let mut user = user()?;
    user.well("up --simulated")?;
    let with = |options: &[&str]| {
        let flags: String = options
            .iter()
            .map(|option| format!(" --set strategy.{option}"))
            .collect();
        run(&user, &format!("--simulated{flags}"))
    };
    let default = with(&[])?;
    assert_eq!(default.levels(), [1, 2, 3], "the gradient");
    let three = ["generator", "checker", "verifier"];
    assert!(
        default.votes().iter().all(|votes| *votes == three),
        "{:?}",
        default.votes()
    );
    assert!(default.corrections.iter().all(|one| one["analysis"] != ""));

    assert_eq!(with(&["curriculum=constant"])?.levels(), [2]);
    assert_eq!(with(&["curriculum=extremes"])?.levels(), [3]);
    let alone = with(&["voters=false"])?;
    assert_eq!((alone.calls("checker"), alone.calls("verifier")), (0, 0));
    assert!(alone.votes().iter().all(|votes| *votes == ["generator"]));
    let again = with(&["analysis=try-again"])?;
    assert!(
        again.corrections.iter().all(|one| one["analysis"] == ""),
        "nothing is analysed"
    );
    let more = with(&["checkers=2", "rule=majority"])?;
    assert!(
        more.votes()
            .iter()
            .all(|votes| *votes == ["generator", "checker", "checker 2", "verifier"])
    );
    let best_of = with(&["candidates_per_level=3"])?;
    assert!(best_of.rejected_by("selection") > 0, "{}", best_of.report);

    let noise = with(&["label_noise=1.0"])?;
    assert!(
        noise.report["synthetic"]["accepted"] == 0 && noise.rejected_by("votes") > 0,
        "{}",
        noise.report
    );
    let unchecked = with(&["label_noise=1.0", "voters=false"])?;
    let wrong = unchecked.synthetic.iter().filter(|one| {
        let exact = sipdo_simulator::families::exact_answer(one["input"].as_str().unwrap_or_default());
        one["decision"] == "accepted" && exact.as_deref() != one["target"].as_str()
    });
    assert!(wrong.count() > 0, "without voters the noise gets through");

    // Advice that harms: what the confirmations catch.
    user.well("down")?;
    user.set("SIPDO_SIM_HARMFUL_ADVICE_RATE", "0.5");
    user.well("up --simulated")?;
    let stages = |option: &str| -> Result<Vec<String>> {
        let ran = run(&user, &set(&["levels=6", option]))?;
        let rejected = ran
            .prompts
            .iter()
            .filter_map(|prompt| prompt["stage"].as_str())
            .filter(|stage| !stage.is_empty());
        Ok(rejected.map(str::to_owned).collect())
    };
    let both = stages("confirmation=local+global")?;
    assert!(both.iter().any(|stage| stage == "global"), "{both:?}");
    let local = stages("confirmation=local")?;
    assert!(local.iter().all(|stage| stage != "global"), "{local:?}");
    let none = stages("confirmation=none")?;
    assert!(none.iter().all(|stage| stage == "guard"), "{none:?}");
    user.well("down")?;
    user.nothing_runs()
}

#[test]
fn a_program_of_the_operator_has_a_veto() -> Result<()> {
    let user = user()?;
    let simulated = user.well("up --simulated --json")?.json()?;
    let url = simulated["simulator"].as_str().context("the simulator's URL")?;
    user.write(
        "sipdo.toml",
        format!(
            "[endpoints.own]\nprovider = \"openai\"\nbase_url = \"{url}\"\n\n[models.default]\nendpoint = \"own\"\n\
             model = \"sim-teacher\"\n\n[models.learner]\nmodel = \"sim-weak\"\n\n\
             [programs.short]\ncommand = [\"grep\", \"-q\", \"-v\", \"donkey\"]\n"
        ),
    )?;
    let task = user.read("task.toml")?;
    user.write("task.toml", task + "\n[gates]\nprogram = \"short\"\n")?;
    let ran = run(&user, "--set strategy.levels=6 --set strategy.examples_per_level=6")?;
    let mut judged = [0, 0];
    for one in &ran.synthetic {
        let named = one["input"].as_str().unwrap_or_default().contains("donkey");
        if one["decided_by"] == "program" {
            assert!(named, "{one}");
            judged[0] += 1;
        } else if one["decision"] == "accepted" {
            assert!(!named && one["votes"][1]["voter"] == "program", "{one}");
            judged[1] += 1;
        }
    }
    assert!(judged[0] > 0 && judged[1] > 0, "{judged:?}");
    user.well("down")?;
    user.nothing_runs()
}

#[test]
fn passages_of_a_corpus_ground_the_questions() -> Result<()> {
    let user = user()?;
    user.write("corpus.txt", "Pears are fruits.\n\nDrums are instruments.\n")?;
    let task = user.read("task.toml")?;
    user.write("task.toml", task + "\n[corpus]\nfile = \"corpus.txt\"\n")?;
    let ran = run(&user, "--simulated")?;
    assert_eq!(ran.report["state"], "finished");
    assert!(ran.report["synthetic"]["accepted"].as_u64() > Some(0), "{}", ran.report);
    user.nothing_runs()
}

/// The metric `judge`, where a model decides, and multiple choice: the examples that we ship, as they are.
#[test]
fn the_shipped_examples_run_as_they_are() -> Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace")?
        .join("examples");
    let user = User::new()?;
    for (name, judged) in [("term-explanation", true), ("logical-deduction", false)] {
        let task = examples.join(name).join("task.toml");
        let done = user.well(&format!("optimize {} --simulated --json --out {name}", task.display()))?;
        let report = done.json_lines()?.pop().context("no line")?["report"].take();
        let calls = |role: &str| report["spent_by_role"][role]["calls"].as_u64().unwrap_or(0);
        assert_eq!(
            calls("verifier") > calls("learner"),
            judged,
            "every answer is judged, or none: {report}"
        );
        assert!(report["gain"]["interval"][0].as_f64() > Some(0.0), "{name}: {report}");
    }
    user.nothing_runs()
}
