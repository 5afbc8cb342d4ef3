//! From a checked order to a report: find or start a stack, see that every role is there, create the run, follow it, tell its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sipdo_domain::{Budget, Role, Task, vote::shared_models};
use sipdo_protocol::pb;

use crate::{
    args::Global,
    client::Api,
    commands::{agents::roll_call, runs::newest},
    failure::{Exit, Failure, Outcome},
    files,
    follow::{End, FirstInterrupt, follow},
    operator::{self, StackArgs},
    output,
    report::Report,
    session::{Interrupts, Session, shown},
    stack::{self, Plan},
    words::is_over,
};

/// How long a roll call waits for answers: short on this machine, where it is repeated until all are there.
const ROLL_CALL_MS: u32 = 120;
const AGENTS_DEADLINE: Duration = Duration::from_secs(10);
/// Older runs looked at to say that they go on as well.
const OLDER_RUNS: u32 = 100;

/// What a run is for; decides how its end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A better prompt.
    Optimize,
    /// Scores of given prompts.
    Eval,
}

impl Goal {
    /// What a run was for.
    pub fn of(run: &pb::Run) -> Self {
        match &run.summary {
            Some(summary) if summary.strategy == EVAL => Goal::Eval,
            _ => Goal::Optimize,
        }
    }
}

/// The strategy of [`Goal::Eval`].
pub const EVAL: &str = "eval";

/// A run to be created, checked as far as this machine can.
#[derive(Debug, Clone)]
pub struct Order {
    /// The task with its data.
    pub task: Task,
    /// The strategy's name.
    pub strategy: String,
    /// Its options.
    pub options: Value,
    /// The caps.
    pub budget: Budget,
    /// The run's own models by role name.
    pub models: BTreeMap<String, pb::ModelChoice>,
    /// Roles that will be asked.
    pub roles: BTreeSet<Role>,
    /// Makes the creation idempotent.
    pub request_id: String,
    /// Folder for the results.
    pub out: Option<PathBuf>,
    /// Do not watch.
    pub detach: bool,
    /// Refuse voters that share a model.
    pub require_independent: bool,
}

/// Finds or starts a stack, runs the order on it and tells the end. `config` is the operator's file for a stack started here.
///
/// # Errors
/// Everything that stands between an order and its end.
pub async fn launch(global: &Global, stack: &StackArgs, config: Option<PathBuf>, order: Order) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    let roles: Vec<Role> = order.roles.iter().copied().collect();
    let mut session = reach(global, stack, config, &roles, &order.models, None).await?;
    let outcome = tokio::select! {
        placed = place(&mut session, &order) => placed,
        () = interrupts.next() => Err(Failure::new(Exit::Interrupted, "interrupted before the run was created")),
    };
    // From here on the interrupts belong to whoever follows the run.
    drop(interrupts);
    let outcome = match outcome {
        Ok(run) if order.detach => {
            output::note(&format!(
                "run {run} goes on by itself; `sipdo runs watch {run}` watches it"
            ));
            tell_run(&run)
        }
        Ok(run) => watch_to_end(&mut session, &run, order.out.as_deref()).await,
        Err(failure) => Err(failure),
    };
    session.close().await;
    outcome
}

fn tell_run(run: &str) -> Outcome {
    if output::json() {
        output::json_line(&json!({ "run": run }))?;
    } else {
        output::data_line(run)?;
    }
    Ok(Exit::Ok)
}

/// A stack with agents: the running one, or a private one started with the models of this machine.
///
/// # Errors
/// No model for a role; an endpoint that does not answer; a process that is not ready in time.
pub async fn reach_with_agents(global: &Global, stack: &StackArgs, run: Option<&str>) -> Result<Session, Failure> {
    let config = operator::operator_file(stack, None)?;
    reach(global, stack, config, &Role::ALL, &BTreeMap::new(), run).await
}

