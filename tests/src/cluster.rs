//! A cluster on this machine: nats-server, simulator, coordinators, agents; each a real process that can be hurt alone.

pub mod client;
pub mod command;
pub mod families;
pub mod http;
pub mod process;
pub mod proxy;
pub mod simulator;
pub mod task;
pub mod three_node_cluster;

pub use client::{Client, connect};

use anyhow::{Context as _, Result, bail, ensure};
use client::{Token, connect_with};
use process::{Process, eventually, program};
use proxy::{Mode, Proxy};
use simulator::Ledger;
use sipdo_bus::{
    Bus, BusSettings,
    local::{NatsServer, NatsServerOptions},
};
use sipdo_protocol::pb::{self, State};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The roles of agents.
pub const ROLES: [&str; 5] = ["generator", "checker", "verifier", "learner", "optimizer"];

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Arguments of the simulator.
    pub simulator: Vec<String>,
    /// Jobs that an agent works on at a time.
    pub slots: u32,
    /// Coordinators to start.
    pub coordinators: usize,
    /// Agents of each role to start.
    pub agents: usize,
    /// Seconds of silence about a job after which another agent gets it.
    pub ack_wait: u32,
    /// Lines for the operator's file that every agent reads, below the simulator's endpoint.
    pub operator: String,
    /// Whether each process reaches the server through a proxy of its own, so that it can be cut off alone.
    pub proxied: bool,
    /// Variables in the environment of coordinators and agents.
    pub environment: Vec<(String, String)>,
    /// Further arguments of every coordinator.
    pub coordinator: Vec<String>,
    /// Most bytes of all streams together.
    pub max_store: Option<u64>,
    /// Where the server keeps its streams, if not beside the rest.
    pub store: Option<PathBuf>,
    /// Other servers than the cluster's own, with commas between their addresses.
    pub servers: Option<String>,
    /// Folder with the coordinators and agents to start; none: those of this build.
    pub programs: Option<PathBuf>,
    /// The token that every call of the API must carry.
    pub token: Option<String>,
    /// `user:password` in the addresses of the server. Its own server lets in anybody.
    pub nats_login: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            simulator: Vec::new(),
            slots: 16,
            coordinators: 1,
            agents: 1,
            ack_wait: 30,
            operator: String::new(),
            proxied: false,
            environment: Vec::new(),
            coordinator: Vec::new(),
            max_store: None,
            store: None,
            servers: None,
            programs: None,
            token: None,
            nats_login: None,
        }
    }
}

/// The processes.
pub struct Cluster {
    /// Where everything is kept.
    pub folder: TempDir,
    /// The server.
    pub nats: NatsServer,
    /// The simulated models.
    pub simulator: Process,
    /// Address of the simulator.
    pub models: SocketAddr,
    /// The coordinators.
    pub coordinators: Vec<(Process, SocketAddr)>,
    /// The agents by role.
    pub agents: Vec<(&'static str, Process)>,
    /// Folder with the coordinators and agents to start from now on; none: those of this build.
    pub programs: Option<PathBuf>,
    /// Where the processes that are started from now on find their server; none: the cluster's own.
    pub servers: Option<String>,
    slots: u32,
    started: usize,
    proxied: bool,
    token: Option<Token>,
    nats_login: Option<String>,
    /// The proxies by process id.
    proxies: HashMap<u32, Proxy>,
    environment: Vec<(String, String)>,
    coordinator: Vec<String>,
}

impl Cluster {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = setup.store.clone().unwrap_or_else(|| folder.path().join("nats"));
        let nats = NatsServer::start(NatsServerOptions {
            max_store: setup.max_store,
            ..NatsServerOptions::new(store)
        })
        .await?;
        let port_file = folder.path().join("simulator.port");
        let mut args = vec!["--port".to_owned(), "0".into(), "--port-file".into(), text(&port_file)];
        args.extend(setup.simulator.iter().cloned());
        let mut simulator = Process::start("sipdo-simulator", "simulator", &args, folder.path())?;
        let models = simulator.until("address", || address(&port_file)).await?;
        fs::write(folder.path().join("sipdo.toml"), operator_file(models, setup))?;
        let mut cluster = Cluster {
            folder,
            nats,
            simulator,
            models,
            coordinators: Vec::new(),
            agents: Vec::new(),
            programs: setup.programs.clone(),
            slots: setup.slots,
            started: 0,
            proxied: setup.proxied,
            servers: setup.servers.clone(),
            token: setup.token.as_deref().map(Token::new).transpose()?,
            nats_login: setup.nats_login.clone(),
            proxies: HashMap::new(),
            environment: setup.environment.clone(),
            coordinator: setup.coordinator.clone(),
        };
        for _ in 0..setup.coordinators {
            cluster.start_coordinator().await?;
        }
        for role in ROLES {
            for _ in 0..setup.agents {
                cluster.start_agent(role, &[]).await?;
            }
        }
        cluster.agents_answer(ROLES.len() * setup.agents).await?;
        Ok(cluster)
    }

