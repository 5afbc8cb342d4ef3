//! A new version in mid-run: every process is stopped politely and replaced, one after the other; versions work side by side; and
//! messages of a version that is yet to come do no harm.

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use sipdo_bus::{JobId, NewMessage, Role, RunId};
use sipdo_protocol::{
    pb::{self, State, control::Kind, log_event::Event},
    schema,
};
use sipdo_tests::{
    Cluster, Ledger, Setup,
    cluster::{ROLES, ended, over},
    oracle::{Fact, History},
    process::eventually,
    task::counting,
    watch::{RUN, clean, goes_on, more_results, optimize, summary},
};
use std::{collections::BTreeSet, env, path::PathBuf, time::Duration};

/// Longest that a process may take to drain: its jobs in hand are short.
const DRAIN: Duration = Duration::from_secs(30);
const LEVELS: u32 = 3;

fn setup(programs: Option<PathBuf>) -> Setup {
    Setup {
        simulator: vec!["--latency-ms".into(), "60-120".into()],
        slots: 2,
        programs,
        ..Setup::default()
    }
}

/// What a whole run came to: its history, and the simulator's book of calls.
struct Whole {
    history: History,
    ledger: Ledger,
}

impl Whole {
    async fn of(cluster: &Cluster, run: &str) -> Result<Self> {
        let bus = cluster.bus().await?;
        summary(&bus, run, "the run to end", |summary| over(summary.state())).await?;
        Ok(Whole {
            history: clean(&bus, run).await?,
            ledger: cluster.ledger().await?,
        })
    }

    /// The same run without any disturbance.
    async fn undisturbed() -> Result<Self> {
        let cluster = Cluster::start(&setup(None)).await?;
        let run = optimize(&cluster, counting(10, 16), LEVELS).await?;
        Self::of(&cluster, &run).await
    }

    /// Nothing was lost, nothing was bought again, and it came to the same end.
    fn equals(&self, other: &Whole) {
        assert_eq!(self.ledger.bought_twice(), Vec::new());
        assert_eq!(self.history.summary().attempts_lost, 0, "an attempt was lost");
        assert_eq!(self.history.best_prompt(), other.history.best_prompt());
        assert_eq!(self.history.run_events(), other.history.run_events());
        assert_eq!(self.ledger.whole(), other.ledger.whole(), "other calls were bought");
    }
}

/// Has an agent's place taken by a new process, and tells the old one to end.
async fn replace_agent(cluster: &mut Cluster, role: &'static str) -> Result<()> {
    let at = cluster
        .agents
        .iter()
        .position(|(found, _)| *found == role)
        .context("an agent of the role")?;
    cluster.start_agent(role, &[]).await?;
    let (_, mut old) = cluster.agents.remove(at);
    old.signal("TERM")?;
    let status = old.wait(DRAIN).await?;
    ensure!(status.success(), "a {role} did not drain: {status}\n{}", old.output());
    Ok(())
}

async fn replace_coordinator(cluster: &mut Cluster) -> Result<()> {
    cluster.start_coordinator().await?;
    let (mut old, _) = cluster.coordinators.remove(0);
    old.signal("TERM")?;
    let status = old.wait(DRAIN).await?;
    ensure!(
        status.success(),
        "a coordinator did not stop: {status}\n{}",
        old.output()
    );
    Ok(())
}

/// Waits until the run has got on by so many results.
async fn get_on(cluster: &Cluster, run: &str, by: usize) -> Result<()> {
    more_results(&cluster.bus().await?, run, by).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_every_process_in_mid_run_changes_nothing() -> Result<()> {
    let whole = Whole::undisturbed().await?;
    let mut cluster = Cluster::start(&setup(None)).await?;
    let run = optimize(&cluster, counting(10, 16), LEVELS).await?;
    get_on(&cluster, &run, 8).await?;
    for role in ROLES {
        replace_agent(&mut cluster, role).await?;
        get_on(&cluster, &run, 2).await?;
    }
    replace_coordinator(&mut cluster).await?;
    goes_on(&History::read(&cluster.bus().await?, &run).await?)?;
    let restarted = Whole::of(&cluster, &run).await?;
    assert!(!restarted.history.takeovers().is_empty());
    restarted.equals(&whole);
    Ok(())
}

/// Needs the binaries of an older version: `make rollout OLD=ref` builds them and names their folder.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_and_this_one_work_on_one_run() -> Result<()> {
    let Some(old) = env::var_os("SIPDO_OLD_BIN").map(PathBuf::from) else {
        eprintln!("skipped: SIPDO_OLD_BIN names no folder with an older version; `make rollout OLD=ref` does");
        return Ok(());
    };
    let whole = Whole::undisturbed().await?;
    let mut cluster = Cluster::start(&setup(Some(old.clone()))).await?;
    let run = optimize(&cluster, counting(10, 16), LEVELS).await?;
    get_on(&cluster, &run, 8).await?;
    // New agents under the old coordinator, one after the other.
    cluster.programs = None;
    for role in ROLES {
        replace_agent(&mut cluster, role).await?;
    }
    get_on(&cluster, &run, 5).await?;
    // Back to old agents, and now under a new coordinator, which reads what the old one has written.
    replace_coordinator(&mut cluster).await?;
    cluster.programs = Some(old.clone());
    for role in ROLES {
        replace_agent(&mut cluster, role).await?;
    }
    get_on(&cluster, &run, 5).await?;
    // All old again, and last all new.
    replace_coordinator(&mut cluster).await?;
    get_on(&cluster, &run, 5).await?;
    cluster.programs = None;
    replace_coordinator(&mut cluster).await?;
    goes_on(&History::read(&cluster.bus().await?, &run).await?)?;
    for role in ROLES {
        replace_agent(&mut cluster, role).await?;
    }
    let mixed = Whole::of(&cluster, &run).await?;
    assert!(mixed.history.takeovers().len() >= 3);
    mixed.equals(&whole);
    eprintln!(
        "{} results, {} takeovers between versions, nothing bought twice, the same end",
        mixed.history.results(),
        mixed.history.takeovers().len()
    );
    Ok(())
}