async fn reach(
    global: &Global,
    stack: &StackArgs,
    config: Option<PathBuf>,
    roles: &[Role],
    own: &BTreeMap<String, pb::ModelChoice>,
    run: Option<&str>,
) -> Result<Session, Failure> {
    if global.coordinator.is_some() && global.simulated {
        return Err(Failure::usage(
            "--simulated starts a simulated stack on this machine; with --coordinator the models are that stack's",
        )
        .hint("leave one of them out"));
    }
    // A run that was begun with simulated models goes on with simulated models, whether or not that is said again.
    let kept_simulated = match run {
        Some(run) if !global.simulated && global.coordinator.is_none() => {
            global.likeliest(run)?.first().is_some_and(|layout| layout.simulated)
        }
        _ => false,
    };
    let here = Global {
        simulated: global.simulated || kept_simulated,
        ..global.clone()
    };
    let layout = here.layout(here.simulated)?;
    let local = stack::running(&layout).filter(|_| here.coordinator.is_none());
    if let Some(owner) = local.as_ref().and_then(|state| state.owner.as_ref()) {
        return Err(Failure::unavailable(format!(
            "the stack in {} belongs to a command that is at work (process {}), and ends with it",
            layout.root.display(),
            owner.pid
        ))
        .hint("wait for it, or start one stack for both with `sipdo up` afterwards, or name another folder with --data-dir"));
    }
    if (here.coordinator.is_some() || local.is_some())
        && let Some(session) = here.running(run).await?
    {
        if stack.config.is_some() {
            output::warning("--config is not used: the stack that runs already has its own models");
        }
        return Ok(session);
    }
    if !here.simulated {
        let settings = operator::check_models(config.as_deref(), roles, own)?;
        if !stack.no_probe {
            operator::require_answers(&operator::probe(&settings).await)?;
        }
    }
    let mut plan = Plan::whole(layout, config, true);
    plan.agents.retain(|role, _| roles.contains(role));
    here.start(&plan).await
}

/// Sees that every role is there and creates the run.
async fn place(session: &mut Session, order: &Order) -> Result<String, Failure> {
    if order.detach && session.stack.is_some() {
        return Err(
            Failure::usage("--detach needs a stack that stays: the private one ends with this command")
                .hint("start one with `sipdo up` first"),
        );
    }
    let cards = wait_for_roles(&mut session.api, &order.roles).await?;
    let shared = self_judging(&cards, &order.models, &order.roles);
    match shared.first() {
        Some(first) if order.require_independent => {
            return Err(Failure::usage(first.clone())
                .hint("give these roles different models, or leave out --require-independent"));
        }
        _ => shared
            .iter()
            .for_each(|line| output::warning(&output::clean_line(line))),
    }
    // The run will say so too, as soon as they have voted.
    session.warned = shared;
    for card in cards.iter().filter(|card| !card.trouble.is_empty()) {
        output::warning(&format!(
            "{} {}: {}",
            card.role,
            card.agent,
            output::clean_line(&card.trouble)
        ));
    }
    tell_older_runs(session).await;
    let request = pb::CreateRunRequest {
        request_id: order.request_id.clone(),
        task: Some(pb::Task::try_from(order.task.clone()).map_err(anyhow::Error::from)?),
        strategy: order.strategy.clone(),
        options_json: order.options.to_string(),
        budget: Some(order.budget.into()),
        models: order.models.clone(),
    };
    let run = session.api.create_run(request).await?.into_inner();
    let run = run.summary.map(|summary| summary.run).unwrap_or_default();
    if let Some(layout) = &session.layout {
        layout.remember(&run);
    }
    Ok(run)
}

/// A private stack takes up what earlier ones left unfinished: nobody should wonder who spends there.
async fn tell_older_runs(session: &mut Session) {
    if session.stack.is_none() {
        return;
    }
    let Ok(runs) = newest(&mut session.api, OLDER_RUNS).await else {
        return;
    };
    for run in runs
        .iter()
        .filter(|run| !is_over(run.state()) && run.state() != pb::State::Paused)
    {
        output::note(&format!(
            "run {} (task {}) was left unfinished and goes on as well; `sipdo runs cancel {}` ends it",
            run.run, run.task, run.run
        ));
    }
}

async fn wait_for_roles(api: &mut Api, roles: &BTreeSet<Role>) -> Result<Vec<pb::AgentCard>, Failure> {
    let deadline = Instant::now() + AGENTS_DEADLINE;
    loop {
        let cards = roll_call(api, ROLL_CALL_MS).await?;
        let missing: Vec<&str> = roles
            .iter()
            .map(|role| role.name())
            .filter(|name| cards.iter().all(|card| card.role != *name))
            .collect();
        if missing.is_empty() {
            return Ok(cards);
        }
        if Instant::now() >= deadline {
            let missing = missing.join(", ");
            return Err(Failure::unavailable(format!("no agent answers for: {missing}")).hint(
                "`sipdo agents` lists those that do; start one with `sipdo-ROLE --nats-url URL --model NAME --base-url URL`",
            ));
        }
    }
}

