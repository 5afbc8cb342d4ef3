//! `make paired OLD=ref`: one benchmark of an older version and of this one in turn, and the ratios of what it measures.
//!
//! `bench-paired [BENCH [PAIRS]]`, with `SIPDO_OLD_BIN` as the folder of the older programs. To add a benchmark, give its turn a name
//! in `main`.

use anyhow::{Context as _, Result, bail};
use sipdo_tests::{
    bench::machine,
    paired::compare,
    throughput::{JOBS, Throughput},
};
use std::{env, path::PathBuf};

/// Pairs of turns: odd, so that the median is one of them.
const PAIRS: usize = 7;

#[tokio::main]
async fn main() -> Result<()> {
    let old = env::var_os("SIPDO_OLD_BIN").map(PathBuf::from);
    let old = old.context("SIPDO_OLD_BIN names no folder with an older version; `make paired OLD=ref` does")?;
    let mut arguments = env::args().skip(1);
    let bench = arguments.next().unwrap_or_else(|| "speed".into());
    let pairs = match arguments.next() {
        Some(pairs) => pairs
            .parse()
            .with_context(|| format!("{pairs} is no number of pairs"))?,
        None => PAIRS,
    };
    println!(
        "{bench}: {pairs} pairs of turns, old and new, against one simulator, all on this machine ({})",
        machine()
    );
    let compared = match bench.as_str() {
        "speed" => {
            println!("a turn: a new cluster, {JOBS} jobs of one `eval` run");
            compare(&old, pairs, async |setup| {
                Throughput::measure(setup, JOBS).await?.measures()
            })
            .await?
        }
        other => bail!("there is no paired benchmark {other}; there is: speed"),
    };
    for comparison in compared {
        comparison.print();
    }
    Ok(())
}