    /// Starts one more coordinator and waits for its API.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let port_file = self
            .folder
            .path()
            .join(format!("coordinator-{}.port", self.started + 1));
        self.launch_coordinator().await?;
        let (process, _) = self.coordinators.last_mut().context("a coordinator was started")?;
        process
            .until("address of the API", || address(&port_file))
            .await
            .map(drop)
    }

    /// Starts one more coordinator and does not wait for it: without a server it would not come.
    ///
    /// # Errors
    /// It does not start.
    pub async fn launch_coordinator(&mut self) -> Result<()> {
        self.started += 1;
        let label = format!("coordinator-{}", self.started);
        let port_file = self.folder.path().join(format!("{label}.port"));
        let api = free_address()?;
        let (url, proxy) = self.link().await?;
        let args = [
            "--nats-url",
            &url,
            "--listen",
            &api.to_string(),
            "--admin-listen",
            "127.0.0.1:0",
            "--admin-port-file",
            &text(&self.folder.path().join(format!("{label}.admin"))),
            "--port-file",
        ];
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.push(text(&port_file));
        args.extend(self.coordinator.iter().cloned());
        if let Some(token) = &self.token {
            args.extend(["--token-file".to_owned(), text(token.file.path())]);
        }
        let process = Process::start_program(
            &self.program("sipdo-coordinator")?,
            &self.environment,
            &label,
            &args,
            self.folder.path(),
        )?;
        self.proxies.extend(proxy.map(|proxy| (process.pid(), proxy)));
        self.coordinators.push((process, api));
        Ok(())
    }

    /// Starts one more agent with these further arguments. Does not wait for it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_agent(&mut self, role: &'static str, more: &[&str]) -> Result<()> {
        self.start_agent_with(role, more, &[]).await
    }

    /// As [`Cluster::start_agent`], with these environment variables too.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_agent_with(&mut self, role: &'static str, more: &[&str], env: &[(&str, &str)]) -> Result<()> {
        self.started += 1;
        let label = format!("{role}-{}", self.started);
        let config = text(&self.folder.path().join("sipdo.toml"));
        // The agents of a role share the spool of their machine, and find there what one of them has left.
        let spool = text(&self.folder.path().join(format!("spool-{role}")));
        let (url, proxy) = self.link().await?;
        let admin = text(&self.folder.path().join(format!("{label}.admin")));
        let mut args: Vec<String> = vec!["--nats-url".into(), url];
        args.extend(["--admin-listen", "127.0.0.1:0", "--admin-port-file", &admin].map(str::to_owned));
        if !more.contains(&"--spool-dir") {
            args.extend(["--spool-dir".to_owned(), spool]);
        }
        if !more.contains(&"--base-url") {
            args.extend(["--config".to_owned(), config]);
        }
        args.extend(["--slots".to_owned(), self.slots.to_string()]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let mut environment = self.environment.clone();
        environment.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let process = Process::start_program(
            &self.program(&format!("sipdo-{role}"))?,
            &environment,
            &label,
            &args,
            self.folder.path(),
        )?;
        self.proxies.extend(proxy.map(|proxy| (process.pid(), proxy)));
        self.agents.push((role, process));
        Ok(())
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        match &self.programs {
            Some(folder) => Ok(folder.join(name)),
            None => program(name),
        }
    }

    /// The server's address for a process, and the proxy behind it where there is one.
    async fn link(&self) -> Result<(String, Option<Proxy>)> {
        if !self.proxied {
            let own = || match &self.nats_login {
                Some(login) => format!("nats://{login}@127.0.0.1:{}", self.nats.port()),
                None => self.nats.url(),
            };
            return Ok((self.servers.clone().unwrap_or_else(own), None));
        }
        let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, self.nats.port()))).await?;
        Ok((format!("nats://{}", proxy.address()), Some(proxy)))
    }

    /// Replaces the operator's lines in the file that every agent reads when it starts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_operator(&self, setup: &Setup) -> Result<()> {
        let file = self.folder.path().join("sipdo.toml");
        Ok(fs::write(file, operator_file(self.models, setup))?)
    }

    /// Treats what a process and the server say to each other so from now on.
    ///
    /// # Errors
    /// There is no proxy between them.
    pub fn set_link(&self, process: u32, mode: Mode) -> Result<()> {
        self.proxies
            .get(&process)
            .context("no proxy stands before this process")?
            .set(mode);
        Ok(())
    }

    /// A connection to its server, past every proxy.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub async fn bus(&self) -> Result<Bus> {
        Ok(Bus::connect(BusSettings::new(self.nats.url())).await?)
    }

    /// A client of the first coordinator.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub async fn client(&self) -> Result<Client> {
        let (_, api) = self.coordinators.first().context("no coordinator was started")?;
        let token = self.token.as_ref();
        connect_with(*api, token.map(|token| token.bearer.clone()).unwrap_or_default()).await
    }

    /// The file that holds the token, if calls of the API need one.
    pub fn token_file(&self) -> Option<&Path> {
        self.token.as_ref().map(|token| token.file.path())
    }

    /// Where each process shows its health and its metrics, by its name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn admin_pages(&self) -> Result<BTreeMap<String, SocketAddr>> {
        let mut pages = BTreeMap::new();
        for file in fs::read_dir(self.folder.path())? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".admin"));
            let Some(name) = name else { continue };
            // A coordinator writes its address, an agent its port alone.
            let told = fs::read_to_string(&path)?;
            let port = told.trim().rsplit(':').next().unwrap_or_default().parse()?;
            pages.insert(name.to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        Ok(pages)
    }

    /// Ends every program as an operator would, so that each sends what it still holds.
    ///
    /// # Errors
    /// One does not end, or not well.
    pub async fn drain(&mut self) -> Result<()> {
        let coordinators = self.coordinators.iter_mut().map(|(process, _)| process);
        for process in coordinators.chain(self.agents.iter_mut().map(|(_, process)| process)) {
            process.signal("TERM")?;
            let status = process.wait(Duration::from_secs(30)).await?;
            ensure!(status.success(), "{status}: {}", process.output());
        }
        Ok(())
    }

    /// Waits until this many agents answer a roll call.
    ///
    /// # Errors
    /// They do not.
    pub async fn agents_answer(&self, count: usize) -> Result<()> {
        if self.coordinators.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        eventually(&format!("{count} agents"), || {
            let mut client = client.clone();
            async move {
                let agents = client
                    .list_agents(pb::ListAgentsRequest { wait_ms: 200 })
                    .await?
                    .into_inner()
                    .agents;
                let agents = agents.iter().filter(|card| card.role != "coordinator").count();
                Ok((agents >= count).then_some(()))
            }
        })
        .await
    }

    /// What the simulator has seen.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn ledger(&self) -> Result<Ledger> {
        Ledger::read(self.models).await
    }

    /// Kills everything but the simulator (it stands for the outside world), as a power cut of the process table would.
    ///
    /// # Errors
    /// A process cannot be waited for.
    pub async fn kill_all(&mut self) -> Result<()> {
        self.nats.kill().await?;
        for (process, _) in &mut self.coordinators {
            process.kill()?;
        }
        for (_, process) in &mut self.agents {
            process.kill()?;
        }
        self.coordinators.clear();
        self.agents.clear();
        Ok(())
    }

    /// Starts what [`Cluster::kill_all`] killed, on the same data.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start_all(&mut self, setup: &Setup) -> Result<()> {
        self.nats.start_again().await?;
        for _ in 0..setup.coordinators {
            self.start_coordinator().await?;
        }
        for role in ROLES {
            for _ in 0..setup.agents {
                self.start_agent(role, &[]).await?;
            }
        }
        self.agents_answer(ROLES.len() * setup.agents).await
    }
}

