//! `sipdo models show`: which model the next job of each pool uses, and which word decides it.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use sipdo_domain::Pool;
use sipdo_protocol::pb;

use super::choice::{over, words};
use crate::{
    ask::roll_call,
    commands::agents::model_notes,
    failure::{Exit, Outcome},
    global::Global,
    output::{self, Table},
    session::get_run,
};

/// How long `show` waits for agents to answer.
const ROLL_CALL_MS: u32 = 300;

/// Flags of `sipdo models show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The role, or ROLE_POOL for a named pool of it [default: all]
    role: Option<Pool>,
    /// As this run's jobs see it
    #[arg(long)]
    run: Option<String>,
}

/// What the next job of a pool uses.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    pool: String,
    agents: usize,
    model: String,
    because: &'static str,
}

/// Prints it.
///
/// # Errors
/// The coordinator does not answer; there is no such run.
pub async fn run(global: &Global, args: &ShowArgs) -> Outcome {
    global
        .with_api(args.run.as_deref(), async |api| {
            let cards = roll_call(api, ROLL_CALL_MS).await?;
            let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner().models;
            let run = match &args.run {
                Some(run) => Some(get_run(api, run).await?),
                None => None,
            };
            let of_role = |card: &&pb::AgentStatus| args.role.as_ref().is_none_or(|role| role.role.name() == card.role);
            let notes = model_notes(cards.iter().filter(of_role));
            let mut rows = next_jobs(&cards, &registry, run.as_ref());
            rows.retain(|row| args.role.as_ref().is_none_or(|role| role.to_string() == row.pool));
            if output::json() {
                let rows = rows.iter().map(
                    |row| json!({"for": row.pool, "agents": row.agents, "model": row.model, "because": row.because}),
                );
                output::json_line(&json!({ "next": rows.collect::<Vec<_>>(), "notes": notes }))?;
            } else if rows.is_empty() {
                output::note("no agent answers, and the registry is empty");
            } else {
                let mut table = Table::new(&["for", "agents", "next job uses", "because of"]).right(&[1]);
                for row in rows {
                    table.row([row.pool, row.agents.to_string(), row.model, row.because.to_owned()]);
                }
                output::data(&table.render(output::stdout_color()))?;
                notes.iter().for_each(|note| output::note(note));
            }
            Ok(Exit::Ok)
        })
        .await
}

/// Lays the choices over what the agents' cards say, weakest first.
fn next_jobs(
    cards: &[pb::AgentStatus],
    registry: &BTreeMap<String, pb::ModelChoice>,
    run: Option<&pb::Run>,
) -> Vec<Next> {
    let mut pools: BTreeMap<Pool, Vec<&pb::AgentStatus>> = BTreeMap::new();
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
    let row = |(pool, cards): (Pool, Vec<&pb::AgentStatus>)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::models::choice::tests::choice;

    #[test]
    fn the_strongest_word_on_the_next_job_is_shown() {
        let card = |pool: &str, model: &str| pb::AgentStatus {
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
