//! The local stack: a private nats-server, a coordinator and one process per role on this machine, with their data in the user's
//! data folder. The same binaries as in a cluster; nothing is mocked.

pub mod children;
mod ending;
pub mod layout;
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
use children::{POLL, Running, Start, is_ready, told_port};
use ending::{end_children, end_in_order, end_left_behind, tell_killed};
pub use ending::{running, take_down};
use layout::Layout;
use state::{Lock, Process, State};

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
    /// Whether the stack ends with this command.
    pub private: bool,
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
        }
    }

    /// A private stack without agents: to read what is kept.
    pub fn reading(layout: Layout) -> Self {
        Plan {
            ..Plan::whole(layout, None, &BTreeSet::new(), true)
        }
    }
}

/// A stack that this command has started.
pub struct Stack {
    layout: Layout,
    /// What runs.
    pub state: State,
    nats: NatsServer,
    children: Vec<Running>,
    _lock: Lock,
}

impl Stack {
    /// Starts a stack and waits until every process is ready.
    ///
    /// # Errors
    /// Another command owns the folder; a program is missing; a process ends or is not ready in time (told with its log). What was
    /// started is ended again.
    pub async fn start(plan: &Plan) -> Result<Stack, Failure> {
        let layout = plan.layout.clone();
        layout.make()?;
        let lock = Lock::take(&layout)?;
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
        let mut children = Vec::new();
        if layout.simulated && !plan.agents.is_empty() {
            children.push(start_simulator(&layout)?);
        }
        let nats = match NatsServer::start(options).await {
            Ok(nats) => nats,
            Err(error) => {
                end_children(&children).await;
                return Err(Failure::unavailable(error.to_string()));
            }
        };
        let mut stack = Stack {
            state: State {
                coordinator: String::new(),
                nats: nats.url(),
                simulator: None,
                simulated: layout.simulated,
                agents: !plan.agents.is_empty(),
                config: plan.config.clone(),
                owner: plan.private.then(|| Process::now("sipdo", std::process::id())),
                processes: nats
                    .pid()
                    .map(|pid| Process::now("nats-server", pid))
                    .into_iter()
                    .collect(),
            },
            layout,
            nats,
            children,
            _lock: lock,
        };
        match stack.start_rest(plan).await {
            Ok(()) => Ok(stack),
            Err(failure) => {
                stack.stop().await;
                Err(failure)
            }
        }
    }

    async fn start_rest(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.note_children()?;
        if let Some(simulator) = self.children.first_mut() {
            let port = wait_for_port(&self.layout, simulator, "simulator").await?;
            self.state.simulator = Some(format!("http://127.0.0.1:{port}/v1"));
            let config = self.layout.simulated_config();
            let fingerprint = fs::read_to_string(self.layout.simulator_fingerprint())?;
            fs::write(&config, simulated_config(port, &fingerprint))?;
            self.state.config = Some(config);
        }
        self.children.push(children::start(
            &self.layout,
            &Start {
                name: "coordinator",
                program: "sipdo-coordinator",
                args: self.coordinator_args(plan.port)?,
                without_models: false,
            },
        )?);
        for (pool, number) in plan
            .agents
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
            self.children.push(children::start(&self.layout, &start)?);
        }
        self.note_children()?;
        self.wait_until_ready().await
    }

    fn coordinator_args(&self, port: u16) -> Result<Vec<String>, Failure> {
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
            ("--listen", format!("127.0.0.1:{port}")),
            ("--port-file", file("coordinator")),
            ("--admin-listen", "127.0.0.1:0".into()),
            ("--admin-port-file", file("coordinator.admin")),
            ("--store-dir", self.layout.nats().display().to_string()),
        ];
        let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        Ok(args.chain(limits).collect())
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
        let port = told_port(&self.layout.port_file("coordinator"));
        let port = port.ok_or_else(|| Failure::unavailable("the coordinator is ready but reports no port"))?;
        self.state.coordinator = format!("http://127.0.0.1:{port}");
        self.note_children()
    }

    fn note_children(&mut self) -> Result<(), Failure> {
        self.state.processes.truncate(1);
        self.state
            .processes
            .extend(self.children.iter().map(|child| child.process.clone()));
        self.state.save(&self.layout)
    }

    /// Processes that have ended by themselves since the last look: their names, told with the end of their logs.
    pub fn ended(&mut self) -> Vec<(String, Failure)> {
        let layout = &self.layout;
        let look = |child: &mut Running| Some((child.process.name.clone(), child.check(layout).err()?));
        let ended: Vec<_> = self.children.iter_mut().filter_map(look).collect();
        self.children
            .retain(|child| ended.iter().all(|(name, _)| *name != child.process.name));
        ended
    }

    /// Takes the stack down: agents and simulator, then the coordinator, then the server that they all need.
    pub async fn stop(mut self) {
        let processes: Vec<Process> = self.children.iter().map(|child| child.process.clone()).collect();
        let killed = end_in_order(&processes).await;
        if let Err(error) = self.nats.terminate().await {
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

fn start_simulator(layout: &Layout) -> Result<Running, Failure> {
    let file = layout.port_file("simulator").display().to_string();
    let fingerprint = layout.simulator_fingerprint().display().to_string();
    let args = ["--port", "0", "--port-file", &file, "--fingerprint-file", &fingerprint];
    let start = Start {
        name: "simulator",
        program: "sipdo-simulator",
        args: args.map(str::to_owned).to_vec(),
        without_models: true,
    };
    children::start(layout, &start)
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

/// The operator's file of a simulated stack. Prices are zero because that is what these calls cost. Stored answers are found again by
/// what the simulator answers by, since its port is another one at each start.
fn simulated_config(port: u16, fingerprint: &str) -> String {
    let mut text = format!(
        "# Written by sipdo at each start of a simulated stack; changes are lost.\n\
         [endpoints.simulator]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
         identity = \"{fingerprint}\"\nconcurrency = 256\n"
    );
    for model in ["sim-weak", "sim-teacher", "sim-strong"] {
        text.push_str(&format!(
            "[endpoints.simulator.prices.{model}]\ninput_per_million = 0\noutput_per_million = 0\n"
        ));
    }
    text.push_str(
        "[models.default]\nendpoint = \"simulator\"\nmodel = \"sim-teacher\"\n\
         [models.learner]\nendpoint = \"simulator\"\nmodel = \"sim-weak\"\nconcurrency = 64\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::Role;

    #[test]
    fn the_simulated_file_gives_every_role_a_model_that_costs_nothing() {
        let settings = Settings::parse("simulated.toml".as_ref(), &simulated_config(1234, "sim-1")).unwrap();
        for role in Role::ALL {
            let model = settings.model(role).unwrap();
            let expected = if role == Role::Learner {
                "sim-weak"
            } else {
                "sim-teacher"
            };
            assert_eq!((model.endpoint.as_str(), model.model.as_str()), ("simulator", expected));
            assert!(settings.endpoints["simulator"].prices.contains_key(expected));
        }
        assert_eq!(
            settings.endpoints["simulator"].base_url.as_deref(),
            Some("http://127.0.0.1:1234/v1")
        );
    }
}
