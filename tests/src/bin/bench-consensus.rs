//! `make bench-consensus`: with 15 % of the generator's labels falsified on purpose, how many wrong ones get past the voters, and
//! what does it cost in accuracy?

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, decision::Kind};
use sipdo_simulator::families::exact_answer;
use sipdo_tests::{
    Cluster, Setup,
    bench::{accuracy, figure, machine, no_data, run, task},
    families::FAMILIES,
    shared_data,
};
use std::path::Path;

const NOISE: f64 = 0.15;
/// More levels than a run needs, for more examples to count.
const LEVELS: u32 = 20;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    accepted: usize,
    wrong: usize,
    refused: usize,
}

/// Fraction of wrong answers of checker and verifier in the second part: voters without fault would make the first part easy.
const ERRING: f64 = 0.05;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(data) = shared_data() else {
        no_data("bench-consensus");
        return Ok(());
    };
    println!(
        "Strategy sipdo, {LEVELS} levels, unanimous vote of generator, checker and verifier; {:.0} % of the generator's",
        NOISE * 100.0
    );
    println!(
        "claims falsified before the vote, against the same run without; labels counted with the simulator's exact solver;"
    );
    println!("BIG-Bench Hard files, simulated models; {}.", machine());
    println!("These are scores of a simulated model: they say nothing of any real model.");
    println!("\nSimulated models at their default settings:");
    let (wrong, drop) = measure(&data, &[]).await?;
    println!(
        "\nChecker and verifier wrong in {:.0} % of their answers:",
        ERRING * 100.0
    );
    let rate = ERRING.to_string();
    let (erring, _) = measure(&data, &["--checker-error-rate", &rate, "--verifier-error-rate", &rate]).await?;
    println!();
    figure("consensus.wrong_accepted", format!("{wrong:.2}"), "percent");
    figure("consensus.final_drop", format!("{drop:.1}"), "points");
    figure(
        "consensus.wrong_accepted_by_erring_voters",
        format!("{erring:.2}"),
        "percent",
    );
    Ok(())
}

/// Percentage of wrong labels among the accepted ones, and the largest loss of final accuracy, over all families.
async fn measure(data: &Path, simulator: &[&str]) -> Result<(f64, f64)> {
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "family", "accepted", "of them", "refused", "final", "final"
    );
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "", "", "wrong", "", "clean", "noisy"
    );
    let simulator = simulator.iter().map(|arg| (*arg).to_owned()).collect();
    let cluster = Cluster::start(&Setup {
        simulator,
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let (mut all, mut worst) = (Count::default(), f64::NEG_INFINITY);
    for family in &FAMILIES {
        let task = task(family, data, cluster.folder.path(), 7)?;
        let clean = run(&client, task.clone(), "sipdo", &serde_json::json!({"levels": LEVELS})).await?;
        let noisy = run(
            &client,
            task,
            "sipdo",
            &serde_json::json!({"levels": LEVELS, "label_noise": NOISE}),
        )
        .await?;
        let count = count(&noisy).with_context(|| format!("family {}", family.name))?;
        let [clean, noisy] = [&clean, &noisy].map(|run| accuracy(run, "final").unwrap_or(f64::NAN));
        println!(
            "{:<26} {:>9} {:>9} {:>9} {clean:>7.1}% {noisy:>7.1}%",
            family.name, count.accepted, count.wrong, count.refused
        );
        all = Count {
            accepted: all.accepted + count.accepted,
            wrong: all.wrong + count.wrong,
            refused: all.refused + count.refused,
        };
        worst = worst.max(clean - noisy);
    }
    println!("{:<26} {:>9} {:>9} {:>9}", "all", all.accepted, all.wrong, all.refused);
    Ok((100.0 * all.wrong as f64 / all.accepted.max(1) as f64, worst))
}

fn count(run: &pb::Run) -> Result<Count> {
    let outcome = run.outcome.as_ref().context("a run without an outcome")?;
    let mut count = Count::default();
    for synthetic in &outcome.synthetic {
        let accepted = synthetic
            .decision
            .as_ref()
            .is_some_and(|decision| decision.kind() == Kind::Accepted);
        let example = synthetic
            .example
            .as_ref()
            .context("a synthetic example without its text")?;
        match accepted {
            false => count.refused += 1,
            true => {
                count.accepted += 1;
                let exact = exact_answer(&example.input).context("a question that the exact solver cannot read")?;
                count.wrong += usize::from(!same(&exact, &example.target));
            }
        }
    }
    Ok(count)
}

/// Whether two answers are the same but for brackets, case and blanks.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|c| !matches!(c, '(' | ')'))
            .collect::<String>()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase()
    };
    plain(one) == plain(other)
}
