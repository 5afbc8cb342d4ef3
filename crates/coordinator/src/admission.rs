//! What the agents' statuses say about a run before it exists: whether they can do it at all, and whether its caps let them.

use crate::{
    models::check_endpoint,
    refusal::{bad_request, precondition},
    roster::Roster,
};
use sipdo_domain::{Amount, Budget, Pool, Role, Task};
use sipdo_protocol::pb;
use sipdo_strategies::Forecast;
use std::collections::BTreeSet;
use tonic::Status;

/// Tokens of a refined prompt, which is longer than the seed, and of an answer, together.
const PROMPT_AND_ANSWER: u64 = 1_000;

/// Refuses what can only fail, as far as the agents that answer say so. A role without an agent is not judged: one may come.
///
/// # Errors
/// An endpoint or a program that they do not know, a model without a price under a cap in USD, a cap too small for the baselines.
pub fn check(
    request: &pb::CreateRunRequest,
    task: &Task,
    forecast: &Forecast,
    budget: &Budget,
    roster: &Roster,
    pools: &BTreeSet<Pool>,
) -> Result<(), Status> {
    for (pool, choice) in &request.models {
        if let Ok(pool) = pool.parse::<Pool>() {
            check_endpoint(roster, &pool, &format!("models.{pool}.endpoint"), &choice.endpoint)?;
        }
    }
    if let Some(program) = &task.gates.program {
        check_program(program, roster, pools)?;
    }
    let asked = asked(forecast, pools);
    if budget.nano_usd.is_some() {
        check_prices(request, roster, &asked)?;
    }
    check_caps(task, forecast, budget, roster, &asked)
}

/// Under a cap in USD every model must have a price, also one that the run chooses itself: what is reserved for the others could be
/// too little.
fn check_prices(request: &pb::CreateRunRequest, roster: &Roster, asked: &BTreeSet<Pool>) -> Result<(), Status> {
    let of = |pool: &Pool| roster.unpriced(pool, request.models.get(&pool.to_string()));
    let unpriced: BTreeSet<String> = asked.iter().flat_map(of).collect();
    if unpriced.is_empty() {
        return Ok(());
    }
    let unpriced = unpriced.into_iter().collect::<Vec<_>>().join(", ");
    let why = format!(
        "a cap in USD needs the price of every model; unknown for {unpriced}: write them into [endpoints.NAME.prices.\"MODEL\"], or cap calls or tokens instead"
    );
    Err(precondition("PRICE_UNKNOWN", why))
}

/// The pools that a run asks for sure.
pub fn asked(forecast: &Forecast, pools: &BTreeSet<Pool>) -> BTreeSet<Pool> {
    let sure = |pool: &&Pool| forecast.least.get(&pool.role).is_some_and(|calls| *calls > 0);
    pools.iter().filter(sure).cloned().collect()
}

/// Any checker may be asked to run the program, so each must know it.
fn check_program(program: &str, roster: &Roster, pools: &BTreeSet<Pool>) -> Result<(), Status> {
    let checkers = pools.iter().filter(|pool| pool.role == Role::Checker);
    let mut statuses = checkers.flat_map(|pool| roster.of(pool));
    match statuses.find(|status| !status.programs.iter().any(|known| known == program)) {
        None => Ok(()),
        Some(status) => Err(bad_request(
            "PROGRAM_UNKNOWN",
            "task.gates.program",
            format!(
                "the checker {} knows no program `{program}`: name it in [programs.{program}] of its sipdo.toml",
                status.agent
            ),
        )),
    }
}

