//! How a cluster is made: how many of each process, with which settings.

use super::simulator::Simulator;
use std::{net::SocketAddr, path::PathBuf};

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Arguments of the simulator.
    pub simulator: Vec<String>,
    /// A simulator that runs already and may serve other clusters too; none: the cluster starts its own.
    pub shared_simulator: Option<Simulator>,
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
            shared_simulator: None,
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

impl Setup {
    /// The operator's file, with the simulator at this address.
    pub(super) fn operator_file(&self, models: SocketAddr) -> String {
        let Setup {
            slots,
            ack_wait,
            operator,
            ..
        } = self;
        format!(
            "[nats]\nack_wait_seconds = {ack_wait}\n\n\
         [models.default]\nendpoint = \"simulator\"\nmodel = \"sim-teacher\"\nconcurrency = {slots}\n\n\
         [models.learner]\nmodel = \"sim-weak\"\n\n\
         [endpoints.simulator]\nprovider = \"openai\"\nbase_url = \"http://{models}/v1\"\n{operator}\n"
        )
    }
}
