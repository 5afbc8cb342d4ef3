//! The `sipdo` command as a user runs it: a folder of its own, an environment of its own, real processes.

use crate::cluster::process::{DEADLINE, Process, program};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longest that a command may take.
const LONGEST: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(20);

/// A user with an empty home.
#[derive(Debug)]
pub struct User {
    home: TempDir,
    environment: Vec<(String, String)>,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Done {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Stdout.
    pub out: String,
    /// Stderr.
    pub err: String,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    out: PathBuf,
    err: PathBuf,
}

impl User {
    /// A user with nothing.
    ///
    /// # Errors
    /// No temporary folder.
    pub fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        Ok(User {
            home,
            environment: Vec::new(),
        })
    }

    /// Removes an environment variable that was set.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Sets an environment variable for every command from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// The folder in which commands run.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file below the folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().context("a path in the folder")?)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Reads a file below the folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.folder().join(path)).with_context(|| path.to_owned())
    }

    /// Runs `sipdo` with these arguments, separated by white space, to its end.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn sipdo(&self, line: &str) -> Result<Done> {
        self.start(line)?.done()
    }

    /// As [`User::sipdo`], and expects exit code 0.
    ///
    /// # Errors
    /// Another exit code: with what the command said.
    pub fn well(&self, line: &str) -> Result<Done> {
        let done = self.sipdo(line)?;
        anyhow::ensure!(done.code == Some(0), "sipdo {line}: {done}");
        Ok(done)
    }

    /// Runs a line of shell to its end, in which `sipdo` is the program; with pipes, as people type them.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn shell(&self, script: &str) -> Result<Done> {
        let programs = program("sipdo")?.parent().context("a folder of programs")?.to_owned();
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap_or_default());
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.folder())
            .env_clear()
            .envs(self.environment())
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()?;
        Ok(Done {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts `sipdo` with these arguments, separated by white space.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, line: &str) -> Result<Running> {
        self.start_program("sipdo", line)
    }

    /// As [`User::start`], for any of the workspace's programs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_program(&self, name: &str, line: &str) -> Result<Running> {
        let number = fs::read_dir(self.folder())?.count();
        let file = |kind: &str| self.folder().join(format!(".{number}-{name}.{kind}"));
        let (out, err) = (file("out"), file("err"));
        let child = Command::new(program(name)?)
            .args(line.split_whitespace())
            .current_dir(self.folder())
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Running {
            child,
            line: format!("{name} {line}"),
            out,
            err,
        })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let home = self.folder().display().to_string();
        let mut all = vec![
            ("HOME".to_owned(), home),
            ("SIPDO_DATA_DIR".to_owned(), self.data().display().to_string()),
        ];
        all.extend(
            ["PATH", "NATS_SERVER_BIN"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), env::var(name).ok()?))),
        );
        if let Ok(found) = sipdo_bus::local::find_binary() {
            all.push(("NATS_SERVER_BIN".to_owned(), found.display().to_string()));
        }
        all.extend(self.environment.iter().cloned());
        all
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Whether any stack was ever started.
    pub fn started_anything(&self) -> bool {
        self.data().exists()
    }

    /// Processes that work in this user's folder: their command lines.
    ///
    /// # Errors
    /// The process table cannot be read.
    pub fn processes(&self) -> Result<Vec<String>> {
        let folder = self.folder().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&folder) {
                found.push(line);
            }
        }
        Ok(found)
    }

    /// Fails where a process was left behind.
    ///
    /// # Errors
    /// Some process works in the folder.
    pub fn nothing_runs(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("left behind: {left:#?}");
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // A test that failed in the middle leaves no stack behind.
        if self.started_anything() {
            drop(self.sipdo("down --quiet"));
        }
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until stderr holds `text`.
    ///
    /// # Errors
    /// It ended before, or it took too long.
    pub fn until_it_says(&mut self, text: &str) -> Result<()> {
        let start = Instant::now();
        while !self.err().contains(text) {
            let ended = self.child.try_wait()?.is_some() && !self.err().contains(text);
            if ended || start.elapsed() > DEADLINE {
                bail!("{}: did not say {text:?}:\n{}", self.line, self.err());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sends a signal by name: `INT`, `TERM`.
    ///
    /// # Errors
    /// `kill` failed.
    pub fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn done(mut self) -> Result<Done> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let out = String::from_utf8_lossy(&fs::read(&self.out)?).into_owned();
                return Ok(Done {
                    code: status.code(),
                    out,
                    err: self.err(),
                });
            }
            if start.elapsed() > LONGEST {
                bail!("{} still runs after {LONGEST:?}:\n{}", self.line, self.err());
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended politely where a test failed in the middle, so that it takes its own stack down.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.signal("TERM"));
            drop(self.child.wait());
        }
    }
}

/// Simulated models that run apart from everything of the user's: for the user an endpoint like any other.
#[derive(Debug)]
pub struct Models {
    /// Where they answer.
    pub at: SocketAddr,
    process: Process,
    _folder: TempDir,
}

impl Models {
    /// Starts a simulator with these further arguments.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(more: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port_file = folder.path().join("simulator.port");
        let mut args = vec![
            "--port".to_owned(),
            "0".into(),
            "--port-file".into(),
            port_file.display().to_string(),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let mut process = Process::start("sipdo-simulator", "simulator", &args, folder.path())?;
        let at = process
            .until("address", || fs::read_to_string(&port_file).ok()?.trim().parse().ok())
            .await?;
        Ok(Models {
            at,
            process,
            _folder: folder,
        })
    }

    /// Sends a signal by name: `STOP`, and no model answers; `CONT`.
    ///
    /// # Errors
    /// `kill` failed.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.process.signal(name)
    }
}

/// Questions of the simulator's own making as a CSV file with the columns `question` and `answer`.
pub fn questions(count: usize) -> String {
    let rows = crate::cluster::task::counting(count, 0).train.into_iter();
    let rows = rows.map(|example| format!("\"{}\",{}\n", example.input.replace('"', "\"\""), example.target));
    format!("question,answer\n{}", rows.collect::<String>())
}

/// Sends a signal by name to a process.
///
/// # Errors
/// `kill` failed.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()?;
    anyhow::ensure!(status.success(), "kill -{name} {pid} failed");
    Ok(())
}

impl Done {
    /// Stdout as one JSON value.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| self.to_string())
    }

    /// Stdout as one JSON value a line.
    ///
    /// # Errors
    /// A line is none.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}
