//! `docs/telemetry.md` as a specification: its tables, read, and everything that was received held to them.

use crate::observe::otlp::{Collector, Seen};
use anyhow::{Context as _, Result, bail, ensure};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use sipdo_telemetry::names;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../../../docs/telemetry.md");
/// On every span of a run.
const EVERYWHERE: [&str; 3] = [names::RUN_ID, names::CONVERSATION_ID, names::SESSION_ID];

/// The tables of the document.
#[derive(Debug)]
pub struct Spec {
    spans: Vec<SpanRow>,
    /// Metrics: name, unit, and whose processes emit it.
    pub metrics: Vec<MetricRow>,
    events: BTreeSet<String>,
}

#[derive(Debug)]
struct SpanRow {
    name: String,
    kind: SpanKind,
    /// By role where there are two: the second is that of who judges.
    inference: Vec<String>,
    process: String,
    parents: Vec<String>,
    carries: Vec<String>,
}

/// One metric of the document.
#[derive(Debug)]
pub struct MetricRow {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// `histogram`, `counter` or `up-down counter`.
    pub kind: String,
    /// `coordinator`, `<role>` or both.
    pub processes: Vec<String>,
}

impl Spec {
    /// Reads the document.
    ///
    /// # Errors
    /// A table is not there or cannot be read.
    pub fn read() -> Result<Self> {
        let spans = table("| span |")?
            .into_iter()
            .map(|cells| SpanRow::read(&cells))
            .collect::<Result<_>>()?;
        let metrics = table("| metric |")?
            .into_iter()
            .map(|cells| MetricRow::read(&cells))
            .collect::<Result<_>>()?;
        let events = table("| event |")?
            .iter()
            .filter_map(|cells| quoted(cells.first()?).pop())
            .collect();
        Ok(Spec { spans, metrics, events })
    }

    /// Every name that the document uses, for a comparison with those of the code.
    pub fn names() -> BTreeSet<String> {
        quoted(DOCUMENT).into_iter().collect()
    }

    /// Holds every span that was received to its row: kind, process, parent, attributes, events. Gives the count by row.
    ///
    /// # Errors
    /// The first span that does not fit.
    pub fn hold_spans(&self, spans: &[Seen]) -> Result<BTreeMap<&str, usize>> {
        let by_id: BTreeMap<(&str, &str), &Seen> = spans
            .iter()
            .map(|span| ((span.trace.as_str(), span.id.as_str()), span))
            .collect();
        let mut counts = BTreeMap::new();
        for span in spans {
            let row = self.row(span)?;
            let parent = by_id.get(&(span.trace.as_str(), span.parent.as_str())).copied();
            row.hold(span, parent, &self.events)
                .with_context(|| format!("{span:?}"))?;
            *counts.entry(row.name.as_str()).or_insert(0) += 1;
        }
        Ok(counts)
    }

    fn row(&self, span: &Seen) -> Result<&SpanRow> {
        let fits = |row: &&SpanRow| fill(&row.name, span) == span.name;
        self.spans
            .iter()
            .find(fits)
            .with_context(|| format!("no row of the document fits {span:?}"))
    }

    /// Holds the metrics that were received to their rows.
    ///
    /// # Errors
    /// A metric of another name, unit or process.
    pub fn hold_metrics(&self, collector: &Collector) -> Result<()> {
        for metric in collector.metrics() {
            let row = self.metrics.iter().find(|row| row.name == metric.name);
            let row = row.with_context(|| format!("{metric:?} is not in the document"))?;
            ensure!(row.unit == metric.unit, "{metric:?}: the document says {}", row.unit);
            let role = metric.service.trim_start_matches("sipdo-");
            let kind = if role == "coordinator" { role } else { "<role>" };
            ensure!(
                row.processes.iter().any(|process| process == kind),
                "{metric:?} is not to come from {role}"
            );
        }
        Ok(())
    }
}

impl SpanRow {
    fn read(cells: &[String]) -> Result<Self> {
        let [name, kind, inference, process, parent, carries] = cells else {
            bail!("a row of spans with other cells: {cells:?}")
        };
        let kind = match kind.as_str() {
            "SERVER" => SpanKind::Server,
            "INTERNAL" => SpanKind::Internal,
            "PRODUCER" => SpanKind::Producer,
            "CONSUMER" => SpanKind::Consumer,
            "CLIENT" => SpanKind::Client,
            other => bail!("{other} is no kind of span"),
        };
        let mut parents = quoted(parent);
        if parent.starts_with('-') {
            parents.push(String::new());
        }
        let name = quoted(name).pop().context("a span without a name")?;
        Ok(SpanRow {
            name,
            kind,
            inference: quoted(inference),
            process: process.clone(),
            parents,
            carries: quoted(carries),
        })
    }

    fn hold(&self, span: &Seen, parent: Option<&Seen>, events: &BTreeSet<String>) -> Result<()> {
        ensure!(span.kind == self.kind, "its kind should be {:?}", self.kind);
        let judges = ["checker", "verifier"].contains(&fill("<role>", span).as_str());
        let inference = self.inference.get(usize::from(judges)).or(self.inference.first());
        ensure!(
            Some(span.get(names::OPENINFERENCE_KIND)?) == inference.map(String::as_str),
            "to OpenInference it should be {inference:?}"
        );
        let service = format!("sipdo-{}", fill(&self.process, span));
        ensure!(span.service == service, "it should come from {service}");
        let orphan = !span.parent.is_empty() && parent.is_none();
        ensure!(!orphan, "its parent was never received");
        let parent = parent.map(|parent| parent.name.clone()).unwrap_or_default();
        ensure!(
            self.parents.iter().any(|wanted| fill(wanted, span) == parent),
            "its parent is {parent:?}, not {:?}",
            self.parents
        );
        for name in self.carries.iter().map(String::as_str).chain(EVERYWHERE) {
            ensure!(!span.get(name)?.is_empty(), "{name} is empty");
        }
        for name in span
            .attributes
            .keys()
            .chain(span.events.iter().flat_map(|(_, attributes)| attributes.keys()))
        {
            ensure!(
                names::ALL.contains(&name.as_str()),
                "{name} is not among the project's names"
            );
        }
        for (name, _) in &span.events {
            ensure!(events.contains(name), "the event {name} is not in the document");
        }
        ensure!(span.end >= span.start, "it ends before it starts");
        ensure!(
            span.failed == span.attributes.contains_key(names::ERROR_TYPE),
            "status and error.type contradict each other"
        );
        Ok(())
    }
}

impl MetricRow {
    fn read(cells: &[String]) -> Result<Self> {
        let [name, unit, kind, processes, _] = cells else {
            bail!("a row of metrics with other cells: {cells:?}")
        };
        Ok(MetricRow {
            name: quoted(name).pop().context("a metric without a name")?,
            unit: unit.clone(),
            kind: kind.clone(),
            processes: processes.split(", ").map(str::to_owned).collect(),
        })
    }
}

/// A pattern of the document with this span's own role and model.
fn fill(pattern: &str, span: &Seen) -> String {
    let value = |name| span.attributes.get(name).map(String::as_str).unwrap_or_default();
    pattern
        .replace("<role>", value(names::ROLE))
        .replace("<model>", value(names::GEN_AI_REQUEST_MODEL))
}

/// The rows of the table whose head starts so.
fn table(head: &str) -> Result<Vec<Vec<String>>> {
    let mut lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(head));
    lines
        .next()
        .with_context(|| format!("the document has no table {head}"))?;
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    Ok(rows.map(cells).collect())
}

/// The parts of a text in back quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
