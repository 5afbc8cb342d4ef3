//! Where a local stack keeps its things.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::failure::{Exit, Failure};

/// Environment variable that names the data folder.
pub const DATA_VARIABLE: &str = "SIPDO_DATA_DIR";

/// The folder of one local stack.
///
/// Simulated runs live in a folder of their own: a run left unfinished goes on with whatever models the next stack has, so that
/// one that was begun with simulated models must never meet paid ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Everything of this stack is below.
    pub root: PathBuf,
    /// Whether its models are simulated.
    pub simulated: bool,
}

impl Layout {
    /// The stack's folder: `data_dir` (flag or `SIPDO_DATA_DIR`), else `sipdo` in the user's data directory; below it `simulated`
    /// for simulated models.
    ///
    /// # Errors
    /// No home folder to put it in.
    pub fn new(data_dir: Option<&Path>, simulated: bool) -> Result<Self, Failure> {
        let base = match data_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => user_data(|name| env::var(name).ok()).ok_or_else(|| {
                Failure::usage("there is no home folder for the data")
                    .hint(format!("name a folder with --data-dir or {DATA_VARIABLE}"))
            })?,
        };
        let root = if simulated { base.join("simulated") } else { base };
        Ok(Layout { root, simulated })
    }

    /// Data of the private nats-server.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// One log for each process.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of one process. The nats-server keeps its own beside its data.
    pub fn log(&self, name: &str) -> PathBuf {
        let folder = if name == "nats-server" {
            self.nats()
        } else {
            self.logs()
        };
        folder.join(format!("{name}.log"))
    }

    /// What agents keep until it is safe on the bus.
    pub fn spool(&self, name: &str) -> PathBuf {
        self.root.join("spool").join(name)
    }

    /// Where a starting process tells its port.
    pub fn port_file(&self, name: &str) -> PathBuf {
        self.root.join("ports").join(name)
    }

    /// Where the simulator tells by what it answers.
    pub fn simulator_fingerprint(&self) -> PathBuf {
        self.root.join("ports").join("simulator.fingerprint")
    }

    /// What runs: see [`super::state::State`].
    pub fn state(&self) -> PathBuf {
        self.root.join("stack.json")
    }

    /// Held by whoever starts, stops or owns the stack.
    pub fn lock(&self) -> PathBuf {
        self.root.join("stack.lock")
    }

    /// The operator's file of a simulated stack, written at each start.
    pub fn simulated_config(&self) -> PathBuf {
        self.root.join("simulated.toml")
    }

    /// What is kept of the command that created a run. Its name is a run's id, which holds no separator.
    pub fn kept(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(format!("{run}.json"))
    }

    /// The run that a name means here, as far as the index tells: itself, or for `latest` the last one created.
    pub fn meant(&self, run: &str) -> Option<String> {
        if run != "latest" {
            return self.remembers(run).then(|| run.to_owned());
        }
        let text = fs::read_to_string(self.index()).ok()?;
        text.lines().last().map(str::to_owned)
    }

    fn index(&self) -> PathBuf {
        self.root.join("runs.txt")
    }

    /// Whether any run has ever been kept here.
    pub fn has_data(&self) -> bool {
        self.nats().is_dir()
    }

    /// Remembers that a run lives here, so that it is found again when no stack runs.
    pub fn remember(&self, run: &str) {
        let written = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.index())
            .and_then(|mut file| writeln!(file, "{run}"));
        if let Err(error) = written {
            // Only a convenience is lost: the run itself is in the stack's data.
            tracing::debug!(%error, "the run is not in the index");
        }
    }

    /// Ids of the runs that were created here, the newest first, at most so many.
    pub fn newest(&self, most: usize) -> Vec<String> {
        let text = fs::read_to_string(self.index()).unwrap_or_default();
        text.lines().rev().take(most).map(str::to_owned).collect()
    }

    /// Whether a run of this id was created here.
    pub fn remembers(&self, run: &str) -> bool {
        fs::read_to_string(self.index()).is_ok_and(|text| text.lines().any(|line| line == run))
    }

    /// When a run was last created here.
    pub fn last_run(&self) -> Option<SystemTime> {
        fs::metadata(self.index()).and_then(|index| index.modified()).ok()
    }

    /// Makes the folders that starting processes expect.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn make(&self) -> Result<(), Failure> {
        for folder in [
            self.root.clone(),
            self.nats(),
            self.logs(),
            self.root.join("spool"),
            self.root.join("ports"),
        ] {
            fs::create_dir_all(&folder).map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot make {}: {error}", folder.display()))
                    .hint(format!("name another folder with --data-dir or {DATA_VARIABLE}"))
            })?;
        }
        Ok(())
    }
}

fn user_data(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification: a relative path there is to be ignored.
    let base = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(base.join("sipdo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_data_is_kept_apart() {
        let real = Layout::new(Some(Path::new("/data/x")), false).unwrap();
        let simulated = Layout::new(Some(Path::new("/data/x")), true).unwrap();
        assert_eq!(real.nats(), Path::new("/data/x/nats"));
        assert_eq!(simulated.nats(), Path::new("/data/x/simulated/nats"));
        assert_ne!(real.state(), simulated.state());
        assert_ne!(real.lock(), simulated.lock());
    }

    #[test]
    fn the_data_folder_follows_the_xdg_rules() {
        let with = |pairs: &'static [(&str, &str)]| {
            user_data(move |name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.local/share/sipdo".into()));
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]),
            Some("/d/sipdo".into())
        );
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_DATA_HOME", "rel")]),
            Some("/h/.local/share/sipdo".into())
        );
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn runs_are_remembered_by_their_whole_id() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), false).unwrap();
        layout.remember("r-12");
        assert!(layout.remembers("r-12") && !layout.remembers("r-1"));
    }
}
