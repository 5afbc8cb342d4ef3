//! `sipdo models`: the live registry of models. What is set here holds from each agent's next job on, without a restart.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;
use sipdo_domain::Pool;
use sipdo_protocol::pb;

use super::agents::roll_call;
use crate::{
    args::Global,
    client::Api,
    failure::{Exit, Failure, Outcome},
    follow::user,
    json,
    output::{self, Table, clean_line},
    session::get_run,
};

/// How long `show` waits for agents to answer.
const ROLL_CALL_MS: u32 = 300;

/// The commands of `sipdo models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List what the registry sets
    List,
    /// Show which model each role's next job uses, and what decides it
    Show(ShowArgs),
    /// Set the model of a role, for the whole deployment or for one run; an agent tries it first
    #[command(after_help = SET_HELP)]
    Set(SetArgs),
    /// Remove what the registry sets for a role: agents go back to the run's or their own model
    Unset(UnsetArgs),
    /// Show who changed what, and when
    History(HistoryArgs),
}

const SET_HELP: &str = "\
Examples:
  sipdo models set checker openai/gpt-5-mini
  sipdo models set checker openai/gpt-5-mini --run latest --temperature 0
  sipdo models set checker_a --endpoint router meta/llama-4   one named pool of the checkers

What is not given stays as it is set. The model is tried first: the endpoint's list of models is asked, and where that does not
settle it, a completion of a few tokens is bought. --no-probe sets it untried.";

/// Flags of `sipdo models show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The role, or ROLE_POOL for a named pool of it [default: all]
    role: Option<Pool>,
    /// As this run's jobs see it
    #[arg(long)]
    run: Option<String>,
}

/// Flags of `sipdo models set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The role, or ROLE_POOL for a named pool of it
    role: Pool,
    /// Endpoint (by the operator's name for it) and model, as ENDPOINT/MODEL; MODEL alone leaves the endpoint as it is
    #[arg(value_name = "ENDPOINT/MODEL")]
    model: Option<String>,
    /// The endpoint's name; ENDPOINT/MODEL is then the model's name alone, slashes and all
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only for this run
    #[arg(long)]
    run: Option<String>,
    /// Sampling temperature
    #[arg(long, value_name = "0..2")]
    temperature: Option<f64>,
    /// Longest completion in tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Seconds for one call
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Set it without having an agent try it
    #[arg(long)]
    no_probe: bool,
}

/// Flags of `sipdo models unset`.
#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The role, or ROLE_POOL for a named pool of it
    role: Pool,
    /// Only for this run
    #[arg(long)]
    run: Option<String>,
}

/// Flags of `sipdo models history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only this role's, or ROLE_POOL's
    role: Option<Pool>,
    /// Only this run's
    #[arg(long)]
    run: Option<String>,
}

/// Lists, shows, sets, unsets or looks back.
///
/// # Errors
/// The coordinator does not answer, or refuses; the model does not work.
pub async fn run(global: &Global, command: &ModelsCommand) -> Outcome {
    match command {
        ModelsCommand::List => list(global).await,
        ModelsCommand::Show(args) => show(global, args).await,
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
                output::note("the registry sets nothing: every agent uses the model that it was started with");
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
        return Err(Failure::usage("nothing is set").hint(
            "give ENDPOINT/MODEL, --temperature, --max-tokens or --timeout; `sipdo models unset` removes an entry",
        ));
    }
    Ok(choice)
}

/// What is given, and else what was set before.
fn over(given: &pb::ModelChoice, before: Option<&pb::ModelChoice>) -> pb::ModelChoice {
    let before = before.cloned().unwrap_or_default();
    let or = |given: &String, before: String| if given.is_empty() { before } else { given.clone() };
    pb::ModelChoice {
        endpoint: or(&given.endpoint, before.endpoint),
        model: or(&given.model, before.model),
        temperature: given.temperature.or(before.temperature),
        max_tokens: given.max_tokens.or(before.max_tokens),
        timeout_seconds: given.timeout_seconds.or(before.timeout_seconds),
    }
}