/// Warnings on voters that use one model.
fn self_judging(
    cards: &[pb::AgentCard],
    own: &BTreeMap<String, pb::ModelChoice>,
    roles: &BTreeSet<Role>,
) -> Vec<String> {
    let labels = |role: Role| -> BTreeSet<String> {
        let cards = cards.iter().filter(|card| card.role == role.name());
        cards
            .map(|card| {
                let choice = own.get(role.name());
                let endpoint = choice
                    .map(|choice| &choice.endpoint)
                    .filter(|name| !name.is_empty())
                    .unwrap_or(&card.endpoint);
                let model = choice
                    .map(|choice| &choice.model)
                    .filter(|name| !name.is_empty())
                    .unwrap_or(&card.model);
                format!("{endpoint}/{model}")
            })
            .collect()
    };
    let voters = [Role::Generator, Role::Checker, Role::Verifier];
    let voters = voters.into_iter().filter(|role| roles.contains(role));
    let voters: Vec<_> = voters.map(|role| (role, labels(role))).collect();
    shared_models(&voters)
}

/// Follows a run and tells its end, or how to go on where the user left it.
///
/// # Errors
/// The coordinator is gone for too long; results cannot be written.
pub async fn watch_to_end(session: &mut Session, run: &str, out: Option<&Path>) -> Outcome {
    let simulated = session.simulated();
    let private = session.stack.is_some();
    let data_dir = session.layout.clone();
    let (stack, warned) = (session.stack.as_mut(), &session.warned);
    match follow(&mut session.api, run, stack, warned, FirstInterrupt::StopsRun).await? {
        End::Over(ended) => {
            let folder = out.map_or_else(|| default_out(run), Path::to_owned);
            tell_end(&ended, simulated, Some(&folder))
        }
        End::Left if private => {
            let simulated = if simulated { " --simulated" } else { "" };
            output::note(&format!(
                "run {run} is left as it is, and its stack is taken down; everything bought is kept.\n\
                 `sipdo runs resume {run}{simulated}` lets it go on{}",
                data_dir
                    .map(|layout| format!(" (data in {})", layout.root.display()))
                    .unwrap_or_default()
            ));
            Ok(Exit::Interrupted)
        }
        End::Left => {
            output::note(&format!(
                "the run goes on without being watched: `sipdo runs watch {run}` watches it again"
            ));
            Ok(Exit::Interrupted)
        }
    }
}

/// The folder for a run's results unless another is named.
pub fn default_out(run: &str) -> PathBuf {
    Path::new("sipdo-out").join(run)
}

/// Writes a run's results into `folder`, if one is given, prints its report, and gives the exit code.
///
/// # Errors
/// Results cannot be written.
pub fn tell_end(run: &pb::Run, simulated: bool, folder: Option<&Path>) -> Outcome {
    let goal = Goal::of(run);
    let report = Report::of(run, simulated);
    let files = match (goal, folder) {
        (Goal::Optimize, Some(folder)) => Some(files::write_files(run, &report, folder)?),
        _ => None,
    };
    if output::json() {
        let folder = files.as_ref().map(|files| &files.folder);
        output::json_line(&json!({ "report": report, "folder": folder }))?;
        return Ok(exit(run, goal));
    }
    match goal {
        Goal::Optimize => output::prose(&report.text())?,
        Goal::Eval => output::prose(&report.eval_text())?,
    }
    if let Some(files) = &files {
        output::note(&format!(
            "written to {}: {}",
            shown(&files.folder),
            files.names.join(", ")
        ));
    }
    Ok(exit(run, goal))
}

fn exit(run: &pb::Run, goal: Goal) -> Exit {
    match (goal, Report::exit(run)) {
        // Nothing is reverted by measuring.
        (Goal::Eval, Exit::NothingBetter) => Exit::Ok,
        (_, exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(role: Role, model: &str) -> pb::AgentCard {
        pb::AgentCard {
            role: role.name().into(),
            endpoint: "cloud".into(),
            model: model.into(),
            ..Default::default()
        }
    }

    #[test]
    fn judges_that_share_a_model_are_one_warning() {
        let all: BTreeSet<Role> = Role::ALL.into();
        let mut cards: Vec<_> = Role::ALL.iter().map(|&role| card(role, "teacher")).collect();
        let lines = self_judging(&cards, &BTreeMap::new(), &all);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].starts_with("generator, checker and verifier vote with the same model, cloud/teacher"),
            "{lines:?}"
        );
        // The learner may share a model with anybody: it judges nothing.
        let learner = [Role::Learner, Role::Verifier].into();
        assert!(self_judging(&cards, &BTreeMap::new(), &learner).is_empty());
        // A run's own models count, not those that the agents were started with.
        let own = |model: &str| pb::ModelChoice {
            model: model.into(),
            ..Default::default()
        };
        let models = [("checker".to_owned(), own("b")), ("verifier".to_owned(), own("c"))].into();
        assert!(self_judging(&cards, &models, &all).is_empty());
        cards[1].model = "other".into();
        assert!(!self_judging(&cards, &BTreeMap::new(), &all)[0].contains("checker"));
    }
}
