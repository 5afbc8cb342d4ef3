//! `sipdo optimize`: everything is loaded and checked on this machine before anything is started or bought.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;
use sipdo_datasets::TaskFile;
use sipdo_domain::{Pool, Role};
use sipdo_protocol::pb;
use sipdo_strategies::Forecast;
use uuid::Uuid;

use super::dry_run;
use crate::{
    caps::Caps,
    failure::{Failure, Outcome},
    files,
    forecast::Estimate,
    global::Global,
    known_tasks,
    launch::{NewRun, launch},
    missing::Missing,
    operator::{self, StackArgs},
    output,
    reuse::Reuse,
    run_end::default_out,
    session::shown,
};

const AFTER_HELP: &str = "\
Examples:
  sipdo optimize task.toml --dry-run              an estimate of the cost
  sipdo optimize task.toml --simulated            no key, no account
  sipdo optimize task.toml --budget-calls 500 --set strategy.levels=5
  sipdo optimize task.toml --model learner=openai/gpt-5-nano

Ctrl-C once stops the run early: the best prompt is kept and tested; twice leaves the run, to be resumed later.";

/// Flags of `sipdo optimize`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct OptimizeArgs {
    /// The task file
    #[arg(value_name = "TASK.toml")]
    task: PathBuf,
    /// Print an estimate of the cost, and stop
    #[arg(long)]
    dry_run: bool,
    /// Strategy [default: the task file's, else sipdo]
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// Set an option of the strategy; the value is JSON or plain text
    #[arg(long, value_name = "strategy.KEY=VALUE")]
    set: Vec<String>,
    /// Seed of the run's random choices
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    missing: Missing,
    #[command(flatten)]
    caps: Caps,
    #[command(flatten)]
    reuse: Reuse,
    /// Use this model for a role in this run; the operator's file names the endpoints
    #[arg(long, value_name = "ROLE=ENDPOINT/MODEL")]
    model: Vec<String>,
    /// Folder for the results [default: ./sipdo-out/RUN]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that is not empty, and overwrite what has the same names
    #[arg(long)]
    force: bool,
    /// UUID of the request: the same id never creates a second run
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Create the run and do not watch it; needs a stack that keeps running
    #[arg(long)]
    detach: bool,
    /// Refuse to start if voters use the same model
    #[arg(long)]
    require_independent: bool,
    #[command(flatten)]
    stack: StackArgs,
}

/// Optimizes, or only estimates.
///
/// # Errors
/// Whatever is wrong with task, options, budget, models or stack.
pub async fn run(global: &Global, args: &OptimizeArgs) -> Outcome {
    let mut file = load(&args.task)?;
    if let Some(strategy) = &args.strategy {
        file.strategy.clone_from(strategy);
    }
    file.task.seed = args.seed.unwrap_or(file.task.seed);
    file.budget = args.caps.over(file.budget);
    for assignment in &args.set {
        set_option(&mut file.options, assignment)?;
    }
    let forecast =
        check(&file.task, &file.strategy, &file.options).map_err(|failure| in_strategy(failure, &args.task))?;
    let roles = roles(&forecast);
    let config = operator::operator_file(&args.stack, args.task.parent())?;
    let models = models(&file, &args.model)?;
    Estimate::new(&file.task, &forecast, BTreeMap::new()).check(&file.budget)?;
    let order = NewRun {
        models,
        task: file.task,
        strategy: file.strategy,
        options: file.options,
        budget: file.budget,
        roles,
        request_id: args.request_id.unwrap_or_else(Uuid::now_v7).to_string(),
        out: args.out.clone(),
        detach: args.detach,
        require_independent: args.require_independent,
        reuse: args.reuse,
        checks: None,
        most_not_measured: args.missing.max_not_measured,
    };
    if !args.detach {
        let run = sipdo_protocol::run_id(&order.request_id);
        let folder = order.out.clone().unwrap_or_else(|| default_out(&run));
        files::check_folder(&folder, Some(&run), args.force)?;
    }
    if global.simulated {
        known_tasks::warn(&order.task);
    }
    if args.dry_run {
        return dry_run::run(global, config.as_deref(), &order, &forecast).await;
    }
    launch(global, &args.stack, config, order).await
}

