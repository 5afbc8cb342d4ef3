//! A cap in USD holds whatever is set in mid-run: a dearer model is reserved for at its own price, and one without a price is not bought.

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{Client, ended},
    runs::{results_of, said, sipdo, waits_for},
    task::{counting, request},
    watch::{RUN, create},
};

/// Billionths of a US dollar: less than the dear model takes for the rest of the run, whatever is reserved.
const CAP: u64 = 8_000_000_000;

/// Models at a dollar for a million tokens, one that is a thousand times as dear, and `sim-nobody-knows` without a price.
fn priced() -> Setup {
    let price = |model: &str, usd: u32| {
        format!("[endpoints.simulator.prices.{model}]\ninput_per_million = {usd}\noutput_per_million = {usd}\n")
    };
    Setup {
        simulator: vec!["--latency-ms".into(), "80".into()],
        operator: price("sim-weak", 1) + &price("sim-teacher", 1) + &price("sim-strong", 1_000),
        slots: 4,
        ..Setup::default()
    }
}

/// A run under the cap, up to its first answers.
async fn begun(client: &Client) -> Result<String> {
    let options = serde_json::json!({"levels": 8});
    let mut wanted = request(counting(12, 100), "sipdo", &options, None);
    wanted.budget = Some(pb::Budget {
        nano_usd: Some(CAP),
        ..Default::default()
    });
    let run = create(client, wanted).await?;
    results_of(client, &run, "learner", 4).await?;
    Ok(run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dearer_model_set_in_mid_run_does_not_carry_a_run_past_its_cap() -> Result<()> {
    let cluster = Cluster::start(&priced()).await?;
    let client = cluster.client().await?;
    let run = begun(&client).await?;
    let set = sipdo(&cluster, &["models", "set", "learner", "simulator/sim-strong"])?;
    assert!(set.status.success(), "{}", said(&set));
    let ended = ended(&client, &run, RUN).await?;
    let summary = ended.summary.context("summary")?;
    assert_eq!(
        summary.state(),
        State::BudgetExhausted,
        "{summary:?} {:?}",
        ended.model_use
    );
    let used = ended.model_use.get("learner").context("use of the learner")?;
    let dear = used.stints.iter().find(|stint| stint.model == "sim-strong");
    assert!(
        dear.is_some_and(|stint| stint.jobs > 0),
        "the dear model was used: {used:?}"
    );
    let spent = summary.spent.context("spent")?;
    assert!(spent.nano_usd <= CAP, "{spent:?}");
    assert_eq!(summary.not_measured, 0, "what the cap forbids is not asked");
    // What the provider has charged, by its own ledger: at most what the run has counted.
    let ledger = cluster.ledger().await?;
    assert_eq!(ledger.totals.answered, spent.calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_price_is_refused_for_a_capped_run_and_waited_out_where_all_use_it() -> Result<()> {
    let cluster = Cluster::start(&priced()).await?;
    let client = cluster.client().await?;
    let run = begun(&client).await?;
    let unknown = ["models", "set", "learner", "simulator/sim-nobody-knows", "--no-probe"];
    let refused = sipdo(&cluster, &[&unknown[..], &["--run", &run]].concat())?;
    assert!(!refused.status.success());
    let why = "the price of learner simulator/sim-nobody-knows is unknown";
    assert!(said(&refused).contains(why), "{}", said(&refused));

    // For the whole deployment it may be right: the capped run buys nothing more of it, and says why.
    let set = sipdo(&cluster, &unknown)?;
    assert!(
        set.status.success() && said(&set).contains("cap in USD waits"),
        "{}",
        said(&set)
    );
    assert_eq!(waits_for(&client, &run, why).await?.state(), State::Running);
    let unset = sipdo(&cluster, &["models", "unset", "learner"])?;
    assert!(unset.status.success(), "{}", said(&unset));
    let ended = ended(&client, &run, RUN).await?;
    let summary = ended.summary.context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", ended.failure);
    assert_eq!(summary.waiting, "");
    let used = ended.model_use.get("learner").context("use of the learner")?;
    let models: Vec<_> = used.stints.iter().map(|stint| stint.model.as_str()).collect();
    assert_eq!(models, ["sim-weak"], "nothing was bought of the model without a price");
    assert_eq!(summary.unpriced_calls, 0);
    assert!(summary.spent.context("spent")?.nano_usd <= CAP);
    Ok(())
}
