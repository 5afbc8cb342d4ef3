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
    checks::Checks,
    client::Api,
    failure::{Exit, Failure, Outcome, refusal_reason},
    follow::{End, FirstInterrupt, control, follow},
    global::Global,
    next_steps::suggest,
    operator::{self, StackArgs},
    output,
    progress::RunView,
    reach::{local_with_agents, reach},
    reuse::Reuse,
    run_end::{Goal, default_out, held_out_test, print_end, report_of},
    session::{EVAL, Interrupts, Session},
    stack::{self, kept::Kept},
    words::is_over,
};

/// How long a roll call waits for answers: short on this machine, where it is repeated until all are there.
const ROLL_CALL_MS: u32 = 120;
const AGENTS_DEADLINE: Duration = Duration::from_secs(10);
/// Older runs looked at to say that they go on as well.
const OLDER_RUNS: u32 = 100;

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
    /// What is checked of its test.
    pub checks: Option<Checks>,
    /// The share of a prompt's answers that may be not measured, in 0..=1.
    pub most_not_measured: f64,
}

impl NewRun {
    /// The pools of agents that will be asked.
    pub fn pools(&self) -> BTreeSet<Pool> {
        sipdo_strategies::pools(&self.roles, &self.options)
    }

    /// What would refuse it on a stack that is started here with real models, as far as the operator's file tells: the coordinator says
    /// the same of agents that run.
    ///
    /// # Errors
    /// A role without a model, a key or an endpoint; under a cap in USD a model without a price; a program that no checker may run.
    pub fn check_here(&self, config: Option<&Path>) -> Result<(), Failure> {
        let settings = operator::check_models(config, self.pools(), &self.models)?;
        operator::check_program(&settings, self.task.gates.program.as_deref())?;
        match self.budget.nano_usd {
            Some(_) => operator::check_prices(&settings),
            None => Ok(()),
        }
    }

    /// The answers that an eval asks for.
    fn answers(&self) -> Option<u64> {
        let forecast = sipdo_strategies::forecast(&self.task, &self.strategy, &self.options)?;
        (self.strategy == EVAL).then(|| forecast.expected.values().sum())
    }
}

/// Finds or starts a stack, runs the new_run on it and tells the end. `config` is the operator's file for a stack started here.
///
/// # Errors
/// Everything that stands between an new_run and its end.
pub async fn launch(global: &Global, stack: &StackArgs, config: Option<PathBuf>, new_run: NewRun) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    if global.coordinator.is_none() && !global.simulated && local_with_agents(global)?.is_none() {
        new_run.check_here(config.as_deref())?;
    }
    let mut session = reach(global, stack, config, &new_run.pools(), &new_run.models, None).await?;
    let mut checks = new_run.checks.clone();
    let outcome = tokio::select! {
        created = check_and_create(&mut session, stack, &new_run, &mut checks) => created,
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
        Ok(run) => {
            watch_to_end(
                &mut session,
                &run,
                new_run.out.as_deref(),
                checks.as_ref(),
                new_run.most_not_measured,
            )
            .await
        }
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
        let (stack, view) = (session.stack.as_mut(), view(&session.warned, session.answers));
        match follow(&mut session.api, &run, stack, view, FirstInterrupt::LeavesRun).await? {
            End::Over(run) => runs.push(*run),
            End::Left => return Err(interrupted().hint(format!("`sipdo runs resume {run}` continues its run"))),
        }
    }
    Ok(runs)
}

fn view(warned: &[String], answers: Option<u64>) -> RunView {
    RunView::without(warned).of_answers(answers)
}

fn print_run_id(run: &str) -> Outcome {
    if output::json() {
        output::json_line(&json!({ "run": run }))?;
    } else {
        output::data_line(run)?;
    }
    Ok(Exit::Ok)
}

/// Reads what the run is to be compared with, has agents try the run's own models, where nobody has done so on the way here, and creates
/// the run.
async fn check_and_create(
    session: &mut Session,
    stack: &StackArgs,
    new_run: &NewRun,
    checks: &mut Option<Checks>,
) -> Result<String, Failure> {
    if let Some(checks) = checks {
        checks.prepare(&mut session.api, &new_run.task.test).await?;
    }
    let probed_here = session.stack.is_some() && !session.simulated();
    if !stack.no_probe && !probed_here && !new_run.models.is_empty() {
        wait_for_roles(&mut session.api, &new_run.pools()).await?;
        validate(&mut session.api, new_run).await?;
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
    let request = request(new_run)?;
    let run = session.api.create_run(request).await.map_err(refused)?.into_inner();
    for warning in &run.warnings {
        output::warning(&output::clean_line(warning));
    }
    // The run will say so too, as soon as they have voted.
    session.warned.clone_from(&run.warnings);
    session.answers = new_run.answers();
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

/// Whether a coordinator would refuse the run, and what it would warn of; one of an older version cannot say.
///
/// # Errors
/// It would refuse, or does not answer.
pub async fn validate(api: &mut Api, new_run: &NewRun) -> Result<Vec<String>, Failure> {
    // Without an id: an older coordinator would create the run.
    let request = pb::CreateRunRequest {
        request_id: String::new(),
        validate_only: true,
        ..request(new_run)?
    };
    match api.create_run(request).await {
        Ok(run) => Ok(run.into_inner().warnings),
        Err(status) if refusal_reason(&status) == "REQUEST_ID_MISSING" => Ok(Vec::new()),
        Err(status) => Err(refused(status)),
    }
}

fn request(new_run: &NewRun) -> Result<pb::CreateRunRequest, Failure> {
    Ok(pb::CreateRunRequest {
        request_id: new_run.request_id.clone(),
        task: Some(pb::Task::try_from(new_run.task.clone()).map_err(anyhow::Error::from)?),
        strategy: new_run.strategy.clone(),
        options_json: new_run.options.to_string(),
        budget: Some(new_run.budget.into()),
        models: new_run.models.clone(),
        require_independent: new_run.require_independent,
        reuse_within_ms: new_run.reuse.within_ms(),
        fresh: new_run.reuse.fresh,
        validate_only: false,
    })
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

/// Follows a run and tells its end, with what the `checks` and the share of missing answers say, or how to go on where the user left it.
///
/// # Errors
/// The coordinator is gone for too long; results cannot be written.
pub async fn watch_to_end(
    session: &mut Session,
    run: &str,
    out: Option<&Path>,
    checks: Option<&Checks>,
    most_not_measured: f64,
) -> Outcome {
    let simulated = session.simulated();
    let private = session.stack.is_some();
    let data_dir = session.layout.clone();
    let (stack, view) = (session.stack.as_mut(), view(&session.warned, session.answers));
    match follow(&mut session.api, run, stack, view, FirstInterrupt::StopsRun).await? {
        End::Over(ended) => {
            let test = held_out_test(&mut session.api, &ended).await;
            let mut report = report_of(&ended, simulated, test.as_ref());
            report.most_not_measured = most_not_measured;
            report.gates = checks.map_or_else(Vec::new, |checks| checks.judge(test.as_ref()));
            if let (Some(checks), Some(test)) = (checks, &test) {
                checks.write_junit(test)?;
            }
            // Scores alone leave files only where they are asked for.
            let usual = (Goal::of(&ended) == Goal::Optimize).then(|| default_out(run));
            let folder = out.map(Path::to_owned).or(usual);
            let exit = print_end(&ended, &report, test.as_ref(), folder.as_deref())?;
            checks.map_or(Ok(()), |checks| checks.explain(test.as_ref()))?;
            suggest(&report, session.layout.as_ref());
            Ok(exit)
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
