//! `sipdo agents`: who answers a roll call, with what model and how much to do.

use clap::Args;
use serde_json::json;
use sipdo_protocol::pb;

use crate::{
    ask::roll_call,
    failure::{Exit, Failure, Outcome},
    global::Global,
    json,
    output::{self, Table},
    words::pool_words,
};

/// Flags of `sipdo agents`.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// Time to wait for answers, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 400)]
    wait: u32,
}

/// Prints the agents.
///
/// # Errors
/// No coordinator runs.
pub async fn run(global: &Global, args: &AgentsArgs) -> Outcome {
    let Some(mut session) = global.running(None).await? else {
        return Err(Failure::unavailable("no local stack is running").hint("`sipdo up` starts one"));
    };
    let cards = roll_call(&mut session.api, args.wait).await;
    session.close().await;
    let cards = cards?;
    if output::json() {
        let agents: Result<Vec<_>, _> = cards.iter().map(|card| json::message("AgentStatus", card)).collect();
        output::json_line(&json!({ "agents": agents? }))?;
    } else if cards.is_empty() {
        output::note("no agent answers");
    } else {
        output::data(&table(&cards).render(output::stdout_color()))?;
    }
    Ok(Exit::Ok)
}

/// What agents know of the models that they use, each once: what a model is not asked for, and whether it looks too weak for its role.
pub fn model_notes<'a>(cards: impl IntoIterator<Item = &'a pb::AgentStatus>) -> Vec<String> {
    let notes = cards.into_iter().flat_map(|card| {
        let role = pool_words(&card.role, &card.pool);
        card.notes
            .iter()
            .map(move |note| format!("{role} {}/{}: {}", note.endpoint, note.model, note.words))
    });
    notes.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// What is wrong: with the agent or its usual model, and with others that runs have it use.
pub fn trouble(card: &pb::AgentStatus) -> String {
    let usual = |out: &&pb::Outage| (&out.endpoint, &out.model) == (&card.endpoint, &card.model);
    let others = card.outages.iter().filter(|out| !usual(out));
    let others = others.map(|out| format!("{}/{}: {}", out.endpoint, out.model, out.words));
    let own = Some(card.trouble.clone()).filter(|words| !words.is_empty());
    let weak = card.notes.iter().filter(|note| note.weak);
    let weak = weak.map(|note| format!("{}/{}: {}", note.endpoint, note.model, note.words));
    own.into_iter().chain(others).chain(weak).collect::<Vec<_>>().join("; ")
}

fn table(cards: &[pb::AgentStatus]) -> Table {
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
            pool_words(&card.role, &card.pool),
            card.agent.clone(),
            model,
            card.version.clone(),
            busy,
            output::count(card.done),
            card.host.clone(),
            output::short(&trouble(card), 60),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_model_is_trouble_and_what_it_is_not_asked_for_is_only_told() {
        let note = |words: &str, weak| pb::ModelNote {
            endpoint: "e".into(),
            model: "m".into(),
            words: words.into(),
            weak,
        };
        let card = pb::AgentStatus {
            role: "checker".into(),
            notes: vec![note("seed is left out", false), note("too weak", true)],
            ..Default::default()
        };
        assert_eq!(trouble(&card), "e/m: too weak");
        assert_eq!(
            model_notes([&card, &card]),
            ["checker e/m: seed is left out", "checker e/m: too weak"]
        );
    }

    #[test]
    fn trouble_with_a_model_of_some_run_is_told_as_well() {
        let out = |model: &str| pb::Outage {
            endpoint: "e".into(),
            model: model.into(),
            words: "key refused".into(),
        };
        let card = pb::AgentStatus {
            endpoint: "e".into(),
            model: "own".into(),
            trouble: "key refused".into(),
            outages: vec![out("own"), out("other")],
            ..Default::default()
        };
        assert_eq!(trouble(&card), "key refused; e/other: key refused");
    }

    #[test]
    fn a_card_is_a_row() {
        let card = pb::AgentStatus {
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
