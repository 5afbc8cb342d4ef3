//! What programs send to a collector: held to `docs/telemetry.md`, whole, in one trace for each iteration.

use anyhow::{Context as _, Result};
use sipdo_protocol::pb::{self, State};
use sipdo_telemetry::names;
use sipdo_tests::{
    Cluster, Collector, Setup,
    cluster::{Client, ROLES, ended},
    otlp::Seen,
    spec::Spec,
    task::{counting, request},
    watch::{RUN, create, results},
};
use std::collections::{BTreeMap, BTreeSet};

async fn run(client: &Client, levels: u32) -> Result<pb::Run> {
    // All repairs are left to the levels, so that one of them goes through every role.
    let options = serde_json::json!({"levels": levels, "repair_seed_errors": false});
    let request = request(counting(20, 12), "sipdo", &options, None);
    let run = create(client, request).await?;
    ended(client, &run, RUN).await
}

fn service_of(role: &str) -> String {
    format!("sipdo-{role}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_is_one_trace_across_all_six_roles() -> Result<()> {
    let collector = Collector::start().await?;
    // One request in ten is refused at first: retries are to be seen.
    let simulator = ["--fault", "rate_limited=0.1"].map(str::to_owned).to_vec();
    let setup = Setup {
        simulator,
        environment: collector.environment(),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let client = cluster.client().await?;
    let finished = run(&client, 4).await?;
    let summary = finished.summary.context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", finished.failure);
    cluster.drain().await?;

    let spans = collector.spans();
    let spec = Spec::read()?;
    let counts = spec.hold_spans(&spans)?;
    let made = |row: &str| counts.get(row).copied().unwrap_or_default() as u64;
    assert_eq!(
        made("process sipdo.v1.job.<role>"),
        summary.jobs_done,
        "one for each job: {counts:?}"
    );
    assert!(
        made("publish sipdo.v1.result.<role>") >= summary.jobs_done,
        "{counts:?}"
    );
    assert!(
        made("chat <model>") > made("invoke_agent <role>"),
        "retries have spans of their own: {counts:?}"
    );
    assert_eq!(made("sipdo.v1.RunService/CreateRun"), 1, "{counts:?}");
    for span in &spans {
        assert_eq!(span.get(names::RUN_ID)?, summary.run, "{span:?}");
    }
    roots(&spans)?;
    joined(&spans)?;
    retries(&spans)?;
    bills(&spans, &summary)?;
    events(&spans)?;

    spec.hold_metrics(&collector)?;
    let metrics = collector.metrics();
    for role in ROLES {
        for name in [
            names::METRIC_TOKENS,
            names::METRIC_MODEL_DURATION,
            names::METRIC_PROCESS_DURATION,
            names::METRIC_JOBS,
        ] {
            let service = service_of(role);
            assert!(
                metrics
                    .iter()
                    .any(|metric| metric.service == service && metric.name == name),
                "{role} sent no {name}"
            );
        }
    }
    let lines = collector.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.service == "sipdo-coordinator" && line.body.contains("leading the run")),
        "{lines:?}"
    );
    Ok(())
}

/// One root for each level and one for the conclusion; together the levels' traces hold all six roles.
fn roots(spans: &[Seen]) -> Result<()> {
    let roots: Vec<&Seen> = spans.iter().filter(|span| span.name == names::SPAN_ITERATION).collect();
    let levels: BTreeSet<(&str, &str)> = roots
        .iter()
        .map(|root| Ok((root.get(names::PHASE)?, root.get(names::ITERATION)?)))
        .collect::<Result<_>>()?;
    for wanted in [
        ("levels", "1"),
        ("levels", "2"),
        ("levels", "3"),
        ("levels", "4"),
        ("conclusion", "0"),
    ] {
        assert!(levels.contains(&wanted), "no root of {wanted:?} among {levels:?}");
    }
    let traces: BTreeSet<&str> = roots.iter().map(|root| root.trace.as_str()).collect();
    assert_eq!(traces.len(), roots.len(), "each root has its own trace");
    let services = |trace: &str| -> BTreeSet<&str> {
        spans
            .iter()
            .filter(|span| span.trace == trace)
            .map(|span| span.service.as_str())
            .collect()
    };
    let levels: Vec<_> = roots
        .iter()
        .map(|root| (root.attributes[names::ITERATION].clone(), services(&root.trace)))
        .collect();
    let most = traces
        .iter()
        .map(|trace| services(trace))
        .max_by_key(BTreeSet::len)
        .unwrap_or_default();
    assert_eq!(
        most.len(),
        6,
        "an iteration with a repair goes through all roles: {levels:?}"
    );
    for root in roots {
        assert!(
            !root.links.is_empty(),
            "a root links to the one before it, the first to the call that made the run: {root:?}"
        );
    }
    Ok(())
}

/// Each `process` links to the span that published its job, which is its parent.
fn joined(spans: &[Seen]) -> Result<()> {
    for span in spans.iter().filter(|span| span.name.starts_with("process ")) {
        assert_eq!(span.links, [(span.trace.clone(), span.parent.clone())], "{span:?}");
    }
    Ok(())
}

/// A refused request is an error on its own span, and on no other.
fn retries(spans: &[Seen]) -> Result<()> {
    let refused: Vec<&Seen> = spans
        .iter()
        .filter(|span| {
            span.attributes
                .get(names::ERROR_TYPE)
                .is_some_and(|kind| kind == "rate_limited")
        })
        .collect();
    assert!(!refused.is_empty(), "no refusal was seen");
    let again = spans.iter().find(|span| {
        span.attributes
            .get(names::LLM_ATTEMPT)
            .is_some_and(|number| number == "2")
            && span.parent == refused[0].parent
    });
    let again = again.context("the refused request was not seen to be made again")?;
    assert!(
        again.start >= refused[0].end,
        "the second request was made after the first: {again:?}"
    );
    Ok(())
}

