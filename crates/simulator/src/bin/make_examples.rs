//! Writes the example tasks: `make-examples examples`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// Writes the example tasks of this project into a folder. What is there under the same names is written over.
#[derive(Parser)]
struct Arguments {
    /// The folder, usually `examples`.
    folder: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let folder = Arguments::parse().folder;
    for (path, content) in sipdo_simulator::examples::files() {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
