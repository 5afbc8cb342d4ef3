//! Keys, tokens, passwords and content leave no process: everything runs with marked ones, and every byte that comes out is searched.

use anyhow::{Context as _, Result, ensure};
use sipdo_protocol::pb::{self, State};
use sipdo_telemetry::names;
use sipdo_tests::{
    Cluster, Collector, Process, Setup,
    bus_listener::BusListener,
    cluster::{Client, ended},
    http::http,
    runs::{said, sipdo, uses},
    spec::Spec,
    task::{counting, request},
    watch::{RUN, create},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The key of the models.
const KEY: &str = "sk-canary-5f0c2b9e71";
/// The token of the API.
const TOKEN: &str = "tok-canary-81d2a6c4f3";
/// User and password in the URL of the NATS server.
const LOGIN: [&str; 2] = ["user-canary-nats", "pw-canary-1b7e90d5"];
/// User and password in the URL of the collector.
const COLLECTOR: [&str; 2] = ["user-canary-otlp", "pw-canary-6a3f58c2"];
/// A header for the collector.
const HEADER: &str = "hdr-canary-c94e07ab";
/// All of them.
const MARKED: [&str; 7] = [KEY, TOKEN, LOGIN[0], LOGIN[1], COLLECTOR[0], COLLECTOR[1], HEADER];
/// Words of the task that are content.
const CONTENT: &str = "Answer the question.";

/// A cluster that knows all the marked secrets and says all it can: every log line, everything over HTTP.
async fn marked(collector: &Collector, content: bool) -> Result<Cluster> {
    let mut environment = collector.http_environment();
    let more = [
        ("OTEL_EXPORTER_OTLP_HEADERS", HEADER_PAIR),
        ("SIPDO_TEST_KEY", KEY),
        ("SIPDO_LOG", "debug"),
    ];
    environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if content {
        let asked = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        environment.push((asked.into(), "true".into()));
    }
    // Refusals and broken answers make errors, whose words might repeat what they should not.
    let faults = ["--fault", "rate_limited=0.05", "--fault", "malformed_body=0.05"];
    let setup = Setup {
        simulator: ["--api-key", KEY]
            .iter()
            .chain(&faults)
            .map(|arg| (*arg).to_owned())
            .collect(),
        operator: "api_key_env = \"SIPDO_TEST_KEY\"".into(),
        environment,
        token: Some(TOKEN.into()),
        nats_login: Some(LOGIN.join(":")),
        ..Setup::default()
    };
    Cluster::start(&setup).await
}

/// [`HEADER`] as the environment has it.
const HEADER_PAIR: &str = "x-collector-key=hdr-canary-c94e07ab";

async fn run(client: &Client, levels: u32) -> Result<pb::Run> {
    let options = serde_json::json!({"levels": levels, "repair_seed_errors": false});
    let run = create(client, request(counting(20, 12), "sipdo", &options, None)).await?;
    ended(client, &run, RUN).await
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Fails where one of the secrets is in these bytes.
fn search(bytes: &[u8], place: &str) -> Result<()> {
    for secret in MARKED {
        ensure!(!holds(bytes, secret), "{secret} is in {place}");
    }
    Ok(())
}

/// Every file below a folder: what NATS keeps, and what the programs wrote.
fn files(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            let bytes = std::fs::read(&path)?;
            found.push((path, bytes));
        }
    }
    Ok(())
}

/// What the command prints about a run, and the files that it writes.
fn printed(cluster: &Cluster, run: &str) -> Result<String> {
    let mut all = String::new();
    let looks: [&[&str]; 14] = [
        &["runs", "trace", run, "--jobs"],
        &["runs", "trace", run, "--iteration", "conclusion"],
        &["--json", "runs", "trace", run],
        &["runs", "show", run],
        &["--json", "runs", "show", run],
        &["runs", "watch", run],
        &["runs", "top", "-n", "1"],
        &["runs", "export", run],
        &["runs", "export-journal", run],
        &["runs", "archive", run, "kept.sipdo"],
        &["runs", "read", "kept.sipdo"],
        &["agents"],
        &["models", "history"],
        &["doctor"],
    ];
    for look in looks {
        let output = sipdo(cluster, look)?;
        // The doctor looks at this machine's own settings, and finds none.
        ensure!(
            output.status.success() || look == ["doctor"],
            "{look:?}: {}",
            said(&output)
        );
        all.push_str(&said(&output));
    }
    Ok(all)
}

