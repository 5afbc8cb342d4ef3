//! `init` in a process of its own: it sets up once, refuses a second time, and shuts down in bounded time even when
//! the collector does not answer.

use std::time::{Duration, Instant};

use sipdo_telemetry::{Batches, Destination, Format, Settings, Start, TelemetryError, init_with, metrics, span::Kind};

#[tokio::test]
async fn sets_up_once_and_never_hangs_at_the_end() {
    // The exporter reads the endpoint from the real environment, which a test may not change; the default port of a
    // collector is very likely closed here, and whether it is or not, the shutdown has to end in time.
    let settings = Settings {
        filter: "warn".into(),
        filter_variable: "SIPDO_LOG",
        format: Format::Json,
        color: false,
        traces: Some(Destination::default()),
        metrics: Some(Destination::default()),
        logs: Some(Destination::default()),
        capture_content: false,
        service_name: None,
        resource_names_service: false,
        limits_events: false,
        batches: Batches::default(),
        push_every: Duration::from_secs(60),
        for_langfuse: false,
    };
    let broken = Settings {
        filter: "sipdo=loud".into(),
        ..settings.clone()
    };
    let error = init_with("test", &broken).unwrap_err();
    assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");

    let guard = init_with("test", &settings).unwrap();
    assert!(matches!(init_with("test", &settings), Err(TelemetryError::Twice)));
    Start::new("a span nobody will take", Kind::Internal, "run")
        .start()
        .end();
    tracing::info!(target: "sipdo_test", "a line nobody will take");
    metrics::run_ended("finished");
    metrics::score("test \"a\"", 0.25);
    metrics::leading(-1);
    metrics::model_call(&priced());
    let page = metrics::page();
    for line in [
        "# TYPE sipdo_runs_total counter",
        "sipdo_runs_total{sipdo_state=\"finished\"} 1",
        "# TYPE sipdo_runs_leading gauge",
        "sipdo_runs_leading -1",
        "# TYPE sipdo_llm_cost_USD_total counter",
        "sipdo_llm_cost_USD_total{gen_ai_request_model=\"m\",sipdo_role=\"learner\"} 0.5",
        "sipdo_prompt_score_ratio_bucket{sipdo_scored=\"test \\\"a\\\"\",le=\"0.2\"} 0",
        "sipdo_prompt_score_ratio_bucket{sipdo_scored=\"test \\\"a\\\"\",le=\"+Inf\"} 1",
        "sipdo_prompt_score_ratio_sum{sipdo_scored=\"test \\\"a\\\"\"} 0.25",
        "sipdo_prompt_score_ratio_count{sipdo_scored=\"test \\\"a\\\"\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "no line {line} in\n{page}");
    }
    let start = Instant::now();
    guard.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(4), "took {:?}", start.elapsed());
}

/// A completion that cost half a dollar.
fn priced() -> metrics::ModelCall<'static> {
    metrics::ModelCall {
        role: "learner",
        provider: "openai",
        model: "m",
        reported: None,
        took: Duration::from_millis(10),
        error: None,
        input_tokens: Some(1),
        output_tokens: Some(1),
        nano_usd: Some(500_000_000),
    }
}
