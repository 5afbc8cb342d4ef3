//! What runs on this machine, as `stack.json` tells it, and whether it is still true.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Write as _},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::failure::{Exit, Failure};

/// How often a lock or a process is looked at.
pub const POLL: Duration = Duration::from_millis(20);

/// A local stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Where the coordinator's run service listens, as `http://127.0.0.1:7070`.
    pub coordinator: String,
    /// Where agents of other machines could join, as `nats://127.0.0.1:4222`.
    pub nats: String,
    /// Where the simulated model listens, in a simulated stack.
    pub simulator: Option<String>,
    /// Whether the models are simulated.
    pub simulated: bool,
    /// Whether agents were started too; without them a stack only reads.
    pub agents: bool,
    /// The operator's file that the agents were given.
    pub config: Option<PathBuf>,
    /// The command that started a private stack; none for a stack of `sipdo up`.
    pub owner: Option<Process>,
    /// The commands that use a private stack. The last one takes it down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Process>,
    /// Its processes, in the order started.
    pub processes: Vec<Process>,
}

/// A process that can be told from a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `nats-server`, `coordinator`, `learner`, ...
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// When it was born, as the system tells it: see [`birth`].
    pub birth: String,
    /// Where `/readyz` is answered, as `127.0.0.1:8081`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

impl Process {
    /// A process that runs now.
    pub fn now(name: &str, pid: u32) -> Self {
        Process {
            name: name.to_owned(),
            pid,
            birth: birth(pid).unwrap_or_default(),
            admin: None,
        }
    }

    /// Whether this very process still runs.
    pub fn lives(&self) -> bool {
        !self.birth.is_empty() && birth(self.pid).as_ref() == Some(&self.birth)
    }

    /// Asks it to end, if it is still the one. A process that ends in between is what was wanted.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once, if it is still the one.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.lives())
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, name = self.name, pid = self.pid, "not signalled");
        }
    }
}

/// Something that stays the same while process `pid` lives and that a later process with the same id does not share: the boot and
/// the tick of its start on Linux, the time of its start elsewhere. None where there is no such process, or only its zombie.
pub fn birth(pid: u32) -> Option<String> {
    if let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything: count from the last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?;
        return (!matches!(state, "Z" | "X")).then(|| format!("{}/{start}", boot.trim()));
    }
    let told = Command::new("ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    (!told.is_empty()).then_some(told)
}

impl State {
    /// What `stack.json` tells, if it is there and can be read.
    pub fn load(layout: &Layout) -> Option<State> {
        serde_json::from_str(&fs::read_to_string(layout.state()).ok()?).ok()
    }

    /// Writes `stack.json`, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(anyhow::Error::from)?;
        let draft = layout.root.join("stack.json.new");
        fs::write(&draft, text + "\n")
            .and_then(|()| fs::rename(&draft, layout.state()))
            .map_err(|error| {
                Failure::new(
                    Exit::Failure,
                    format!("cannot write {}: {error}", layout.state().display()),
                )
            })
    }

    /// Forgets `stack.json`.
    pub fn forget(layout: &Layout) {
        if let Err(error) = fs::remove_file(layout.state())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "stack.json stays");
        }
    }

    /// The process of this name.
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }

    /// Whether the stack can be spoken to: its nats-server and its coordinator live.
    pub fn lives(&self) -> bool {
        let lives = |name: &str| self.process(name).is_some_and(Process::lives);
        lives("nats-server") && lives("coordinator")
    }

    /// The commands that are at work with a private stack.
    pub fn at_work(&self) -> Vec<&Process> {
        let mut all: Vec<&Process> = self.owner.iter().chain(&self.users).collect();
        all.dedup();
        all.retain(|process| process.lives());
        all
    }

    /// Whether it belongs to commands that are still at work.
    pub fn is_owned(&self) -> bool {
        !self.at_work().is_empty()
    }
}

/// How long another command may take to start a stack or to take one down.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The right to start, join or leave the stack of a folder. Given back by the system when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock as soon as whoever starts or ends a stack has done so.
    ///
    /// # Errors
    /// It is held for longer than that may take; the file cannot be made.
    pub async fn wait(layout: &Layout) -> Result<Self, Failure> {
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            match Lock::take(layout) {
                Err(failure) if failure.exit == Exit::Unavailable && Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                }
                other => return other,
            }
        }
    }

    /// Takes the lock, or says who holds it.
    ///
    /// # Errors
    /// Another process holds it; the file cannot be made.
    pub fn take(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.lock();
        let failed =
            |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot lock {}: {error}", path.display()));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)
                    .and_then(|()| write!(file, "{}", std::process::id()))
                    .map_err(failed)?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is only helps the message.
                let _ = file.read_to_string(&mut holder);
                Err(Failure::unavailable(format!(
                    "another sipdo command (process {}) starts or stops the local stack in {}",
                    holder.trim(),
                    layout.root.display()
                ))
                .hint("try again when it has done so, or name another folder with --data-dir"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn layout(dir: &Path) -> Layout {
        Layout::new(Some(dir), false).unwrap()
    }

    #[test]
    fn a_process_is_known_by_its_birth_and_not_by_its_id() {
        let us = Process::now("us", std::process::id());
        assert!(us.lives());
        let other = Process {
            birth: "another time".into(),
            ..us
        };
        assert!(!other.lives());
        // Would end this test if it were believed.
        other.kill();
        let nobody = Process { pid: u32::MAX, ..other };
        assert!(!nobody.lives());
    }

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = Command::new("true").spawn().unwrap();
        let process = Process::now("child", child.id());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while birth(child.id()).is_some() {
            assert!(std::time::Instant::now() < deadline, "it never ended");
            std::thread::yield_now();
        }
        assert!(!process.lives());
        child.wait().unwrap();
    }

    #[test]
    fn two_stacks_in_one_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(&layout(dir.path())).unwrap();
        let failure = Lock::take(&layout(dir.path())).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains(&std::process::id().to_string()), "{failure}");
        drop(held);
        assert!(Lock::take(&layout(dir.path())).is_ok());
    }

    #[test]
    fn the_state_survives_its_file_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        assert!(State::load(&layout).is_none());
        let state = State {
            coordinator: "http://127.0.0.1:1".into(),
            nats: "nats://127.0.0.1:2".into(),
            simulator: None,
            simulated: false,
            agents: true,
            config: None,
            owner: Some(Process::now("sipdo", std::process::id())),
            users: Vec::new(),
            processes: vec![Process {
                name: "nats-server".into(),
                pid: 1,
                birth: "long ago".into(),
                admin: None,
            }],
        };
        state.save(&layout).unwrap();
        let read = State::load(&layout).unwrap();
        assert_eq!(read.processes, state.processes);
        assert!(read.is_owned() && !read.lives());
        fs::write(layout.state(), "{").unwrap();
        assert!(State::load(&layout).is_none());
        State::forget(&layout);
        State::forget(&layout);
    }
}
