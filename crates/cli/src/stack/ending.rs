//! Ending a stack in order, also one that an earlier command left behind: only processes that are surely its own.

use std::time::Duration;

use sipdo_bus::local::stop_left_behind;

use super::{
    children,
    layout::Layout,
    state::{Lock, Process, State},
};
use crate::{
    failure::{Exit, Failure},
    output,
};

/// Idle agents end at once; one in the middle of a call hands its job back, or finishes it.
const AGENT_PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends agents and simulator, then the coordinator. Returns the names of those that had to be killed.
pub(super) async fn end_in_order(processes: &[Process]) -> Vec<String> {
    let (coordinators, others): (Vec<_>, Vec<_>) = processes
        .iter()
        .cloned()
        .partition(|process| process.name == "coordinator");
    let mut killed = children::end(&others, AGENT_PATIENCE).await;
    killed.extend(children::end(&coordinators, PATIENCE).await);
    killed
}

pub(super) fn tell_killed(names: &[String]) {
    if !names.is_empty() {
        let names = names.join(", ");
        output::warning(&format!(
            "these processes had to be killed: {names}; what was bought is kept for the next start"
        ));
    }
}

/// Ends what an earlier command left behind in this folder. Only processes that are surely that command's are touched.
pub(super) async fn end_left_behind(layout: &Layout) -> Result<(), Failure> {
    if let Some(old) = State::load(layout) {
        let ours: Vec<Process> = old
            .processes
            .into_iter()
            .filter(|process| process.name != "nats-server" && process.lives())
            .collect();
        tell_killed(&end_in_order(&ours).await);
    }
    stop_left_behind(&layout.nats())
        .await
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    State::forget(layout);
    Ok(())
}

/// A stack that runs in this folder and can be spoken to. One whose users have all died is none: the next start ends it, and its runs
/// go on from there.
pub fn running(layout: &Layout) -> Option<State> {
    let abandoned = |state: &State| state.owner.is_some() && !state.is_owned();
    State::load(layout).filter(|state| state.lives() && !state.coordinator.is_empty() && !abandoned(state))
}

/// Takes down the stack of `sipdo up`, or what is left of one. Returns whether there was anything.
///
/// # Errors
/// It belongs to a command that is at work.
pub async fn take_down(layout: &Layout) -> Result<bool, Failure> {
    if !layout.root.exists() {
        return Ok(false);
    }
    let state = State::load(layout);
    let users = state.as_ref().map(State::at_work).unwrap_or_default();
    if let Some(first) = users.first() {
        return Err(Failure::unavailable(format!(
            "the stack belongs to {} (process {})",
            output::plural(users.len() as u64, "running command"),
            first.pid
        ))
        .hint(
            "press Ctrl-C there: once to stop the run early and keep its best prompt, twice to leave the run for later",
        ));
    }
    let _lock = Lock::take(layout)?;
    end_left_behind(layout).await?;
    Ok(state.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::children::Start;

    /// What is noted of a stack whose servers are of no matter.
    fn noted(owner: Option<Process>, processes: Vec<Process>) -> State {
        State {
            coordinator: "http://127.0.0.1:1".into(),
            nats: String::new(),
            simulator: None,
            simulated: false,
            agents: true,
            config: None,
            owner,
            users: Vec::new(),
            processes,
        }
    }

    #[tokio::test]
    async fn only_processes_that_are_ours_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), false).unwrap();
        assert!(!take_down(&layout).await.unwrap());
        layout.make().unwrap();
        let start = Start {
            name: "learner",
            program: "sleep",
            args: vec!["60".into()],
            without_models: false,
        };
        let ours = children::start(&layout, &start).unwrap();
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // The id of another process that was born at another time.
        let other = Process {
            name: "checker".into(),
            pid: stranger.id(),
            birth: "long ago".into(),
            admin: None,
        };
        let state = noted(None, vec![ours.process.clone(), other]);
        state.save(&layout).unwrap();
        assert!(take_down(&layout).await.unwrap());
        assert!(!ours.process.lives());
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was ended");
        assert!(State::load(&layout).is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_stack_whose_owner_died_is_not_one_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), false).unwrap();
        layout.make().unwrap();
        let us = |name: &str| Process::now(name, std::process::id());
        let mut state = noted(Some(us("sipdo")), vec![us("nats-server"), us("coordinator")]);
        state.save(&layout).unwrap();
        assert!(running(&layout).is_some());
        state.owner = Some(Process {
            birth: "long ago".into(),
            ..us("sipdo")
        });
        state.save(&layout).unwrap();
        assert!(running(&layout).is_none());
    }

    #[tokio::test]
    async fn a_stack_that_a_command_owns_is_not_taken_down() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), false).unwrap();
        layout.make().unwrap();
        let state = noted(Some(Process::now("sipdo", std::process::id())), Vec::new());
        state.save(&layout).unwrap();
        let failure = take_down(&layout).await.unwrap_err();
        assert!(failure.hint.contains("Ctrl-C"), "{failure}");
    }
}
