//! From a checked new_run to a report: find or start a stack, see that every role is there, create the run, follow it, tell its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sipdo_domain::{Budget, Pool, Role, Task};
use sipdo_protocol::pb;
use tonic_types::StatusExt as _;

use crate::{
    ask::{newest, roll_call, try_first},
    client::Api,
    failure::{Exit, Failure, Outcome},
    files,
    follow::{End, FirstInterrupt, control, follow},
    global::Global,
    operator::{self, StackArgs},
    output,
    report::Report,
    reuse::Reuse,
    session::{EVAL, Interrupts, Session, shown},
    stack::{self, Plan, kept::Kept},
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

/// A run to be created, checked as far as this machine can.
#[derive(Debug, Clone)]
pub struct NewRun {
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
    /// Which stored answers it may reuse.
    pub reuse: Reuse,
}

impl NewRun {
    /// The pools of agents that will be asked.
    fn pools(&self) -> BTreeSet<Pool> {
        sipdo_strategies::pools(&self.roles, &self.options)
    }
}

/// Finds or starts a stack, runs the new_run on it and tells the end. `config` is the operator's file for a stack started here.
///
/// # Errors
/// Everything that stands between an new_run and its end.
pub async fn launch(global: &Global, stack: &StackArgs, config: Option<PathBuf>, new_run: NewRun) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    let mut session = reach(global, stack, config, &new_run.pools(), &new_run.models, None).await?;
    let outcome = tokio::select! {
        created = check_models_and_create(&mut session, stack, &new_run) => created,
        () = interrupts.next() => Err(Failure::new(Exit::Interrupted, "interrupted before the run was created")),
    };
    // From here on the interrupts belong to whoever follows the run.
    drop(interrupts);
    let outcome = match outcome {
        Ok(run) if new_run.detach => {
            output::note(&format!(
                "run {run} continues in the background; `sipdo runs watch {run}` watches it"
            ));
            print_run_id(&run)
        }
        Ok(run) => watch_to_end(&mut session, &run, new_run.out.as_deref()).await,
        Err(failure) => Err(failure),
    };
    session.close().await;
    outcome
}

/// Finds or starts a stack and runs new_runs on it, one after the other, each tried first with `check`. Ends with the first that does
/// not come to its end.
///
/// # Errors
/// Everything that stands between an new_run and its end; one that was left by the user.
pub async fn launch_each(
    global: &Global,
    stack: &StackArgs,
    config: Option<PathBuf>,
    new_runs: &[NewRun],
    check: impl AsyncFn(&mut Api) -> Result<(), Failure>,
) -> Result<Vec<pb::Run>, Failure> {
    let pools = new_runs.iter().flat_map(NewRun::pools).collect();
    let mut session = reach(global, stack, config, &pools, &BTreeMap::new(), None).await?;
    let ended = follow_each(&mut session, new_runs, check).await;
    session.close().await;
    ended
}

async fn follow_each(
    session: &mut Session,
    new_runs: &[NewRun],
    check: impl AsyncFn(&mut Api) -> Result<(), Failure>,
) -> Result<Vec<pb::Run>, Failure> {
    let mut interrupts = Interrupts::new()?;
    let interrupted = || Failure::new(Exit::Interrupted, "interrupted before everything was measured");
    if let Some(first) = new_runs.first() {
        wait_for_roles(&mut session.api, &first.pools()).await?;
    }
    tokio::select! {
        checked = check(&mut session.api) => checked?,
        () = interrupts.next() => return Err(interrupted()),
    }
    let mut runs = Vec::new();
    for new_run in new_runs {
        let run = tokio::select! {
            created = create_run(session, new_run) => created?,
            () = interrupts.next() => return Err(interrupted()),
        };
        let (stack, warned) = (session.stack.as_mut(), &session.warned);
        match follow(&mut session.api, &run, stack, warned, FirstInterrupt::LeavesRun).await? {
            End::Over(run) => runs.push(*run),
            End::Left => return Err(interrupted().hint(format!("`sipdo runs resume {run}` continues its run"))),
        }
    }
    Ok(runs)
}