/// Tokens on spans are what the run was charged.
fn bills(spans: &[Seen], summary: &pb::Summary) -> Result<()> {
    let chats = || spans.iter().filter(|span| span.name.starts_with("chat "));
    let tokens = |name: &str| {
        chats()
            .filter_map(|span| span.attributes.get(name)?.parse::<u64>().ok())
            .sum::<u64>()
    };
    let charged = summary.spent.context("spent")?;
    assert_eq!(
        tokens(names::GEN_AI_INPUT_TOKENS) + tokens(names::GEN_AI_OUTPUT_TOKENS),
        charged.tokens
    );
    let answered = chats()
        .filter(|span| span.attributes.contains_key(names::GEN_AI_OUTPUT_TOKENS))
        .count();
    assert_eq!(answered as u64, charged.calls);
    let by_role: BTreeMap<&str, &str> = chats()
        .map(|span| Ok((span.get(names::ROLE)?, span.get(names::GEN_AI_REQUEST_MODEL)?)))
        .collect::<Result<_>>()?;
    assert_eq!(by_role.get("learner"), Some(&"sim-weak"), "{by_role:?}");
    assert_eq!(by_role.len(), ROLES.len(), "{by_role:?}");
    Ok(())
}

/// Every voter's vote is an event, with its model.
fn events(spans: &[Seen]) -> Result<()> {
    let votes: Vec<_> = spans
        .iter()
        .flat_map(|span| &span.events)
        .filter(|(name, more)| {
            name == names::EVENT_EVALUATION && more.get(names::EVALUATION_NAME).is_some_and(|it| it == "vote")
        })
        .collect();
    let voters: BTreeSet<&str> = votes
        .iter()
        .filter_map(|(_, more)| more.get(names::VOTER))
        .map(String::as_str)
        .collect();
    assert_eq!(voters, BTreeSet::from(["checker", "generator", "verifier"]));
    for (_, vote) in votes {
        assert_eq!(
            vote.get(names::GEN_AI_REQUEST_MODEL).map(String::as_str),
            Some("sim-teacher"),
            "{vote:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_takes_over_goes_on_in_the_same_trace() -> Result<()> {
    let collector = Collector::start().await?;
    // At two slots the run takes three seconds at least, however fast its programs are.
    let simulator = vec!["--latency-ms".into(), "200".into()];
    let mut environment = collector.environment();
    environment.push(("SIPDO_OTEL_COMPAT".into(), "langfuse".into()));
    let price = "[endpoints.simulator.prices.sim-weak]\ninput_per_million = 1\noutput_per_million = 2\n";
    let setup = Setup {
        simulator,
        slots: 2,
        coordinators: 2,
        environment,
        operator: price.into(),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = cluster.bus().await?;
    let request = request(counting(12, 30), "eval", &serde_json::json!({}), None);
    let run = create(&cluster.client().await?, request).await?;
    results(&bus, &run, 5).await?;
    cluster.kill_leader(&bus, &run).await?;
    let client = cluster.client().await?;
    ended(&client, &run, RUN).await?;
    cluster.drain().await?;
    let spans = collector.spans();
    let takeover = spans
        .iter()
        .find(|span| span.attributes.contains_key(names::TAKEOVER))
        .context("no takeover was seen")?;
    assert!(
        !takeover.parent.is_empty(),
        "it hangs on to the root that the dead coordinator never sent: {takeover:?}"
    );
    let jobs = spans.iter().filter(|span| span.name == "process sipdo.v1.job.learner");
    let traces: BTreeSet<(&str, &str)> = jobs
        .map(|job| Ok((job.get(names::EPOCH)?, job.trace.as_str())))
        .collect::<Result<_>>()?;
    let epochs: BTreeSet<&str> = traces.iter().map(|(epoch, _)| *epoch).collect();
    assert!(epochs.len() > 1, "jobs of both coordinators were done: {traces:?}");
    for (epoch, trace) in &traces {
        assert_eq!(
            *trace, takeover.trace,
            "jobs before and after are in one trace, but those of epoch {epoch}"
        );
    }
    langfuse(&spans, &run)
}

/// Opted in, every span has what Langfuse filters by, and every answer its price where Langfuse looks for it.
fn langfuse(spans: &[Seen], run: &str) -> Result<()> {
    for span in spans {
        assert_eq!(span.get(names::LANGFUSE_RUN)?, run);
        assert_eq!(span.get(names::LANGFUSE_RELEASE)?, env!("CARGO_PKG_VERSION"));
        assert_eq!(
            span.attributes.get(names::GEN_AI_COST),
            span.attributes.get(names::LLM_COST_USD)
        );
    }
    let priced = |span: &&Seen| span.attributes.contains_key(names::GEN_AI_COST);
    assert!(spans.iter().filter(priced).count() >= 30, "answers have a price");
    Ok(())
}

#[test]
fn the_document_and_the_code_have_the_same_names() -> Result<()> {
    let written: BTreeSet<String> = Spec::read()?.metrics.into_iter().map(|row| row.name).collect();
    let known: BTreeSet<String> = names::METRICS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(written, known, "each metric has its row, and each row its metric");
    let mentioned = Spec::names();
    for name in names::ALL.iter().filter(|name| name.starts_with("sipdo.")) {
        let shown = mentioned.iter().any(|text| text.contains(name)) || COUNTS.contains(name);
        assert!(shown, "{name} is not in the document");
    }
    Ok(())
}

/// Parts of the event of a score, which the document describes in words.
const COUNTS: [&str; 3] = [names::RIGHT, names::WRONG, names::NOT_MEASURED];
