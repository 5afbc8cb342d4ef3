//! Every command in a block ```` ```sh ```` of README.md and docs/ runs, as a reader types it, with the real programs and simulated models.

use anyhow::{Context as _, Result, ensure};
use sipdo_tests::{
    User,
    command::Models,
    fences::{Block, Tag, blocks, script},
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Most blocks of all documents that no test runs.
const MOST_NOT_RUN: usize = 15;
/// Documents whose commands run at the same time.
const AT_ONCE: usize = 3;
/// Longest that the commands of one document may take, in seconds.
const LONGEST: u32 = 200;

/// Models that the documents name; the simulator plays them.
const MODELS: [&str; 5] = [
    "gpt-5-mini=strong",
    "gpt-5-nano",
    "qwen3:4b",
    "qwen3:32b",
    "claude-haiku-4-5=strong",
];

/// A document with commands: its name and blocks.
type Page = (String, Vec<Block>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README.md and the pages of docs/ that hold commands, in a fixed order.
fn pages() -> Result<Vec<Page>> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name))?;
        let found = blocks(&text).map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
        Ok((name, found))
    };
    let all: Result<Vec<Page>> = names.into_iter().map(read).collect();
    Ok(all?.into_iter().filter(|(_, blocks)| !blocks.is_empty()).collect())
}

/// The files that the documents name, in a folder of its own.
fn kit(models: SocketAddr) -> Result<User> {
    let mut user = User::new()?;
    let tickets = fs::read_to_string(root().join("examples/tickets.csv"))?;
    for file in ["tickets.csv", "others.csv", "examples/tickets.csv"] {
        user.write(file, &tickets)?;
    }
    user.write(
        "task.toml",
        "[task]\nname = \"tickets\"\ndescription = \"Say which team a support ticket belongs to.\"\n\
         prompt = \"Which team should handle this ticket?\"\n\n[data]\nfile = \"tickets.csv\"\ninput = \"text\"\n\
         target = \"team\"\ntrain = 24\ntest = 60\n\n[metric]\nkind = \"choice\"\n\n[budget]\ncalls = 3000\n\n\
         [strategy]\nlevels = 2\nseed = 7\n",
    )?;
    user.write("a.txt", "Which team is this for? Read the whole body.\n")?;
    user.write("prompt.txt", "Which team is this for? Decide by the body of the ticket; its subject may be out of date. Route by what the customer asks for, not by what else is mentioned. Cancellations and stopped renewals belong to account. Goods that arrive damaged or broken belong to returns.\n")?;
    user.write("b.txt", "Which team is this for?\n")?;
    let endpoint = |name: &str| {
        let prices = MODELS.iter().filter_map(|model| model.split('=').next()).map(|model| {
            format!("[endpoints.{name}.prices.\"{model}\"]\ninput_per_million = 0.25\noutput_per_million = 2.0\n\n")
        });
        let prices: String = prices.collect();
        format!("[endpoints.{name}]\nprovider = \"openai\"\nbase_url = \"http://{models}/v1\"\n\n{prices}")
    };
    let operator = format!(
        "{}{}{}[models.default]\nendpoint = \"openai\"\nmodel = \"gpt-5-mini\"\n\n[models.learner]\nendpoint = \"local\"\nmodel = \"qwen3:4b\"\n",
        endpoint("openai"),
        endpoint("local"),
        endpoint("anthropic")
    );
    user.write("sipdo.toml", operator)?;
    user.set("OPENAI_API_KEY", "no-key-is-needed");
    user.set("SIPDO_CONFIG", user.folder().join("sipdo.toml").display().to_string());
    Ok(user)
}

/// What the document's stack needs before its first line: a stack that keeps running, and a run that `latest` means.
fn before(blocks: &[Block]) -> String {
    let run = blocks.iter().filter(|block| matches!(block.tag, Tag::Run(_)));
    let lines: Vec<&str> = run
        .flat_map(|block| block.commands.iter().map(|(_, line)| line.as_str()))
        .collect();
    let stacks = match lines
        .iter()
        .any(|line| line.contains("sipdo up") || line.contains("sipdo down"))
    {
        true => "",
        false => "sipdo up --quiet || exit 98\n",
    };
    let baseline = match lines
        .iter()
        .any(|line| line.contains("baseline/") && line.contains("sipdo eval task.toml"))
    {
        true => "sipdo eval task.toml --prompt prompt.txt --out baseline --quiet > eval.log || exit 96\n",
        false => "",
    };
    let stacks = format!("{stacks}{baseline}");
    let needs_run = lines.iter().position(|line| line.contains(" latest"));
    let makes_run = lines.iter().position(|line| line.starts_with("sipdo optimize"));
    match needs_run {
        Some(needs) if makes_run.is_none_or(|makes| needs < makes) => {
            format!("{stacks}sipdo optimize task.toml --quiet > run.log || exit 97\n")
        }
        _ => stacks,
    }
}

/// Runs a document's commands; what went wrong, in the words of its last command.
fn run((name, blocks): &Page, models: SocketAddr) -> Result<()> {
    let user = kit(models)?;
    let file = user.write("document.sh", before(blocks) + &script(name, blocks))?;
    let done = user.shell(&format!(
        "timeout {LONGEST} sh {} > document.out 2> document.err",
        file.display()
    ))?;
    let said = user.read("document.err")?;
    drop(user.sipdo("down --quiet"));
    drop(user.sipdo("down --quiet --simulated"));
    let last = said.rfind("== ").and_then(|at| said.get(at..)).unwrap_or(&said);
    ensure!(
        done.code == Some(0),
        "{name}: exit code {:?}\n{last}\n{}",
        done.code,
        user.read("document.out")?
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_documents_runs() -> Result<()> {
    let more: Vec<&str> = MODELS.iter().flat_map(|model| ["--model", model]).collect();
    let models = Models::start(&more).await?;
    let (queue, failures) = (Mutex::new(pages()?), Mutex::new(Vec::new()));
    let work = || {
        while let Some(page) = queue.lock().ok().and_then(|mut pages| pages.pop()) {
            if let (Err(error), Ok(mut failures)) = (run(&page, models.at), failures.lock()) {
                failures.push(format!("{error:#}"));
            }
        }
    };
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    });
    let failures = failures.into_inner().ok().context("a document panicked")?;
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

#[test]
fn few_blocks_are_left_out_and_each_says_why() -> Result<()> {
    let pages = pages()?;
    let all: Vec<&Block> = pages.iter().flat_map(|(_, blocks)| blocks).collect();
    let left_out = all.iter().filter(|block| matches!(block.tag, Tag::NoRun(_))).count();
    ensure!(
        left_out <= MOST_NOT_RUN,
        "{left_out} blocks are not run, more than {MOST_NOT_RUN}"
    );
    ensure!(
        all.len() - left_out >= 10,
        "only {} blocks are run",
        all.len() - left_out
    );
    Ok(())
}
