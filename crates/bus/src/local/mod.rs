//! A private nats-server as a child process: for the stack on one machine, and for tests. The same server that a
//! cluster runs, on a free port of the loopback, with its data where the caller wants it.

mod error;
mod find;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use self::error::LocalError;
use self::error::io;
use self::find::{BINARY, check_version};
pub use self::find::{binary_version, find_binary};

/// Largest message of a private server, in bytes. Generous: prompts with many examples are large.
pub const MAX_PAYLOAD: usize = 4 << 20;

const PID_FILE: &str = "nats-server.pid";
const URL_FILE: &str = "nats-server.url";
const LOG_FILE: &str = "nats-server.log";
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// How to start a private server.
#[derive(Debug, Clone)]
pub struct NatsServerOptions {
    /// The folder for its data, configuration, log and pid. Made if missing; kept when the server ends.
    pub folder: PathBuf,
    /// Its port; 0 takes a free one and keeps it over restarts ([`free_port`]).
    pub port: u16,
    /// The binary; found by [`find_binary`] if not given.
    pub binary: Option<PathBuf>,
    /// Whether every message is on the disk before it is acknowledged. Without it a power failure, not a crash of a
    /// process, may lose the last five seconds.
    pub sync_always: bool,
    /// Largest message in bytes.
    pub max_payload: usize,
    /// Most bytes of all streams together; three quarters of what the disk has free at the start where not given.
    pub max_store: Option<u64>,
    /// Whether it keeps streams. Off only to test what happens then.
    pub jetstream: bool,
    /// Whether it ends when this value is dropped. Off where it is to outlive the process that started it.
    pub end_with_us: bool,
}

impl NatsServerOptions {
    /// A server with its data in `folder`, on a free port, that ends with this process.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            port: 0,
            binary: None,
            sync_always: false,
            max_payload: MAX_PAYLOAD,
            max_store: None,
            jetstream: true,
            end_with_us: true,
        }
    }
}

