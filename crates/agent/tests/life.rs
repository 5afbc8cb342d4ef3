//! An agent's life, over a real nats-server and a real HTTP provider: it joins when it can, changes its model while it runs, waits out an
//! outage of its provider, and leaves without losing anything.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test may fail it"
)]

mod support;

use prost::Message as _;
use sipdo_agent::{AgentError, Patience, serve};
use sipdo_domain::{Reason, Role};
use sipdo_protocol::pb;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Job, Mode, Plain, Provider, Running, World, eventually, settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Status and body of a health page.
async fn page(port_file: &Path, path: &str) -> Option<(u16, String)> {
    let port = std::fs::read_to_string(port_file).ok()?;
    let mut stream = tokio::net::TcpStream::connect(format!("127.0.0.1:{}", port.trim()))
        .await
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split("\r\n\r\n").nth(1)?.trim().to_owned()))
}

async fn until_page(port_file: &Path, path: &str, status: u16, body: &str) {
    eventually(&format!("{path} to say {body}"), || async {
        (page(port_file, path).await? == (status, body.to_owned())).then_some(())
    })
    .await;
}

fn choice(endpoint: &str, model: &str) -> Vec<u8> {
    pb::ModelChoice {
        endpoint: endpoint.into(),
        model: model.into(),
        ..pb::ModelChoice::default()
    }
    .encode_to_vec()
}

#[tokio::test]
async fn a_model_set_in_the_registry_does_the_next_job() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let ask = async |input: &str| {
        let job = Job::answer("r1", input);
        world.publish(&job).await;
        world.result(&job).await.by.model
    };
    assert_eq!(ask("1").await, "small");
    let card_says = async |model: &str| {
        eventually(&format!("the card to say {model}"), || async {
            world.cards().await.iter().any(|card| card.model == model).then_some(())
        })
        .await;
    };
    world.bus.models().put("learner", choice("", "large")).await.unwrap();
    card_says("large").await;
    assert_eq!(ask("2").await, "large");
    world
        .bus
        .models()
        .put("r1.learner", choice("main", "just-here"))
        .await
        .unwrap();
    // The watch brings it in its own time; until then a job is done by the role's model.
    for input in 3.. {
        match ask(&input.to_string()).await.as_str() {
            "just-here" => break,
            model => assert!(model == "large" && input < 1000, "{model} did job {input}"),
        }
    }
    world.bus.models().remove("learner").await.unwrap();
    card_says("small").await;
    assert_eq!(provider.asked()[0]["model"], "small");
}

#[tokio::test]
async fn a_drained_agent_finishes_what_it_has_and_leaves_the_rest() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let port_file = world.folder.path().join("port");
    let mut settings = world.settings(Role::Learner, &provider, "one");
    (settings.slots, settings.admin_port_file) = (1, Some(port_file.clone()));
    let mut agent = Running::start(settings, Box::new(Plain));
    until_page(&port_file, "/readyz", 200, "ready").await;
    let (first, second) = (Job::answer("r1", "1"), Job::answer("r1", "2"));
    world.publish(&first).await;
    provider.until_asked(1).await;
    world.publish(&second).await;

    agent.terminate();
    until_page(&port_file, "/readyz", 503, "draining").await;
    until_page(&port_file, "/livez", 200, "alive").await;
    provider.open_gate();
    agent.ended().await.unwrap();
    assert!(world.result_now(&first).await.is_some(), "what was in hand is finished");
    assert!(world.result_now(&second).await.is_none());
    assert_eq!(provider.calls(), 1);

    let _next = Running::start(world.settings(Role::Learner, &provider, "two"), Box::new(Plain));
    world.result(&second).await;
    world.until_done(&second, 1).await;
}

