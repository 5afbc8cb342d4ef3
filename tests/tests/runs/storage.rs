//! No room: a stream at its limit, a server at its own, a disk that is full. Intake stops and says why; nothing that is paid for is
//! lost or bought again; all goes on by itself when there is room.

use anyhow::{Context as _, Result};
use sipdo_bus::{Bus, BusError, BusSettings, CreateRunError, Limits, NewMessage, RunId};
use sipdo_protocol::pb;
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    disk::SmallDisk,
    oracle::History,
    process::{eventually, eventually_within},
    task::{counting, request},
    three_node_cluster::ThreeNodeCluster,
    watch::{RUN, clean, goes_on, levels, optimize, results},
};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

fn setup() -> Setup {
    Setup {
        simulator: vec!["--latency-ms".into(), "20-40".into()],
        ..Setup::default()
    }
}

/// What the API says that the run waits for.
async fn waiting(cluster: &Cluster, run: &str) -> Result<String> {
    let mut client = cluster.client().await?;
    let run = client.get_run(pb::GetRunRequest { run: run.to_owned() }).await?;
    Ok(run.into_inner().summary.context("a summary")?.waiting)
}

/// Waits until the API says that the run waits for something with these words.
async fn waits_for(cluster: &Cluster, run: &str, words: &str) -> Result<String> {
    let what = format!("run {run} to wait for `{words}`");
    eventually_within(RUN, &what, || async {
        let reason = waiting(cluster, run).await?;
        Ok(reason.contains(words).then_some(reason))
    })
    .await
}

/// Waits until no call has been made for two seconds; how many there were.
async fn calls_cease(cluster: &Cluster) -> Result<usize> {
    let seen = Cell::new((0, Instant::now()));
    eventually_within(RUN, "calls to cease", || async {
        let made = cluster.ledger().await?.calls.len();
        if made != seen.get().0 {
            seen.set((made, Instant::now()));
        }
        Ok((seen.get().1.elapsed() > Duration::from_secs(2)).then_some(made))
    })
    .await
}

/// The run ends well and no request was answered twice.
async fn ends_with_every_answer_bought_once(cluster: &Cluster, bus: &Bus, run: &str) -> Result<()> {
    ended(&cluster.client().await?, run, RUN).await?;
    clean(bus, run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), []);
    Ok(())
}

