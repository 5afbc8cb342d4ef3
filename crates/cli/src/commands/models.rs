//! `sipdo models`: the live registry of models. What is set here holds from each agent's next job on, without a restart.

mod choice;
mod show;

use clap::{Args, Subcommand};
use sipdo_domain::Pool;
use sipdo_protocol::pb;

use super::completions::roles;
use crate::{
    ask::try_first,
    client::Api,
    failure::{Exit, Failure, Outcome},
    follow::user,
    global::Global,
    json,
    output::{self, Table, clean_line},
};

use choice::{over, words};

pub use choice::split;

/// The commands of `sipdo models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the registry's entries
    List,
    /// Show which model each role's next job uses, and which setting decides it
    Show(show::ShowArgs),
    /// Set the model of a role, for the whole deployment or for one run; an agent checks it first
    #[command(after_help = SET_HELP)]
    Set(SetArgs),
    /// Remove the registry's entry for a role: its agents use the run's or their own model again
    Unset(UnsetArgs),
    /// Show who changed what, and when
    History(HistoryArgs),
}

const SET_HELP: &str = "\
Examples:
  sipdo models set checker openai/gpt-5-mini
  sipdo models set checker openai/gpt-5-mini --run latest --temperature 0
  sipdo models set checker_a --endpoint router meta/llama-4   one named pool of the checkers

Settings that are not given do not change. An agent checks the model first: it reads the endpoint's list of models, and if the model is not
listed, it buys a completion of a few tokens. --no-probe skips the check.";

/// Flags of `sipdo models set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The role, or ROLE_POOL for a named pool of it
    #[arg(add = clap_complete::ArgValueCandidates::new(roles))]
    role: Pool,
    /// Endpoint (as the operator named it) and model, as ENDPOINT/MODEL; MODEL alone does not change the endpoint
    #[arg(value_name = "ENDPOINT/MODEL")]
    model: Option<String>,
    /// The endpoint's name; then the argument is the model's name alone, with its slashes
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// For this run only
    #[arg(long)]
    run: Option<String>,
    /// Sampling temperature
    #[arg(long, value_name = "0..2", value_parser = temperature)]
    temperature: Option<f64>,
    /// Maximum length of a completion, in tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Time limit of one call in seconds, at most an hour
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: Option<u32>,
    /// Set the model without a check by an agent
    #[arg(long)]
    no_probe: bool,
}

/// Flags of `sipdo models unset`.
#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The role, or ROLE_POOL for a named pool of it
    #[arg(add = clap_complete::ArgValueCandidates::new(roles))]
    role: Pool,
    /// For this run only
    #[arg(long)]
    run: Option<String>,
}

/// Flags of `sipdo models history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Entries of this role only, or of ROLE_POOL
    role: Option<Pool>,
    /// Entries of this run only
    #[arg(long)]
    run: Option<String>,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=2.0).contains(value));
    value.ok_or_else(|| "a temperature is a number from 0 to 2".into())
}

/// Lists, shows, sets, unsets or looks back.
///
/// # Errors
/// The coordinator does not answer, or refuses; the model does not work.
pub async fn run(global: &Global, command: &ModelsCommand) -> Outcome {
    match command {
        ModelsCommand::List => list(global).await,
        ModelsCommand::Show(args) => show::run(global, args).await,
        ModelsCommand::Set(args) => set(global, args).await,
        ModelsCommand::Unset(args) => unset(global, args).await,
        ModelsCommand::History(args) => history(global, args).await,
    }
}

async fn list(global: &Global) -> Outcome {
    global
        .with_api(None, async |api| {
            let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner();
            if output::json() {
                output::json_line(&json::message("ListModelsResponse", &registry)?)?;
            } else if registry.models.is_empty() {
                output::note("the registry is empty: every agent uses the model that it was started with");
            } else {
                output::data(&table(&registry).render(output::stdout_color()))?;
            }
            Ok(Exit::Ok)
        })
        .await
}