/// Reads a task file with its data, and tells its warnings.
///
/// # Errors
/// With file, line or key, and what to do.
pub fn load(path: &Path) -> Result<TaskFile, Failure> {
    let file = sipdo_datasets::load(path).map_err(|error| Failure::usage(output::clean(&error.to_string())))?;
    for warning in &file.warnings {
        output::warning(&output::clean_line(warning));
    }
    Ok(file)
}

/// Checks strategy and options, and forecasts the run.
///
/// # Errors
/// An unknown strategy or option, with those that are known.
pub fn check(task: &sipdo_domain::Task, strategy: &str, options: &Value) -> Result<Forecast, Failure> {
    sipdo_strategies::check_options(strategy, options).map_err(Failure::usage)?;
    sipdo_strategies::forecast(task, strategy, options)
        .ok_or_else(|| Failure::usage(format!("strategy `{strategy}` cannot forecast this task")))
}

/// Says whose table the wrong option stands in, or would.
fn in_strategy(failure: Failure, task: &Path) -> Failure {
    Failure {
        message: format!("{}: [strategy]: {}", shown(task), failure.message),
        ..failure
    }
}

/// The roles that a run will ask.
pub fn roles(forecast: &Forecast) -> BTreeSet<Role> {
    let calls = forecast.expected.iter().chain(&forecast.least);
    calls.filter(|(_, calls)| **calls > 0).map(|(&role, _)| role).collect()
}

/// The task file's own models, and over them those of the command line.
///
/// # Errors
/// A flag that is not `ROLE=ENDPOINT/MODEL`.
pub fn models(file: &TaskFile, flags: &[String]) -> Result<BTreeMap<String, pb::ModelChoice>, Failure> {
    let mut models: BTreeMap<String, pb::ModelChoice> = file
        .models
        .iter()
        .map(|(pool, choice)| (pool.to_string(), own_choice(choice)))
        .collect();
    for flag in flags {
        let (role, model) = flag.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--model {flag}: write ROLE=ENDPOINT/MODEL, such as learner=openai/gpt-5-nano"
            ))
        })?;
        let pool: Pool = role
            .parse()
            .map_err(|error| Failure::usage(format!("--model {flag}: {error}")))?;
        let (endpoint, model) = super::models::split(model)?;
        let choice = models.entry(pool.to_string()).or_default();
        choice.endpoint = endpoint;
        choice.model = model;
    }
    Ok(models)
}

fn own_choice(choice: &sipdo_datasets::ModelChoice) -> pb::ModelChoice {
    let sipdo_datasets::ModelChoice {
        endpoint,
        model,
        temperature,
        max_tokens,
        timeout_seconds,
    } = choice.clone();
    pb::ModelChoice {
        endpoint: endpoint.unwrap_or_default(),
        model: model.unwrap_or_default(),
        temperature,
        max_tokens,
        timeout_seconds,
    }
}

/// Applies `strategy.key=value` to a strategy's options. Dots go into tables; the value is JSON, or else text.
fn set_option(options: &mut Value, assignment: &str) -> Result<(), Failure> {
    let wrong = |problem: &str| {
        Failure::usage(format!("--set {assignment}: {problem}")).hint("write for example --set strategy.levels=5")
    };
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| wrong("there is no `=` in it"))?;
    let key = key
        .trim()
        .strip_prefix("strategy.")
        .ok_or_else(|| wrong("the key must begin with `strategy.`"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    let mut place = options;
    for part in key.split('.') {
        if part.is_empty() {
            return Err(wrong("the key has an empty part"));
        }
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let table = place
            .as_object_mut()
            .ok_or_else(|| wrong("a part of the key names a value, not a table"))?;
        place = table.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use serde_json::json;

    #[test]
    fn options_are_set_by_path_as_json_or_text() {
        let mut options = Value::Null;
        for assignment in [
            "strategy.levels=5",
            "strategy.voters.checker=true",
            "strategy.curriculum=extremes",
            "strategy.levels=6",
        ] {
            set_option(&mut options, assignment).unwrap();
        }
        assert_eq!(
            options,
            json!({"levels": 6, "voters": {"checker": true}, "curriculum": "extremes"})
        );
        for bad in [
            "strategy.levels",
            "levels=5",
            "strategy.=1",
            "strategy.levels.x=1",
            "strategy..a=1",
        ] {
            assert_eq!(set_option(&mut options, bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
