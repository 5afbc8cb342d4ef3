//! The price list changes while a run goes on.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{ROLES, ended},
    oracle::{Fact, History},
    task::{drawn, request},
    watch::{RUN, create, goes_on, levels, reached, results},
};
use std::collections::BTreeMap;

/// What a million tokens cost, in USD: so much what goes in, twice as much what comes out.
fn prices(usd: u64) -> String {
    let of = |model: &str| {
        format!(
            "[endpoints.simulator.prices.{model}]\ninput_per_million = {usd}.0\noutput_per_million = {}.0\n",
            2 * usd
        )
    };
    of("sim-weak") + &of("sim-teacher")
}

/// By so much a price rises: reservations count every byte as a token, so that less would not pass one.
const RISES: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_rises_in_mid_run_is_charged_from_then_on_and_the_cap_holds() -> Result<()> {
    let setup = |usd| Setup {
        simulator: latency("50-100"),
        slots: 2,
        operator: prices(usd),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup(1)).await?;
    let bus = cluster.bus().await?;
    let cap = 400_000_000_000;
    let asked = pb::CreateRunRequest {
        budget: Some(pb::Budget {
            nano_usd: Some(cap),
            ..Default::default()
        }),
        ..request(drawn("object_counting", 12, 20, 7, 7), "sipdo", &levels(4), None)
    };
    let run = create(&cluster.client().await?, asked).await?;
    results(&bus, &run, 4).await?;
    // Nothing is answered meanwhile: what is reserved at the old price lies in the queues when the agents with the new one come.
    cluster.simulator.signal("STOP")?;
    goes_on(&History::read(&bus, &run).await?)?;
    cluster.set_operator(&setup(RISES))?;
    let old: Vec<_> = cluster.agents.drain(..).collect();
    for (_, agent) in &old {
        agent.signal("TERM")?;
    }
    for role in ROLES {
        cluster.start_agent(role, &[]).await?;
    }
    let granted_again = |history: &History| history.check().granted_again > 0;
    reached(
        &bus,
        &run,
        RUN,
        "what was reserved too low to be granted anew",
        granted_again,
    )
    .await?;
    cluster.simulator.signal("CONT")?;
    let ended = ended(&cluster.client().await?, &run, RUN).await?;
    drop(old);
    let spent = ended.summary.context("a summary")?.spent.unwrap_or_default();
    let history = History::read(&bus, &run).await?;
    let ends = [State::Finished, State::BudgetExhausted];
    assert!(ends.contains(&history.state()), "{:?}", history.summary());
    let findings = history.check();
    assert_eq!((findings.broken, findings.over_cap), (Vec::new(), 0));
    assert!(spent.nano_usd <= cap, "{spent:?} of {cap}");
    // Each result costs what its own agent's list says, and the run has spent their sum: no agent died.
    let (mut by_price, mut sum) = (BTreeMap::<u64, usize>::new(), 0);
    for fact in &history.facts {
        let Fact::Result(result) = fact else { continue };
        let usage = result.usage.unwrap_or_default();
        let (tokens, cost) = (
            usage.input_tokens + 2 * usage.output_tokens,
            usage.nano_usd.unwrap_or(0),
        );
        sum += cost;
        if tokens > 0 {
            assert_eq!(cost % (1_000 * tokens), 0, "{usage:?}");
            *by_price.entry(cost / (1_000 * tokens)).or_default() += 1;
        }
    }
    assert_eq!(by_price.keys().copied().collect::<Vec<_>>(), [1, RISES], "{by_price:?}");
    assert_eq!(sum, spent.nano_usd);
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.bought_twice(), Vec::new());
    Ok(())
}
