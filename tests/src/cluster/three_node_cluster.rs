//! Three nats-servers as one cluster, each a process that can be killed, stopped and cut off alone.

use crate::cluster::{
    process::eventually,
    proxy::{Mode, Proxy},
};
use anyhow::{Context as _, Result, ensure};
use sipdo_bus::local::{find_binary, free_port};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::net::TcpSocket;

/// How long a server may take to answer what it is asked. Without a leader it does not answer at all.
const ANSWER: Duration = Duration::from_millis(500);

/// The servers.
#[derive(Debug)]
pub struct ThreeNodeCluster {
    servers: Vec<Server>,
    /// What stands between two servers, by the one that speaks first and the one that is spoken to; empty where nothing does.
    links: BTreeMap<(usize, usize), Proxy>,
    /// Where they meet.
    _routes: Vec<Place>,
}

#[derive(Debug)]
struct Server {
    child: Child,
    client: Place,
    config: PathBuf,
    frozen: bool,
}

impl Server {
    fn start(config: &Path) -> Result<Child> {
        Command::new(find_binary()?)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nats-server")
    }
}

impl ThreeNodeCluster {
    /// Starts three servers with their data in `folder`. Clients wait until the cluster has found itself.
    ///
    /// # Errors
    /// No binary, or no free port.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_synced(folder, "always")
    }

    /// As [`ThreeNodeCluster::start`], flushed to the disk so: `always`, or an interval.
    ///
    /// # Errors
    /// As [`ThreeNodeCluster::start`].
    pub fn start_synced(folder: &Path, sync: &str) -> Result<Self> {
        Self::launch(folder, sync, "", places(3)?, BTreeMap::new())
    }

    /// As [`ThreeNodeCluster::start`], with these lines in the configuration of each server.
    ///
    /// # Errors
    /// As [`ThreeNodeCluster::start`].
    pub fn start_with(folder: &Path, lines: &str) -> Result<Self> {
        Self::launch(folder, "always", lines, places(3)?, BTreeMap::new())
    }

    /// As [`ThreeNodeCluster::start`], but each can be cut off from the others by [`ThreeNodeCluster::isolate`], and clients stay with the server they were
    /// given.
    ///
    /// # Errors
    /// As [`ThreeNodeCluster::start`].
    pub async fn start_linked(folder: &Path) -> Result<Self> {
        let routes = places(3)?;
        let mut links = BTreeMap::new();
        for from in 0..routes.len() {
            for (to, route) in routes.iter().enumerate().filter(|(to, _)| *to != from) {
                links.insert((from, to), Proxy::start(route.address).await?);
            }
        }
        Self::launch(folder, "always", "", routes, links)
    }

    fn launch(
        folder: &Path,
        sync: &str,
        lines: &str,
        routes: Vec<Place>,
        links: BTreeMap<(usize, usize), Proxy>,
    ) -> Result<Self> {
        // Where a link stands between two servers they must not tell each other of a way around it.
        let discreet = match links.is_empty() {
            true => "",
            false => ", no_advertise: true, advertise: \"127.0.0.1:1\"",
        };
        let mut servers = Vec::new();
        for (number, (client, route)) in places(3)?.into_iter().zip(&routes).enumerate() {
            let known = routes.iter().enumerate().map(|(other, route)| {
                let address = links.get(&(number, other)).map_or(route.address, Proxy::address);
                format!("\"nats://{address}\"")
            });
            let known: Vec<String> = known.collect();
            let folder = folder.join(format!("server-{number}"));
            fs::create_dir_all(&folder)?;
            let config = folder.join("nats.conf");
            let text = format!(
                "server_name: server-{number}\nlisten: \"{2}\"\nlog_file: \"{0}/log\"\n\
                 jetstream {{ store_dir: \"{0}\", sync_interval: {sync} }}\n\
                 cluster {{ name: nodes, listen: \"{3}\", routes: [{1}]{discreet} }}\n{lines}\n",
                folder.display(),
                known.join(", "),
                client.address,
                route.address,
            );
            fs::write(&config, text)?;
            servers.push(Server {
                child: Server::start(&config)?,
                client,
                config,
                frozen: false,
            });
        }
        Ok(ThreeNodeCluster {
            servers,
            links,
            _routes: routes,
        })
    }

    /// Where clients connect, all three.
    pub fn urls(&self) -> String {
        self.urls_of("")
    }

    /// As [`ThreeNodeCluster::urls`], with this user, `name:password@`.
    pub fn urls_of(&self, user: &str) -> String {
        let urls = self
            .servers
            .iter()
            .map(|server| format!("nats://{user}{}", server.client.address));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Where clients of one of them connect.
    ///
    /// # Errors
    /// There are three.
    pub fn url(&self, number: usize) -> Result<String> {
        let server = self.servers.get(number).context("there are three")?;
        Ok(format!("nats://{}", server.client.address))
    }

    /// Cuts one off from the other two, in this way. It stays there for its own clients.
    pub fn isolate(&self, number: usize, how: Mode) {
        self.between(number).for_each(|link| link.set(how));
    }

    /// Lets one that was cut off find the others again.
    ///
    /// # Errors
    /// An old connection does not end.
    pub async fn join(&self, number: usize) -> Result<()> {
        // A connection that has lost something of what was said is of no use.
        self.isolate(number, Mode::Cut);
        eventually("the old connections to end", || async {
            Ok(self.between(number).all(Proxy::is_idle).then_some(()))
        })
        .await?;
        self.isolate(number, Mode::Open);
        Ok(())
    }

    fn between(&self, number: usize) -> impl Iterator<Item = &Proxy> {
        let own = self
            .links
            .iter()
            .filter(move |((from, to), _)| [*from, *to].contains(&number));
        own.map(|(_, link)| link)
    }

    /// Ends one as an operator does, and starts it again on the same data.
    ///
    /// # Errors
    /// It cannot be told, or does not start.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        let server = self.servers.get_mut(number).context("there are three")?;
        let told = Command::new("kill").arg(server.child.id().to_string()).status()?;
        ensure!(told.success(), "server {number} cannot be told to end");
        server.child.wait()?;
        self.start_again(number)
    }

    /// Kills one.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let server = self.servers.get_mut(number).context("there are three")?;
        drop(server.child.kill());
        server.child.wait()?;
        Ok(())
    }

    /// Kills all three, none later than the others.
    ///
    /// # Errors
    /// They cannot be waited for.
    pub fn kill_all(&mut self) -> Result<()> {
        for server in &mut self.servers {
            drop(server.child.kill());
        }
        (0..self.servers.len()).try_for_each(|number| self.kill(number))
    }

    /// Starts one that was killed, on the same data.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&mut self, number: usize) -> Result<()> {
        let server = self.servers.get_mut(number).context("there are three")?;
        server.child = Server::start(&server.config)?;
        Ok(())
    }

    /// Stops one from running, or lets it run again.
    ///
    /// # Errors
    /// `kill` failed.
    pub fn freeze(&mut self, number: usize, frozen: bool) -> Result<()> {
        let server = self.servers.get_mut(number).context("there are three")?;
        let (pid, signal) = (server.child.id().to_string(), if frozen { "-STOP" } else { "-CONT" });
        let status = Command::new("kill").args([signal, &pid]).status()?;
        ensure!(status.success(), "kill {signal} of server {number} failed");
        server.frozen = frozen;
        Ok(())
    }

    /// The number of the server that leads a stream; none while nobody does.
    ///
    /// # Errors
    /// No server can be asked.
    pub fn leader(&self, stream: &str) -> Result<Option<usize>> {
        let info = self.info(stream)?;
        let leader = info.pointer("/cluster/leader").and_then(serde_json::Value::as_str);
        Ok(leader.and_then(|name| name.strip_prefix("server-")?.parse().ok()))
    }

    /// Whether each of these streams has a leader, and both others hold all of it: one of the three may be lost now.
    pub fn is_whole(&self, streams: &[&str]) -> bool {
        let current = |copy: &&serde_json::Value| copy["current"] == true && copy["offline"] != true;
        let is_whole = |info: serde_json::Value| {
            let copies = info.pointer("/cluster/replicas")?.as_array()?;
            let leader = info.pointer("/cluster/leader")?.as_str()?;
            Some(!leader.is_empty() && copies.iter().filter(current).count() == 2)
        };
        let mut infos = streams.iter().map(|stream| self.info(stream).ok().and_then(is_whole));
        infos.all(|whole| whole == Some(true))
    }

    /// What the first server that answers says of a stream.
    fn info(&self, stream: &str) -> Result<serde_json::Value> {
        let question = format!("$JS.API.STREAM.INFO.{stream}");
        let servers = self.servers.iter().filter(|server| !server.frozen);
        let mut answers = servers.filter_map(|server| ask(server.client.address, &question).ok());
        let answer = answers.next().context("no server answers")?;
        Ok(serde_json::from_str(&answer)?)
    }
}

/// One request and its answer, in the protocol's own words: a test of the cluster should not depend on the client under test.
///
/// # Errors
/// The server does not answer.
pub fn ask(server: SocketAddr, subject: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer 0\r\n\r\n"
    )?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next().context("the server has hung up")??;
        if line.starts_with("MSG ") {
            return lines.next().context("a message without a body")?.map_err(Into::into);
        }
    }
}

impl Drop for ThreeNodeCluster {
    fn drop(&mut self) {
        for number in 0..self.servers.len() {
            drop(self.kill(number));
        }
    }
}

/// An address of this machine that stays free for one server, also while it is down.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    _reserved: TcpSocket,
}

/// Places for so many servers.
fn places(count: usize) -> Result<Vec<Place>> {
    let place = || {
        let (port, socket) = free_port()?;
        Ok(Place {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _reserved: socket,
        })
    };
    (0..count).map(|_| place()).collect()
}
