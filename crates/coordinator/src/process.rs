//! The coordinator's process: settings, start, serve, drain.

use crate::{
    context::{Context, keep_roster},
    room,
    service::Runs,
    supervisor::Supervisor,
};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{
    Parser,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_bus::{AgentId, Bus, BusSettings, Limits, Replicas, now_ms};
use sipdo_process::{AdminPages, Health, NatsFlags, stop_signal, write_port_file};
use sipdo_protocol::pb::{self, run_service_server::RunServiceServer};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

/// Largest request: a task carries its data.
const LARGEST_REQUEST: usize = 256 * 1024 * 1024;

/// Takes runs, leads them, and answers for them over gRPC.
#[derive(Debug, Parser)]
#[command(name = "sipdo-coordinator", version)]
pub struct Args {
    #[command(flatten)]
    nats: NatsFlags,
    /// Address of the gRPC API
    #[arg(long, env = "SIPDO_LISTEN", default_value = "127.0.0.1:7450")]
    listen: SocketAddr,
    /// Writes the API's address into this file once it is bound
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, env = "SIPDO_ADMIN_LISTEN", default_value = "127.0.0.1:7451")]
    admin_listen: SocketAddr,
    /// Writes the admin address into this file once it is bound
    #[arg(long)]
    admin_port_file: Option<PathBuf>,
    /// A file with the bearer token that clients must send
    #[arg(long, env = "SIPDO_TOKEN_FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    token_file: Option<PathBuf>,
    /// PEM file with the API's certificate chain
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the API's private key
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen on a public address without a token
    #[arg(long)]
    insecure: bool,
    /// Jobs of one run and role that may be in flight
    #[arg(long, env = "SIPDO_WINDOW", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Lead only runs that are created or resumed here; leave runs that an earlier process did not finish until they are resumed
    #[arg(long)]
    leave_unfinished: bool,
    /// How many bytes streams may hold, such as runs=20GB,completions=5GB,total=30GB; a stream that is not named keeps what it
    /// has. `total` is where runs are held back, whatever the streams' own limits
    #[arg(long, env = "SIPDO_NATS_MAX_BYTES", value_name = "NAME=SIZE,..")]
    max_bytes: Option<String>,
    /// How long streams keep what is in them, such as completions=30d,dead_letters=7d
    #[arg(long, env = "SIPDO_NATS_KEEP", value_name = "NAME=AGE,..")]
    keep: Option<String>,
    /// Copies of each message, 1 or 3, in streams that are made [default: 3 in a cluster, 1 otherwise]
    #[arg(long, env = "SIPDO_NATS_REPLICAS", value_parser = ["1", "3"])]
    replicas: Option<String>,
    /// Where the NATS server keeps its streams, if that is on this machine: runs are held back before that disk is full
    #[arg(long, env = "SIPDO_STORE_DIR", value_name = "FOLDER", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    store_dir: Option<PathBuf>,
}

/// Runs the process to its end.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("sipdo-coordinator: {error:#}");
    ExitCode::FAILURE
}

/// Serves until a signal or an error. However it ends, the telemetry is told: what it has not sent yet is sent, or given up in time.
async fn serve(args: Args) -> Result<()> {
    let guard = sipdo_telemetry::init("coordinator")?;
    let served = serve_until_stopped(args).await;
    guard.shutdown().await;
    served
}

async fn serve_until_stopped(args: Args) -> Result<()> {
    // Whatever is wrong with the settings is said before anything is bound.
    // A variable that is set to nothing is as good as not set.
    let token_file = args.token_file.as_deref().filter(|file| !file.as_os_str().is_empty());
    let token = token_file.map(read_token).transpose()?;
    let tls = identity(&args)?;
    let settings = bus_settings(&args)?;
    if !args.listen.ip().is_loopback() && token.is_none() && !args.insecure {
        bail!(
            "{} is a public address: give --token-file, or --insecure where something else guards it",
            args.listen
        );
    }
    let api = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let admin = TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.admin_listen))?;
    write_port(args.admin_port_file.as_deref(), &admin)?;

    let stop = CancellationToken::new();
    let signal = stop_signal()?;
    let cancel = stop.clone();
    tokio::spawn(async move {
        signal.await;
        cancel.cancel();
    });
    let store_dir = args.store_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
    let readiness = Readiness::default();
    let _pages = AdminPages::serve(admin, || Health::Good("alive"), readiness.pages(stop.clone()));
    let bus = tokio::select! {
        bus = Bus::connect(settings) => bus?,
        () = stop.cancelled() => return Ok(()),
    };
    bus.ensure_streams().await?;
    bus.apply_limits().await?;

    let id = AgentId::new(format!("coordinator-{}", uuid::Uuid::new_v4().simple()))?;
    let (mut context, roster) = Context::new(bus.clone(), id.clone(), args.window as usize);
    context.leaves_unfinished = args.leave_unfinished;
    tokio::spawn(keep_roster(context.clone(), roster));
    tokio::spawn(room::watch(context.clone(), store_dir));
    let started = now_ms();
    let status = context.clone();
    let presence = bus
        .announce(&id, move || status.status(started).encode_to_vec().into())
        .await?;
    write_port(args.port_file.as_deref(), &api)?;
    readiness.ready(bus.clone());
    tracing::info!(api = %api.local_addr()?, id = %id, "ready");
    let (supervisor, want) = Supervisor::new(context.clone());
    let supervised = tokio::spawn(supervisor.run(stop.clone()));
    serve_api(api, Runs::new(context, want), token, tls, stop.clone()).await?;
    // The runs are anybody's from here on: whoever asks after this process hears that it is gone.
    drop(presence);
    supervised.await?;
    bus.flush().await?;
    Ok(())
}