fn check_caps(
    task: &Task,
    forecast: &Forecast,
    budget: &Budget,
    roster: &Roster,
    asked: &BTreeSet<Pool>,
) -> Result<(), Status> {
    let Some(least) = least(task, forecast, roster, asked) else {
        return Ok(());
    };
    let too_small = |field: &str, cap: String, least: String| {
        let why = format!(
            "{cap} are too few for even the baselines and one level, with what is held back for the held-out test: the least that works is about {least}"
        );
        Err(bad_request("BUDGET_TOO_SMALL", field, why))
    };
    match (budget.tokens, budget.nano_usd) {
        (Some(cap), _) if cap < least.tokens => {
            too_small("budget.tokens", format!("{cap} tokens"), least.tokens.to_string())
        }
        (_, Some(cap)) if cap < least.nano_usd => too_small(
            "budget.usd",
            format!("{} USD", usd(cap)),
            format!("{} USD", usd(least.nano_usd)),
        ),
        _ => Ok(()),
    }
}

/// The least with which a run can ask anything at all: what is held back for its conclusion, the questions of what comes before, and
/// the worst case of its dearest call, which is reserved before it is made. None where an agent is missing.
fn least(task: &Task, forecast: &Forecast, roster: &Roster, asked: &BTreeSet<Pool>) -> Option<Amount> {
    let before: u64 = forecast
        .least
        .values()
        .sum::<u64>()
        .saturating_sub(conclusion_calls(task, forecast));
    let held = match before {
        // Nothing comes before the conclusion, and so nothing is kept from it.
        0 => Amount::default(),
        _ => conclusion(task, forecast),
    };
    let mut least = held.tokens + before * question(task);
    let mut nano_usd =
        u64::try_from(u128::from(least) * u128::from(roster.price(&Role::Learner.into())?) / 1_000_000).ok()?;
    let worst: Option<Vec<Amount>> = asked
        .iter()
        .map(|pool| roster.worst_case(pool, 0, None).map(|worst| worst.amount))
        .collect();
    let worst = worst?;
    least += worst.iter().map(|worst| worst.tokens).max()?;
    nano_usd += worst.iter().map(|worst| worst.nano_usd).max()?;
    Some(Amount {
        calls: 0,
        tokens: least,
        nano_usd,
    })
}

/// Tokens of a question under the seed prompt, roughly.
fn question(task: &Task) -> u64 {
    let chars: usize = task.test.iter().map(|example| example.input.len()).sum();
    let mean = chars / task.test.len().max(1);
    ((mean + task.prompt.len() + task.form.fixed_chars()) / 4) as u64
}

fn conclusion_calls(task: &Task, forecast: &Forecast) -> u64 {
    forecast.conclusion_answers * (1 + u64::from(task.metric.needs_judge()))
}

/// What the conclusion is expected to cost, its price aside. Held back from the strategy so that a run that meets its cap can still
/// say how good its prompt is. An expectation, not a worst case: the conclusion's own jobs are reserved like any other. A judged
/// answer is one more call, about as long.
pub fn conclusion(task: &Task, forecast: &Forecast) -> Amount {
    Amount {
        calls: 1,
        tokens: question(task) + PROMPT_AND_ANSWER,
        nano_usd: 0,
    }
    .times(conclusion_calls(task, forecast))
}

