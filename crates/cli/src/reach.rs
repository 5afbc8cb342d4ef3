//! Which stack a run uses: the named one, the local one that runs, or a private one that is started for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use sipdo_domain::Pool;
use sipdo_protocol::pb;

use crate::{
    failure::Failure,
    global::Global,
    operator::{self, StackArgs},
    output,
    session::{Session, shown},
    stack::{self, Plan, kept::Kept},
};

/// A stack with agents: the running one, or a private one started with the models of this machine.
///
/// # Errors
/// No model for a role; an endpoint that does not answer; a process that is not ready in time.
pub async fn reach_with_agents(global: &Global, stack: &StackArgs, run: Option<&str>) -> Result<Session, Failure> {
    // The file that the run was begun with goes before what lies in this folder: resuming works from any.
    let began = run.and_then(|run| {
        let layouts = global.layouts_for(run).ok()?;
        let layout = layouts.first().filter(|layout| !layout.simulated)?;
        Kept::load(layout, &layout.meant(run)?)
            .config
            .filter(|file| file.is_file())
    });
    let config = match (&stack.config, began) {
        (None, Some(began)) => Some(began),
        _ => operator::operator_file(stack, None)?,
    };
    let pools = operator::pools(config.as_deref())?;
    reach(global, stack, config, &pools, &BTreeMap::new(), run).await
}

/// The stack that a run would use, if it is there and has agents.
///
/// # Errors
/// It does not answer.
pub async fn running_with_agents(global: &Global, config: Option<&Path>) -> Result<Option<Session>, Failure> {
    refuse_two_stacks(global)?;
    let local = local_with_agents(global)?;
    if global.coordinator.is_none() && local.is_none() {
        return Ok(None);
    }
    tell_unused(config, global.coordinator.as_deref(), local.as_ref());
    let choosing = Global {
        simulated: local.is_some_and(|state| state.simulated),
        ..global.clone()
    };
    match global.coordinator {
        Some(_) => global.running(None).await,
        None => choosing.running_in(choosing.simulated).await,
    }
}

/// The local stack that runs with agents, where no coordinator is named.
///
/// # Errors
/// There is no home folder.
pub fn local_with_agents(global: &Global) -> Result<Option<stack::state::State>, Failure> {
    let layout = global.layout(global.simulated)?;
    Ok(stack::running(&layout).filter(|state| global.coordinator.is_none() && state.agents))
}

fn refuse_two_stacks(global: &Global) -> Result<(), Failure> {
    match global.coordinator.is_some() && global.simulated {
        true => Err(Failure::usage(
            "--simulated starts a stack on this machine, but --coordinator names a stack elsewhere, which has its own models",
        )
        .hint("omit one of them")),
        false => Ok(()),
    }
}

/// The running stack that a run will use, or a private one that lacks nothing, started with `config` where none runs.
///
/// # Errors
/// Two stacks are named; a role has no model; an endpoint or a stack does not answer; a process is not ready in time.
pub async fn reach(
    global: &Global,
    stack: &StackArgs,
    config: Option<PathBuf>,
    pools: &BTreeSet<Pool>,
    own: &BTreeMap<String, pb::ModelChoice>,
    run: Option<&str>,
) -> Result<Session, Failure> {
    refuse_two_stacks(global)?;
    // A run that was begun with simulated models goes on with simulated models, whether or not that is said again.
    let kept_simulated = match run {
        Some(run) if !global.simulated && global.coordinator.is_none() => {
            global.layouts_for(run)?.first().is_some_and(|layout| layout.simulated)
        }
        _ => false,
    };
    let here = Global {
        simulated: global.simulated || kept_simulated,
        ..global.clone()
    };
    let layout = here.layout(here.simulated)?;
    let local = local_with_agents(&here)?;
    if here.coordinator.is_some() || local.is_some() {
        tell_unused(config.as_deref(), here.coordinator.as_deref(), local.as_ref());
    }
    if (here.coordinator.is_some() || local.as_ref().is_some_and(|state| state.owner.is_none()))
        && let Some(session) = here.running(run).await?
    {
        return Ok(session);
    }
    // Agents that a private stack lacks have the models that its others have.
    let config = local.map_or(config, |state| state.config);
    if !here.simulated {
        let settings = operator::check_models(config.as_deref(), pools.iter().cloned(), own)?;
        if !stack.no_probe {
            operator::require_answers(&operator::probe(&settings).await)?;
        }
    }
    let plan = Plan {
        with_leftovers: stack.with_leftovers,
        ..Plan::whole(layout, config, pools, true)
    };
    here.start(&plan).await
}

/// Names the operator's file that this command found and that the running stack does not use.
fn tell_unused(found: Option<&Path>, coordinator: Option<&str>, local: Option<&stack::state::State>) {
    if let Some(words) = unused(found, coordinator, local) {
        output::warning(&words);
    }
}

/// Why the models of the operator's file `found` are not used, in words; none where they are, or where there is no file.
pub fn unused(found: Option<&Path>, coordinator: Option<&str>, local: Option<&stack::state::State>) -> Option<String> {
    let found = found?;
    match (coordinator, local) {
        (Some(url), _) => Some(format!(
            "the models in {} are not used: the coordinator at {url} has its own agents",
            shown(found)
        )),
        (None, Some(state)) if state.config.as_deref() != Some(found) => {
            let its = match &state.config {
                _ if state.simulated => "simulated models".to_owned(),
                Some(config) => format!("those of {}", shown(config)),
                None => "those that its environment names".to_owned(),
            };
            Some(format!(
                "the models in {} are not used: the running stack has {its}",
                shown(found)
            ))
        }
        _ => None,
    }
}
