//! `make bench-verdict`: how often the held-out test keeps a prompt that is no better, and how often it finds a true gain. Whole runs with
//! simulated models whose answers are noisy.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand_chacha::rand_core::SeedableRng as _;
use sipdo_domain::Accept;
use sipdo_protocol::pb::{self, outcome::Shown};
use sipdo_simulator::{
    draw::Rng,
    families::{Known, Level, family},
};
use sipdo_tests::{
    Cluster, Setup,
    bench::{figure, machine},
    cluster::{Client, ended},
    runs::choice,
    task::{drawn, request},
    verdict::{Pair, chance_of_better},
    watch::RUN,
};

/// Wrong answers of the learner that no prompt mends.
const NOISE: f64 = 0.15;
/// Repetitions, each with questions and prompts of its own.
const SEEDS: u64 = 200;
/// Test examples where the prompt does not matter.
const SAME: usize = 60;
/// Test examples where it does.
const OTHER: usize = 150;
/// Those of them that only the second prompt can answer: 18 of 150 answered rightly in 85 % of the cases are 10.2 points.
const MENDED: usize = 18;
/// Most questions that are drawn for one task.
const MOST_DRAWN: usize = 100_000;
/// Runs at once.
const AT_ONCE: usize = 8;

const FAMILY: &str = "multistep_arithmetic_two";
const VAGUE: &str = "Answer the question.";

#[tokio::main]
async fn main() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: ["--learner-noise", &NOISE.to_string()].map(str::to_owned).to_vec(),
        slots: 64,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    println!(
        "Runs of the strategy eval with two prompts and the default [accept], {SEEDS} seeds; a simulated learner that answers {:.0} % \
         wrongly\nwhatever the prompt says; {}.",
        NOISE * 100.0,
        machine()
    );
    println!("These are scores of a simulated model: they say nothing of any real model.");
    let known = family(FAMILY).context("a family of the simulator")?;
    let (same, other) = (Question::Same, Question::Other(known));
    for question in [same, other] {
        question.report(&measure(&client, question).await?);
    }
    Ok(())
}

/// What a comparison is to find.
#[derive(Clone, Copy)]
enum Question {
    /// Nothing: both prompts are equally good.
    Same,
    /// That the second prompt is better by ten points.
    Other(&'static Known),
}

impl Question {
    fn examples(self) -> usize {
        match self {
            Question::Same => SAME,
            Question::Other(_) => OTHER,
        }
    }

    /// A task with its two prompts. The simulator's noise is drawn from the whole request, so each seed has texts of its own.
    fn run(self, seed: u64) -> Result<pb::CreateRunRequest> {
        let mut task = drawn(FAMILY, 0, self.examples(), 1000 + seed, seed);
        task.accept_json = serde_json::to_string(&Accept::default())?;
        let second = match self {
            Question::Same => format!("{VAGUE} Be sure to read it (version {seed})."),
            Question::Other(known) => {
                task.test = chosen(known, seed)?;
                format!("{} (version {seed})", taught(known))
            }
        };
        let first = format!("{VAGUE} (version {seed})");
        let options = serde_json::json!({"prompts": {"first": first, "second": second}, "baseline": "first"});
        let mut request = request(task, "eval", &options, None);
        if let Question::Same = self {
            // It knows all skills: only noise makes it err.
            request
                .models
                .insert("learner".into(), choice("simulator", "sim-strong"));
        }
        Ok(request)
    }

    fn report(self, found: &[(Shown, pb::Gain)]) {
        let share = |wanted: Shown| {
            100.0 * found.iter().filter(|(shown, _)| *shown == wanted).count() as f64 / found.len() as f64
        };
        let mean = |of: fn(&pb::Gain) -> f64| found.iter().map(|(_, gain)| of(gain)).sum::<f64>() / found.len() as f64;
        let discordant = mean(|gain| f64::from(gain.gained + gain.lost));
        let difference = 100.0 * mean(|gain| gain.difference);
        println!(
            "\n{} examples, {} comparisons: mean gain {difference:+.1} points, mean discordant pairs {discordant:.1}; better {:.1} %, \
             worse {:.1} %",
            self.examples(),
            found.len(),
            share(Shown::Better),
            share(Shown::Worse)
        );
        let right = 1.0 - NOISE;
        let equal = Pair {
            gained: right * NOISE,
            lost: right * NOISE,
        };
        let mended = Pair {
            gained: right,
            lost: 0.0,
        };
        let pairs = match self {
            Question::Same => vec![equal; SAME],
            Question::Other(_) => [vec![mended; MENDED], vec![equal; OTHER - MENDED]].concat(),
        };
        let theory = 100.0 * chance_of_better(&pairs, &Accept::default());
        println!("the exact test's theory for these chances: better {theory:.1} %");
        let (name, theory_name) = match self {
            Question::Same => ("verdict.false_keep", "verdict.false_keep_theory"),
            Question::Other(_) => ("verdict.power", "verdict.power_theory"),
        };
        figure(name, format!("{:.1}", share(Shown::Better)), "percent");
        figure(theory_name, format!("{theory:.1}"), "percent");
        if let Question::Same = self {
            figure("verdict.discordant_pairs", format!("{discordant:.1}"), "pairs");
        }
    }
}

/// Takes all comparisons of a question.
async fn measure(client: &Client, question: Question) -> Result<Vec<(Shown, pb::Gain)>> {
    stream::iter(0..SEEDS)
        .map(|seed| compare(client, question, seed))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn compare(client: &Client, question: Question, seed: u64) -> Result<(Shown, pb::Gain)> {
    let created = client.clone().create_run(question.run(seed)?).await?.into_inner();
    let run = created.summary.context("a run without a summary")?.run;
    let outcome = ended(client, &run, RUN)
        .await?
        .outcome
        .context("a run without an outcome")?;
    let shown = outcome.shown();
    Ok((shown, outcome.gain.context("a comparison without a gain")?))
}

/// A prompt that teaches every skill of the family.
fn taught(known: &Known) -> String {
    let rules = known.skills().iter().filter_map(|skill| skill.rules.first().copied());
    [VAGUE].into_iter().chain(rules).collect::<Vec<_>>().join(" ")
}

/// Examples of which only the taught prompt answers [`MENDED`], and both prompts answer the rest, but for noise.
fn chosen(known: &Known, seed: u64) -> Result<Vec<pb::Example>> {
    let (vague, taught) = (known.taught(VAGUE), known.taught(&taught(known)));
    let mut random = Rng::seed_from_u64(2000 + seed);
    let (mut mended, mut equal) = (Vec::new(), Vec::new());
    let mut drawn = 0;
    while mended.len() < MENDED || equal.len() < OTHER - MENDED {
        drawn += 1;
        anyhow::ensure!(drawn <= MOST_DRAWN, "too few of {MOST_DRAWN} questions are of use");
        let input = known.generate(&mut random, Level::new(2, 10), "");
        let target = known.solve(&input).context("a question that the family cannot solve")?;
        let right = |skills| known.weak_solve(&input, skills).is_some_and(|said| said == target);
        let place = match (right(vague), right(taught)) {
            (false, true) if mended.len() < MENDED => &mut mended,
            (true, true) if equal.len() < OTHER - MENDED => &mut equal,
            _ => continue,
        };
        place.push((input, target));
    }
    let example = |(number, (input, target)): (usize, (String, String))| pb::Example {
        id: format!("own-{number}"),
        input,
        target,
        ..Default::default()
    };
    Ok(mended.into_iter().chain(equal).enumerate().map(example).collect())
}
