//! Messages that nobody can read, and a job that kills its agents.

use crate::latency;
use anyhow::{Context as _, Result};
use sipdo_bus::{Created, JobId, JobMessage, NewMessage, Role, RunId, subjects::header};
use sipdo_protocol::{
    pb::{self, State, control::Kind, log_event::Event},
    schema,
};
use sipdo_tests::{
    Cluster, Setup,
    cluster::ended,
    oracle::History,
    process::eventually,
    simulator::script_faults,
    task::{counting, request},
    watch::{RUN, clean, create, levels, more_results, optimize, results, tell},
};

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_every_kind_is_kept_with_its_reason_and_blocks_nothing() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("50-100"),
        slots: 2,
        ..Setup::default()
    })
    .await?;
    let (mut client, bus) = (cluster.client().await?, cluster.bus().await?);
    let run = create(&client, request(counting(10, 10), "sipdo", &levels(3), None)).await?;
    results(&bus, &run, 3).await?;
    let (id, role) = (RunId::new(&run)?, Role::new("learner")?);
    let junk = |schema| NewMessage::new(vec![0xff_u8; 9]).with(header::SCHEMA, schema);
    for (number, schema) in [(1, schema::JOB), (2, "job.v9")] {
        let job = JobMessage {
            role: role.clone(),
            suspect: false,
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
    // All of it is there while the run goes on.
    more_results(&bus, &run, 5).await?;
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
        Created::Exists
    ));
    let shown = client
        .get_run(pb::GetRunRequest { run: run.clone() })
        .await?
        .into_inner();
    assert_eq!(shown.dead_letters_total, 6);
    assert!(
        (1..6).contains(&shown.dead_letters.len()),
        "the last few are shown with the run"
    );
    // However many others there are: a run's own are not searched for among the newest of all.
    let other = RunId::new("another-run")?;
    for number in 0..20 {
        let origin = ("sipdo.test", number);
        bus.keep_dead_letter(&role, &other, junk("job.v9"), origin, 1, "of another run")
            .await?;
    }
    let own = client
        .list_dead_letters(pb::ListDeadLettersRequest { run, page_size: 4 })
        .await?
        .into_inner();
    assert_eq!((own.dead_letters.len(), own.total), (4, 6));
    assert!(
        own.dead_letters
            .windows(2)
            .all(|pair| pair[0].sequence > pair[1].sequence),
        "newest first"
    );
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
async fn a_result_that_comes_after_the_cancellation_changes_nothing() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        simulator: latency("600000"),
        ..Setup::default()
    })
    .await?;
    let (mut client, bus) = (cluster.client().await?, cluster.bus().await?);
    let run = optimize(&cluster, counting(4, 4), 1).await?;
    let issued = eventually("a job to be issued", || async {
        let history = History::read(&bus, &run).await?;
        let issued = history.events().find_map(|(_, event)| match event {
            Event::Issued(issued) => Some(issued.clone()),
            _ => None,
        });
        Ok(issued)
    })
    .await?;
    tell(&bus, &run, Kind::Cancel).await?;
    let cancelled = ended(&client, &run, RUN).await?.summary.context("a summary")?;
    assert_eq!(cancelled.state(), State::Cancelled);
    let late = pb::JobResult {
        run: run.clone(),
        job: issued.job.clone(),
        attempt: 1,
        ..Default::default()
    };
    let role = Role::new(sipdo_domain::Role::try_from(issued.role())?.name())?;
    let (id, job) = (RunId::new(&run)?, JobId::new(&issued.job)?);
    let created = bus.create_result(&id, &role, &job, NewMessage::encode(&late, schema::RESULT));
    assert!(created.await?.is_new(), "it is kept");
    let shown = client.get_run(pb::GetRunRequest { run }).await?.into_inner();
    assert_eq!(shown.summary.context("a summary")?.state(), State::Cancelled);
    assert_eq!((shown.dead_letters_total, shown.outcome), (0, None));
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
    let bus = cluster.bus().await?;
    // The first error analysis never comes to an answer: its agent dies of it, whoever takes it.
    let hang = serde_json::json!([{"kind": "hang", "role": "optimizer", "times": 4, "delay_ms": 600_000}]);
    script_faults(cluster.models, &hang).await?;
    let run = optimize(&cluster, counting(8, 8), 1).await?;
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