async fn serve_api(
    listener: TcpListener,
    runs: Runs,
    token: Option<[u8; 32]>,
    tls: Option<Identity>,
    stop: CancellationToken,
) -> Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<RunServiceServer<Runs>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let service = RunServiceServer::new(runs)
        .max_decoding_message_size(LARGEST_REQUEST)
        .max_encoding_message_size(LARGEST_REQUEST);
    let guard = move |request: Request<()>| authorize(request, token.as_ref());
    let mut server = Server::builder();
    if let Some(identity) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let server = server
        .add_service(health_service)
        .add_service(tonic::service::interceptor::InterceptedService::new(service, guard))
        .add_service(tonic::service::interceptor::InterceptedService::new(reflection, guard));
    let stopped = stop.clone();
    let serving =
        server.serve_with_incoming_shutdown(TcpIncoming::from(listener), async move { stopped.cancelled().await });
    tokio::select! {
        served = serving => served?,
        // Watchers may stay as long as their run: they are cut off a little after the signal.
        () = async { stop.cancelled().await; tokio::time::sleep(std::time::Duration::from_secs(1)).await } => {}
    }
    Ok(())
}

/// Refuses a request without the token. Compares hashes, so that timing tells nothing of the token.
fn authorize(request: Request<()>, token: Option<&[u8; 32]>) -> Result<Request<()>, Status> {
    let Some(expected) = token else { return Ok(request) };
    let sent = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    match sent.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if &hash(token) == expected => Ok(request),
        Some(_) => Err(Status::unauthenticated("the token is wrong")),
        None => Err(Status::unauthenticated("send `authorization: Bearer <token>`")),
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.trim().as_bytes()).into()
}

fn bus_settings(args: &Args) -> Result<BusSettings> {
    let mut settings = BusSettings {
        name: "sipdo-coordinator".into(),
        window_per_run: args.window,
        limits: limits(args)?,
        replicas: match args.replicas.as_deref() {
            None => Replicas::Auto,
            Some("3") => Replicas::Three,
            Some(_) => Replicas::One,
        },
        ..BusSettings::default()
    };
    args.nats.apply(&mut settings).map_err(|problem| anyhow!(problem))?;
    Ok(settings)
}

fn limits(args: &Args) -> Result<Limits> {
    let mut limits = Limits::default();
    let bytes = limits.max_bytes_of(args.max_bytes.as_deref().unwrap_or_default());
    bytes.map_err(|problem| anyhow!("--max-bytes: {problem}"))?;
    let ages = limits.keep_of(args.keep.as_deref().unwrap_or_default());
    ages.map_err(|problem| anyhow!("--keep: {problem}"))?;
    Ok(limits)
}

fn read_token(path: &Path) -> Result<[u8; 32]> {
    let token = fs::read_to_string(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
    if token.trim().len() < 16 {
        bail!("the token in {} is shorter than 16 characters", path.display());
    }
    Ok(hash(&token))
}

fn identity(args: &Args) -> Result<Option<Identity>> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Some(Identity::from_pem(read(cert)?, read(key)?)))
}

fn write_port(file: Option<&Path>, listener: &TcpListener) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    write_port_file(file, &listener.local_addr()?.to_string())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Whether the process can work: connected, and not told to stop.
#[derive(Clone, Default)]
struct Readiness {
    bus: Arc<OnceLock<Bus>>,
}

impl Readiness {
    fn ready(&self, bus: Bus) {
        drop(self.bus.set(bus));
    }

    /// What `/readyz` answers.
    fn pages(&self, stop: CancellationToken) -> impl Fn() -> Health + Clone + Send + Sync + 'static {
        let bus = Arc::clone(&self.bus);
        move || match bus.get().is_some_and(Bus::is_connected) && !stop.is_cancelled() {
            true => Health::Good("ready"),
            false => Health::Bad("not ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_passes() {
        let expected = hash("0123456789abcdef");
        let with = |value: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", value.parse().unwrap());
            request
        };
        assert!(authorize(with("Bearer 0123456789abcdef"), Some(&expected)).is_ok());
        assert!(authorize(with("Bearer 0123456789abcdeg"), Some(&expected)).is_err());
        assert!(authorize(with("0123456789abcdef"), Some(&expected)).is_err());
        assert!(authorize(Request::new(()), Some(&expected)).is_err());
        assert!(authorize(Request::new(()), None).is_ok());
    }
}
