//! Tells the program which commit it is built from: `SIPDO_COMMIT`, else what git says here; nothing where there is neither.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=SIPDO_COMMIT");
    // Written at each commit and checkout. A path that is missing would have cargo run this at every build.
    let log = Path::new("../../.git/logs/HEAD");
    if log.is_file() {
        println!("cargo:rerun-if-changed={}", log.display());
    } else {
        println!("cargo:rerun-if-changed=build.rs");
    }
    let named = env::var("SIPDO_COMMIT").ok().filter(|commit| !commit.is_empty());
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = named
        .or_else(of_git)
        .map_or(version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=SIPDO_VERSION={version}");
}

fn of_git() -> Option<String> {
    // Sources that lie in somebody else's repository are not at its commit.
    Path::new("../../.git").exists().then_some(())?;
    let told = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    (told.status.success() && !commit.is_empty()).then_some(commit)
}
