//! Sends the metrics to a collector, from the same reader that the admin port shows: the SDK keeps every sum once for each reader, so
//! that a second one doubles what counting costs.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter as _;
use opentelemetry_sdk::metrics::reader::MetricReader as _;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::prometheus::Reader;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The task that sends.
#[derive(Debug)]
pub(crate) struct Pusher {
    task: tokio::task::JoinHandle<bool>,
    end: Arc<Notify>,
}

impl Pusher {
    /// Sends what `reader` reads as often as that.
    pub fn start(reader: Reader, exporter: MetricExporter, every: Duration) -> Self {
        let end = Arc::new(Notify::new());
        let task = tokio::spawn(push(reader, exporter, every, Arc::clone(&end)));
        Self { task, end }
    }

    /// Sends once more, for at most `within`. True where the collector took it.
    pub async fn finish(self, within: Duration) -> bool {
        self.end.notify_one();
        timeout(within, self.task).await.is_ok_and(|sent| sent.unwrap_or(false))
    }
}

async fn push(reader: Reader, exporter: MetricExporter, every: Duration, end: Arc<Notify>) -> bool {
    let mut warned = false;
    loop {
        let ending = timeout(every, end.notified()).await.is_ok();
        let mut all = ResourceMetrics::default();
        let read = reader.collect(&mut all).is_ok();
        let sent = read
            && timeout(PATIENCE, exporter.export(&all))
                .await
                .is_ok_and(|sent| sent.is_ok());
        // The words of an error are not shown: libraries write URLs into them.
        if !sent && !std::mem::replace(&mut warned, true) {
            tracing::warn!("the collector does not take the metrics; they are sent again with the next");
        }
        if ending {
            return sent;
        }
    }
}
