//! Finding a nats-server binary, and asking how old it is.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::{LocalError, io};
use crate::connection::version;
use crate::error::OLDEST_SERVER;

pub(super) const BINARY: &str = "nats-server";
const VARIABLE: &str = "NATS_SERVER_BIN";
const TOOLS: &str = ".tools/bin";

/// The nats-server to use: `NATS_SERVER_BIN`; else `.tools/bin/nats-server` in the current folder or one above it, or in
/// a folder above this program; else the first on `PATH`.
///
/// # Errors
/// [`LocalError::NoBinary`], which lists where it was looked for.
pub fn find_binary() -> Result<PathBuf, LocalError> {
    let named = std::env::var_os(VARIABLE)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_binary_in(
        named,
        &[here, program],
        &std::env::split_paths(&path).collect::<Vec<_>>(),
    )
}

fn find_binary_in(named: Option<PathBuf>, below: &[Option<PathBuf>], path: &[PathBuf]) -> Result<PathBuf, LocalError> {
    let mut looked = Vec::new();
    if let Some(named) = named {
        // Somebody who names one wants that one: no other is taken instead.
        return if named.is_file() {
            Ok(named)
        } else {
            Err(LocalError::NoBinary {
                looked: vec![format!("{VARIABLE}={}", named.display())],
            })
        };
    }
    looked.push(format!("{VARIABLE} (not set)"));
    for start in below.iter().flatten() {
        let found = start
            .ancestors()
            .map(|folder| folder.join(TOOLS).join(BINARY))
            .find(|file| file.is_file());
        if let Some(found) = found {
            return Ok(found);
        }
        looked.push(format!("{TOOLS} in {} and above", start.display()));
    }
    if let Some(found) = path
        .iter()
        .map(|folder| folder.join(BINARY))
        .find(|file| file.is_file())
    {
        return Ok(found);
    }
    looked.push("PATH".to_owned());
    Err(LocalError::NoBinary { looked })
}

/// The version that a nats-server binary tells, for example `2.15.1`.
///
/// # Errors
/// It cannot be run, or is not a nats-server.
pub async fn binary_version(binary: &Path) -> Result<String, LocalError> {
    let doing = || format!("asking {} for its version", binary.display());
    let told = Command::new(binary)
        .arg("--version")
        .output()
        .await
        .map_err(|error| io(doing(), error))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let found = told
        .rsplit(['v', ' '])
        .next()
        .map(str::trim)
        .filter(|text| version(text).is_some());
    found
        .map(str::to_owned)
        .ok_or_else(|| io(doing(), std::io::Error::other(format!("it says {told:?}"))))
}

pub(super) async fn check_version(binary: &Path) -> Result<(), LocalError> {
    let found = binary_version(binary).await?;
    if version(&found).is_some_and(|version| version >= OLDEST_SERVER) {
        return Ok(());
    }
    Err(LocalError::TooOld {
        binary: binary.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_nearest_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let make = |path: &str| {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            file
        };
        let deep = root.join("project/target/debug/sipdo");
        let none = find_binary_in(None, &[Some(deep.clone())], &[root.join("usr/bin")])
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("project/target") && none.contains("get-nats-server.sh"),
            "{none}"
        );

        let on_path = make("usr/bin/nats-server");
        let tools = make("project/.tools/bin/nats-server");
        let find = |named, below: &[Option<PathBuf>]| find_binary_in(named, below, &[root.join("usr/bin")]);
        assert_eq!(find(None, &[]).unwrap(), on_path);
        assert_eq!(find(None, &[None, Some(deep)]).unwrap(), tools);
        assert_eq!(find(Some(on_path.clone()), &[]).unwrap(), on_path);
        assert!(
            find(Some(root.join("nowhere")), &[]).is_err(),
            "one that is named and missing is not replaced"
        );
    }
}