/// A message with a field that this version does not know.
fn of_the_next_version(message: &impl prost::Message) -> Vec<u8> {
    // Field 1999, a string.
    let mut bytes = message.encode_to_vec();
    prost::encoding::string::encode(1999, &"from the next version".to_owned(), &mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_next_version_do_no_harm_and_stay_in_what_is_handed_on() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let (bus, client) = (cluster.bus().await?, cluster.client().await?);
    // No model answers, so that a job that was issued is still open when it is looked at.
    cluster.simulator.signal("STOP")?;
    let run = optimize(&cluster, counting(6, 8), 1).await?;
    let id = RunId::new(&run)?;
    let pause = pb::Control {
        kind: Kind::Pause.into(),
        id: "next-1".into(),
        ..Default::default()
    };
    let message =
        |bytes: Vec<u8>, schema: &'static str| NewMessage::new(bytes).with(sipdo_bus::subjects::header::SCHEMA, schema);
    bus.control(&id, message(of_the_next_version(&pause), schema::CONTROL), "next-1")
        .await?;
    summary(&bus, &run, "paused", |summary| summary.state() == State::Paused).await?;
    let resume = pb::Control {
        kind: Kind::Resume.into(),
        id: "next-2".into(),
        ..Default::default()
    };
    bus.control(&id, message(of_the_next_version(&resume), schema::CONTROL), "next-2")
        .await?;
    summary(&bus, &run, "running", |summary| summary.state() == State::Running).await?;
    // An agent of the next version is quicker than ours.
    let job = eventually("an open job of the learner", || open_job(&bus, &run)).await?;
    let answer = pb::Reply {
        reply: Some(pb::reply::Reply::Answer(pb::Answer { text: "7".into() })),
    };
    let result = pb::JobResult {
        run: run.clone(),
        job: job.clone(),
        attempt: 1,
        finding: Some(pb::job_result::Finding::Reply(answer)),
        usage: Some(pb::Usage::default()),
        by: Some(pb::Provenance::default()),
        timing: Some(pb::Timing::default()),
    };
    let created = bus
        .create_result(
            &id,
            &Role::new("learner")?,
            &JobId::new(&job)?,
            message(of_the_next_version(&result), schema::RESULT),
        )
        .await?;
    assert!(created.is_new(), "the job had a result already");
    cluster.simulator.signal("CONT")?;
    let ended = ended(&client, &run, RUN).await?;
    assert_eq!(
        ended.summary.context("summary")?.state(),
        State::Finished,
        "{}",
        ended.failure
    );
    clean(&bus, &run).await?;
    let (letters, _) = bus.dead_letters(None, 10).await?;
    assert!(letters.is_empty(), "{letters:?}");
    // What is handed on is handed on whole: an exported run keeps what this version does not know.
    let mut exported = client
        .clone()
        .export_run(pb::ExportRunRequest { run: run.clone() })
        .await?
        .into_inner();
    let mut kept = 0;
    while let Some(record) = exported.message().await? {
        let bytes = record.encode_to_vec();
        kept += bytes
            .windows(21)
            .filter(|window| *window == b"from the next version")
            .count();
    }
    assert_eq!(kept, 3, "two requests and a result");
    Ok(())
}

/// A job of the learner that was issued and has no result.
async fn open_job(bus: &sipdo_bus::Bus, run: &str) -> Result<Option<String>> {
    let history = History::read(bus, run).await?;
    let done: BTreeSet<&str> = history
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Result(result) => Some(result.job.as_str()),
            _ => None,
        })
        .collect();
    let issued = history.events().filter_map(|(_, event)| match event {
        Event::Issued(issued) if issued.role() == pb::Role::Learner => Some(issued.job.as_str()),
        _ => None,
    });
    let mut open = issued.filter(|job| !done.contains(job));
    Ok(open.next().map(str::to_owned))
}
