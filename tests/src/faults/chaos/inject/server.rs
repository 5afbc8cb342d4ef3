//! The server, or one of three, and the links to it.

use super::{
    super::{
        fault_log::now_ms,
        kind::{Node, Who},
    },
    Effect, Injector, Recovery, Struck,
};
use crate::cluster::{process::eventually, proxy::Mode, three_node_cluster::ThreeNodeCluster};
use anyhow::Result;
use std::time::Duration;

/// Streams that a job passes through. One of three servers is hurt only while the two others hold all of them.
const STREAMS: [&str; 4] = ["SIPDO_RUN", "SIPDO_JOB", "SIPDO_ATTEMPT", "KV_sipdo_completions"];

impl Injector {
    pub(super) async fn link(&mut self, how: &str) -> Result<bool> {
        let who = self.anybody();
        let Some((pid, _)) = self.pick(who).await else {
            return Ok(false);
        };
        let time = 300 + self.below(3_500);
        let mode = match how {
            "cut" => Mode::Cut,
            "drop" => Mode::Drop,
            _ => Mode::Delay(Duration::from_millis(20 + self.below(200))),
        };
        self.site.cluster.set_link(pid, mode)?;
        self.later(time, Recovery::Mend(pid));
        self.rest(who, time);
        Ok(true)
    }

    pub(super) async fn server(&mut self, how: &str) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        let nats = &mut self.site.cluster.nats;
        match how {
            "kill" => nats.kill().await?,
            "restart" => nats.terminate().await?,
            _ => nats.pause().await?,
        }
        self.no_server = true;
        let time = 100 + self.below(2_500);
        let frozen = how == "freeze";
        self.later(time, Recovery::Server { frozen, since_ms });
        Ok(true)
    }

    /// The server comes back before any of its clients, who find it one after the other within two seconds.
    pub(super) async fn empty_table(&mut self) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        let cluster = &mut self.site.cluster;
        let coordinators = cluster.coordinators.iter().map(|(process, _)| process.pid());
        let agents = cluster.agents.iter().map(|(_, process)| process.pid());
        let all: Vec<u32> = coordinators.chain(agents).collect();
        for pid in &all {
            cluster.set_link(*pid, Mode::Cut)?;
        }
        cluster.nats.kill().await?;
        cluster.nats.start_again().await?;
        for pid in all {
            let time = self.below(2_000);
            self.later(time, Recovery::Mend(pid));
        }
        self.log.outages.push((since_ms, now_ms() + 2_000));
        self.rest(Who::Coordinator, 2_000);
        Ok(true)
    }

    pub(super) async fn away(&mut self, time: Duration) -> Result<bool> {
        if self.no_server {
            return Ok(false);
        }
        let since_ms = now_ms();
        self.site.cluster.nats.kill().await?;
        self.no_server = true;
        let time = u64::try_from(time.as_millis())?;
        self.later(
            time,
            Recovery::Server {
                frozen: false,
                since_ms,
            },
        );
        Ok(true)
    }

    /// Some of three servers are lost; that has struck when another one leads, and only then they come back. Where all are lost, it has
    /// when they are back and have found a leader again.
    pub(super) fn node(&mut self, node: Node) -> Result<Struck> {
        let number = usize::try_from(self.below(3)).unwrap_or(0);
        let (back, all_back) = (500 + self.below(3_000), 300 + self.below(1_200));
        let Some(nodes) = self.site.nodes.as_mut().filter(|_| !self.no_server) else {
            return Ok(Struck::No);
        };
        if !nodes.is_whole(&STREAMS) {
            return Ok(Struck::No);
        }
        let lost = match node {
            Node::Leader(stream) | Node::FrozenLeader(stream) => nodes.leader(stream).ok().flatten(),
            Node::One | Node::All => Some(number),
        };
        let Some(lost) = lost else {
            return Ok(Struck::No);
        };
        let frozen = matches!(node, Node::FrozenLeader(_));
        self.no_server = true;
        let (numbers, not) = match node {
            Node::All => ((0..3).collect(), None),
            _ => (vec![lost], Some(lost)),
        };
        match node {
            Node::All => nodes.kill_all()?,
            Node::FrozenLeader(_) => nodes.freeze(lost, true)?,
            _ => nodes.kill(lost)?,
        }
        let effect = Effect::StreamsLed { not };
        let back_again = Recovery::Nodes { numbers, frozen };
        Ok(match node {
            Node::All => {
                self.later(all_back, back_again);
                Struck::When(effect, None)
            }
            _ => Struck::When(effect, Some((back, back_again))),
        })
    }

    /// Whether every stream has a leader, and not this one.
    pub(super) fn is_led(&self, not: Option<usize>) -> bool {
        let led = |nodes: &ThreeNodeCluster, stream| {
            nodes
                .leader(stream)
                .is_ok_and(|leader| leader.is_some() && leader != not)
        };
        self.site
            .nodes
            .as_ref()
            .is_some_and(|nodes| STREAMS.iter().all(|stream| led(nodes, stream)))
    }

    /// Waits until nothing is left to mend between three servers.
    pub(super) async fn whole(&self) -> Result<()> {
        let Some(nodes) = &self.site.nodes else { return Ok(()) };
        eventually("three servers to agree", || async {
            Ok(nodes.is_whole(&STREAMS).then_some(()))
        })
        .await
    }

    pub(super) fn bring_back(&mut self, numbers: &[usize], frozen: bool) -> Result<()> {
        self.no_server = false;
        let Some(nodes) = &mut self.site.nodes else {
            return Ok(());
        };
        for number in numbers {
            if frozen {
                nodes.freeze(*number, false)?;
            } else {
                nodes.start_again(*number)?;
            }
        }
        Ok(())
    }
}