/// Has an agent of the role try a choice.
///
/// # Errors
/// No agent answers; the model does not work, in the agent's words.
pub async fn try_first(api: &mut Api, role: &Pool, run: &str, choice: &pb::ModelChoice) -> Result<(), Failure> {
    let request = pb::ProbeModelRequest {
        role: role.to_string(),
        run: run.to_owned(),
        choice: Some(choice.clone()),
    };
    let untried = "--no-probe goes on without having it tried";
    let probed = match api.probe_model(request).await {
        Ok(response) => response.into_inner().probed.unwrap_or_default(),
        Err(status) if status.code() == tonic::Code::FailedPrecondition => {
            return Err(Failure::from(status).hint(untried));
        }
        Err(status) => return Err(status.into()),
    };
    let place = format!("{}/{}", probed.endpoint, probed.model);
    if !probed.works {
        let message = format!(
            "{role} cannot use {}: {}",
            clean_line(&place),
            clean_line(&probed.words)
        );
        return Err(Failure::unavailable(message).hint(untried));
    }
    output::note(&format!(
        "{}: {} ({} ms)",
        clean_line(&place),
        clean_line(&probed.words),
        probed.took_ms
    ));
    Ok(())
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
                true => format!("{}: what the registry set is removed, from the next job on", args.role),
                false => format!("{}: the registry sets nothing here", args.role),
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

/// A choice in words.
fn words(choice: &pb::ModelChoice) -> String {
    let mut words = Vec::new();
    match (choice.endpoint.as_str(), choice.model.as_str()) {
        ("", "") => {}
        ("", model) => words.push(model.to_owned()),
        (endpoint, "") => words.push(format!("{endpoint}/(the agent's)")),
        (endpoint, model) => words.push(format!("{endpoint}/{model}")),
    }
    words.extend(choice.temperature.map(|value| format!("temperature {value}")));
    words.extend(choice.max_tokens.map(|value| format!("max tokens {value}")));
    words.extend(choice.timeout_seconds.map(|value| format!("timeout {value} s")));
    clean_line(&words.join(", "))
}

/// What the next job of a pool uses.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    pool: String,
    agents: usize,
    model: String,
    because: &'static str,
}

async fn show(global: &Global, args: &ShowArgs) -> Outcome {
    global
        .with_api(args.run.as_deref(), async |api| {
            let cards = roll_call(api, ROLL_CALL_MS).await?;
            let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner().models;
            let run = match &args.run {
                Some(run) => Some(get_run(api, run).await?),
                None => None,
            };
            let mut rows = next_jobs(&cards, &registry, run.as_ref());
            rows.retain(|row| args.role.as_ref().is_none_or(|role| role.to_string() == row.pool));
            if output::json() {
                let rows = rows.iter().map(
                    |row| json!({"for": row.pool, "agents": row.agents, "model": row.model, "because": row.because}),
                );
                output::json_line(&json!({ "next": rows.collect::<Vec<_>>() }))?;
            } else if rows.is_empty() {
                output::note("no agent answers, and the registry sets nothing");
            } else {
                let mut table = Table::new(&["for", "agents", "next job uses", "because of"]).right(&[1]);
                for row in rows {
                    table.row([row.pool, row.agents.to_string(), row.model, row.because.to_owned()]);
                }
                output::data(&table.render(output::stdout_color()))?;
            }
            Ok(Exit::Ok)
        })
        .await
}

/// Lays the choices over what the agents' cards say, weakest first.
fn next_jobs(
    cards: &[pb::AgentCard],
    registry: &BTreeMap<String, pb::ModelChoice>,
    run: Option<&pb::Run>,
) -> Vec<Next> {
    let mut pools: BTreeMap<Pool, Vec<&pb::AgentCard>> = BTreeMap::new();
    for card in cards {
        let pool = card.role.parse().and_then(|role| Pool::new(role, &card.pool));
        if let Ok(pool) = pool {
            pools.entry(pool).or_default().push(card);
        }
    }
    let id = run
        .and_then(|run| run.summary.as_ref())
        .map(|summary| summary.run.clone());
    for key in registry.keys() {
        let (of, pool) = key.rsplit_once('.').unwrap_or(("", key));
        if let Ok(pool) = pool.parse::<Pool>()
            && (of.is_empty() || id.as_deref() == Some(of))
        {
            pools.entry(pool).or_default();
        }
    }
    let row = |(pool, cards): (Pool, Vec<&pb::AgentCard>)| {
        let name = pool.to_string();
        let layers = [
            ("the run's own choice", run.and_then(|run| run.models.get(&name))),
            ("the registry", registry.get(&name)),
            (
                "the registry, for this run",
                id.as_ref().and_then(|id| registry.get(&format!("{id}.{name}"))),
            ),
        ];
        let set = layers
            .iter()
            .filter_map(|(because, choice)| Some((*because, (*choice)?)));
        let because = set
            .clone()
            .next_back()
            .map_or("the agents' own settings", |(because, _)| because);
        let laid =
            |base: pb::ModelChoice| words(&set.clone().fold(base, |below, (_, choice)| over(choice, Some(&below))));
        let mut models: Vec<String> = cards
            .iter()
            .map(|card| pb::ModelChoice {
                endpoint: card.endpoint.clone(),
                model: card.model.clone(),
                ..Default::default()
            })
            .map(laid)
            .collect();
        models.sort();
        models.dedup();
        let model = match models.is_empty() {
            true => laid(pb::ModelChoice::default()),
            false => models.join(" or "),
        };
        Next {
            pool: name,
            agents: cards.len(),
            model,
            because,
        }
    };
    pools.into_iter().map(row).collect()
}