/// A nats-server that this process has started.
#[derive(Debug)]
pub struct NatsServer {
    options: NatsServerOptions,
    binary: PathBuf,
    port: u16,
    /// Keeps a port that was not given.
    _reserved: Option<TcpSocket>,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// No fitting binary; the folder cannot be used, or a server runs there already; the server does not come up, with
    /// the end of its log.
    pub async fn start(options: NatsServerOptions) -> Result<Self, LocalError> {
        if let Some((pid, url)) = running(&options.folder).await {
            return Err(LocalError::Running {
                folder: options.folder,
                pid,
                url,
            });
        }
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => find_binary()?,
        };
        check_version(&binary).await?;
        let (port, reserved) = match options.port {
            0 => {
                let (port, socket) = free_port().map_err(|error| io("finding a free port".to_owned(), error))?;
                (port, Some(socket))
            }
            port => (port, None),
        };
        let mut server = Self {
            port,
            _reserved: reserved,
            options,
            binary,
            child: None,
        };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts the server again after [`NatsServer::kill`] or [`NatsServer::terminate`]: same port, same data.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn start_again(&mut self) -> Result<(), LocalError> {
        let folder = &self.options.folder;
        std::fs::create_dir_all(folder).map_err(|error| io(format!("making {}", folder.display()), error))?;
        // The path goes into a configuration file and to a child whose working folder may be another.
        let folder = folder
            .canonicalize()
            .map_err(|error| io(format!("finding {}", folder.display()), error))?;
        self.options.folder.clone_from(&folder);
        let config = folder.join("nats.conf");
        std::fs::write(&config, self.config()).map_err(|error| io(format!("writing {}", config.display()), error))?;
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(self.options.end_with_us);
        // A Ctrl-C meant for the program must not reach its server, which has to outlive the program's last messages.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| io(format!("starting {}", self.binary.display()), error))?;
        self.child = Some(child);
        let started = timeout(START, self.wait_until_up()).await;
        let reason = match started {
            Ok(Ok(())) => {
                let file = folder.join(URL_FILE);
                return std::fs::write(&file, self.url())
                    .map_err(|error| io(format!("writing {}", file.display()), error));
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {START:?}"),
        };
        self.kill().await?;
        Err(LocalError::NotStarted {
            binary: self.binary.clone(),
            reason,
            log: log_tail(&self.options.folder),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The folder of its data, configuration, log and pid.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Ends it as a crash would (SIGKILL), and waits for the end.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill(&mut self) -> Result<(), LocalError> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .await
                .map_err(|error| io("killing nats-server".to_owned(), error))?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits; kills it if it does not within ten seconds.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn terminate(&mut self) -> Result<(), LocalError> {
        self.signal("TERM").await?;
        if let Some(child) = &mut self.child
            && timeout(STOP, child.wait()).await.is_ok()
        {
            self.child = None;
            return Ok(());
        }
        self.kill().await
    }

    /// Stops it from running (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn pause(&self) -> Result<(), LocalError> {
        self.signal("STOP").await?;
        // The signal reaches one thread after the other, and a thread not yet reached still answers.
        let deadline = Instant::now() + STOP;
        while self.pid().is_some_and(|pid| !is_stopped(pid)) && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Lets it run again (SIGCONT).
    ///
    /// # Errors
    /// The system refuses.
    pub async fn resume(&self) -> Result<(), LocalError> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> Result<(), LocalError> {
        match self.pid() {
            Some(pid) => signal(pid, name).await,
            None => Ok(()),
        }
    }

    fn config(&self) -> String {
        let folder = self.options.folder.display();
        let port = self.port;
        let sync = if self.options.sync_always { "always" } else { "5s" };
        let jetstream = if self.options.jetstream {
            let most = self.options.max_store;
            let most = most.map_or(String::new(), |bytes| format!("  max_file_store: {bytes}\n"));
            format!("jetstream {{\n  store_dir: \"{folder}\"\n  sync_interval: {sync}\n{most}}}\n")
        } else {
            String::new()
        };
        format!(
            "# Written by sipdo at each start; changes are lost.\n\
             server_name: sipdo-local\n\
             listen: \"127.0.0.1:{port}\"\n\
             max_payload: {}\n\
             pid_file: \"{folder}/{PID_FILE}\"\n\
             log_file: \"{folder}/{LOG_FILE}\"\n\
             logfile_size_limit: 10MB\n\
             logfile_max_num: 2\n\
             {jetstream}",
            self.options.max_payload
        )
    }

    /// Waits until the server greets.
    async fn wait_until_up(&mut self) -> Result<(), String> {
        while !greets(self.port).await {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(format!("it ended at once ({ended})"));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// A free port of the loopback. The system gives it to nobody else as long as the socket is there, which does not listen: a server is
/// told to use it, and may be away for a while. Clients that look for it meanwhile must not find another one.
///
/// # Errors
/// There is none.
pub fn free_port() -> std::io::Result<(u16, TcpSocket)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    Ok((socket.local_addr()?.port(), socket))
}

/// The process id and URL of the server that runs in `folder`, if one does, whoever has started it.
pub async fn running(folder: &Path) -> Option<(u32, String)> {
    let pid = std::fs::read_to_string(folder.join(PID_FILE))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let url = std::fs::read_to_string(folder.join(URL_FILE)).unwrap_or_default();
    is_our_server(pid, folder).await.then_some((pid, url))
}

/// Ends the server that runs in `folder`, whoever has started it. Returns whether there was one.
///
/// # Errors
/// It does not end, even when killed.
pub async fn stop_left_behind(folder: &Path) -> Result<bool, LocalError> {
    let Some((pid, _)) = running(folder).await else {
        return Ok(false);
    };
    for name in ["TERM", "KILL"] {
        signal(pid, name).await?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if !is_our_server(pid, folder).await {
                drop(std::fs::remove_file(folder.join(PID_FILE)));
                return Ok(true);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Err(io(
        format!("ending process {pid}"),
        std::io::Error::other("it is still there"),
    ))
}

/// Whether `pid` is a nats-server with the configuration of `folder`. A pid alone proves nothing, because the system
/// uses it again. A process that has ended but was not yet waited for has no arguments any more, and does not count.
async fn is_our_server(pid: u32, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let args = if Path::new("/proc/self/cmdline").exists() {
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&args).replace('\0', " ")
    } else {
        let told = Command::new("ps")
            .args(["-o", "args=", "-p", &pid.to_string()])
            .output()
            .await;
        told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned())
            .unwrap_or_default()
    };
    args.contains(BINARY) && args.contains(&*folder.to_string_lossy())
}

/// Whether all threads of a process are stopped, where the system tells (Linux); else it is taken for granted.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    // The state follows the name, which is in brackets and may itself hold some.
    let stopped = |stat: &str| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    threads
        .flatten()
        .all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stopped(&stat)))
}

async fn signal(pid: u32, name: &str) -> Result<(), LocalError> {
    let doing = || format!("sending SIG{name} to nats-server");
    // The shell's own `kill` exists everywhere, and a system call would need unsafe code.
    let command = format!("kill -s {name} {pid}");
    let done = Command::new("sh")
        .arg("-c")
        .arg(command)
        .output()
        .await
        .map_err(|error| io(doing(), error))?;
    if done.status.success() {
        return Ok(());
    }
    Err(io(
        doing(),
        std::io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    ))
}

/// Whether a NATS server greets at this port.
async fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let mut line = String::new();
    let read = timeout(Duration::from_secs(1), BufReader::new(stream).read_line(&mut line)).await;
    matches!(read, Ok(Ok(_))) && line.starts_with("INFO ")
}

fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join(LOG_FILE)).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