/// Waits for the end of a run and gives it whole.
///
/// # Errors
/// It does not end in time.
pub async fn ended(client: &Client, run: &str, within: Duration) -> Result<pb::Run> {
    let start = Instant::now();
    loop {
        let mut client = client.clone();
        let run = client
            .get_run(pb::GetRunRequest { run: run.to_owned() })
            .await?
            .into_inner();
        let state = run.summary.as_ref().map(pb::Summary::state).unwrap_or_default();
        if over(state) {
            return Ok(run);
        }
        if start.elapsed() > within {
            bail!(
                "the run is still {} after {within:?}: {:?}",
                state.as_str_name(),
                run.summary
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a run in this state is at its end.
pub fn over(state: State) -> bool {
    ![State::Unspecified, State::Pending, State::Running, State::Paused].contains(&state)
}

fn operator_file(models: SocketAddr, setup: &Setup) -> String {
    let Setup {
        slots,
        ack_wait,
        operator,
        ..
    } = setup;
    format!(
        "[nats]\nack_wait_seconds = {ack_wait}\n\n\
         [models.default]\nendpoint = \"simulator\"\nmodel = \"sim-teacher\"\nconcurrency = {slots}\n\n\
         [models.learner]\nmodel = \"sim-weak\"\n\n\
         [endpoints.simulator]\nprovider = \"openai\"\nbase_url = \"http://{models}/v1\"\n{operator}\n"
    )
}

/// An address of this machine that nobody listens at.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn address(file: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(file).ok()?;
    text.trim().parse().ok()
}

fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