/// `endpoint/model`; models may hold slashes themselves.
///
/// # Errors
/// One of the two is empty.
pub fn split(text: &str) -> Result<(String, String), Failure> {
    let (endpoint, model) = text.split_once('/').unwrap_or(("", text));
    if model.is_empty() || (text.contains('/') && endpoint.is_empty()) {
        return Err(Failure::usage(format!(
            "{text:?} is not ENDPOINT/MODEL, such as openai/gpt-5-mini"
        )));
    }
    Ok((endpoint.to_owned(), model.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_parts_endpoint_and_model() {
        let both = |text: &str| split(text).map_err(|failure| failure.exit);
        assert_eq!(both("openai/gpt-5-mini"), Ok(("openai".into(), "gpt-5-mini".into())));
        assert_eq!(
            both("router/meta/llama-3"),
            Ok(("router".into(), "meta/llama-3".into()))
        );
        assert_eq!(both("gpt-5-mini"), Ok((String::new(), "gpt-5-mini".into())));
        assert_eq!(both("/x"), Err(Exit::Usage));
        assert_eq!(both("openai/"), Err(Exit::Usage));
    }

    fn choice(endpoint: &str, model: &str) -> pb::ModelChoice {
        pb::ModelChoice {
            endpoint: endpoint.into(),
            model: model.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_given_stays_as_it_was_set() {
        let warm = pb::ModelChoice {
            temperature: Some(0.5),
            ..Default::default()
        };
        let both = over(&warm, Some(&choice("openai", "gpt")));
        assert_eq!(words(&both), "openai/gpt, temperature 0.5");
        assert_eq!(
            words(&over(&choice("", "other"), Some(&both))),
            "openai/other, temperature 0.5"
        );
        assert_eq!(words(&over(&warm, None)), "temperature 0.5");
    }

    #[test]
    fn the_strongest_word_on_the_next_job_is_shown() {
        let card = |pool: &str, model: &str| pb::AgentCard {
            role: "checker".into(),
            pool: pool.into(),
            endpoint: "cloud".into(),
            model: model.into(),
            ..Default::default()
        };
        let cards = [card("", "m"), card("", "n"), card("a", "m")];
        let run = pb::Run {
            summary: Some(pb::Summary {
                run: "r1".into(),
                ..Default::default()
            }),
            models: [("checker".to_owned(), choice("", "own"))].into_iter().collect(),
            ..Default::default()
        };
        let told = |registry: &[(&str, pb::ModelChoice)], run: Option<&pb::Run>| {
            let registry = registry
                .iter()
                .map(|(key, choice)| ((*key).to_owned(), choice.clone()))
                .collect();
            let rows = next_jobs(&cards, &registry, run);
            rows.iter()
                .map(|row| format!("{}: {} by {}", row.pool, row.model, row.because))
                .collect::<Vec<_>>()
        };
        let own = "the agents' own settings";
        assert_eq!(
            told(&[], None),
            [
                format!("checker: cloud/m or cloud/n by {own}"),
                format!("checker_a: cloud/m by {own}")
            ]
        );
        assert_eq!(told(&[], Some(&run))[0], "checker: cloud/own by the run's own choice");
        let registry = [
            ("checker", choice("", "set")),
            ("r1.checker", choice("local", "")),
            ("r2.learner", choice("x", "y")),
        ];
        assert_eq!(told(&registry, None)[0], "checker: cloud/set by the registry");
        assert_eq!(
            told(&registry, Some(&run)).len(),
            2,
            "another run's entries are not ours"
        );
        assert_eq!(
            told(&registry, Some(&run))[0],
            "checker: local/set by the registry, for this run"
        );
    }
}
