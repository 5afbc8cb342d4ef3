//! `sipdo agents`: who answers a roll call, with what model and how much to do.

use clap::Args;
use serde_json::json;
use sipdo_protocol::pb;

use crate::{
    args::Global,
    client::Api,
    failure::{Exit, Failure, Outcome},
    json,
    output::{self, Table},
};

/// Flags of `sipdo agents`.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// How long to wait for answers, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 400)]
    wait: u32,
}

/// Prints the agents.
///
/// # Errors
/// No coordinator runs.
pub async fn run(global: &Global, args: &AgentsArgs) -> Outcome {
    let Some(mut session) = global.running(None).await? else {
        return Err(Failure::unavailable("no local stack runs").hint("`sipdo up` starts one"));
    };
    let cards = roll_call(&mut session.api, args.wait).await?;
    if output::json() {
        let agents: Result<Vec<_>, _> = cards.iter().map(|card| json::message("AgentCard", card)).collect();
        output::json_line(&json!({ "agents": agents? }))?;
    } else if cards.is_empty() {
        output::note("no agent answers");
    } else {
        output::data(&table(&cards).render(output::stdout_color()))?;
    }
    Ok(Exit::Ok)
}

/// The cards of those that answer in time, by role and id.
///
/// # Errors
/// The coordinator does not answer.
pub async fn roll_call(api: &mut Api, wait_ms: u32) -> Result<Vec<pb::AgentCard>, Failure> {
    Ok(api
        .list_agents(pb::ListAgentsRequest { wait_ms })
        .await?
        .into_inner()
        .agents)
}

fn table(cards: &[pb::AgentCard]) -> Table {
    let mut table =
        Table::new(&["role", "agent", "model", "version", "busy", "done", "host", "trouble"]).right(&[4, 5]);
    for card in cards {
        let model = match (card.endpoint.as_str(), card.model.as_str()) {
            ("", "") => "-".to_owned(),
            (endpoint, model) => format!("{endpoint}/{model}"),
        };
        let busy = if card.slots == 0 {
            card.busy.to_string()
        } else {
            format!("{}/{}", card.busy, card.slots)
        };
        table.row([
            match card.pool.as_str() {
                "" => card.role.clone(),
                pool => format!("{}_{pool}", card.role),
            },
            card.agent.clone(),
            model,
            card.version.clone(),
            busy,
            output::count(card.done),
            card.host.clone(),
            output::short(&card.trouble, 60),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_a_row() {
        let card = pb::AgentCard {
            role: "learner".into(),
            agent: "learner-1".into(),
            endpoint: "openai".into(),
            model: "small".into(),
            version: "0.1.0".into(),
            busy: 3,
            slots: 16,
            done: 1200,
            host: "here".into(),
            ..Default::default()
        };
        let text = table(&[card]).render(false);
        assert!(
            text.contains("learner  learner-1  openai/small  0.1.0    3/16  1,200  here"),
            "{text}"
        );
    }
}
