//! Processes that die, stand still or are replaced, one at a time or because of one job.

use super::{
    super::{
        fault_log::{LeaderHurt, now_ms},
        kind::{How, Who},
    },
    Effect, Injector, Recovery, Struck,
};
use crate::{
    cluster::{ROLES, process::Process, simulator::script_faults},
    observe::oracle::Hurt,
};
use anyhow::Result;
use serde_json::json;
use sipdo_simulator::{Call, FaultKind};
use std::{collections::BTreeSet, time::Instant};

/// Nobody waits for an answer so long.
const FOR_EVER_MS: u64 = 600_000;

impl Injector {
    pub(super) async fn process(&mut self, how: How, who: Who) -> Result<bool> {
        let Some((pid, at)) = self.pick(who).await else {
            return Ok(false);
        };
        match how {
            How::Kill => self.kill(who, at)?,
            How::Freeze => {
                let time = match who {
                    Who::Coordinator => 3_000 + self.below(4_000),
                    Who::Agent(_) => 500 + self.below(4_000),
                };
                let at_ms = now_ms();
                self.note_leader(at, who, Some(at_ms + time));
                let ports = self.stop(pid)?;
                let hurt = self.hurt(who, at_ms, Some(at_ms + time), ports);
                self.later(time, Recovery::Thaw { pid, hurt });
                self.rest(who, time);
            }
            How::Restart => {
                let process = self.take(who, at);
                process.signal("TERM")?;
                self.leaving.push(process);
                self.start_later(who, 0);
            }
        }
        Ok(true)
    }

    /// Kills a process; another one comes soon.
    fn kill(&mut self, who: Who, at: usize) -> Result<()> {
        let at_ms = now_ms();
        self.note_leader(at, who, None);
        let mut process = self.take(who, at);
        self.end(who, &mut process, at_ms)?;
        let back = 200 + self.below(1_300);
        self.start_later(who, back);
        Ok(())
    }

    /// Lets it stand still for a moment, so that it is known which calls die with it.
    fn end(&mut self, who: Who, process: &mut Process, at_ms: u64) -> Result<()> {
        process.signal("STOP")?;
        self.hurt(who, at_ms, None, process.ports());
        process.kill()
    }

    /// The next call that is made hangs, and whoever has it in hand dies of it, so many times.
    pub(super) async fn killer(&mut self, deaths: usize) -> Result<Struck> {
        let since_ms = now_ms();
        let hang = json!([{"kind": "hang", "times": 1, "delay_ms": FOR_EVER_MS}]);
        script_faults(self.site.cluster.models, &hang).await?;
        let effect = Effect::AgentDeaths {
            since_ms,
            request: None,
            left: deaths,
        };
        Ok(Struck::When(effect, None))
    }

    /// Kills the agents that have the request in hand, and says how many more are to die. The first call that hangs is taken.
    pub(super) async fn die_of(&mut self, since_ms: u64, request: &mut Option<String>, left: usize) -> Result<usize> {
        let calls = self.site.cluster.ledger().await?.calls;
        let is_meant = |call: &&Call| match request {
            Some(request) => call.request == *request,
            None => call.received_ms >= since_ms,
        };
        let mut hanging = calls
            .iter()
            .filter(|call| call.fault == Some(FaultKind::Hang) && call.outcome == "open");
        let Some(call) = hanging.find(is_meant) else {
            return Ok(left);
        };
        if request.replace(call.request.clone()).is_none() && left > 1 {
            let again = json!([{"kind": "hang", "request": call.request, "times": left - 1, "delay_ms": FOR_EVER_MS}]);
            script_faults(self.site.cluster.models, &again).await?;
        }
        Ok(left - usize::from(self.kill_caller(call)?))
    }

    /// Kills the agent that has made a call; false where it is not known or gone.
    fn kill_caller(&mut self, call: &Call) -> Result<bool> {
        let port = call.from.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let calls = |process: &Process| port.is_some_and(|port| process.ports().is_some_and(|own| own.contains(&port)));
        let agents = &self.site.cluster.agents;
        if let Some(at) = agents.iter().position(|(_, process)| calls(process)) {
            let role = agents.get(at).map_or("", |(role, _)| role);
            self.kill(Who::Agent(role), at)?;
            return Ok(true);
        }
        let Some(at) = self.leaving.iter().position(calls) else {
            return Ok(false);
        };
        let role = ROLES.into_iter().find(|role| *role == call.role).unwrap_or("");
        let mut process = self.leaving.remove(at);
        self.end(Who::Agent(role), &mut process, now_ms())?;
        Ok(true)
    }

