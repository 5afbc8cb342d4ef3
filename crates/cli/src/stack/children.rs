//! Processes of the stack as children: found, started with a log, watched until they are ready, ended.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    layout::Layout,
    state::{POLL, Process},
};
use crate::{
    failure::{Exit, Failure},
    output::clean,
};

const LOG_TAIL: usize = 15;

/// Variables that would lay another model over the one in an agent's file.
const MODEL_VARIABLES: [&str; 8] = [
    "SIPDO_ENDPOINT",
    "SIPDO_MODEL",
    "SIPDO_BASE_URL",
    "SIPDO_PROVIDER",
    "SIPDO_API_KEY_ENV",
    "SIPDO_TEMPERATURE",
    "SIPDO_MAX_TOKENS",
    "SIPDO_SLOTS",
];

/// A process that this one has started.
#[derive(Debug)]
pub struct Running {
    /// What `stack.json` tells of it.
    pub process: Process,
    child: Child,
}

/// How to start one.
#[derive(Debug)]
pub struct Start<'a> {
    /// `learner-2`: names it, its log and its port file.
    pub name: &'a str,
    /// `sipdo-learner`.
    pub program: &'a str,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whether variables that name a model are kept from it.
    pub without_models: bool,
}

/// The path of one of our programs: beside this one, else on `PATH`.
///
/// # Errors
/// It is in neither.
pub fn find_program(name: &str) -> Result<PathBuf, Failure> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = beside.iter().cloned().chain(env::split_paths(&path)).collect();
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            let beside = beside
                .map(|folder| format!("in {} or ", folder.display()))
                .unwrap_or_default();
            Failure::new(Exit::Failure, format!("{name} is not {beside}on PATH"))
                .hint("build or install all of sipdo's programs: `cargo build --workspace` builds them into one folder")
        })
}

/// Starts a process in a group of its own (a Ctrl-C meant for us must not reach it), with stderr and stdout in its log.
///
/// # Errors
/// The program is not there or cannot be started.
pub fn start(layout: &Layout, start: &Start<'_>) -> Result<Running, Failure> {
    let program = find_program(start.program)?;
    let path = layout.log(start.name);
    if path.exists() {
        // The log before this one is worth keeping: it may tell of a crash. Where it cannot be kept it is overwritten.
        let _ = fs::rename(&path, layout.log(&format!("{}.old", start.name)));
    }
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot start {}: {error}", program.display()));
    let log = fs::File::create(&path).map_err(failed)?;
    let mut command = Command::new(&program);
    command.args(&start.args).process_group(0).stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    if env::var_os("SIPDO_LOG_FORMAT").is_none() {
        command.env("SIPDO_LOG_FORMAT", "pretty");
    }
    if start.without_models {
        MODEL_VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
    }
    let child = command.spawn().map_err(failed)?;
    Ok(Running {
        process: Process::now(start.name, child.id()),
        child,
    })
}

impl Running {
    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self, layout: &Layout) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.failure(layout, &format!("ended unexpectedly ({status})"))),
            _ => Ok(()),
        }
    }

    /// A failure that shows the end of its log.
    pub fn failure(&self, layout: &Layout, what: &str) -> Failure {
        failure(layout, &self.process.name, what)
    }
}

/// What happened to a process of this name, with the end of its log.
pub fn failure(layout: &Layout, name: &str, what: &str) -> Failure {
    let log = layout.log(name);
    let tail = tail(&log);
    let tail = if tail.is_empty() {
        "  (its log is empty)".into()
    } else {
        tail
    };
    Failure::unavailable(format!(
        "{name} {what}; the end of its log ({}):\n{tail}",
        log.display()
    ))
}

/// The last lines of a log, indented and harmless; empty where there are none.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(LOG_TAIL).collect();
    let lines: Vec<String> = lines
        .into_iter()
        .rev()
        .map(|line| format!("  {}", clean(line)))
        .collect();
    lines.join("\n")
}

/// The port in a port file, once it is there.
pub fn told_port(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    // Either the port alone or a whole address; a file without its line feed may still be half written, but a port of fewer
    // digits would be refused by the connection that follows and read again.
    text.trim().rsplit(':').next()?.parse().ok().filter(|&port| port > 0)
}

/// Whether `/readyz` at this address answers 200.
pub fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Ends processes: asks, waits, and kills those that are left at the deadline. Returns the names of those that had to be killed.
pub async fn end(processes: &[Process], patience: Duration) -> Vec<String> {
    processes.iter().for_each(Process::terminate);
    let left = || processes.iter().filter(|process| process.lives()).collect::<Vec<_>>();
    let deadline = Instant::now() + patience;
    while !left().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    let stubborn = left();
    stubborn.iter().for_each(|process| process.kill());
    stubborn.iter().map(|process| process.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(dir: &Path, script: &str) -> (Layout, Running) {
        let layout = Layout::new(Some(dir), false).unwrap();
        layout.make().unwrap();
        let start = Start {
            name: "child",
            program: "sh",
            args: vec!["-c".into(), script.into()],
            without_models: true,
        };
        let running = super::start(&layout, &start).unwrap();
        (layout, running)
    }

    #[tokio::test]
    async fn a_child_that_ends_at_once_is_told_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, mut running) = child(dir.path(), "echo 'no such \u{1b}[1mmodel' >&2; exit 3");
        let deadline = Instant::now() + Duration::from_secs(10);
        let failure = loop {
            match running.check(&layout) {
                Err(failure) => break failure,
                Ok(()) => tokio::time::sleep(POLL).await,
            }
            assert!(Instant::now() < deadline, "it never ended");
        };
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("child ended unexpectedly"), "{failure}");
        assert!(failure.message.contains("no such \\u{1b}[1mmodel"), "{failure}");
    }

    #[tokio::test]
    async fn one_that_will_not_end_is_killed_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, running) = child(dir.path(), "trap '' TERM; echo deaf; while :; do sleep 1; done");
        let deadline = Instant::now() + Duration::from_secs(10);
        while tail(&layout.log("child")).is_empty() {
            assert!(Instant::now() < deadline, "it never spoke");
            tokio::time::sleep(POLL).await;
        }
        let killed = end(std::slice::from_ref(&running.process), Duration::from_millis(200)).await;
        assert_eq!(killed, ["child"]);
        while running.process.lives() {
            assert!(Instant::now() < deadline, "it still lives");
            tokio::time::sleep(POLL).await;
        }
        assert!(
            end(std::slice::from_ref(&running.process), Duration::from_secs(1))
                .await
                .is_empty()
        );
    }

    #[test]
    fn a_port_is_read_alone_or_in_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        assert_eq!(told_port(&file), None);
        for (text, port) in [
            ("", None),
            ("7070\n", Some(7070)),
            ("127.0.0.1:80", Some(80)),
            ("0", None),
            ("x", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(told_port(&file), port, "{text:?}");
        }
    }

    #[test]
    fn a_missing_program_says_where_it_was_looked_for() {
        let failure = find_program("sipdo-nothing").unwrap_err();
        assert!(
            failure.message.contains("PATH") && failure.hint.contains("cargo build"),
            "{failure}"
        );
    }
}