fn print_run_id(run: &str) -> Outcome {
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
    // The file that the run was begun with goes before what lies in this folder: resuming works from any.
    let began = run.and_then(|run| {
        let layouts = global.layouts_for(run).ok()?;
        let layout = layouts.first().filter(|layout| !layout.simulated)?;
        Kept::load(layout, &layout.meant(run)?).config.filter(|file| file.is_file())
    });
    let config = match (&stack.config, began) {
        (None, Some(began)) => Some(began),
        _ => operator::operator_file(stack, None)?,
    };
    let pools = operator::pools(config.as_deref())?;
    reach(global, stack, config, &pools, &BTreeMap::new(), run).await
}

async fn reach(
    global: &Global,
    stack: &StackArgs,
    config: Option<PathBuf>,
    pools: &BTreeSet<Pool>,
    own: &BTreeMap<String, pb::ModelChoice>,
    run: Option<&str>,
) -> Result<Session, Failure> {
    if global.coordinator.is_some() && global.simulated {
        return Err(Failure::usage(
            "--simulated starts a stack on this machine, but --coordinator names a stack elsewhere, which has its own models",
        )
        .hint("omit one of them"));
    }
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
    let local = stack::running(&layout).filter(|state| here.coordinator.is_none() && state.agents);
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
pub fn unused(
    found: Option<&Path>,
    coordinator: Option<&str>,
    local: Option<&stack::state::State>,
) -> Option<String> {
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

/// Has agents try the run's own models, where nobody has done so on the way here, and creates the run.
async fn check_models_and_create(
    session: &mut Session,
    stack: &StackArgs,
    new_run: &NewRun,
) -> Result<String, Failure> {
    let probed_here = session.stack.is_some() && !session.simulated();
    if !stack.no_probe && !probed_here && !new_run.models.is_empty() {
        wait_for_roles(&mut session.api, &new_run.pools()).await?;
        for (pool, choice) in &new_run.models {
            let pool = pool.parse().map_err(|why: String| Failure::usage(why))?;
            if new_run.pools().contains(&pool) && choice != &pb::ModelChoice::default() {
                try_first(&mut session.api, &pool, "", choice).await?;
            }
        }
    }
    create_run(session, new_run).await
}

/// Sees that every role is there and creates the run.
async fn create_run(session: &mut Session, new_run: &NewRun) -> Result<String, Failure> {
    if new_run.detach && session.stack.is_some() {
        return Err(Failure::usage(
            "--detach needs a stack that keeps running: a private stack ends with this command",
        )
        .hint("start one with `sipdo up` first"));
    }
    let cards = wait_for_roles(&mut session.api, &new_run.pools()).await?;
    for card in cards.iter().filter(|card| !card.trouble.is_empty()) {
        output::warning(&format!(
            "{} {}: {}",
            card.role,
            card.agent,
            output::clean_line(&card.trouble)
        ));
    }
    note_older_runs(session).await;
    let request = pb::CreateRunRequest {
        request_id: new_run.request_id.clone(),
        task: Some(pb::Task::try_from(new_run.task.clone()).map_err(anyhow::Error::from)?),
        strategy: new_run.strategy.clone(),
        options_json: new_run.options.to_string(),
        budget: Some(new_run.budget.into()),
        models: new_run.models.clone(),
        require_independent: new_run.require_independent,
        reuse_within_ms: new_run.reuse.within_ms(),
        fresh: new_run.reuse.fresh,
    };
    let run = session.api.create_run(request).await.map_err(refused)?.into_inner();
    for warning in &run.warnings {
        output::warning(&output::clean_line(warning));
    }
    // The run will say so too, as soon as they have voted.
    session.warned.clone_from(&run.warnings);
    let run = run.summary.map(|summary| summary.run).unwrap_or_default();
    if let Some(layout) = &session.layout {
        layout.remember(&run);
        let found = Kept {
            config: session.stack.as_ref().and_then(|stack| stack.state.config.clone()),
            out: new_run.out.clone().or_else(|| Some(default_out(&run))),
        };
        found.save(layout, &run);
    }
    Ok(run)
}

/// A coordinator's refusal, with what to do about it where that is known.
fn refused(status: tonic::Status) -> Failure {
    let independence = status
        .get_details_error_info()
        .is_some_and(|info| info.reason == "NOT_INDEPENDENT");
    match independence {
        true => Failure::from(status).hint("give these roles different models, or omit --require-independent"),
        false => status.into(),
    }
}

/// Says what earlier stacks left unfinished, and whether the stack that was started here goes on with it: nobody should wonder who
/// spends there.
async fn note_older_runs(session: &mut Session) {
    if !session.stack.as_ref().is_some_and(stack::Stack::is_ours) {
        return;
    }
    let Ok(runs) = newest(&mut session.api, OLDER_RUNS).await else {
        return;
    };
    let unfinished = |run: &&pb::Summary| !is_over(run.state()) && run.state() != pb::State::Paused;
    for run in runs.iter().filter(unfinished) {
        let (name, task) = (&run.run, output::clean_line(&run.task));
        output::note(&match run.left {
            true => format!("run {name} (task {task}) is left unfinished; `sipdo runs resume {name}` continues it"),
            false => format!(
                "run {name} (task {task}) is unfinished and continues as well; `sipdo runs cancel {name}` ends it"
            ),
        });
    }
}

async fn wait_for_roles(api: &mut Api, pools: &BTreeSet<Pool>) -> Result<Vec<pb::AgentStatus>, Failure> {
    let deadline = Instant::now() + AGENTS_DEADLINE;
    loop {
        let cards = roll_call(api, ROLL_CALL_MS).await?;
        let plays =
            |card: &pb::AgentStatus, pool: &Pool| (card.role.as_str(), &card.pool) == (pool.role.name(), &pool.name);
        let missing: Vec<String> = pools
            .iter()
            .filter(|pool| !cards.iter().any(|card| plays(card, pool)))
            .map(Pool::to_string)
            .collect();
        if missing.is_empty() {
            return Ok(cards);
        }
        if Instant::now() >= deadline {
            let named = if missing.iter().any(|pool| pool.contains('_')) {
                " --pool NAME"
            } else {
                ""
            };
            let missing = missing.join(", ");
            return Err(Failure::unavailable(format!("no agent answers for: {missing}")).hint(format!(
                "`sipdo agents` lists the running agents; start one with `sipdo-ROLE{named} --nats-url URL --model NAME --base-url URL`",
            )));
        }
    }
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
            print_end(&ended, simulated, Some(&folder))
        }
        End::Left if private => {
            let what = match leave(session, run).await {
                true => "is paused, since other commands use its stack",
                false => "is left unfinished and its stack is stopped",
            };
            output::note(&format!(
                "run {run} {what}; everything bought is kept.\n`sipdo runs resume {run}{}` continues it{}",
                if simulated { " --simulated" } else { "" },
                data_dir
                    .map(|layout| format!(" (data in {})", layout.root.display()))
                    .unwrap_or_default()
            ));
            Ok(Exit::Interrupted)
        }
        End::Left => {
            output::note(&format!("the run continues; `sipdo runs watch {run}` watches it again"));
            Ok(Exit::Interrupted)
        }
    }
}

/// Leaves a run of a private stack. Where others keep the stack, its coordinator would go on with the run: there it is paused. Whether
/// it was.
async fn leave(session: &mut Session, run: &str) -> bool {
    if !session.stack.as_ref().is_some_and(stack::Stack::is_shared) {
        return false;
    }
    let paused = control(&mut session.api, run, pb::control::Kind::Pause, None).await;
    paused.is_ok()
}

/// The folder for a run's results unless another is named.
pub fn default_out(run: &str) -> PathBuf {
    Path::new("sipdo-out").join(run)
}

/// Writes a run's results into `folder`, if one is given, prints its report, and gives the exit code.
///
/// # Errors
/// Results cannot be written.
pub fn print_end(run: &pb::Run, simulated: bool, folder: Option<&Path>) -> Outcome {
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
        (Goal::Eval, Exit::NothingBetter | Exit::Worse) => Exit::Ok,
        (_, exit) => exit,
    }
}
