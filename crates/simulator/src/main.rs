//! The `sipdo-simulator` process.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use sipdo_simulator::families::{ALL, Known, exact_answer};
use sipdo_simulator::{Flags, serve_until};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// An OpenAI-compatible server with simulated models. A stand-in: its scores say nothing of real models.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", env = "SIPDO_SIM_HOST")]
    host: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8089, env = "SIPDO_SIM_PORT")]
    port: u16,
    /// Writes the bound address (`127.0.0.1:40123`) to this file.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Writes the mark of what it answers by (`system_fingerprint` in every answer) to this file, before the address.
    #[arg(long)]
    fingerprint_file: Option<PathBuf>,
    /// Reads a JSON list of questions from stdin, prints as JSON how many of them a family knows, and ends.
    #[arg(long)]
    knows: bool,
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    if arguments.knows {
        return tell_what_is_known();
    }
    let settings = arguments.flags.settings()?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let bound = listener.local_addr()?;
    if let Some(path) = &arguments.fingerprint_file {
        write_whole(path, &settings.fingerprint()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.port_file {
        write_whole(path, &bound.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!("simulated models at http://{bound}/v1");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(settings, listener, stop).await.context("the server failed")
}

fn tell_what_is_known() -> anyhow::Result<()> {
    let questions: Vec<String> =
        serde_json::from_reader(std::io::stdin().lock()).context("stdin: expected a JSON list of questions")?;
    let known = questions
        .iter()
        .filter(|question| exact_answer(question).is_some())
        .count();
    let families: Vec<&str> = ALL.iter().map(Known::name).collect();
    let told = serde_json::json!({"known": known, "of": questions.len(), "families": families});
    writeln!(std::io::stdout(), "{told}").context("stdout")
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"))
}

/// Writes beside and renames, so that nobody reads half an address.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("partial");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}