fn usd(nano_usd: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "money for reading")]
    let usd = nano_usd as f64 / 1e9;
    format!("{usd:.6}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::{Example, TaskBrief, metric::Metric, task::TaskGates};

    fn task() -> Task {
        let example = |n: usize| Example {
            id: n.to_string(),
            input: "x".repeat(400),
            target: n.to_string(),
            aliases: Vec::new(),
        };
        Task {
            name: "t".into(),
            brief: TaskBrief::default(),
            prompt: "Answer.".into(),
            metric: Metric::exact(),
            train: (0..4).map(example).collect(),
            test: (4..14).map(example).collect(),
            gates: TaskGates::default(),
            corpus: Vec::new(),
            seed: 1,
            accept: None,
            form: sipdo_domain::PromptForm::default(),
        }
    }

    fn statuses(price: u64) -> Roster {
        let status = |role: Role| pb::AgentStatus {
            role: role.name().into(),
            agent: format!("{role}-1"),
            max_tokens: 100,
            max_calls: 1,
            endpoint: "cloud".into(),
            model: "own".into(),
            endpoints: vec!["cloud".into()],
            prices: vec![pb::ModelPrice {
                endpoint: "cloud".into(),
                model: "other".into(),
                input_price: price,
                output_price: price,
            }],
            programs: vec!["rules".into()],
            input_price: Some(price),
            output_price: Some(price),
            ..Default::default()
        };
        Roster::new(Role::ALL.map(status).to_vec())
    }

    fn refusal(change: impl FnOnce(&mut pb::CreateRunRequest, &mut Task, &mut Budget), price: u64) -> String {
        let (mut request, mut task, mut budget) = (pb::CreateRunRequest::default(), task(), Budget::default());
        change(&mut request, &mut task, &mut budget);
        let forecast = sipdo_strategies::forecast(&task, "sipdo", &serde_json::Value::Null).unwrap();
        let pools = sipdo_strategies::pools(&Role::ALL.into(), &serde_json::Value::Null);
        check(&request, &task, &forecast, &budget, &statuses(price), &pools)
            .err()
            .map_or(String::new(), |status| status.message().to_owned())
    }

    #[test]
    fn caps_below_what_is_held_back_are_refused_with_the_least_that_works() {
        let refused = refusal(|_, _, budget| budget.tokens = Some(10_000), 0);
        let least: u64 = refused.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(least > 10 * 3 * 1_000, "{refused}");
        assert_eq!(refusal(|_, _, budget| budget.tokens = Some(least), 0), "");
        // A dollar for a million tokens.
        let dear = refusal(|_, _, budget| budget.nano_usd = Some(1_000_000), 1_000_000_000);
        assert!(dear.contains("0.001 USD are too few"), "{dear}");
        assert_eq!(refusal(|_, _, budget| budget.nano_usd = Some(1_000_000), 0), "");
    }

    #[test]
    fn under_a_cap_in_usd_a_run_chooses_among_models_with_a_price() {
        let capped = |model: &'static str, cap: Option<u64>| {
            refusal(
                |request, _, budget| {
                    let choice = pb::ModelChoice {
                        model: model.into(),
                        ..Default::default()
                    };
                    request.models.insert("learner".into(), choice);
                    budget.nano_usd = cap;
                },
                1,
            )
        };
        let refused = capped("unheard-of", Some(1_000_000));
        assert!(refused.contains("unknown for learner cloud/unheard-of"), "{refused}");
        assert_eq!(capped("unheard-of", None), "", "nothing is counted in USD");
        assert_eq!(capped("own", Some(1_000_000)), "");
        assert_eq!(
            capped("other", Some(1_000_000)),
            "",
            "the operator's file has its price"
        );
    }

    #[test]
    fn endpoints_and_programs_that_no_agent_knows_are_refused() {
        let choice = |endpoint: &str| pb::ModelChoice {
            endpoint: endpoint.into(),
            ..Default::default()
        };
        let model = |endpoint: &'static str| {
            refusal(
                |request, _, _| drop(request.models.insert("learner".into(), choice(endpoint))),
                0,
            )
        };
        assert!(model("moon").contains("no learner knows `moon`; they know cloud"));
        assert_eq!(model("cloud"), "");
        let program = |name: &str| refusal(|_, task, _| task.gates.program = Some(name.into()), 0);
        assert!(program("rulez").contains("[programs.rulez]"));
        assert_eq!(program("rules"), "");
    }

    #[test]
    fn nothing_is_held_back_where_nothing_comes_before_the_test() {
        let task = task();
        let forecast = sipdo_strategies::forecast(&task, "eval", &serde_json::Value::Null).unwrap();
        let budget = Budget {
            tokens: Some(9_000),
            ..Budget::default()
        };
        let request = pb::CreateRunRequest::default();
        let pools = sipdo_strategies::pools(&Role::ALL.into(), &serde_json::Value::Null);
        assert!(check(&request, &task, &forecast, &budget, &statuses(0), &pools).is_ok());
    }
}