fn table(registry: &pb::ListModelsResponse) -> Table {
    let mut table = Table::new(&["for", "endpoint", "model", "temperature", "max tokens", "timeout"]).right(&[3, 4, 5]);
    let own = |text: &str| {
        if text.is_empty() {
            "(the agent's)".to_owned()
        } else {
            text.to_owned()
        }
    };
    for (key, choice) in &registry.models {
        table.row([
            key.clone(),
            own(&choice.endpoint),
            own(&choice.model),
            choice.temperature.map_or("-".into(), |value| value.to_string()),
            choice.max_tokens.map_or("-".into(), |value| value.to_string()),
            choice.timeout_seconds.map_or("-".into(), |value| format!("{value} s")),
        ]);
    }
    table
}

/// The run that a flag names, which may say `latest`.
async fn named(api: &mut Api, run: Option<&str>) -> Result<String, Failure> {
    match run {
        None => Ok(String::new()),
        Some(run) => crate::session::run_named(api, run).await,
    }
}

/// An entry of the registry.
fn key(pool: &Pool, run: &str) -> String {
    match run {
        "" => pool.to_string(),
        run => format!("{run}.{pool}"),
    }
}

async fn set(global: &Global, args: &SetArgs) -> Outcome {
    let given = given(args)?;
    global
        .with_api(args.run.as_deref(), async |api| {
            let run = named(api, args.run.as_deref()).await?;
            let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner();
            let choice = over(&given, registry.models.get(&key(&args.role, &run)));
            if !args.no_probe {
                try_first(api, &args.role, &run, &choice).await?;
            }
            let request = pb::SetModelRequest {
                role: args.role.to_string(),
                run,
                choice: Some(choice.clone()),
                by: user(),
            };
            let response = api.set_model(request).await?.into_inner();
            for warning in &response.warnings {
                output::warning(&clean_line(warning));
            }
            output::note(&format!("{}: {} from the next job on", args.role, words(&choice)));
            Ok(Exit::Ok)
        })
        .await
}

/// The choice that the flags give.
fn given(args: &SetArgs) -> Result<pb::ModelChoice, Failure> {
    let (endpoint, model) = match (&args.endpoint, &args.model) {
        (Some(endpoint), model) => (endpoint.clone(), model.clone().unwrap_or_default()),
        (None, Some(model)) => split(model)?,
        (None, None) => Default::default(),
    };
    let choice = pb::ModelChoice {
        endpoint,
        model,
        temperature: args.temperature,
        max_tokens: args.max_tokens,
        timeout_seconds: args.timeout,
    };
    if choice == pb::ModelChoice::default() {
        return Err(Failure::usage("there is nothing to set").hint(
            "give ENDPOINT/MODEL, --temperature, --max-tokens or --timeout; `sipdo models unset` removes an entry",
        ));
    }
    Ok(choice)
}

async fn unset(global: &Global, args: &UnsetArgs) -> Outcome {
    global
        .with_api(args.run.as_deref(), async |api| {
            let run = named(api, args.run.as_deref()).await?;
            let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner();
            let was_set = registry.models.contains_key(&key(&args.role, &run));
            let request = pb::SetModelRequest {
                role: args.role.to_string(),
                run,
                choice: None,
                by: user(),
            };
            api.set_model(request).await?;
            output::note(&match was_set {
                true => format!("{}: the registry's entry is removed, from the next job on", args.role),
                false => format!("{}: the registry has no such entry", args.role),
            });
            Ok(Exit::Ok)
        })
        .await
}

async fn history(global: &Global, args: &HistoryArgs) -> Outcome {
    global
        .with_api(args.run.as_deref(), async |api| {
            let request = pb::ListModelHistoryRequest {
                role: args.role.as_ref().map(Pool::to_string).unwrap_or_default(),
                run: named(api, args.run.as_deref()).await?,
            };
            let history = api.list_model_history(request).await?.into_inner();
            if output::json() {
                output::json_line(&json::message("ListModelHistoryResponse", &history)?)?;
            } else if history.changes.is_empty() {
                output::note("nothing was changed");
            } else {
                let mut table = Table::new(&["when", "by", "for", "old", "new"]);
                let side = |choice: &Option<pb::ModelChoice>| choice.as_ref().map_or("-".to_owned(), words);
                for change in &history.changes {
                    table.row([
                        output::when(change.at_ms),
                        clean_line(&change.by),
                        change.key.clone(),
                        side(&change.old),
                        side(&change.new),
                    ]);
                }
                output::data(&table.render(output::stdout_color()))?;
            }
            Ok(Exit::Ok)
        })
        .await
}
