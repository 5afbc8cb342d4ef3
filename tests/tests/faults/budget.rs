//! A cap is met, and many runs share the agents.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State, control::Kind};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    leader::leader,
    oracle::History,
    proxy::Mode,
    task::{counting, drawn, request},
    watch::{RUN, clean, create, levels, results, summary, waits_for},
};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn more_budget_resumes_a_run_that_met_its_cap() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    let run = create(&client, request(counting(12, 20), "sipdo", &levels(6), Some(160))).await?;
    let met = ended(&client, &run, RUN).await?.summary.context("a summary")?;
    assert_eq!(met.state(), State::BudgetExhausted, "{met:?}");
    assert!(cluster.ledger().await?.totals.calls <= 160);
    let control = pb::Control {
        kind: Kind::SetBudget.into(),
        budget: Some(pb::Budget::default()),
        ..Default::default()
    };
    client
        .clone()
        .control_run(pb::ControlRunRequest {
            run: run.clone(),
            control: Some(control),
        })
        .await?;
    summary(&bus, &run, "it to finish", |summary| summary.state() == State::Finished).await?;
    clean(&bus, &run).await?;
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "what was bought before is not bought again"
    );
    Ok(())
}

/// A dollar for a million tokens that go in, two for a million that come out.
const PRICES: &str = "[endpoints.simulator.prices.sim-weak]\ninput_per_million = 1.0\noutput_per_million = 2.0\n\
                      [endpoints.simulator.prices.sim-teacher]\ninput_per_million = 1.0\noutput_per_million = 2.0";

#[tokio::test(flavor = "multi_thread")]
async fn caps_on_tokens_and_money_hold_at_full_load_and_across_a_takeover() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        simulator: latency("30-60"),
        slots: 64,
        agents: 2,
        coordinators: 2,
        operator: PRICES.into(),
        ..Setup::default()
    })
    .await?;
    let bus = cluster.bus().await?;
    let (tokens, nano_usd) = (180_000, 300_000_000);
    let caps = [
        pb::Budget {
            tokens: Some(tokens),
            ..Default::default()
        },
        pb::Budget {
            nano_usd: Some(nano_usd),
            ..Default::default()
        },
    ];
    for (draw, budget) in [100, 200].into_iter().zip(caps) {
        let before = cluster.ledger().await?.calls.len();
        let asked = request(drawn("object_counting", 12, 20, draw, draw), "sipdo", &levels(60), None);
        let asked = pb::CreateRunRequest {
            budget: Some(budget),
            ..asked
        };
        let run = create(&cluster.client().await?, asked).await?;
        results(&bus, &run, 20).await?;
        let killed = cluster.kill_leader(&bus, &run).await?;
        leader(&bus, &run, &[killed]).await?;
        cluster.start_coordinator().await?;
        let ended = ended(&cluster.client().await?, &run, RUN).await?;
        let told = ended.summary.context("a summary")?;
        assert_eq!(told.state(), State::BudgetExhausted, "{told:?}");
        assert!(ended.outcome.is_some(), "the best so far is kept");
        // What the provider has seen, not what the run believes.
        let calls = cluster.ledger().await?.calls;
        let bought = calls.iter().skip(before);
        let (sent, received) = bought.fold((0, 0), |(sent, received), call| {
            (sent + call.prompt_tokens, received + call.completion_tokens)
        });
        let spent = told.spent.unwrap_or_default();
        assert_eq!(spent.tokens, sent + received, "no agent died, so all is known");
        assert_eq!(spent.nano_usd, 1_000 * sent + 2_000 * received);
        match budget.nano_usd {
            Some(cap) => assert!((cap / 4..=cap).contains(&spent.nano_usd), "{spent:?} of {cap}"),
            None => assert!((tokens / 4..=tokens).contains(&spent.tokens), "{spent:?} of {tokens}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_run_behind_a_large_one_takes_at_most_twice_its_time_alone() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("200-300"),
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    // The strategy `none` asks nothing but the test examples.
    let small = |draw| {
        request(
            drawn("object_counting", 1, 50, draw, draw),
            "none",
            &serde_json::Value::Null,
            None,
        )
    };
    // The quicker one of two, alone both before and after: whatever else the machine does meanwhile is not to be timed.
    let timed = async |draws: [u64; 2]| -> Result<Duration> {
        let mut quicker = Duration::MAX;
        for draw in draws {
            let start = Instant::now();
            let run = create(&client, small(draw)).await?;
            ended(&client, &run, RUN).await?;
            quicker = quicker.min(start.elapsed());
        }
        Ok(quicker)
    };
    let alone = timed([100, 200]).await?;
    let large = drawn("object_counting", 1, 10_000, 1, 1);
    let large = create(&client, request(large, "none", &serde_json::Value::Null, None)).await?;
    results(&bus, &large, 250).await?;
    let behind = timed([300, 400]).await?;
    let still = History::read(&bus, &large).await?.summary();
    assert_eq!(still.state(), State::Running, "the large run was there all the while");
    client.clone().cancel_run(pb::CancelRunRequest { run: large }).await?;
    let alone = alone.max(timed([500, 600]).await?);
    assert!(behind < alone * 2, "{behind:?} behind, {alone:?} alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_that_is_too_small_is_refused_also_where_the_agents_are_slow_to_answer() -> Result<()> {
    let setup = Setup {
        proxied: true,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let (client, bus) = (cluster.client().await?, cluster.bus().await?);
    for (_, agent) in &cluster.agents {
        cluster.set_link(agent.pid(), Mode::Delay(Duration::from_millis(200)))?;
    }
    let waits = create(
        &client,
        request(counting(12, 20), "none", &serde_json::Value::Null, None),
    )
    .await?;
    waits_for(&bus, &waits, "no learner answers").await?;
    let asked = pb::CreateRunRequest {
        budget: Some(pb::Budget {
            tokens: Some(100),
            ..Default::default()
        }),
        ..request(counting(12, 20), "sipdo", &levels(6), None)
    };
    let refused = client.clone().create_run(asked).await.expect_err("too few tokens");
    assert!(refused.message().contains("100 tokens are too few"), "{refused}");
    Ok(())
}