/// The health and metrics of every process.
async fn pages(cluster: &Cluster) -> Result<String> {
    let mut all = String::new();
    for address in cluster.admin_pages()?.into_values() {
        for page in ["/livez", "/readyz", "/metrics"] {
            all.push_str(&http(address, "GET", page, "").await?);
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_content_leaves_a_process() -> Result<()> {
    let collector = Collector::start().await?;
    let mut cluster = marked(&collector, false).await?;
    let tap = BusListener::start(cluster.nats.port()).await?;
    let client = cluster.client().await?;
    let finished = run(&client, 2).await?;
    let summary = finished.summary.context("summary")?;
    assert_eq!(summary.state(), State::Finished, "{}", finished.failure);
    let set = sipdo(&cluster, &["models", "set", "checker", "simulator/sim-strong"])?;
    assert!(set.status.success(), "{}", said(&set));
    uses(&client, "checker", "sim-strong").await?;
    let shown = printed(&cluster, &summary.run)?;
    for words in [
        "level 1:",
        "conclusion:",
        "simulator/sim-weak",
        "no run is in progress",
        "ann on ",
    ] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    search(shown.as_bytes(), "what the command prints")?;
    let pages = pages(&cluster).await?;
    assert!(pages.contains("sipdo_jobs_total"), "{pages}");
    search(pages.as_bytes(), "a page of the admin port")?;
    strangers(&cluster).await?;
    cluster.drain().await?;

    Spec::read()?.hold_spans(&collector.spans())?;
    let (sent, said) = (collector.bytes(), tap.bytes());
    assert!(holds(&sent, &summary.run), "what was sent over HTTP is searched");
    assert!(holds(&said, &summary.run), "what was said over NATS is searched");
    search(&sent, "what was sent to the collector")?;
    search(&said, "a message of NATS")?;
    assert!(!holds(&sent, CONTENT), "the prompt was sent to the collector");
    let task = counting(20, 12);
    for example in &task.train {
        assert!(!holds(&sent, &example.input), "an example was sent to the collector");
    }
    let mut kept = Vec::new();
    files(cluster.folder.path(), &mut kept)?;
    for name in ["kept.sipdo", "stranger.log", "report.json"] {
        assert!(kept.iter().any(|(path, _)| path.ends_with(name)), "{name} is searched");
    }
    for (path, bytes) in kept {
        search(&bytes, &path.display().to_string())?;
    }
    Ok(())
}

/// Programs whose settings do not work complain, and repeat no secret: a collector and a NATS server that are not there, a collector
/// and an endpoint with a password in their URLs.
async fn strangers(cluster: &Cluster) -> Result<()> {
    let folder = cluster.folder.path();
    for protocol in ["grpc", "http/protobuf"] {
        let mut lost = stranger("http://127.0.0.1:9", protocol, folder)?;
        let waiting = || {
            let text = std::fs::read_to_string(folder.join("stranger.log")).ok()?;
            text.contains("waiting for a NATS server").then_some(())
        };
        lost.until("word of the server that is missing", waiting).await?;
        lost.signal("TERM")?;
        lost.wait(Duration::from_secs(30)).await?;
        let collector = format!("http://{}@127.0.0.1:9", COLLECTOR.join(":"));
        let mut refused = stranger(&collector, protocol, folder)?;
        assert!(!refused.wait(Duration::from_secs(30)).await?.success());
    }
    let url = format!("http://{}@127.0.0.1:9/v1", LOGIN.join(":"));
    let args = ["--nats-url", &cluster.nats.url(), "--model", "m", "--base-url", &url].map(str::to_owned);
    let mut refused = Process::start("sipdo-learner", "stranger", &args, folder)?;
    assert!(!refused.wait(Duration::from_secs(30)).await?.success());
    let told = refused.output();
    assert_eq!(told.matches("must not hold a user or password").count(), 3, "{told}");
    Ok(())
}

/// A coordinator whose NATS server is not there, and neither is its collector.
fn stranger(collector: &str, protocol: &str, folder: &Path) -> Result<Process> {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", HEADER_PAIR),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("SIPDO_LOG", "debug"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let nats = format!("nats://{}@127.0.0.1:9", LOGIN.join(":"));
    let args = [
        "--nats-url",
        &nats,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]
    .map(str::to_owned);
    Process::start_in(&environment, "sipdo-coordinator", "stranger", &args, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_sent_where_it_is_asked_for_and_the_key_still_is_not() -> Result<()> {
    let collector = Collector::start().await?;
    let mut cluster = marked(&collector, true).await?;
    let client = cluster.client().await?;
    run(&client, 1).await?;
    cluster.drain().await?;
    let spans = collector.spans();
    let answered = spans
        .iter()
        .find(|span| span.service == "sipdo-learner" && span.attributes.contains_key(names::GEN_AI_OUTPUT_MESSAGES));
    let answered = answered.context("no answer with its content")?;
    let instructions = answered.attributes.get(names::GEN_AI_SYSTEM_INSTRUCTIONS);
    let asked = answered.get(names::GEN_AI_INPUT_MESSAGES)?.to_owned() + instructions.map_or("", String::as_str);
    assert!(asked.contains("parts"), "{asked}");
    let answer: serde_json::Value = serde_json::from_str(answered.get(names::GEN_AI_OUTPUT_MESSAGES)?)?;
    assert_eq!(answer[0]["role"], "assistant", "{answer}");
    search(&collector.bytes(), "what was sent to the collector")
}