    /// Twice as dear, or as it was before; one agent starts anew and knows it, and so does whoever starts later.
    pub(super) async fn prices(&mut self) -> Result<bool> {
        self.usd = if self.usd == 1 { 2 } else { 1 };
        self.site.set_price(self.usd)?;
        let role = self.one_of(&ROLES).unwrap_or("learner");
        self.process(How::Restart, Who::Agent(role)).await
    }

    /// A process of this kind, and its place. A coordinator is hurt only where all others are well, and one that leads a run before any
    /// other.
    pub(super) async fn pick(&mut self, who: Who) -> Option<(u32, usize)> {
        let found: Vec<(u32, usize)> = match who {
            Who::Coordinator if Instant::now() < self.coordinators_rest => return None,
            Who::Coordinator => {
                let leads: BTreeSet<String> = self.open_runs().await.into_iter().map(|run| run.coordinator).collect();
                let all = self.site.cluster.coordinators.iter().enumerate();
                let is_leader = |process: &Process| process.coordinator_id().is_some_and(|id| leads.contains(&id));
                let (leaders, others): (Vec<_>, Vec<_>) = all.partition(|(_, (process, _))| is_leader(process));
                let picked = if leaders.is_empty() { others } else { leaders };
                picked
                    .into_iter()
                    .map(|(at, (process, _))| (process.pid(), at))
                    .collect()
            }
            Who::Agent(role) => {
                let all = self.site.cluster.agents.iter().enumerate();
                let of_role = all.filter(|(_, (is, _))| *is == role);
                of_role.map(|(at, (_, process))| (process.pid(), at)).collect()
            }
        };
        self.one_of(&found)
    }

    pub(super) fn anybody(&mut self) -> Who {
        let number = usize::try_from(self.below(9)).unwrap_or(0);
        ROLES.get(number).copied().map_or(Who::Coordinator, Who::Agent)
    }

    pub(super) fn thaw(&mut self, pid: u32, hurt: Option<usize>) -> Result<()> {
        let Some(process) = self.running(pid) else {
            return Ok(());
        };
        process.signal("CONT")?;
        if let Some(hurt) = hurt.and_then(|hurt| self.log.hurts.get_mut(hurt)) {
            hurt.until_ms = Some(now_ms());
        }
        Ok(())
    }

    fn running(&self, pid: u32) -> Option<&Process> {
        let coordinators = self.site.cluster.coordinators.iter().map(|(process, _)| process);
        coordinators
            .chain(self.site.cluster.agents.iter().map(|(_, process)| process))
            .chain(&self.leaving)
            .find(|process| process.pid() == pid)
    }

    fn take(&mut self, who: Who, at: usize) -> Process {
        match who {
            Who::Coordinator => self.site.cluster.coordinators.remove(at).0,
            Who::Agent(_) => self.site.cluster.agents.remove(at).1,
        }
    }

    fn note_leader(&mut self, at: usize, who: Who, frozen_until_ms: Option<u64>) {
        let Who::Coordinator = who else { return };
        let Some((process, _)) = self.site.cluster.coordinators.get(at) else {
            return;
        };
        if let Some(id) = process.coordinator_id() {
            self.log.leaders.push(LeaderHurt {
                id,
                at_ms: now_ms(),
                frozen_until_ms,
            });
        }
    }

    /// Stops a process, and says which ports it has open.
    fn stop(&self, pid: u32) -> Result<Option<BTreeSet<u16>>> {
        let Some(process) = self.running(pid) else {
            return Ok(None);
        };
        process.signal("STOP")?;
        Ok(process.ports())
    }

    /// Notes that an agent could bring nothing to safety, and where that is noted.
    fn hurt(&mut self, who: Who, from_ms: u64, until_ms: Option<u64>, ports: Option<BTreeSet<u16>>) -> Option<usize> {
        let Who::Agent(role) = who else { return None };
        self.log.hurts.push(Hurt {
            role: role.to_owned(),
            from_ms,
            until_ms,
            ports,
        });
        Some(self.log.hurts.len() - 1)
    }

    fn start_later(&mut self, who: Who, ms: u64) {
        let recovery = match who {
            Who::Coordinator => Recovery::Coordinator,
            Who::Agent(role) => Recovery::Agent(role),
        };
        self.later(ms, recovery);
        self.rest(who, ms);
    }
}
