//! One of our programs as a child process, killed when dropped.

use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long anything in a test may take before it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// The path of one of the workspace's programs, built with the same profile as the caller.
///
/// # Errors
/// It is not there: `cargo build --workspace` makes it.
pub fn program(name: &str) -> Result<PathBuf> {
    let exe = env::current_exe()?;
    // A test stands in `deps`, a benchmark beside the programs.
    let folders = exe.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built: run `cargo build --workspace --bins` with the same profile first")
    })
}

impl Process {
    /// Starts a program; its output goes to `<folder>/<label>.log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, label: &str, args: &[String], folder: &Path) -> Result<Self> {
        Self::start_in(&[], name, label, args, folder)
    }

    /// As [`Process::start`], with more variables in its environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_in(
        environment: &[(String, String)],
        name: &str,
        label: &str,
        args: &[String],
        folder: &Path,
    ) -> Result<Self> {
        Self::start_program(&program(name)?, environment, label, args, folder)
    }

    /// As [`Process::start_in`], with this very program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_program(
        program: &Path,
        environment: &[(String, String)],
        label: &str,
        args: &[String],
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{label}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(args)
            .env("SIPDO_LOG_FORMAT", "pretty")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Process { child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The id on the bus that a coordinator has told in its log.
    pub fn coordinator_id(&self) -> Option<String> {
        let output = self.output();
        let told = output.get(output.find("coordinator-")?..)?;
        let end = told.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let id = told.get(..end.unwrap_or(told.len()))?;
        (id.len() > "coordinator-".len() + 30).then(|| id.to_owned())
    }

    /// Kills it as the kernel would for want of memory.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        drop(self.child.kill());
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// `kill` failed.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()?;
        if !status.success() {
            bail!("kill -{name} {} failed", self.pid());
        }
        Ok(())
    }

    /// The TCP ports of this machine that it has open, by which others tell its connections. None where the system does not say:
    /// that is everywhere but on Linux.
    pub fn ports(&self) -> Option<BTreeSet<u16>> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid()));
        let sockets: BTreeSet<String> = fs::read_dir(folder.join("fd"))
            .ok()?
            .flatten()
            .filter_map(|file| {
                let target = fs::read_link(file.path()).ok()?;
                Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect();
        let table = fs::read_to_string(folder.join("net/tcp")).ok()?;
        let own = table.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (local, inode) = (words.nth(1)?, words.nth(7)?);
            let (_, port) = local.rsplit_once(':')?;
            sockets.contains(inode).then(|| u16::from_str_radix(port, 16).ok())?
        });
        Some(own.collect())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended in time: its log is part of the error.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > within {
                bail!("still running after {within:?}:\n{}", self.output());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `condition` gives a value.
    ///
    /// # Errors
    /// It has ended, or the deadline has passed: its log is part of the error.
    pub async fn until<T>(&mut self, what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = condition() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended ({status}) before {what}:\n{}", self.output());
            }
            if start.elapsed() > DEADLINE {
                bail!("no {what} after {DEADLINE:?}:\n{}", self.output());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// Waits until `condition` gives a value, asked again and again.
///
/// # Errors
/// The deadline has passed.
pub async fn eventually<T, F>(what: &str, condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    eventually_within(DEADLINE, what, condition).await
}

/// [`eventually`] with a deadline of its own.
///
/// # Errors
/// The deadline has passed.
pub async fn eventually_within<T, F>(deadline: Duration, what: &str, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("not in {deadline:?}: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}
