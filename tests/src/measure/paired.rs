//! One benchmark of two builds in turn, old and new, against one simulator; and the ratios of what it measures. Other work on the
//! machine disturbs both turns of a pair alike, so a ratio says more than two figures of two hours.
//!
//! The old build is known by its programs alone: it is spoken to by their arguments and by the API of v1, which only grow.

use crate::{
    Setup,
    bench::{Measure, figure, median},
    simulator::{Simulator, reset},
};
use anyhow::{Result, ensure};
use std::path::Path;

/// One measure of both builds.
#[derive(Debug)]
pub struct Comparison {
    /// What is measured, with the first turn's value.
    measure: Measure,
    /// The old build's values, by pair.
    old: Vec<f64>,
    /// The new build's values, by pair.
    new: Vec<f64>,
}

/// Runs so many pairs of turns, first the programs of the folder `old` and then those of this build. A turn gets what its cluster is
/// to be made of, and gives its measures, each time the same ones.
///
/// # Errors
/// A turn fails, or turns give measures that cannot be compared.
pub async fn compare<T>(old: &Path, pairs: usize, turn: T) -> Result<Vec<Comparison>>
where
    T: AsyncFn(Setup) -> Result<Vec<Measure>>,
{
    ensure!(pairs > 0, "no pairs, no ratio");
    let folder = tempfile::tempdir()?;
    let simulator = Simulator::start(&[], folder.path()).await?;
    let turn_of = async |programs| {
        // The simulator remembers every call: each turn begins with none.
        reset(simulator.address).await?;
        turn(Setup {
            programs,
            shared_simulator: Some(simulator.clone()),
            ..Setup::default()
        })
        .await
    };
    let mut compared = Vec::new();
    for pair in 1..=pairs {
        let of_old = turn_of(Some(old.to_owned())).await?;
        let of_new = turn_of(None).await?;
        add(&mut compared, &of_old, &of_new)?;
        let last = of_old
            .iter()
            .zip(&of_new)
            .map(|(old, new)| format!("{} {old} -> {new}", old.name));
        println!("pair {pair} of {pairs}: {}", last.collect::<Vec<_>>().join(", "));
    }
    Ok(compared)
}

/// Adds a pair of turns to the pairs before.
fn add(compared: &mut Vec<Comparison>, old: &[Measure], new: &[Measure]) -> Result<()> {
    let names = |measures: &[Measure]| measures.iter().map(|measure| measure.name).collect::<Vec<_>>();
    ensure!(names(old) == names(new), "{old:?} and {new:?} are other measures");
    if compared.is_empty() {
        compared.extend(old.iter().map(|old| Comparison::new(*old)));
    }
    for ((comparison, old), new) in compared.iter_mut().zip(old).zip(new) {
        ensure!(old.value > 0.0, "{old} {} of the old build allows no ratio", old.name);
        comparison.old.push(old.value);
        comparison.new.push(new.value);
    }
    Ok(())
}

impl Comparison {
    fn new(measure: Measure) -> Self {
        Comparison {
            measure,
            old: Vec::new(),
            new: Vec::new(),
        }
    }

    /// The name of what was measured.
    pub fn name(&self) -> &'static str {
        self.measure.name
    }

    /// New : old of each pair.
    pub fn ratios(&self) -> Vec<f64> {
        self.new.iter().zip(&self.old).map(|(new, old)| new / old).collect()
    }

    /// Prints what was measured, and the median of the pairs' ratios as a figure.
    pub fn print(&self) {
        let ratios = self.ratios();
        let middle = |values: &[f64]| Measure {
            value: median(values.to_vec()),
            ..self.measure
        };
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!(
            "{}: median of {} turns {} old, {} new; new : old of {} pairs: median {:.3}, min {least:.3}, max {most:.3}",
            self.name(),
            self.old.len(),
            middle(&self.old),
            middle(&self.new),
            ratios.len(),
            median(ratios.clone()),
        );
        let ratio = format!("{:.3}", median(ratios));
        figure(&format!("paired.{}", self.name()), ratio, "ratio");
    }
}
