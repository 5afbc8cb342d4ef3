//! `sipdo models`: the live registry of models. What is set here holds from each agent's next job on, without a restart.

use clap::{Args, Subcommand};
use sipdo_domain::Role;
use sipdo_protocol::pb;

use crate::{
    args::Global,
    failure::{Exit, Failure, Outcome},
    follow::user,
    json,
    output::{self, Table},
};

/// The commands of `sipdo models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List what the registry sets
    List,
    /// Set the model of a role, for the whole stack or for one run
    #[command(after_help = "Example: sipdo models set checker openai/gpt-5-mini --temperature 0")]
    Set(SetArgs),
    /// Remove what the registry sets for a role: agents go back to their own
    Unset(UnsetArgs),
}

/// Flags of `sipdo models set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The role
    role: Role,
    /// Endpoint (by the operator's name for it) and model, as ENDPOINT/MODEL; MODEL alone keeps the agent's endpoint
    #[arg(value_name = "ENDPOINT/MODEL")]
    model: String,
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
}

/// Flags of `sipdo models unset`.
#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The role
    role: Role,
    /// Only for this run
    #[arg(long)]
    run: Option<String>,
}

/// Lists, sets or unsets.
///
/// # Errors
/// The coordinator does not answer, or refuses.
pub async fn run(global: &Global, command: &ModelsCommand) -> Outcome {
    match command {
        ModelsCommand::List => list(global).await,
        ModelsCommand::Set(args) => {
            let (endpoint, model) = split(&args.model)?;
            let choice = pb::ModelChoice {
                endpoint,
                model,
                temperature: args.temperature,
                max_tokens: args.max_tokens,
                timeout_seconds: args.timeout,
            };
            set(global, args.role, args.run.as_deref(), Some(choice)).await
        }
        ModelsCommand::Unset(args) => set(global, args.role, args.run.as_deref(), None).await,
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

async fn set(global: &Global, role: Role, run: Option<&str>, choice: Option<pb::ModelChoice>) -> Outcome {
    global
        .with_api(run, async |api| {
            let model = choice.as_ref().map(|choice| choice.model.clone());
            let request = pb::SetModelRequest {
                role: role.name().into(),
                run: run.unwrap_or_default().into(),
                choice,
                by: user(),
            };
            api.set_model(request).await?;
            match model {
                Some(model) => output::note(&format!("{role}: {} from the next job on", output::clean_line(&model))),
                None => output::note(&format!("{role}: back to the agents' own model from the next job on")),
            }
            Ok(Exit::Ok)
        })
        .await
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
}
