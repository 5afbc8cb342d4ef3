//! The local stack: a private nats-server, a coordinator and one process per role on this machine, with their data in the user's
//! data folder. The same binaries as in a cluster; nothing is mocked.

pub mod children;
mod ending;
pub mod kept;
pub mod layout;
mod simulated;
pub mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use sipdo_agent::settings::Settings;
use sipdo_bus::local::{NatsServer, NatsServerOptions};
use sipdo_domain::Pool;

use crate::{failure::Failure, output};
use children::{Running, Start, is_ready, told_port};
use ending::{end_in_order, end_left_behind, tell_killed};
pub use ending::{running, take_down};
use layout::Layout;
use simulated::simulated_config;
use state::{Lock, POLL, Process, State};

/// A loaded machine may be slow; a process that has something to say ends or writes its log long before.
const READY_DEADLINE: Duration = Duration::from_secs(45);

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub layout: Layout,
    /// The operator's file for the agents; written here for simulated models.
    pub config: Option<PathBuf>,
    /// How many agents of each pool; none at all for a stack that only reads.
    pub agents: BTreeMap<Pool, u32>,
    /// The nats-server's port; 0 takes a free one.
    pub nats_port: u16,
    /// The coordinator's port; 0 takes a free one.
    pub port: u16,
    /// Whether the stack ends with the last command that uses it.
    pub private: bool,
    /// Whether it goes on with runs that earlier stacks left unfinished, without being asked for each.
    pub with_leftovers: bool,
}

impl Plan {
    /// One agent of each of these pools, on free ports.
    pub fn whole(layout: Layout, config: Option<PathBuf>, pools: &BTreeSet<Pool>, private: bool) -> Self {
        Plan {
            layout,
            config,
            agents: pools.iter().map(|pool| (pool.clone(), 1)).collect(),
            nats_port: 0,
            port: 0,
            private,
            with_leftovers: false,
        }
    }

    /// A private stack without agents: to read what is kept.
    pub fn reading(layout: Layout) -> Self {
        Plan {
            ..Plan::whole(layout, None, &BTreeSet::new(), true)
        }
    }
}

/// A stack that this command has started, or uses with the command that did.
pub struct Stack {
    layout: Layout,
    /// What runs.
    pub state: State,
    /// None where another command started it.
    nats: Option<NatsServer>,
    /// What this command started of it.
    children: Vec<Running>,
}

impl Stack {
    /// Starts a stack and waits until every process is ready; where a private one runs already, uses that one too, with the agents
    /// that it lacks.
    ///
    /// # Errors
    /// Another command is starting one and does not come to an end; a program is missing; a process ends or is not ready in time (told
    /// with its log). What was started is ended again.
    pub async fn start(plan: &Plan) -> Result<Stack, Failure> {
        let layout = plan.layout.clone();
        layout.make()?;
        let _lock = Lock::wait(&layout).await?;
        if let Some(state) = running(&layout) {
            let mut stack = Stack::joined(layout, state)?;
            return match stack.start_missing(&plan.agents, plan.config.as_ref()).await {
                Ok(()) => Ok(stack),
                Err(failure) => {
                    stack.leave_or_end().await;
                    Err(failure)
                }
            };
        }
        let mut stack = Stack::begin(plan, layout).await?;
        match stack.start_rest(plan).await {
            Ok(()) => Ok(stack),
            Err(failure) => {
                stack.leave_or_end().await;
                Err(failure)
            }
        }
    }

    /// Uses the private stack that runs in this folder. None where there is none, or only one of `sipdo up`, which nobody has to keep.
    ///
    /// # Errors
    /// Another command is starting or ending one, and does not come to an end; `stack.json` cannot be written.
    pub async fn join(layout: &Layout) -> Result<Option<Stack>, Failure> {
        if running(layout).is_none_or(|state| state.owner.is_none()) {
            return Ok(None);
        }
        let _lock = Lock::wait(layout).await?;
        // It may have ended while we waited.
        match running(layout).filter(|state| state.owner.is_some()) {
            Some(state) => Stack::joined(layout.clone(), state).map(Some),
            None => Ok(None),
        }
    }

    fn joined(layout: Layout, mut state: State) -> Result<Stack, Failure> {
        if state.owner.is_some() {
            state.users.push(this_command());
            state.save(&layout)?;
        }
        Ok(Stack {
            layout,
            state,
            nats: None,
            children: Vec::new(),
        })
    }

    async fn begin(plan: &Plan, layout: Layout) -> Result<Stack, Failure> {
        end_left_behind(&layout).await?;
        if fs::exists(layout.root.join("ports"))? {
            fs::remove_dir_all(layout.root.join("ports"))?;
        }
        layout.make()?;
        let options = NatsServerOptions {
            port: plan.nats_port,
            end_with_us: false,
            ..NatsServerOptions::new(layout.nats())
        };
        let nats = NatsServer::start(options).await;
        let nats = nats.map_err(|error| Failure::unavailable(error.to_string()))?;
        let user = plan.private.then(this_command);
        Ok(Stack {
            state: State {
                coordinator: String::new(),
                nats: nats.url(),
                simulator: None,
                simulated: layout.simulated,
                agents: false,
                config: plan.config.clone(),
                owner: user.clone(),
                users: user.into_iter().collect(),
                processes: nats
                    .pid()
                    .map(|pid| Process::now("nats-server", pid))
                    .into_iter()
                    .collect(),
            },
            layout,
            nats: Some(nats),
            children: Vec::new(),
        })
    }

