//! The answers behind a score, and the gates of CI, as users meet them.

use anyhow::{Context as _, Result};
use serde_json::Value;
use sipdo_tests::{
    User,
    command::{Done, Models, questions},
    simulator::Ledger,
};

/// A user with a task of 40 examples: two labels if `labelled`, else numbers.
fn user(labelled: bool) -> Result<User> {
    let user = User::new()?;
    user.write("things.csv", questions(40))?;
    user.write(
        "task.toml",
        "[task]\ndescription = \"Count things.\"\nprompt = \"Answer the question.\"\n\n[data]\nfile = \"things.csv\"\n\
         input = \"question\"\ntarget = \"answer\"\ntrain = 20\ntest = 20\n\n[metric]\nkind = \"numeric\"\n\n\
         [budget]\ncalls = 3000\n\n[strategy]\nlevels = 3\nseed = 7\n",
    )?;
    if labelled {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/navigate");
        for name in ["task.toml", "data.jsonl"] {
            user.write(name, std::fs::read(format!("{examples}/{name}"))?)?;
        }
    }
    Ok(user)
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn report(done: &Done) -> Result<Value> {
    let last = done.json_lines()?.pop().context("no line")?;
    Ok(last["report"].clone())
}

/// How many examples have this mark under this prompt.
fn marked(lines: &[Value], arm: &str, mark: &str) -> u64 {
    lines.iter().filter(|line| line["arms"][arm]["mark"] == mark).count() as u64
}

#[test]
fn every_answer_of_a_run_adds_up_to_its_scores() -> Result<()> {
    let user = user(false)?;
    let done = user.well("optimize task.toml --simulated --json --out found")?;
    let report = report(&done)?;
    let answers = lines(&user.read("found/heldout.jsonl")?)?;
    assert_eq!(answers.len(), 20);
    for arm in report["arms"].as_array().context("arms")? {
        let name = arm["name"].as_str().context("a name")?;
        for mark in ["right", "wrong", "not_measured"] {
            assert_eq!(arm[mark], marked(&answers, name, mark), "{name} {mark}");
        }
    }
    let changed = user
        .well("runs examples latest --simulated --changed --json")?
        .json_lines()?;
    let of = |change: &str| changed.iter().filter(|line| line["change"] == change).count();
    assert_eq!(report["gain"]["gained"], of("gained"), "{report}");
    assert_eq!(report["gain"]["lost"], of("lost"), "{report}");
    assert!(of("gained") > 0, "{report}");
    let table = user.well("runs examples latest --simulated --changed")?;
    assert!(
        table.out.starts_with("example") && table.out.contains("right: "),
        "{table}"
    );
    let csv = user.well("runs examples latest --simulated --csv")?;
    assert!(csv.out.starts_with("id,repeat,input,target,change,seed.mark"), "{csv}");
    Ok(())
}

#[test]
fn labels_have_their_scores() -> Result<()> {
    let user = user(true)?;
    let done = user.well("eval task.toml --simulated --limit 40 --json --out seed")?;
    let report = report(&done)?;
    let labels = &report["labels"];
    let (arm, of_arm) = (&report["arms"][0], &labels["arms"][0]);
    let confusion = of_arm["confusion"].as_array().context("a matrix")?;
    let cell = |row: usize, column: usize| confusion.get(row).and_then(|row| row[column].as_u64()).unwrap_or(0);
    assert_eq!(arm["right"], cell(0, 0) + cell(1, 1), "{report}");
    assert_eq!(
        arm["wrong"],
        cell(0, 1) + cell(0, 2) + cell(1, 0) + cell(1, 2),
        "{report}"
    );
    assert!(labels["majority"]["accuracy"].as_f64() >= Some(0.5), "{labels}");
    let page = user.read("seed/report.md")?;
    assert!(page.contains("## Labels") && page.contains("macro-F1"), "{page}");
    Ok(())
}

#[test]
fn gates_decide_the_exit_code() -> Result<()> {
    let user = user(false)?;
    let strong = user.well("optimize task.toml --simulated --json --out main")?;
    assert!(report(&strong)?["gain"]["gained"].as_u64() > Some(5), "{strong}");
    let best = "eval task.toml --simulated --prompt main/prompt.txt";
    let passed = user.well(&format!(
        "{best} --fail-under 0.8 --fail-if-worse-than main/report.json --junit ok.xml"
    ))?;
    assert!(passed.out.contains("gate --fail-under: passed"), "{passed}");
    let xml = user.read("ok.xml")?;
    assert!(
        xml.contains("tests=\"20\"") && xml.contains("<testcase name=\"test-1: "),
        "{xml}"
    );

    let worse =
        user.sipdo("eval task.toml --simulated --fail-if-worse-than main/heldout.jsonl --json --junit bad.xml")?;
    assert_eq!(worse.code, Some(9), "{worse}");
    let gate = report(&worse)?["gates"][0].clone();
    assert_eq!(
        (&gate["gate"], &gate["verdict"]),
        (&"fail-if-worse-than".into(), &"failed".into())
    );
    assert!(
        user.read("bad.xml")?.contains("<failure message=\"wrong answer"),
        "{worse}"
    );
    let run = report(&strong)?["run"].as_str().context("a run")?.to_owned();
    let worse = user.sipdo(&format!("eval task.toml --simulated --fail-if-worse-than {run}"))?;
    assert_eq!(worse.code, Some(9), "{worse}");
    assert!(worse.out.contains("on 20 shared examples"), "paired: {worse}");

    Ok(())
}

/// The programs with a model that knows all skills, and that goes wrong as `flags` say.
async fn user_of(flags: &[&str]) -> Result<(User, Models)> {
    let models = Models::start(flags).await?;
    let user = user(false)?;
    let file = format!(
        "[endpoints.own]\nprovider = \"openai\"\nbase_url = \"http://{}/v1\"\n\n\
         [models.default]\nendpoint = \"own\"\nmodel = \"sim-strong\"\n",
        models.at
    );
    user.write("sipdo.toml", file)?;
    Ok((user, models))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_measured_neither_passes_nor_fails() -> Result<()> {
    let (user, _models) = user_of(&["--fault", "refusal=0.6"]).await?;
    let done = user.sipdo("eval task.toml --fail-under 0.9 --junit part.xml --json --out part")?;
    assert_eq!(done.code, Some(10), "{done}");
    let report = report(&done)?;
    assert_eq!(report["gates"][0]["verdict"], "unknown", "{report}");
    let missing = report["arms"][0]["not_measured"].as_u64().context("a count")?;
    let listed = report["unmeasured"].as_array().context("a list")?;
    assert!(missing > 2 && listed.len() as u64 == missing, "{report}");
    assert!(
        listed
            .iter()
            .all(|one| one["reason"].as_str().is_some_and(|why| why.starts_with("refused")))
    );
    let answers = lines(&user.read("part/heldout.jsonl")?)?;
    assert_eq!(marked(&answers, "seed", "not_measured"), missing);
    let xml = user.read("part.xml")?;
    assert_eq!(
        xml.matches("<error message=\"not measured: refused").count() as u64,
        missing,
        "{xml}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repeat_is_an_answer_of_its_own() -> Result<()> {
    let (user, models) = user_of(&["--learner-noise", "0.4"]).await?;
    let done = user.well("eval task.toml --repeat 4 --json --out four")?;
    let report = report(&done)?;
    assert_eq!(report["spent"]["calls"], 80, "{report}");
    assert_eq!(Ledger::read(models.at).await?.calls.len(), 80);
    let repeats = &report["repeats"];
    let arm = &repeats["arms"][0];
    assert_eq!(repeats["count"], 4);
    assert!(
        arm["mixed"].as_u64() > Some(0) && arm["deviation"].as_f64() > Some(0.0),
        "{repeats}"
    );
    let right: u64 = arm["examples"]
        .as_array()
        .context("examples")?
        .iter()
        .filter_map(|example| example["right"].as_u64())
        .sum();
    assert_eq!(report["arms"][0]["right"], right, "{report}");
    let answers = lines(&user.read("four/heldout.jsonl")?)?;
    let others = |line: &Value| line["arms"]["seed"]["repeats"].as_array().map(Vec::len);
    assert!(answers.iter().all(|line| others(line) == Some(3)), "{answers:?}");
    let csv = user.well("runs examples latest --csv")?;
    assert!(csv.out.lines().count() > 80, "{csv}");
    Ok(())
}

#[test]
fn macro_f1_decides_where_the_task_says_so_and_needs_labels() -> Result<()> {
    let user = user(true)?;
    let task = user.read("task.toml")?;
    user.write("task.toml", format!("{task}\n[accept]\nobjective = \"macro-f1\"\n"))?;
    let done = user.well("optimize task.toml --simulated --set strategy.levels=3 --json")?;
    let report = report(&done)?;
    let gain = report["gain"]["macro_f1"].clone();
    let of = |arm: usize| report["labels"]["arms"][arm]["macro_f1"].as_f64().unwrap_or(0.0);
    let difference = gain["difference"].as_f64().context("a difference")?;
    assert!((difference - (of(2) - of(0))).abs() < 1e-9, "{report}");
    assert!(
        gain["p_value"].as_f64() < Some(0.05) && report["verdict"] == "better",
        "{report}"
    );

    let open = self::user(false)?;
    let task = open.read("task.toml")?;
    open.write("task.toml", format!("{task}\n[accept]\nobjective = \"macro-f1\"\n"))?;
    let refused = open.sipdo("optimize task.toml --simulated")?;
    let what = "closed set of labels";
    assert!(refused.code == Some(2) && refused.err.contains(what), "{refused}");
    assert!(
        refused.err.contains("task.toml, line") && !open.started_anything(),
        "{refused}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_checked_is_refused_before_anything_is_started() -> Result<()> {
    let user = user(false)?;
    user.write("other.jsonl", "{\"id\": \"x\"}\n")?;
    for (flags, code, what) in [
        ("--junit no/such/folder.xml", 2, "--junit no/such/folder.xml"),
        ("--fail-under 90", 2, "0.9 for 90 %"),
        ("--fail-if-worse-than gone/report.json", 4, "there is no such file"),
        ("--fail-if-worse-than other.jsonl", 2, "line 1"),
        ("--fail-under 0.5 --models a/b", 2, "--models"),
        ("--than-arm seed", 2, "--fail-if-worse-than"),
    ] {
        let done = user.sipdo(&format!("eval task.toml --simulated {flags}"))?;
        assert!(done.code == Some(code) && done.err.contains(what), "{flags}: {done}");
        assert!(!user.started_anything(), "{flags}");
    }
    // Without a stack's data there is no such run, which is said before anything is spent.
    let gone = user.sipdo("eval task.toml --simulated --fail-if-worse-than r0")?;
    assert!(gone.code == Some(4) && !gone.err.contains("created"), "{gone}");
    Ok(())
}
