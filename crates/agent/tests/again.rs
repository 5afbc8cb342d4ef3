//! Two agents that work on one job, because one of them was believed to be dead: whoever is about to send a request again looks for the
//! other's answer first. Over a real nats-server and a real HTTP provider, which counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test may fail it"
)]

mod support;

use sipdo_agent::AgentSettings;
use sipdo_bus::NewMessage;
use sipdo_domain::{Reply, Role};
use sipdo_llm::RetrySettings;
use sipdo_protocol::pb;
use std::path::{Path, PathBuf};
use support::{Job, Mode, Plain, Provider, Running, Shaped, World, eventually};

fn said(reply: &Reply) -> &str {
    match reply {
        Reply::Answer(answer) => &answer.text,
        other => panic!("{other:?}"),
    }
}

/// An agent that tries again.
fn trying_again(mut settings: AgentSettings) -> AgentSettings {
    for endpoint in settings.endpoints.values_mut() {
        endpoint.retry = RetrySettings {
            attempts: 5,
            first_delay_seconds: 0.05,
            ..RetrySettings::default()
        };
    }
    settings
}

/// Refuses the request that waits behind the gate, which would be sent again.
fn refuse(provider: &Provider) {
    provider.set(Mode::Status(500));
    provider.open_gate();
}

/// The second attempt at a job, whose first was taken by somebody who is gone.
async fn second_attempt(world: &World, job: Job) -> Job {
    world.attempt_by_the_dead(&job).await;
    Job { attempt: 2, ..job }
}

/// The answer of the first owner, who was alive after all.
async fn first_answers(world: &World, job: &Job) {
    let (run, role, id) = job.place();
    let text = "from the first".to_owned();
    let reply = pb::Reply {
        reply: Some(pb::reply::Reply::Answer(pb::Answer { text })),
    };
    let result = pb::JobResult {
        run: job.run.clone(),
        job: job.id(),
        attempt: 1,
        finding: Some(pb::job_result::Finding::Reply(reply)),
        by: Some(pb::Provenance::default()),
        usage: Some(pb::Usage {
            calls: 1,
            ..pb::Usage::default()
        }),
        timing: Some(pb::Timing::default()),
    };
    let message = NewMessage::encode(&result, "result.v1");
    assert!(
        world
            .bus
            .create_result(&run, &role, &id, message)
            .await
            .unwrap()
            .is_new()
    );
}

fn whole_file(spool_dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(spool_dir.join("learner")).ok()?.flatten();
    let mut answers = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "result"));
    answers.next()
}

#[tokio::test]
async fn a_retry_is_not_sent_when_the_result_has_come_meanwhile() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = trying_again(world.settings(Role::Learner, &provider, "one"));
    let _agent = Running::start(settings, Box::new(Plain));
    let job = second_attempt(&world, Job::answer("r1", "2+2?")).await;
    world.publish(&job).await;
    provider.until_asked(1).await;
    first_answers(&world, &job).await;
    refuse(&provider);
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1);
    let result = world.result(&job).await;
    assert_eq!((said(&result.finding.unwrap()), result.attempt), ("from the first", 1));
}

#[tokio::test]
async fn a_repair_is_not_sent_when_the_result_has_come_meanwhile() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let _agent = Running::start(world.settings(Role::Checker, &provider, "one"), Box::new(Shaped::new()));
    let job = second_attempt(&world, Job::solve("r1", "2+2?")).await;
    world.publish(&job).await;
    provider.until_asked(1).await;
    first_answers(&world, &job).await;
    // What comes from behind the gate is no object, and would be repaired.
    provider.open_gate();
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1);
}

/// A spool's file with the answer to this job, written by an agent that could bring it to no server.
async fn answer_left_behind(job: &Job, aside: &Path) -> PathBuf {
    let mut world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = world.settings(Role::Learner, &provider, "spool");
    let _agent = Running::start(settings.clone(), Box::new(Plain));
    world.publish(job).await;
    provider.until_asked(1).await;
    world.nats.kill().await.unwrap();
    provider.open_gate();
    let file = eventually("an answer in the spool", || async { whole_file(&settings.spool_dir) }).await;
    std::fs::rename(&file, aside).unwrap();
    file.file_name().unwrap().into()
}

#[tokio::test]
async fn a_retry_is_not_sent_when_the_answer_lies_in_the_spool_meanwhile() {
    let world = World::start().await;
    let first = Job::answer("r1", "2+2?");
    let aside = world.folder.path().join("aside");
    let name = answer_left_behind(&first, &aside).await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = trying_again(world.settings(Role::Learner, &provider, "spool"));
    let spool = settings.spool_dir.join("learner");
    let _agent = Running::start(settings, Box::new(Plain));
    let job = second_attempt(&world, first).await;
    world.publish(&job).await;
    provider.until_asked(1).await;
    std::fs::rename(&aside, spool.join(name)).unwrap();
    refuse(&provider);
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1);
    let result = world.result(&job).await;
    let text = result.finding.unwrap();
    assert_eq!((said(&text), result.attempt), ("from behind the gate", 1));
}

#[tokio::test]
async fn a_retry_is_not_sent_when_the_same_request_was_answered_for_another_job() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = trying_again(world.settings(Role::Learner, &provider, "one"));
    let _agent = Running::start(settings, Box::new(Plain));
    let waits = Job::answer("r1", "2+2?");
    world.publish(&waits).await;
    provider.until_asked(1).await;
    provider.set(Mode::Say("four".into()));
    let other = Job::answer("r2", "2+2?");
    world.publish(&other).await;
    assert_eq!(said(&world.result(&other).await.finding.unwrap()), "four");
    refuse(&provider);
    let result = world.result(&waits).await;
    assert_eq!(said(&result.finding.unwrap()), "four");
    assert!(result.usage.from_store && result.usage.calls == 0, "{:?}", result.usage);
    assert_eq!(provider.calls(), 2, "one refused, one answered");
}
