//! One fault at a time, over whole runs with the real programs: what happens, what is lost, what is bought again.

use anyhow::{Context as _, Result, bail};
use sipdo_bus::{Bus, BusSettings, JobId, JobMessage, NewMessage, Role, RunId};
use sipdo_protocol::{
    pb::{self, State, control::Kind},
    schema,
};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{Client, ended},
    oracle::History,
    process::{Process, eventually, eventually_within},
    simulator::{reset, script_faults},
    task::{counting, request},
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const RUN: Duration = Duration::from_secs(240);

fn options() -> serde_json::Value {
    serde_json::json!({"levels": 3})
}

fn latency(ms: &str) -> Vec<String> {
    vec!["--latency-ms".into(), ms.into()]
}

/// Retries that give up soon, so that a test sees what comes after them.
const QUICK: &str = "[endpoints.simulator.retry]\nattempts = 2\nfirst_delay_seconds = 0.05";

async fn bus(cluster: &Cluster) -> Result<Bus> {
    Ok(Bus::connect(BusSettings::new(cluster.nats.url())).await?)
}

async fn create(client: &Client, request: pb::CreateRunRequest) -> Result<String> {
    let run = client.clone().create_run(request).await?.into_inner();
    Ok(run.summary.context("a run without a summary")?.run)
}

/// Waits until the run's summary is as wanted. Read from the stream, so that it works without a coordinator.
/// A job whose message was lost with a server is published again after two minutes, so a run may stand still for so long.
const RECOVERY: Duration = Duration::from_secs(240);

async fn summary(bus: &Bus, run: &str, what: &str, wanted: impl Fn(&pb::Summary) -> bool) -> Result<pb::Summary> {
    let wanted = &wanted;
    eventually_within(RECOVERY, what, || async move {
        // Servers that elect a leader answer nobody for a moment: that is not the run's failure, so it is asked again.
        let history = History::read(bus, run).await.ok();
        Ok(history.map(|history| history.summary()).filter(wanted))
    })
    .await
}

async fn results(bus: &Bus, run: &str, at_least: usize) -> Result<()> {
    eventually(&format!("{at_least} results"), || async move {
        let history = History::read(bus, run).await?;
        let results = history
            .facts
            .iter()
            .filter(|fact| matches!(fact, sipdo_tests::oracle::Fact::Result(_)))
            .count();
        Ok((results >= at_least).then_some(()))
    })
    .await
}

/// The history of a run that finished with nothing lost and nothing broken.
async fn clean(bus: &Bus, run: &str) -> Result<History> {
    let history = History::read(bus, run).await?;
    assert_eq!(history.state(), State::Finished, "{:?}", history.summary());
    let findings = history.check();
    assert_eq!(
        (findings.broken, findings.results_lost, findings.over_cap),
        (Vec::new(), 0, 0)
    );
    Ok(history)
}

/// When the run was claimed for the n-th time, counted from 0.
async fn claimed(bus: &Bus, run: &str, n: usize) -> Result<()> {
    eventually(&format!("claim {n}"), || async move {
        let history = History::read(bus, run).await?;
        let claims = history
            .events()
            .filter(|(_, event)| matches!(event, pb::event::Event::Claimed(_)))
            .count();
        Ok((claims > n).then_some(()))
    })
    .await
}

