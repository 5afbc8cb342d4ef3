//! `sipdo up`, `down`, `status`: the local stack that stays.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use sipdo_domain::Pool;

use crate::{
    failure::{Exit, Failure, Outcome},
    global::Global,
    operator::{self, StackArgs},
    output::{self, Table},
    session::{Interrupts, shown},
    stack::{self, Plan, Stack, layout::Layout, state::State},
};

/// Flags of `sipdo up`.
#[derive(Debug, Args)]
#[command(after_help = "Example: sipdo up --agents learner=3 --agents checker_a=1 --agents checker_b=1")]
pub struct UpArgs {
    /// Number of agents of a role, or of ROLE_POOL for a named pool [default: one per role, and one per pool that sipdo.toml names]
    #[arg(long, value_name = "ROLE=N", value_parser = agents)]
    agents: Vec<(Pool, u32)>,
    /// Port of the coordinator [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Port of the nats-server [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    nats_port: u16,
    #[command(flatten)]
    stack: StackArgs,
}

fn agents(text: &str) -> Result<(Pool, u32), String> {
    let (role, number) = text.split_once('=').ok_or("write ROLE=N, such as learner=3")?;
    let number = number.parse().ok().filter(|number| *number <= 100);
    Ok((role.parse()?, number.ok_or("N is a number from 0 to 100")?))
}

/// Starts the stack, or says that it runs already.
///
/// # Errors
/// No model for a role; a process is not ready in time.
pub async fn up(global: &Global, args: &UpArgs) -> Outcome {
    let layout = global.layout(global.simulated)?;
    if let Some(state) = stack::running(&layout) {
        if state.is_owned() {
            return Err(
                Failure::unavailable("a running `sipdo` command uses this folder for its private stack")
                    .hint("wait until it ends, or name another folder with --data-dir"),
            );
        }
        output::note("the local stack is running already");
        return print(&layout, &state);
    }
    let config = operator::operator_file(&args.stack, None)?;
    let pools = operator::pools(config.as_deref().filter(|_| !global.simulated))?;
    if !global.simulated {
        operator::check_models(config.as_deref(), pools.iter().cloned(), &BTreeMap::new())?;
    }
    let mut plan = Plan::whole(layout.clone(), config, &pools, false);
    plan.agents.extend(args.agents.iter().cloned());
    plan.agents.retain(|_, number| *number > 0);
    plan.port = args.port;
    plan.nats_port = args.nats_port;
    plan.with_leftovers = args.stack.with_leftovers;
    // Started to its end even when interrupted: then it is either up or taken down, never in between.
    let mut interrupts = Interrupts::new()?;
    let mut interrupted = false;
    let starting = Stack::start(&plan);
    tokio::pin!(starting);
    let stack = loop {
        tokio::select! {
            stack = &mut starting => break stack?,
            () = interrupts.next() => interrupted = true,
        }
    };
    if interrupted {
        stack.stop().await;
        return Ok(Exit::Interrupted);
    }
    let state = stack.leave();
    output::note("the local stack is running; `sipdo down` stops it");
    print(&layout, &state)
}

/// Takes the stack down.
///
/// # Errors
/// It belongs to a command that is at work.
pub async fn down(global: &Global) -> Outcome {
    let mut found = false;
    for layout in global.layouts()? {
        found |= stack::take_down(&layout).await?;
    }
    output::note(if found {
        "the local stack is stopped; its runs are kept"
    } else {
        "no local stack is running"
    });
    Ok(Exit::Ok)
}

/// Says what runs. Exit code 6 where nothing does.
///
/// # Errors
/// Stdout cannot be written.
pub fn status(global: &Global) -> Outcome {
    let mut any = false;
    for layout in global.layouts()? {
        if let Some(state) = State::load(&layout) {
            any |= state.lives();
            print(&layout, &state)?;
        }
    }
    if !any {
        output::note("no local stack is running; `sipdo up` starts one");
        return Ok(Exit::Unavailable);
    }
    Ok(Exit::Ok)
}

fn print(layout: &Layout, state: &State) -> Outcome {
    let ready = |admin: &Option<String>| {
        let address = admin.as_ref().and_then(|admin| admin.parse().ok());
        address.map(stack::children::is_ready)
    };
    let word = |process: &stack::state::Process| match (process.lives(), ready(&process.admin)) {
        (false, _) => "ended",
        (true, Some(false)) => "not ready",
        (true, Some(true)) => "ready",
        (true, None) => "runs",
    };
    if output::json() {
        let processes: Vec<_> = state
            .processes
            .iter()
            .map(|process| json!({"name": process.name, "pid": process.pid, "state": word(process), "log": layout.log(&process.name)}))
            .collect();
        output::json_line(&json!({
            "coordinator": state.coordinator, "nats": state.nats, "simulator": state.simulator, "simulated": state.simulated,
            "private": state.owner.is_some(), "data": layout.root, "config": state.config, "processes": processes,
        }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["process", "pid", "state", "log"]).right(&[1]);
    for process in &state.processes {
        table.row([
            process.name.clone(),
            process.pid.to_string(),
            word(process).into(),
            shown(&layout.log(&process.name)),
        ]);
    }
    let mut text = table.render(output::stdout_color());
    text.push_str(&format!(
        "\ncoordinator  {}\nnats         {}\n",
        state.coordinator, state.nats
    ));
    if let Some(simulator) = &state.simulator {
        text.push_str(&format!(
            "simulator    {simulator}  (simulated models: scores say nothing about real models)\n"
        ));
    }
    if let Some(config) = &state.config {
        text.push_str(&format!("models       {}\n", shown(config)));
    }
    text.push_str(&format!("data         {}\n", layout.root.display()));
    output::data(&text)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::Role;

    #[test]
    fn agents_are_counted_by_role() {
        assert_eq!(agents("learner=3"), Ok((Role::Learner.into(), 3)));
        for bad in ["learner", "learner=", "learner=-1", "learner=1000", "teacher=1"] {
            assert!(agents(bad).is_err(), "{bad}");
        }
    }
}
