//! `sipdo optimize --dry-run`: an estimate with the models of the stack that would run, and what would refuse the run, in the same words.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sipdo_domain::{Pool, Role};
use sipdo_llm::{Price, UsdPerMillion};
use sipdo_protocol::pb;
use sipdo_strategies::Forecast;

use crate::{
    ask::roll_call,
    client::Api,
    failure::{Exit, Failure, Outcome},
    forecast::Estimate,
    global::Global,
    launch::{self, NewRun},
    operator, output,
    reach::running_with_agents,
};

/// How long agents have to say what they are, in milliseconds.
const ROLL_CALL_MS: u32 = 400;

/// A role's model as `endpoint/model`, with its price where that is known.
type Models = BTreeMap<Role, (String, Option<Price>)>;

/// Prints the estimate of `order`, whose operator's file is `config`; starts and buys nothing.
///
/// # Errors
/// What would refuse the run.
pub async fn run(global: &Global, config: Option<&Path>, order: &NewRun, forecast: &Forecast) -> Outcome {
    let Some(mut session) = running_with_agents(global, config).await? else {
        tell(
            &Estimate::new(&order.task, forecast, here(global, config, order)),
            order,
        )?;
        if !global.simulated {
            order.check_here(config)?;
        }
        return Ok(Exit::Ok);
    };
    let outcome = ask(&mut session.api, order, forecast).await;
    session.close().await;
    outcome
}

async fn ask(api: &mut Api, order: &NewRun, forecast: &Forecast) -> Outcome {
    let models = of_stack(api, order).await?;
    tell(&Estimate::new(&order.task, forecast, models), order)?;
    for warning in launch::validate(api, order).await? {
        output::warning(&output::clean_line(&warning));
    }
    Ok(Exit::Ok)
}

fn tell(estimate: &Estimate<'_>, order: &NewRun) -> Result<(), Failure> {
    match output::json() {
        true => output::json_line(&estimate.json()),
        false => output::data(&estimate.text(&order.budget)),
    }
}

/// The models of agents that answer, with the registry's and the run's own laid over them.
async fn of_stack(api: &mut Api, order: &NewRun) -> Result<Models, Failure> {
    let cards = roll_call(api, ROLL_CALL_MS).await?;
    let registry = api.list_models(pb::ListModelsRequest {}).await?.into_inner().models;
    let of = |role: Role| {
        let card = cards
            .iter()
            .find(|card| card.role == role.name() && card.pool.is_empty())?;
        let choice = registry.get(role.name()).or(order.models.get(role.name()));
        Some((role, used(card, choice)))
    };
    Ok(order.roles.iter().filter_map(|&role| of(role)).collect())
}

/// The model that an agent uses under a choice, and its price.
fn used(card: &pb::AgentStatus, choice: Option<&pb::ModelChoice>) -> (String, Option<Price>) {
    let over =
        |own: &str, chosen: Option<&String>| chosen.filter(|it| !it.is_empty()).cloned().unwrap_or(own.to_owned());
    let endpoint = over(&card.endpoint, choice.map(|choice| &choice.endpoint));
    let model = over(&card.model, choice.map(|choice| &choice.model));
    let listed = card
        .prices
        .iter()
        .find(|price| (&price.endpoint, &price.model) == (&endpoint, &model));
    let own = (&card.endpoint, &card.model) == (&endpoint, &model);
    let price = match (listed, card.input_price, card.output_price) {
        (Some(price), _, _) => Some((price.input_price, price.output_price)),
        (None, Some(input), Some(output)) if own => Some((input, output)),
        _ => None,
    };
    let price = price.map(|(input, output)| price_of(input, output));
    (format!("{endpoint}/{model}"), price)
}

fn price_of(input: u64, output: u64) -> Price {
    Price {
        input_per_million: UsdPerMillion(input),
        output_per_million: UsdPerMillion(output),
        cached_input_per_million: None,
        cache_write_input_per_million: None,
    }
}

/// Models and prices of a stack that would be started on this machine. What is missing is told after the estimate.
fn here(global: &Global, config: Option<&Path>, order: &NewRun) -> Models {
    let roles: &BTreeSet<Role> = &order.roles;
    if global.simulated {
        let free = || ("simulated".to_owned(), Some(price_of(0, 0)));
        return roles.iter().map(|&role| (role, free())).collect();
    }
    let of = |role: Role| {
        let settings = operator::check_models(config, [role.into()], &order.models)
            .ok()?
            .remove(&Pool::from(role))?;
        let label = format!("{}/{}", settings.model.endpoint, settings.model.model);
        Some((role, (label, operator::price(&settings))))
    };
    roles.iter().filter_map(|&role| of(role)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_model_is_the_chosen_one_with_its_own_price_or_none() {
        let card = pb::AgentStatus {
            endpoint: "cloud".into(),
            model: "small".into(),
            input_price: Some(1),
            output_price: Some(2),
            prices: vec![pb::ModelPrice {
                endpoint: "cloud".into(),
                model: "big".into(),
                input_price: 10,
                output_price: 20,
            }],
            ..Default::default()
        };
        let choice = |model: &str| pb::ModelChoice {
            model: model.into(),
            ..Default::default()
        };
        let price = |choice: Option<&pb::ModelChoice>| {
            let (label, price) = used(&card, choice);
            (
                label,
                price.map(|price| (price.input_per_million.0, price.output_per_million.0)),
            )
        };
        assert_eq!(price(None), ("cloud/small".to_owned(), Some((1, 2))));
        assert_eq!(price(Some(&choice("big"))), ("cloud/big".to_owned(), Some((10, 20))));
        assert_eq!(
            price(Some(&choice("other"))),
            ("cloud/other".to_owned(), None),
            "unknown, and not 0"
        );
    }
}