    async fn start_rest(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.state.save(&self.layout)?;
        if !plan.agents.is_empty() {
            self.start_simulator().await?;
        }
        let args = self.coordinator_args(plan)?;
        self.start_child(&Start {
            name: "coordinator",
            program: "sipdo-coordinator",
            args,
            without_models: false,
        })?;
        self.start_agents(&plan.agents)?;
        self.wait_until_ready().await?;
        let port = told_port(&self.layout.port_file("coordinator"));
        let port = port.ok_or_else(|| Failure::unavailable("the coordinator is ready but reports no port"))?;
        self.state.coordinator = format!("http://127.0.0.1:{port}");
        self.state.save(&self.layout)
    }

    /// Starts agents of the pools that have none in a private stack that runs.
    async fn start_missing(&mut self, agents: &BTreeMap<Pool, u32>, config: Option<&PathBuf>) -> Result<(), Failure> {
        let lacks = |pool: &Pool| self.state.process(&pool.to_string()).is_none_or(|it| !it.lives());
        let missing: BTreeMap<Pool, u32> = agents
            .iter()
            .filter(|(pool, _)| lacks(pool))
            .map(|(pool, number)| (pool.clone(), *number))
            .collect();
        if missing.is_empty() || self.state.owner.is_none() {
            return Ok(());
        }
        if self.state.simulator.is_none() {
            self.start_simulator().await?;
        }
        if !self.state.agents && self.state.config.is_none() {
            self.state.config = config.cloned();
        }
        self.start_agents(&missing)?;
        self.wait_until_ready().await?;
        self.state.save(&self.layout)
    }

    async fn start_simulator(&mut self) -> Result<(), Failure> {
        if !self.layout.simulated {
            return Ok(());
        }
        let file = self.layout.port_file("simulator").display().to_string();
        let fingerprint = self.layout.simulator_fingerprint().display().to_string();
        let args = ["--port", "0", "--port-file", &file, "--fingerprint-file", &fingerprint];
        self.start_child(&Start {
            name: "simulator",
            program: "sipdo-simulator",
            args: args.map(str::to_owned).to_vec(),
            without_models: true,
        })?;
        let Some(simulator) = self.children.last_mut() else {
            return Ok(());
        };
        let port = wait_for_port(&self.layout, simulator, "simulator").await?;
        self.state.simulator = Some(format!("http://127.0.0.1:{port}/v1"));
        let config = self.layout.simulated_config();
        let fingerprint = fs::read_to_string(self.layout.simulator_fingerprint())?;
        fs::write(&config, simulated_config(port, &fingerprint))?;
        self.state.config = Some(config);
        Ok(())
    }

    fn start_agents(&mut self, agents: &BTreeMap<Pool, u32>) -> Result<(), Failure> {
        for (pool, number) in agents
            .iter()
            .flat_map(|(pool, &count)| (1..=count).map(move |n| (pool, n)))
        {
            let name = if number == 1 {
                pool.to_string()
            } else {
                format!("{pool}-{number}")
            };
            let start = Start {
                name: &name,
                program: &format!("sipdo-{}", pool.role),
                args: self.agent_args(&name, pool),
                without_models: self.layout.simulated,
            };
            self.start_child(&start)?;
        }
        self.state.agents |= !agents.is_empty();
        self.state.save(&self.layout)
    }

    /// Starts a process, noted at once: whatever happens next, it can be ended.
    fn start_child(&mut self, start: &Start<'_>) -> Result<(), Failure> {
        let child = children::start(&self.layout, start)?;
        self.state
            .processes
            .retain(|process| process.name != child.process.name);
        self.state.processes.push(child.process.clone());
        self.children.push(child);
        self.state.save(&self.layout)
    }

    fn coordinator_args(&self, plan: &Plan) -> Result<Vec<String>, Failure> {
        let file = |name: &str| self.layout.port_file(name).display().to_string();
        let limits = match &self.state.config {
            Some(config) => Settings::load(config)
                .map_err(|error| Failure::usage(error.to_string()))?
                .nats
                .limit_flags(),
            None => Vec::new(),
        };
        let args = [
            ("--nats-url", self.state.nats.clone()),
            ("--listen", format!("127.0.0.1:{}", plan.port)),
            ("--port-file", file("coordinator")),
            ("--admin-listen", "127.0.0.1:0".into()),
            ("--admin-port-file", file("coordinator.admin")),
            ("--store-dir", self.layout.nats().display().to_string()),
        ];
        let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let leaves = (!plan.with_leftovers).then(|| "--leave-unfinished".to_owned());
        Ok(args.chain(limits).chain(leaves).collect())
    }