async fn tell(bus: &Bus, run: &str, kind: Kind) -> Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    let control = pb::Control {
        kind: kind.into(),
        id: id.clone(),
        ..Default::default()
    };
    bus.control(&RunId::new(run)?, NewMessage::encode(&control, schema::CONTROL), &id)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_appends_nothing_when_it_wakes() -> Result<()> {
    let setup = Setup {
        simulator: latency("150-250"),
        coordinators: 2,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    // The coordinator that was asked to create the run leads it.
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 5).await?;
    let (leader, _) = cluster.coordinators.first().context("a leader")?;
    leader.signal("STOP")?;
    let frozen = Instant::now();
    claimed(&bus, &run, 1).await?;
    let took = frozen.elapsed();
    leader.signal("CONT")?;
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("the old leader to stop", || async {
        Ok(leader
            .output()
            .contains("another coordinator leads this run now")
            .then_some(()))
    })
    .await?;
    let (_, other) = cluster.coordinators.get(1).context("the other")?;
    ended(&sipdo_tests::cluster::connect(*other).await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.takeovers().len(), 1, "nobody takes back what is led");
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_a_second() -> Result<()> {
    let setup = Setup {
        simulator: latency("150-250"),
        coordinators: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 5).await?;
    let mut took = Vec::new();
    for kill in 0..5 {
        // The leader is the older of the two: the other came after it, and waits.
        let (mut leader, _) = cluster.coordinators.remove(0);
        leader.kill()?;
        let killed = Instant::now();
        claimed(&bus, &run, kill + 1).await?;
        took.push(killed.elapsed());
        cluster.start_coordinator().await?;
        // It has seen whom it may have to replace.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    assert!(median < Duration::from_millis(1_000), "{took:?}");
    ended(&cluster.client().await?, &run, RUN).await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new(), "no agent died");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_claim_at_the_same_moment_lead_one_after_the_other() -> Result<()> {
    let setup = Setup {
        simulator: latency("30-60"),
        coordinators: 1,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 5).await?;
    for (mut leader, _) in cluster.coordinators.drain(..) {
        leader.kill()?;
    }
    // Nobody leads: whoever comes takes it, all in the same moment and for the same epoch.
    for _ in 0..4 {
        cluster.launch_coordinator().await?;
    }
    claimed(&bus, &run, 1).await?;
    eventually_within(RECOVERY, "an end", || async {
        Ok((History::read(&bus, &run).await?.state() == State::Finished).then_some(()))
    })
    .await?;
    clean(&bus, &run).await?;
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_costs_nothing() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-150"),
        coordinators: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    for before in [5, 25, 45] {
        results(&bus, &run, before).await?;
        cluster.nats.kill().await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.nats.start_again().await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "no process has died but the server"
    );
    Ok(())
}

fn spooled(folder: &Path) -> usize {
    let roles = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("spool-"));
    let files = roles.flat_map(|role| fs::read_dir(role.path()).into_iter().flatten().flatten());
    let files = files.flat_map(|role| fs::read_dir(role.path()).into_iter().flatten().flatten());
    files
        .filter(|file| file.path().extension().is_some_and(|ending| ending == "result"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_came_while_the_server_was_away_outlive_their_agents() -> Result<()> {
    let setup = Setup {
        simulator: latency("800"),
        ack_wait: 2,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    eventually("calls in flight", || async {
        Ok((cluster.ledger().await?.totals.open >= 8).then_some(()))
    })
    .await?;
    cluster.nats.kill().await?;
    let open = cluster.ledger().await?.totals.open;
    eventually("all of them answered and in the spool", || async {
        Ok((cluster.ledger().await?.totals.open == 0 && spooled(cluster.folder.path()) as u64 >= open).then_some(()))
    })
    .await?;
    for (_, agent) in &mut cluster.agents {
        agent.kill()?;
    }
    cluster.agents.clear();
    cluster.nats.start_again().await?;
    for role in sipdo_tests::cluster::ROLES {
        cluster.start_agent(role, &[]).await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert!(open >= 8, "{open} calls were in flight when the server went");
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "the spool brings every answer back"
    );
    assert_eq!(history.check().granted_again, 0);
    assert_eq!(spooled(cluster.folder.path()), 0, "and is empty in the end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_in_mid_run_pauses_it_until_the_key_works() -> Result<()> {
    let keys = tempfile::tempdir()?;
    let key = keys.path().join("key");
    fs::write(&key, "good")?;
    let operator = format!("api_key_file = \"{}\"\n{QUICK}", key.display());
    let mut simulator = latency("50-100");
    simulator.extend(["--api-key".to_owned(), "good".into()]);
    let cluster = Cluster::start(&Setup {
        simulator,
        operator,
        ..Setup::default()
    })
    .await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 12), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 5).await?;
    fs::write(&key, "revoked")?;
    let waits = summary(&bus, &run, "a reason to wait", |summary| {
        summary.waiting.contains("not authorized")
    })
    .await?;
    assert_eq!(waits.state(), State::Running, "it waits, and has not failed");
    fs::write(&key, "good")?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0, "no job was burned");
    assert_eq!(history.summary().waiting, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_provider_pauses_a_run_and_burns_no_job() -> Result<()> {
    let setup = Setup {
        simulator: latency("50-100"),
        operator: QUICK.into(),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 12), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 5).await?;
    let down = serde_json::json!([{"kind": "server_error", "status": 503, "times": 1_000_000}]);
    script_faults(cluster.models, &down).await?;
    summary(&bus, &run, "a reason to wait", |summary| !summary.waiting.is_empty()).await?;
    // An agent that is told to end meanwhile gives back what it has not bought; another one takes it up.
    let at = cluster
        .agents
        .iter()
        .position(|(role, _)| *role == "learner")
        .context("a learner")?;
    let (_, mut learner) = cluster.agents.remove(at);
    cluster.start_agent("learner", &[]).await?;
    learner.signal("TERM")?;
    assert!(
        learner.wait(Duration::from_secs(20)).await?.success(),
        "{}",
        learner.output()
    );
    reset(cluster.models).await?;
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0, "no job was burned");
    assert_eq!(
        history.summary().attempts_lost,
        0,
        "what was given back unpaid costs nothing"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_budget_resumes_a_run_that_met_its_cap() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        slots: 32,
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, bus(&cluster).await?);
    let run = create(
        &client,
        request(counting(12, 20), "sipdo", &serde_json::json!({"levels": 6}), Some(160)),
    )
    .await?;
    let met = ended(&client, &run, RUN).await?.summary.context("a summary")?;
    assert_eq!(met.state(), State::BudgetExhausted, "{met:?}");
    assert!(cluster.ledger().await?.totals.calls <= 160);
    let control = pb::Control {
        kind: Kind::SetBudget.into(),
        budget: Some(pb::Budget::default()),
        ..Default::default()
    };
    client
        .clone()
        .control_run(pb::ControlRunRequest {
            run: run.clone(),
            control: Some(control),
        })
        .await?;
    summary(&bus, &run, "it to finish", |summary| summary.state() == State::Finished).await?;
    clean(&bus, &run).await?;
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "what was bought before is not bought again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_wants_while_no_coordinator_lives_is_done_by_the_next() -> Result<()> {
    let mut cluster = Cluster::start(&Setup {
        simulator: latency("100-200"),
        slots: 2,
        ..Setup::default()
    })
    .await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 12), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 3).await?;
    for (kind, state) in [
        (Kind::Pause, State::Paused),
        (Kind::Resume, State::Running),
        (Kind::Cancel, State::Cancelled),
    ] {
        for (mut coordinator, _) in cluster.coordinators.drain(..) {
            coordinator.kill()?;
        }
        tell(&bus, &run, kind).await?;
        cluster.start_coordinator().await?;
        summary(&bus, &run, state.as_str_name(), |summary| summary.state() == state).await?;
    }
    let findings = History::read(&bus, &run).await?.check();
    assert_eq!(findings.broken, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_run_behind_a_large_one_takes_at_most_twice_its_time_alone() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("200-300"),
        ..Setup::default()
    })
    .await?;
    let (client, bus) = (cluster.client().await?, bus(&cluster).await?);
    // The strategy `none` asks nothing but the test examples.
    let small = |draw| {
        request(
            sipdo_tests::task::drawn("object_counting", 1, 50, draw, draw),
            "none",
            &serde_json::Value::Null,
            None,
        )
    };
    let timed = async |draw| -> Result<Duration> {
        let start = Instant::now();
        let run = create(&client, small(draw)).await?;
        ended(&client, &run, RUN).await?;
        Ok(start.elapsed())
    };
    let alone = timed(100).await?;
    let large = sipdo_tests::task::drawn("object_counting", 1, 10_000, 1, 1);
    let large = create(&client, request(large, "none", &serde_json::Value::Null, None)).await?;
    results(&bus, &large, 250).await?;
    let behind = timed(200).await?;
    assert!(behind < alone * 2, "{behind:?} behind, {alone:?} alone");
    let still = History::read(&bus, &large).await?.summary();
    assert_eq!(still.state(), State::Running, "the large run was there all the while");
    client.clone().cancel_run(pb::CancelRunRequest { run: large }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_every_kind_is_kept_with_its_reason_and_blocks_nothing() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("30-60"),
        ..Setup::default()
    })
    .await?;
    let (mut client, bus) = (cluster.client().await?, bus(&cluster).await?);
    let run = create(&client, request(counting(10, 10), "sipdo", &options(), None)).await?;
    results(&bus, &run, 3).await?;
    let (id, role) = (RunId::new(&run)?, Role::new("learner")?);
    let junk = |schema| NewMessage::new(vec![0xff_u8; 9]).with(sipdo_bus::subjects::header::SCHEMA, schema);
    for (number, schema) in [(1, schema::JOB), (2, "job.v9")] {
        let job = JobMessage {
            role: role.clone(),
            run: id.clone(),
            job: JobId::new(format!("poison-{number}"))?,
            attempt: 1,
            epoch: 1,
            repeat: 0,
            message: junk(schema),
        };
        bus.publish_job(job).await?.settled().await?;
    }
    bus.create_result(&id, &role, &JobId::new("poison-3")?, junk(schema::RESULT))
        .await?;
    bus.create_result(&id, &role, &JobId::new("poison-4")?, junk("result.v9"))
        .await?;
    let stranger = pb::JobResult {
        run: run.clone(),
        job: "poison-5".into(),
        attempt: 1,
        ..Default::default()
    };
    bus.create_result(
        &id,
        &role,
        &JobId::new("poison-5")?,
        NewMessage::encode(&stranger, schema::RESULT),
    )
    .await?;
    bus.control(&id, junk(schema::CONTROL), "poison-6").await?;
    let ended = ended(&client, &run, RUN).await?;
    assert_eq!(
        ended.summary.context("a summary")?.state(),
        State::Finished,
        "{}",
        ended.failure
    );
    let reasons = eventually("six dead letters", || {
        let (mut client, run) = (client.clone(), run.clone());
        async move {
            let letters = client
                .list_dead_letters(pb::ListDeadLettersRequest { run, page_size: 50 })
                .await?
                .into_inner();
            let reasons: Vec<String> = letters.dead_letters.into_iter().map(|letter| letter.reason).collect();
            Ok((reasons.len() >= 6).then_some(reasons))
        }
    })
    .await?;
    assert_eq!(reasons.len(), 6, "{reasons:#?}");
    for words in [
        "the job cannot be decoded",
        "\"job.v9\" is unknown",
        "a result that cannot be decoded",
        "\"result.v9\" is unknown",
        "poison-5, which was never issued",
        "a control request that cannot be decoded",
    ] {
        assert!(
            reasons.iter().any(|reason| reason.contains(words)),
            "{words} is not among {reasons:#?}"
        );
    }
    assert!(matches!(
        bus.create_result(
            &id,
            &role,
            &JobId::new("poison-5")?,
            NewMessage::encode(&stranger, schema::RESULT)
        )
        .await?,
        sipdo_bus::Created::Exists
    ));
    let all = client
        .list_dead_letters(pb::ListDeadLettersRequest {
            run: "another".into(),
            page_size: 50,
        })
        .await?
        .into_inner();
    assert_eq!(all.dead_letters.len(), 0, "each run sees its own");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_agents_is_given_up_and_the_run_goes_on() -> Result<()> {
    let setup = Setup {
        simulator: latency("20-40"),
        slots: 1,
        ack_wait: 1,
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    // The first error analysis never comes to an answer: its agent dies of it, whoever takes it.
    let hang = serde_json::json!([{"kind": "hang", "role": "optimizer", "times": 4, "delay_ms": 600_000}]);
    script_faults(cluster.models, &hang).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(8, 8), "sipdo", &serde_json::json!({"levels": 1}), None),
    )
    .await?;
    for death in 1..=4 {
        eventually(&format!("call {death} in flight"), || async {
            let calls = cluster.ledger().await?.calls;
            let struck = calls
                .iter()
                .filter(|call| call.role == "optimizer" && call.fault.is_some())
                .count();
            Ok((struck >= death).then_some(()))
        })
        .await?;
        let at = cluster
            .agents
            .iter()
            .position(|(role, _)| *role == "optimizer")
            .context("an optimizer")?;
        let (_, mut optimizer) = cluster.agents.remove(at);
        optimizer.kill()?;
        cluster.start_agent("optimizer", &[]).await?;
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    let summary = history.summary();
    assert_eq!((summary.attempts_lost, summary.not_measured), (4, 1), "{summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_comes_back_and_nothing_is_lost() -> Result<()> {
    use sipdo_tests::proxy::Mode;
    let setup = Setup {
        simulator: latency("100-200"),
        proxied: true,
        coordinators: 1,
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let bus = bus(&cluster).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 12), "sipdo", &options(), None),
    )
    .await?;
    let all = || {
        cluster
            .agents
            .iter()
            .map(|(_, agent)| agent)
            .chain(cluster.coordinators.iter().map(|(process, _)| process))
    };
    for (number, mode) in [Mode::Cut, Mode::Drop, Mode::Delay(Duration::from_millis(100))]
        .into_iter()
        .enumerate()
    {
        results(&bus, &run, 5 + 10 * number).await?;
        for pid in all().map(Process::pid).collect::<Vec<_>>() {
            cluster.set_link(pid, mode)?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        for pid in all().map(Process::pid).collect::<Vec<_>>() {
            cluster.set_link(pid, Mode::Open)?;
        }
    }
    ended(&cluster.client().await?, &run, RUN).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(
        cluster.ledger().await?.bought_twice(),
        Vec::new(),
        "within the patience of the queue nothing is bought again"
    );
    if history.entries().count() < 3 {
        bail!("a run of a few entries shows nothing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_servers_may_die() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut trio = sipdo_tests::trio::Trio::start(folder.path())?;
    let setup = Setup {
        simulator: latency("50-150"),
        servers: Some(trio.urls()),
        ..Setup::default()
    };
    let cluster = Cluster::start(&setup).await?;
    let settings = BusSettings {
        urls: trio.urls().split(',').map(str::to_owned).collect(),
        ..BusSettings::default()
    };
    let bus = Bus::connect(settings).await?;
    let run = create(
        &cluster.client().await?,
        request(counting(12, 20), "sipdo", &options(), None),
    )
    .await?;
    results(&bus, &run, 20).await?;
    trio.kill(0)?;
    summary(&bus, &run, "an end", |summary| summary.state() == State::Finished).await?;
    let history = clean(&bus, &run).await?;
    assert_eq!(history.not_measured(), 0);
    assert_eq!(cluster.ledger().await?.bought_twice(), Vec::new());
    Ok(())
}
