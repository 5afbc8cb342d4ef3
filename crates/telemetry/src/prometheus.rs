//! The metrics of this process as the page that Prometheus reads: text format 0.0.4.
//!
//! Names as the OpenTelemetry specification maps them: dots become underscores, a unit becomes a suffix, a counter ends
//! in `_total`.

use std::fmt::{Display, Write as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};

/// Reads the metrics whenever somebody looks.
#[derive(Debug, Default)]
pub(crate) struct Page(Reader);

#[derive(Debug, Clone, Default)]
pub(crate) struct Reader(Arc<ManualReader>);

impl Page {
    /// What the provider of the metrics is given.
    pub fn reader(&self) -> Reader {
        self.0.clone()
    }

    /// The page.
    pub fn text(&self) -> String {
        let mut all = ResourceMetrics::default();
        let mut page = String::new();
        // After the shutdown there is nothing to be read, and nobody to be told.
        if self.0.collect(&mut all).is_ok() {
            for metric in all.scope_metrics().flat_map(|scope| scope.metrics()) {
                write_metric(&mut page, metric);
            }
        }
        page
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// The name of a metric as Prometheus knows it, without the `_bucket`, `_sum` and `_count` of a histogram.
#[must_use]
pub fn prometheus_name(name: &str, unit: &str, counter: bool) -> String {
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

fn write_metric(page: &mut String, metric: &Metric) {
    match metric.data() {
        AggregatedMetrics::F64(data) => write_data(page, metric, data),
        AggregatedMetrics::U64(data) => write_data(page, metric, data),
        AggregatedMetrics::I64(data) => write_data(page, metric, data),
    }
}

fn write_data<T: Display + Copy>(page: &mut String, metric: &Metric, data: &MetricData<T>) {
    let named = |counter| prometheus_name(metric.name(), metric.unit(), counter);
    match data {
        MetricData::Gauge(gauge) => {
            let name = head(page, metric, named(false), "gauge");
            for point in gauge.data_points() {
                sample(page, &name, point.attributes(), None, point.value());
            }
        }
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() { "counter" } else { "gauge" };
            let name = head(page, metric, named(sum.is_monotonic()), kind);
            for point in sum.data_points() {
                sample(page, &name, point.attributes(), None, point.value());
            }
        }
        MetricData::Histogram(histogram) => {
            let name = head(page, metric, named(false), "histogram");
            for point in histogram.data_points() {
                let mut below = 0;
                let bounds = point.bounds().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
                for (bound, count) in bounds.zip(point.bucket_counts()) {
                    below += count;
                    sample(page, &format!("{name}_bucket"), point.attributes(), Some(&bound), below);
                }
                sample(page, &format!("{name}_sum"), point.attributes(), None, point.sum());
                sample(page, &format!("{name}_count"), point.attributes(), None, point.count());
            }
        }
        // No instrument of ours is one.
        MetricData::ExponentialHistogram(_) => {}
    }
}

fn head(page: &mut String, metric: &Metric, name: String, kind: &str) -> String {
    let _ = writeln!(
        page,
        "# HELP {name} {}\n# TYPE {name} {kind}",
        metric.description().replace('\n', " ")
    );
    name
}

fn sample<'a>(
    page: &mut String,
    name: &str,
    labels: impl Iterator<Item = &'a KeyValue>,
    bound: Option<&str>,
    value: impl Display,
) {
    let label = |name: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{}=\"{value}\"", name.replace(['.', '-'], "_"))
    };
    let mut labels: Vec<String> = labels
        .map(|pair| label(pair.key.as_str(), &pair.value.as_str()))
        .collect();
    labels.sort_unstable();
    labels.extend(bound.map(|bound| label("le", bound)));
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", labels.join(","))
    };
    let _ = writeln!(page, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    #[test]
    fn counters_gauges_and_histograms_are_written_as_prometheus_reads_them() {
        let page = Page::default();
        let provider = SdkMeterProvider::builder().with_reader(page.reader()).build();
        let meter = provider.meter("test");
        let counter = meter
            .u64_counter("sipdo.jobs")
            .with_unit("{job}")
            .with_description("Jobs")
            .build();
        counter.add(2, &[KeyValue::new("sipdo.role", "a \"b\"")]);
        meter.i64_up_down_counter("sipdo.jobs.active").build().add(-1, &[]);
        let times = meter
            .f64_histogram("x.duration")
            .with_unit("s")
            .with_boundaries(vec![0.5, 1.0])
            .build();
        times.record(0.25, &[]);
        times.record(2.0, &[]);
        let text = page.text();
        for line in [
            "# TYPE sipdo_jobs_total counter",
            "sipdo_jobs_total{sipdo_role=\"a \\\"b\\\"\"} 2",
            "# TYPE sipdo_jobs_active gauge",
            "sipdo_jobs_active -1",
            "x_duration_seconds_bucket{le=\"0.5\"} 1",
            "x_duration_seconds_bucket{le=\"1\"} 1",
            "x_duration_seconds_bucket{le=\"+Inf\"} 2",
            "x_duration_seconds_sum 2.25",
            "x_duration_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
    }
}