/// Tries to create another run, and gives the refusal.
async fn refused(cluster: &Cluster) -> Result<tonic::Status> {
    let another = request(counting(4, 4), "sipdo", &levels(1), None);
    let refusal = cluster.client().await?.create_run(another).await.err();
    let refusal = refusal.context("another run was taken")?;
    assert_eq!(refusal.code(), tonic::Code::ResourceExhausted, "{refusal:?}");
    Ok(refusal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_short_of_its_streams_limit_and_goes_on_when_it_is_raised() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        coordinator: vec!["--max-bytes".into(), "runs=100kB".into()],
        ..setup()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(20, 20), 3).await?;
    let reason = waits_for(&cluster, &run, "SIPDO_RUN").await?;
    for words in ["of at most 100.0 kB", "limit of runs", "runs delete"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let refusal = refused(&cluster).await?;
    assert!(refusal.message().contains("SIPDO_RUN holds"), "{refusal:?}");
    let made = calls_cease(&cluster).await?;
    let usage = bus.usage().await?;
    let runs = &usage.stores[0];
    assert!(runs.bytes <= 100_000, "answers in flight had room: {runs:?}");

    limited(&cluster.nats.url(), "runs=50MB").await?;
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await?;
    assert!(cluster.ledger().await?.calls.len() > made, "it was in the middle");
    assert_eq!(waiting(&cluster, &run).await?, "");
    Ok(())
}

/// Fills the server's store by runs that are none, down to the last bytes; their names.
async fn fill(bus: &Bus) -> Result<Vec<RunId>> {
    let mut ballast = Vec::new();
    let mut bytes = 400_000;
    while bytes >= 100 {
        let run = RunId::new(format!("ballast-{}", ballast.len()))?;
        // Cannot be decoded, so that nobody takes it for a run.
        match bus.create_run(&run, NewMessage::new(vec![0xff; bytes])).await {
            Ok(_) => ballast.push(run),
            Err(CreateRunError::Bus(BusError::Full { .. })) => bytes /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ballast)
}

/// What an agent says that stops it, as soon as one does.
async fn trouble(cluster: &Cluster) -> Result<String> {
    eventually("an agent to say what stops it", || async {
        let mut client = cluster.client().await?;
        let agents = client.list_agents(pb::ListAgentsRequest { wait_ms: 200 }).await?;
        let agents = agents.into_inner().agents;
        let stuck = |card: &pb::AgentStatus| card.role != "coordinator" && !card.trouble.is_empty();
        Ok(agents.into_iter().find(stuck).map(|card| card.trouble))
    })
    .await
}

/// Connects as an operator who sets these limits.
async fn limited(urls: &str, max_bytes: &str) -> Result<Bus> {
    let mut limits = Limits::default();
    limits.max_bytes_of(max_bytes).map_err(anyhow::Error::msg)?;
    let operator = BusSettings {
        limits,
        urls: urls.split(',').map(str::to_owned).collect(),
        ..BusSettings::default()
    };
    let bus = Bus::connect(operator).await?;
    bus.apply_limits().await?;
    Ok(bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_three_servers_loses_no_answer_and_all_goes_on_when_it_is_raised() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nodes = ThreeNodeCluster::start(folder.path())?;
    let cluster = Cluster::start(&Setup {
        servers: Some(nodes.urls()),
        simulator: vec!["--latency-ms".into(), "300-400".into()],
        ..setup()
    })
    .await?;
    let run = optimize(&cluster, counting(20, 20), 2).await?;
    let bus = limited(&nodes.urls(), "runs=600kB").await?;
    results(&bus, &run, 3).await?;
    // In one go, so that nobody sees it coming.
    fill(&bus).await?;
    goes_on(&History::read(&bus, &run).await?)?;
    let trouble = trouble(&cluster).await?;
    assert!(trouble.contains("cannot be brought to the bus"), "{trouble}");
    calls_cease(&cluster).await?;
    assert!(
        walk(cluster.folder.path()) > 0,
        "answers that could not be brought are kept"
    );
    assert!(!waiting(&cluster, &run).await?.is_empty());
    limited(&nodes.urls(), "runs=50MB").await?;
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await?;
    assert_eq!(walk(cluster.folder.path()), 0, "the spool is empty");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_loses_no_answer_and_buys_none_and_all_goes_on_when_there_is_room() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        // A limit that nobody but the server knows of.
        max_store: Some(4_000_000),
        simulator: vec!["--latency-ms".into(), "300-400".into()],
        ..setup()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(20, 20), 2).await?;
    results(&bus, &run, 3).await?;
    let ballast = fill(&bus).await?;
    goes_on(&History::read(&bus, &run).await?)?;
    waits_for(&cluster, &run, "insufficient resources").await?;
    let trouble = trouble(&cluster).await?;
    assert!(trouble.contains("cannot be brought to the bus"), "{trouble}");
    let made = calls_cease(&cluster).await?;
    let spooled = walk(cluster.folder.path());
    assert!(spooled > 0, "answers that could not be brought are kept");
    assert!(refused(&cluster).await?.message().contains("there is no room"));
    assert_eq!(cluster.ledger().await?.calls.len(), made);

    for run in ballast {
        bus.delete_run(&run).await?;
    }
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await?;
    assert_eq!(walk(cluster.folder.path()), 0, "the spool is empty");
    Ok(())
}

/// Answers in the spools of a cluster.
fn walk(folder: &std::path::Path) -> usize {
    let Ok(files) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: std::path::PathBuf| {
        let whole = path.extension().is_some_and(|extension| extension == "result");
        usize::from(whole) + if path.is_dir() { walk(&path) } else { 0 }
    };
    files.flatten().map(|file| count(file.path())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_held_back_before_the_disk_of_the_server_is_full() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 64)? else {
        return Ok(());
    };
    let store = disk.folder().join("nats");
    let cluster = Cluster::start(&Setup {
        coordinator: vec!["--store-dir".into(), store.display().to_string()],
        store: Some(store),
        simulator: vec!["--latency-ms".into(), "300-400".into()],
        ..setup()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(20, 20), 3).await?;
    results(&bus, &run, 3).await?;
    disk.fill_until(5 << 20)?;
    let reason = waits_for(&cluster, &run, "room: the disk of").await?;
    assert!(reason.contains("left of 67.1 MB"), "{reason}");
    assert!(refused(&cluster).await?.message().contains("the disk of"));
    calls_cease(&cluster).await?;
    disk.empty()?;
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_all_the_same_costs_a_restart_of_the_server_and_no_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 16)? else {
        return Ok(());
    };
    let mut cluster = Cluster::start(&Setup {
        store: Some(disk.folder().join("nats")),
        simulator: vec!["--latency-ms".into(), "100-200".into()],
        ..setup()
    })
    .await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(20, 20), 3).await?;
    results(&bus, &run, 3).await?;
    disk.fill_until(0)?;
    // The server says nothing any more, though it is there: half a minute shows it.
    waits_for(&cluster, &run, "its disk may be full").await?;
    calls_cease(&cluster).await?;
    disk.empty()?;
    cluster.nats.kill().await?;
    cluster.nats.start_again().await?;
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_buys_nothing_that_its_spool_could_not_keep() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 4)? else {
        return Ok(());
    };
    disk.fill_until(0)?;
    let mut cluster = Cluster::start(&Setup { agents: 0, ..setup() }).await?;
    let spool = disk.folder().display().to_string();
    for role in sipdo_tests::cluster::ROLES {
        cluster
            .start_agent(role, &["--spool-dir", &spool])
            .await
            .context(role)?;
    }
    cluster.agents_answer(5).await?;
    let bus = cluster.bus().await?;
    let run = optimize(&cluster, counting(8, 8), 1).await?;
    waits_for(&cluster, &run, "cannot keep an answer").await?;
    assert_eq!(cluster.ledger().await?.calls.len(), 0, "nothing is bought");
    disk.empty()?;
    ends_with_every_answer_bought_once(&cluster, &bus, &run).await
}