    fn agent_args(&self, name: &str, pool: &Pool) -> Vec<String> {
        let mut args = vec![
            ("--nats-url", self.state.nats.clone()),
            ("--admin-listen", "127.0.0.1:0".into()),
            (
                "--admin-port-file",
                self.layout.port_file(&format!("{name}.admin")).display().to_string(),
            ),
            ("--spool-dir", self.layout.spool(name).display().to_string()),
        ];
        if !pool.name.is_empty() {
            args.push(("--pool", pool.name.clone()));
        }
        if let Some(config) = &self.state.config {
            args.push(("--config", config.display().to_string()));
        }
        args.into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_DEADLINE;
        for index in 0..self.children.len() {
            loop {
                // One that has ended explains more than one that waits for it: all are looked at, whoever's turn it is.
                for child in &mut self.children {
                    child.check(&self.layout)?;
                }
                let Some(child) = self.children.get_mut(index) else {
                    break;
                };
                if child.process.name == "simulator" {
                    break;
                }
                let file = self.layout.port_file(&format!("{}.admin", child.process.name));
                if let Some(port) = told_port(&file) {
                    let address = SocketAddr::from(([127, 0, 0, 1], port));
                    child.process.admin = Some(address.to_string());
                    let ready = tokio::task::spawn_blocking(move || is_ready(address)).await;
                    if ready.unwrap_or(false) {
                        break;
                    }
                }
                if Instant::now() >= deadline {
                    return Err(child.failure(&self.layout, &format!("was not ready after {READY_DEADLINE:?}")));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        for child in &self.children {
            let noted = self.state.processes.iter_mut();
            for process in noted.filter(|process| process.pid == child.process.pid) {
                *process = child.process.clone();
            }
        }
        Ok(())
    }

    /// Processes that have ended by themselves since the last look: their names, told with the end of their logs.
    pub fn ended(&mut self) -> Vec<(String, Failure)> {
        let layout = &self.layout;
        let look = |child: &mut Running| Some((child.process.name.clone(), child.check(layout).err()?));
        let mut ended: Vec<_> = self.children.iter_mut().filter_map(look).collect();
        self.children
            .retain(|child| ended.iter().all(|(name, _)| *name != child.process.name));
        // Of a stack that another command started we see only whether its processes live.
        if self.nats.is_none() && self.state.process("coordinator").is_some_and(|it| !it.lives()) {
            ended.push((
                "coordinator".into(),
                children::failure(layout, "coordinator", "has ended"),
            ));
        }
        ended
    }

    /// Whether it can do jobs, and not only show what is kept.
    pub fn has_agents(&self) -> bool {
        self.state.agents
    }

    /// Whether this command started it.
    pub fn is_ours(&self) -> bool {
        self.nats.is_some()
    }

    /// Whether other commands use it now.
    pub fn is_shared(&self) -> bool {
        !self
            .others(&State::load(&self.layout).unwrap_or_else(|| self.state.clone()))
            .is_empty()
    }

    fn others(&self, now: &State) -> Vec<Process> {
        let us = this_command();
        let others = now.users.iter().filter(|user| **user != us && user.lives());
        others.cloned().collect()
    }

    /// Ends this command's use of it: takes it down, or leaves it to the other commands that use it.
    pub async fn stop(self) {
        // Without the lock another command may start as this one ends: then it finds nothing, or is told that the stack has gone.
        let _lock = match Lock::wait(&self.layout).await {
            Ok(lock) => Some(lock),
            Err(failure) => {
                output::warning(&failure.message);
                None
            }
        };
        self.leave_or_end().await;
    }

    async fn leave_or_end(mut self) {
        let mut now = State::load(&self.layout).unwrap_or_else(|| self.state.clone());
        let joined_one_that_stays = now.owner.is_none() && !self.is_ours();
        now.users = self.others(&now);
        if joined_one_that_stays {
            return;
        }
        if !now.users.is_empty() {
            let others = now.users.len() as u64;
            if let Err(failure) = now.save(&self.layout) {
                output::warning(&failure.message);
            }
            output::note(&format!(
                "the local stack goes on for {}",
                output::plural(others, "other command")
            ));
            return;
        }
        now.processes
            .retain(|process| process.name != "nats-server" && process.lives());
        let killed = end_in_order(&now.processes).await;
        let ended = match &mut self.nats {
            Some(nats) => nats.terminate().await,
            None => sipdo_bus::local::stop_left_behind(&self.layout.nats()).await.map(drop),
        };
        if let Err(error) = ended {
            output::warning(&format!("nats-server: {error}"));
        }
        tell_killed(&killed);
        State::forget(&self.layout);
    }

    /// Leaves it running after this command.
    pub fn leave(self) -> State {
        self.state
    }
}

/// This command, as a user of a private stack.
fn this_command() -> Process {
    Process::now("sipdo", std::process::id())
}

async fn wait_for_port(layout: &Layout, child: &mut Running, name: &str) -> Result<u16, Failure> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        if let Some(port) = told_port(&layout.port_file(name)) {
            return Ok(port);
        }
        child.check(layout)?;
        if Instant::now() >= deadline {
            return Err(child.failure(layout, &format!("reported no port within {READY_DEADLINE:?}")));
        }
        tokio::time::sleep(POLL).await;
    }
}