#[tokio::test]
async fn when_the_grace_runs_out_the_job_is_handed_back_at_once() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let mut settings = world.settings(Role::Learner, &provider, "one");
    settings.grace = Duration::from_millis(100);
    let mut agent = Running::start(settings, Box::new(Plain));
    let job = Job::answer("r1", "1");
    world.publish(&job).await;
    provider.until_asked(1).await;
    agent.terminate();
    agent.ended().await.unwrap();
    let _next = Running::start(world.settings(Role::Learner, &provider, "two"), Box::new(Plain));
    assert_eq!(world.lost(&job).await.attempt, 1, "its call may have been paid for");
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn an_agent_may_start_before_its_server() {
    let provider = Provider::start(Mode::Say("four".into())).await;
    let mut world = World::start().await;
    world.nats.kill().await.unwrap();
    let port_file = world.folder.path().join("port");
    let mut settings = world.settings(Role::Learner, &provider, "one");
    settings.admin_port_file = Some(port_file.clone());
    let _agent = Running::start(settings, Box::new(Plain));
    until_page(&port_file, "/readyz", 503, "joining").await;
    until_page(&port_file, "/livez", 200, "alive").await;
    world.nats.start_again().await.unwrap();
    until_page(&port_file, "/readyz", 200, "ready").await;
    let job = Job::answer("r1", "1");
    world.publish(&job).await;
    assert!(world.result(&job).await.finding.is_ok());
    world.nats.kill().await.unwrap();
    until_page(&port_file, "/readyz", 503, "not connected to NATS").await;
    world.nats.start_again().await.unwrap();
    until_page(&port_file, "/readyz", 200, "ready").await;
}

#[tokio::test]
async fn an_agent_that_waits_for_its_server_stops_when_it_is_told_to() {
    let provider = Provider::start(Mode::Say("four".into())).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings("nats://127.0.0.1:9", folder.path(), Role::Learner, &provider.url);
    let mut agent = Running::start(settings, Box::new(Plain));
    agent.terminate();
    agent.ended().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_refuses_everybody_does_not_burn_the_queue() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Status(401)).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let jobs: Vec<_> = (0..30).map(|number| Job::answer("r1", &number.to_string())).collect();
    for job in &jobs {
        world.publish(job).await;
    }
    let trouble = eventually("trouble in the card", || async {
        world
            .cards()
            .await
            .into_iter()
            .map(|card| card.trouble)
            .find(|trouble| !trouble.is_empty())
    })
    .await;
    assert!(trouble.contains("not authorized"), "{trouble}");
    // What is in flight may still come at once; then one at a time tries again, after pauses of 100 ms and more.
    let (asked, clock) = (provider.calls(), Instant::now());
    provider.until_asked(asked + 7).await;
    assert!(clock.elapsed() >= Duration::from_millis(300), "{:?}", clock.elapsed());

    provider.set(Mode::Say("four".into()));
    let mut lost = 0;
    for job in &jobs {
        match world.result(job).await.finding {
            Ok(_) => {}
            Err(why) => {
                assert_eq!(why.reason, Reason::Misconfigured);
                lost += 1;
            }
        }
    }
    assert!(lost < 4, "{lost} of 30 jobs were burned; there are 4 slots");
    eventually("the card to be well", || async {
        world
            .cards()
            .await
            .iter()
            .all(|card| card.trouble.is_empty())
            .then_some(())
    })
    .await;
    assert!(
        world
            .cards()
            .await
            .iter()
            .all(|card| card.done == 30 && card.busy == 0 && card.slots == 4)
    );
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_found_before_anything_is_bound() {
    let provider = Provider::start(Mode::Say("four".into())).await;
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("port");
    let mut wrong = settings("nats://127.0.0.1:9", folder.path(), Role::Learner, &provider.url);
    wrong.admin_port_file = Some(port_file.clone());
    wrong.endpoints.get_mut("main").unwrap().api_key_env = Some("SIPDO_TEST_NO_SUCH_KEY".into());
    let error = serve(wrong, Box::new(Plain), Patience::default(), std::future::pending())
        .await
        .unwrap_err();
    assert!(
        matches!(error, AgentError::Settings(_)) && error.to_string().contains("SIPDO_TEST_NO_SUCH_KEY"),
        "{error}"
    );
    assert!(!port_file.exists());

    let mut wrong = settings("nats://127.0.0.1:9", folder.path(), Role::Learner, &provider.url);
    std::fs::write(folder.path().join("file"), "").unwrap();
    wrong.spool_dir = folder.path().join("file");
    let error = serve(wrong, Box::new(Plain), Patience::default(), std::future::pending())
        .await
        .unwrap_err();
    assert!(
        matches!(error, AgentError::Spool { .. }) && error.to_string().contains("--spool-dir"),
        "{error}"
    );
}
