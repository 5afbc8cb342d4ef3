//! `init` in a process of its own: it sets up once, refuses a second time, and shuts down in bounded time even when
//! the collector does not answer.

use std::time::{Duration, Instant};

use sipdo_telemetry::{Format, Settings, TelemetryError, init_with};

#[tokio::test]
async fn sets_up_once_and_never_hangs_at_the_end() {
    // The exporter reads the endpoint from the real environment, which a test may not change; the default port of a
    // collector is very likely closed here, and whether it is or not, the shutdown has to end in time.
    let settings = Settings {
        filter: "warn".into(),
        filter_variable: "SIPDO_LOG",
        format: Format::Json,
        color: false,
        export_traces: true,
        names_service: false,
    };
    let broken = Settings {
        filter: "sipdo=loud".into(),
        ..settings.clone()
    };
    let error = init_with("test", &broken).unwrap_err();
    assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");

    let guard = init_with("test", &settings).unwrap();
    assert!(matches!(init_with("test", &settings), Err(TelemetryError::Twice)));
    tracing::info_span!(target: "sipdo_test", "a span nobody will take").in_scope(|| {});
    let start = Instant::now();
    guard.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(4), "took {:?}", start.elapsed());
}
