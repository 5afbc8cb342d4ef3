//! `/metrics` of programs at work: read as Prometheus reads it, and with every name that the dashboard uses.

use anyhow::{Context as _, Result, ensure};
use sipdo_protocol::pb::State;
use sipdo_telemetry::names;
use sipdo_tests::{
    Cluster, Collector, Setup,
    cluster::ended,
    http::http,
    process::eventually,
    spec::Spec,
    task::{counting, request},
    watch::{RUN, create, results},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Counts what did not happen here: no agent died.
const SILENT: [&str; 1] = ["sipdo_attempts_lost_total"];

/// One page: the type of each metric, and every sample with its labels.
#[derive(Debug, Default)]
struct Page {
    types: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Page {
    /// Reads the text format 0.0.4.
    fn read(text: &str) -> Result<Self> {
        let mut page = Page::default();
        ensure!(text.ends_with('\n'), "the last line is not ended");
        for line in text.lines() {
            if let Some(about) = line.strip_prefix("# TYPE ") {
                let (name, kind) = about.split_once(' ').with_context(|| line.to_owned())?;
                ensure!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let twice = page.types.insert(name.to_owned(), kind.to_owned()).is_some();
                ensure!(!twice, "{name} is there twice");
            } else if !line.starts_with("# HELP ") {
                let sample = sample(line).with_context(|| line.to_owned())?;
                page.samples.push(sample);
            }
        }
        for (name, ..) in &page.samples {
            ensure!(page.kind(name).is_some(), "{name} has no type before it");
        }
        page.hold_histograms()?;
        Ok(page)
    }

    fn kind(&self, sample: &str) -> Option<&str> {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| self.types.get(sample.strip_suffix(part)?));
        self.types.get(sample).or(of_histogram).map(String::as_str)
    }

    /// Buckets grow, and the last is the count.
    fn hold_histograms(&self) -> Result<()> {
        for (name, kind) in &self.types {
            if kind != "histogram" {
                continue;
            }
            let of = |part: &str| {
                let wanted = format!("{name}_{part}");
                self.samples.iter().filter(move |(name, ..)| *name == wanted)
            };
            for (_, labels, count) in of("count") {
                let mut before = 0.0;
                let mut last = String::new();
                for (_, more, value) in of("bucket") {
                    let mut without = more.clone();
                    let bound = without.remove("le").context("a bucket without its bound")?;
                    if without == *labels {
                        ensure!(*value >= before, "{name} {more:?} is smaller than the bucket before it");
                        (before, last) = (*value, bound);
                    }
                }
                ensure!(
                    last == "+Inf" && before == *count,
                    "{name} {labels:?}: {before} of {count}"
                );
            }
        }
        Ok(())
    }

    fn sum(&self, sample: &str) -> f64 {
        let of = self.samples.iter().filter(|(name, ..)| name == sample);
        of.map(|(_, _, value)| value).sum()
    }
}

/// `name{label="value",...} number`.
fn sample(line: &str) -> Result<(String, BTreeMap<String, String>, f64)> {
    let (place, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = match place.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').context("labels that do not end")?),
        None => (place, ""),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(!name.is_empty() && name.chars().all(word), "not a name");
    let mut read = BTreeMap::new();
    for pair in labels.split_terminator(',') {
        let (label, value) = pair.split_once('=').context("a label without a value")?;
        ensure!(label.chars().all(word), "not a label");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        read.insert(label.to_owned(), value.context("a value without quotes")?.to_owned());
    }
    Ok((name.to_owned(), read, value.parse()?))
}

/// Every name that the dashboard's expressions use: of samples, and of labels.
fn dashboard() -> Result<BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/observability/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let mut used = BTreeSet::new();
    for target in targets {
        let expression = target["expr"].as_str().context("an expression")?;
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = ["sipdo_", "gen_ai_", "messaging_", "rpc_", "error_"];
        used.extend(
            words
                .filter(|word| ours.iter().any(|it| word.starts_with(it)))
                .map(str::to_owned),
        );
    }
    Ok(used)
}

/// Samples that the document's metrics make.
fn documented() -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for row in Spec::read()?.metrics {
        let name = prometheus_name(&row.name, &row.unit, row.kind == "counter");
        match row.kind.as_str() {
            "histogram" => known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => drop(known.insert(name)),
        }
    }
    Ok(known)
}

#[test]
fn each_metric_of_the_dashboard_is_one_that_the_programs_have() -> Result<()> {
    let known = documented()?;
    let labels: BTreeSet<String> = names::ALL.iter().map(|name| name.replace('.', "_")).collect();
    let used = dashboard()?;
    for word in &used {
        let is_known = known.contains(word) || labels.contains(word);
        assert!(is_known, "{word} is neither a metric nor a label of sipdo");
    }
    assert!(used.intersection(&known).count() >= 15, "{used:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_live_programs_have_what_the_dashboard_shows() -> Result<()> {
    let collector = Collector::start().await?;
    let price = "[endpoints.simulator.prices.sim-teacher]\ninput_per_million = 1\noutput_per_million = 2\n";
    let setup = Setup {
        // A refusal now and then has an error's label.
        simulator: ["--latency-ms", "50", "--fault", "rate_limited=0.1"]
            .map(str::to_owned)
            .to_vec(),
        operator: price.into(),
        environment: collector.environment(),
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let client = cluster.client().await?;
    let options = serde_json::json!({"levels": 2, "repair_seed_errors": false});
    let run = create(&client, request(counting(12, 12), "sipdo", &options, Some(1_000))).await?;
    results(&cluster.bus().await?, &run, 1).await?;
    // No model answers while it is looked at.
    cluster.simulator.signal("STOP")?;
    let pages = cluster.admin_pages()?;
    assert_eq!(pages.len(), 6, "{pages:?}");
    let coordinator = *pages.get("coordinator-1").context("a coordinator")?;
    let led = eventually("what is left of the cap", || async move {
        let page = Page::read(&http(coordinator, "GET", "/metrics", "").await?)?;
        let left = page
            .samples
            .into_iter()
            .find(|(name, ..)| name == "sipdo_budget_left_ratio");
        Ok(left.filter(|(_, _, left)| *left < 1.0))
    })
    .await?;
    assert_eq!(led.1, BTreeMap::from([("sipdo_budget".into(), "calls".into())]));
    assert!(led.2 > 0.0, "{led:?}");
    cluster.simulator.signal("CONT")?;
    let run = ended(&client, &run, RUN).await?;
    let summary = run.summary.context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", run.failure);

    // A run that has ended has nothing left to be watched.
    let mut shown = BTreeSet::from([led.0, "sipdo_budget".to_owned()]);
    let mut jobs = 0.0;
    let rows = documented()?;
    for (program, address) in pages {
        for (page, word) in [("/livez", "alive"), ("/readyz", "ready")] {
            assert_eq!(http(address, "GET", page, "").await?.trim(), word, "{program}");
        }
        let text = http(address, "GET", "/metrics", "").await?;
        let page = Page::read(&text).with_context(|| format!("{program}:\n{text}"))?;
        jobs += page.sum("sipdo_jobs_total");
        for (name, labels, _) in page.samples {
            assert!(
                rows.contains(&name),
                "{program} shows {name}, which is not in the document"
            );
            shown.extend(labels.into_keys());
            shown.insert(name);
        }
    }
    assert_eq!(jobs, summary.jobs_done as f64, "each job is counted once");
    for word in dashboard()? {
        let known = shown.contains(&word) || SILENT.contains(&word.as_str());
        assert!(known, "the dashboard uses {word}, which no program shows: {shown:?}");
    }
    Ok(())
}

/// The name of a metric as Prometheus knows it, as the OpenTelemetry specification maps it, without the `_bucket`, `_sum` and `_count`
/// of a histogram.
fn prometheus_name(name: &str, unit: &str, counter: bool) -> String {
    let mut text = name.replace(['.', '-'], "_");
    let suffix = match unit {
        "s" => "_seconds",
        "USD" => "_USD",
        "1" if !counter => "_ratio",
        // Units in braces are remarks, not units.
        _ => "",
    };
    if !text.ends_with(suffix) {
        text.push_str(suffix);
    }
    if counter && !text.ends_with("_total") {
        text.push_str("_total");
    }
    text
}
