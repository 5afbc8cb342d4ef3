//! Buying, over a real nats-server and a real HTTP provider: whatever step an agent dies at, what is paid for is not lost and not paid
//! for twice. The provider counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test may fail it"
)]

mod support;

use prost::Message as _;
use serde_json::json;
use sipdo_bus::{NewMessage, RunId};
use sipdo_domain::{Reason, Reply, Role};
use sipdo_protocol::pb;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{ACK_WAIT, Job, Mode, Plain, Provider, Running, Shaped, World, eventually};

fn said(reply: &Reply) -> &str {
    match reply {
        Reply::Answer(answer) => &answer.text,
        Reply::Solution(solution) => &solution.answer,
        other => panic!("{other:?}"),
    }
}

/// A whole answer in the learners' spool.
fn spooled(spool_dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(spool_dir.join("learner")).ok()?.flatten();
    let mut answers = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|e| e == "result"));
    answers.next()
}

async fn until_spooled(spool_dir: &Path) {
    eventually("an answer in the spool", || async { spooled(spool_dir) }).await;
}

#[tokio::test]
async fn a_job_is_bought_once_however_often_it_comes() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _one = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let _two = Running::start(world.settings(Role::Learner, &provider, "two"), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    for repeat in 0..5 {
        world.publish(&Job { repeat, ..job.clone() }).await;
    }
    let result = world.result(&job).await;
    assert_eq!(said(&result.finding.unwrap()), "four");
    assert_eq!(
        (
            result.usage.calls,
            result.usage.input_tokens,
            result.usage.output_tokens
        ),
        (1, 20, 4)
    );
    assert_eq!(result.usage.nano_usd, Some(20 * 1_000 + 4 * 10_000));
    assert_eq!(
        (
            result.by.endpoint.as_str(),
            result.by.model.as_str(),
            result.by.revision.as_str()
        ),
        ("main", "small", "small")
    );
    assert!(result.by.agent.starts_with("learner-"));
    world.until_done(&job, 5).await;
    assert_eq!(provider.calls(), 1);
    assert_eq!(provider.asked()[0]["messages"][1]["content"], "2+2?");
}

#[tokio::test]
async fn a_call_in_flight_in_a_killed_agent_is_reported_lost_and_bought_again_only_by_order() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let first = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    provider.until_asked(1).await;
    first.kill().await;

    provider.set(Mode::Say("four".into()));
    let _second = Running::start(world.settings(Role::Learner, &provider, "two"), Box::new(Plain));
    let lost = world.lost(&job).await;
    assert_eq!((lost.attempt, lost.job), (1, job.id()));
    assert_ne!(lost.owner, lost.noticed_by);
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1, "a redelivery never buys by itself");
    assert!(world.result_now(&job).await.is_none());

    world
        .publish(&Job {
            attempt: 2,
            ..job.clone()
        })
        .await;
    let result = world.result(&job).await;
    assert_eq!((said(&result.finding.unwrap()), result.attempt), ("four", 2));
    assert_eq!(provider.calls(), 2);
}

#[tokio::test]
async fn what_a_killed_agent_has_in_its_spool_is_brought_by_the_next() {
    let mut world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = world.settings(Role::Learner, &provider, "spool");
    let first = Running::start(settings.clone(), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    provider.until_asked(1).await;

    world.nats.kill().await.unwrap();
    provider.open_gate();
    until_spooled(&settings.spool_dir).await;
    first.kill().await;
    world.nats.start_again().await.unwrap();

    let _second = Running::start(settings.clone(), Box::new(Plain));
    let result = world.result(&job).await;
    assert_eq!(said(&result.finding.unwrap()), "from behind the gate");
    assert_eq!(
        (result.attempt, result.usage.calls),
        (1, 1),
        "it is still to be paid for"
    );
    eventually("an empty spool", || async {
        spooled(&settings.spool_dir).is_none().then_some(())
    })
    .await;
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn what_a_killed_agent_has_in_its_spool_is_brought_by_a_living_neighbour() {
    let mut world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let settings = world.settings(Role::Learner, &provider, "spool");
    let first = Running::start(settings.clone(), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    provider.until_asked(1).await;
    let _neighbour = Running::start(settings.clone(), Box::new(Plain));
    eventually("the neighbour", || async {
        (world.cards().await.len() == 2).then_some(())
    })
    .await;

    world.nats.kill().await.unwrap();
    provider.open_gate();
    until_spooled(&settings.spool_dir).await;
    first.kill().await;
    world.nats.start_again().await.unwrap();
    let result = world.result(&job).await;
    assert_eq!(said(&result.finding.unwrap()), "from behind the gate");
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn an_answer_that_got_as_far_as_the_store_is_published_with_its_cost() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let bought = Job::answer("r1", "2+2?");
    world.publish(&bought).await;
    world.result(&bought).await;

    // Another run's job with the same request; its owner died between the store and the result.
    let job = Job::answer("r2", "2+2?");
    let completions = eventually("the stored completion", || async {
        let all = world.bus.completions().list().await.unwrap();
        (!all.is_empty()).then_some(all)
    })
    .await;
    let (key, entry) = completions.into_iter().next().unwrap();
    let stored = pb::JobResult::decode(entry.value).unwrap();
    let own = pb::JobResult {
        run: job.run.clone(),
        job: job.id(),
        ..stored
    };
    world.bus.completions().put(&key, own.encode_to_vec()).await.unwrap();
    world.attempt_by_the_dead(&job).await;
    world.publish(&job).await;

    let result = world.result(&job).await;
    assert_eq!(said(&result.finding.unwrap()), "four");
    assert_eq!(
        (result.usage.calls, result.usage.from_store),
        (1, false),
        "the run has not paid for it yet"
    );
    world.until_done(&job, 2).await;
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn a_job_with_a_result_is_only_acknowledged() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let job = Job::answer("r1", "2+2?");
    world.attempt_by_the_dead(&job).await;
    let (run, role, id) = job.place();
    let there = pb::JobResult {
        run: job.run.clone(),
        job: job.id(),
        attempt: 1,
        ..pb::JobResult::default()
    };
    world
        .bus
        .create_result(&run, &role, &id, NewMessage::encode(&there, "result.v1"))
        .await
        .unwrap();
    world.publish(&job).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    world.until_done(&job, 1).await;
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn the_same_request_of_another_run_costs_nothing_where_chance_does_not_count() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say(json!({"answer": "four"}).to_string())).await;
    let _learner = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let _checker = Running::start(world.settings(Role::Checker, &provider, "one"), Box::new(Shaped::new()));
    for job in [Job::answer("r1", "2+2?"), Job::solve("r1", "2+2?")] {
        world.publish(&job).await;
        world.result(&job).await;
    }
    let bought = provider.calls();
    assert_eq!(bought, 2);
    eventually("both stored", || async {
        (world.bus.completions().list().await.unwrap().len() == 2).then_some(())
    })
    .await;

    let cold = Job {
        seed: 8,
        ..Job::answer("r2", "2+2?")
    };
    world.publish(&cold).await;
    let result = world.result(&cold).await;
    assert!(
        result.usage.from_store && result.usage.calls == 0 && result.usage.nano_usd == Some(0),
        "{:?}",
        result.usage
    );
    assert!(result.finding.is_ok() && result.run == "r2");
    assert_eq!(provider.calls(), bought);

    let warm = Job {
        seed: 8,
        ..Job::solve("r2", "2+2?")
    };
    world.publish(&warm).await;
    let result = world.result(&warm).await;
    assert!(
        !result.usage.from_store,
        "above temperature zero a run with another seed is no copy"
    );
    assert_eq!(provider.calls(), bought + 1);
    let seeds: Vec<_> = provider.asked().iter().map(|asked| asked["seed"].clone()).collect();
    assert_ne!(seeds[1], seeds[2]);
}

/// How long a call takes: so long that the second delivery is handed back and comes again, and that a silent agent would be given up.
const LONG_CALL: Duration = ACK_WAIT.saturating_mul(2);

#[tokio::test]
async fn a_job_that_a_living_agent_has_in_hand_is_left_to_it() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let _one = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    provider.until_asked(1).await;
    let _two = Running::start(world.settings(Role::Learner, &provider, "two"), Box::new(Plain));
    world
        .publish(&Job {
            repeat: 1,
            ..job.clone()
        })
        .await;
    tokio::time::sleep(LONG_CALL).await;
    provider.open_gate();
    assert_eq!(said(&world.result(&job).await.finding.unwrap()), "from behind the gate");
    world.until_done(&job, 2).await;
    assert_eq!(provider.calls(), 1);
}

#[tokio::test]
async fn what_nobody_can_do_becomes_a_dead_letter() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let (run, role, id) = Job::answer("r1", "2+2?").place();
    let good = pb::Job {
        run: "r1".into(),
        job: "j".into(),
        attempt: 1,
        ..pb::Job::default()
    };
    let question = pb::Ask::from(Job::answer("r1", "?").ask);
    let riddle = pb::Ask::from(Job::solve("r1", "?").ask);
    let broken = [
        (
            NewMessage::new(vec![0xff; 7]).with("Sipdo-Schema", "job.v1"),
            "cannot be decoded",
        ),
        (NewMessage::encode(&good, "job.v9"), "job.v9"),
        (NewMessage::encode(&good, "job.v1"), "ask is missing"),
        (
            NewMessage::encode(
                &pb::Job {
                    ask: Some(riddle),
                    ..good.clone()
                },
                "job.v1",
            ),
            "for a checker",
        ),
        (
            NewMessage::encode(
                &pb::Job {
                    run: "r2".into(),
                    ask: Some(question.clone()),
                    ..good.clone()
                },
                "job.v1",
            ),
            "of run \"r2\"",
        ),
        (
            NewMessage::encode(
                &pb::Job {
                    job: "a.b".into(),
                    ask: Some(question),
                    ..good
                },
                "job.v1",
            ),
            "job id",
        ),
    ];
    for (repeat, (message, words)) in broken.into_iter().enumerate() {
        let (role, run, job) = (role.clone(), run.clone(), id.clone());
        let repeat = u32::try_from(repeat).unwrap();
        let job = sipdo_bus::JobMessage {
            role,
            suspect: false,
            run,
            job,
            attempt: 1,
            epoch: 1,
            repeat,
            message,
        };
        world.bus.publish_job(job).await.unwrap().settled().await.unwrap();
        eventually(words, || async {
            let letters = world.bus.dead_letters(None, 10).await.unwrap().0;
            letters.iter().any(|letter| letter.reason.contains(words)).then_some(())
        })
        .await;
    }
    assert_eq!(
        world.bus.purge_jobs(&RunId::new("r1").unwrap()).await.unwrap(),
        0,
        "nothing blocks the queue"
    );
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn an_endpoint_that_the_agent_does_not_know_is_named_and_nothing_is_bought() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let model = Some(pb::ModelChoice {
        endpoint: "elsewhere".into(),
        ..pb::ModelChoice::default()
    });
    let job = Job {
        model,
        ..Job::answer("r1", "2+2?")
    };
    world.publish(&job).await;
    let why = world.result(&job).await.finding.unwrap_err();
    assert_eq!(why.reason, Reason::Misconfigured);
    assert!(
        why.detail.contains("\"elsewhere\"") && why.detail.contains("known: main"),
        "{why}"
    );
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn a_useless_answer_is_paid_for_and_not_measured() {
    let world = World::start().await;
    let provider = Provider::start(Mode::CutOff).await;
    let _learner = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let _checker = Running::start(world.settings(Role::Checker, &provider, "one"), Box::new(Shaped::new()));
    let cut = Job::answer("r1", "2+2?");
    world.publish(&cut).await;
    let result = world.result(&cut).await;
    assert_eq!(result.finding.unwrap_err().reason, Reason::Truncated);
    assert_eq!((result.usage.calls, result.usage.output_tokens), (1, 4));
    assert!(
        world.bus.completions().list().await.unwrap().is_empty(),
        "a failure is not kept for others"
    );

    provider.set(Mode::Say("not an object".into()));
    let malformed = Job::solve("r1", "2+2?");
    world.publish(&malformed).await;
    let result = world.result(&malformed).await;
    assert_eq!(result.finding.unwrap_err().reason, Reason::Malformed);
    assert_eq!(
        (result.usage.calls, result.usage.input_tokens),
        (3, 60),
        "the call and two repairs"
    );

    let capped = Job {
        max_calls: 1,
        ..Job::solve("r1", "3+3?")
    };
    world.publish(&capped).await;
    assert_eq!(
        world.result(&capped).await.usage.calls,
        1,
        "no repair that is not reserved"
    );
}

#[tokio::test]
async fn an_unfit_answer_is_asked_for_once_more() {
    let world = World::start().await;
    let object = |answer: &str| json!({"answer": answer}).to_string();
    let long = object("much longer than is taken");
    let provider = Provider::start(Mode::Script(vec![long.clone(), object("short")])).await;
    let _agent = Running::start(world.settings(Role::Checker, &provider, "one"), Box::new(Shaped::new()));
    let job = Job::solve("r1", "2+2?");
    world.publish(&job).await;
    let result = world.result(&job).await;
    assert_eq!((said(&result.finding.unwrap()), result.usage.calls), ("short", 2));
    let last = provider.asked()[1]["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!(last, "Shorter, please.");

    provider.set(Mode::Say(long));
    let job = Job::solve("r1", "3+3?");
    world.publish(&job).await;
    let result = world.result(&job).await;
    assert_eq!(result.finding.unwrap_err().reason, Reason::TooLarge);
    assert_eq!(result.usage.calls, 2, "once more, not for ever");
}

#[tokio::test]
async fn an_answer_that_the_bus_does_not_take_says_so_with_its_cost() {
    let world = World::with(|options| options.max_payload = 16 << 10).await;
    let provider = Provider::start(Mode::Say("x".repeat(20_000))).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    let result = world.result(&job).await;
    let why = result.finding.unwrap_err();
    assert_eq!((why.reason, result.usage.calls), (Reason::TooLarge, 1));
    assert!(why.detail.contains("bytes"), "{why}");
}

#[tokio::test]
async fn a_program_check_runs_what_the_operator_allows_and_buys_nothing() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("unused".into())).await;
    let mut settings = world.settings(Role::Checker, &provider, "one");
    let command = ["sh", "-c", "grep -q '\"target\":\"4\"' && echo right"]
        .map(str::to_owned)
        .to_vec();
    let program = sipdo_agent::settings::ProgramSettings {
        command,
        timeout_seconds: 5.0,
    };
    settings.programs.insert("arithmetic".into(), program);
    let _agent = Running::start(settings, Box::new(Shaped::new()));
    let check = |name: &str, target: &str| {
        let program = sipdo_domain::CheckRequest {
            name: name.into(),
            input: "2+2".into(),
            target: target.into(),
            pool: String::new(),
        };
        Job {
            ask: sipdo_domain::Ask::Check(program),
            ..Job::solve("r1", "")
        }
    };
    let jobs = [check("arithmetic", "4"), check("arithmetic", "5"), check("rm", "4")];
    let mut passed = Vec::new();
    for job in &jobs {
        world.publish(job).await;
        let result = world.result(job).await;
        assert_eq!(result.usage.calls, 0);
        passed.push(match result.finding {
            Ok(Reply::Check(check)) => Ok(check.passed),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why.reason),
        });
    }
    assert_eq!(passed, [Ok(true), Ok(false), Err(Reason::Misconfigured)]);
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn a_cancelled_run_is_worked_for_no_longer() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let job = Job::answer("r1", "2+2?");
    world.publish(&job).await;
    provider.until_asked(1).await;
    world.bus.broadcast_cancel(&RunId::new("r1").unwrap()).await.unwrap();
    world.until_done(&job, 1).await;
    let later = Job::answer("r1", "3+3?");
    world.publish(&later).await;
    world.until_done(&later, 2).await;
    assert_eq!(provider.calls(), 1, "nothing is bought after the cancellation");
    assert!(world.result_now(&job).await.is_none());
}

#[tokio::test]
async fn a_request_that_is_sent_twice_is_reserved_for_and_both_are_on_the_bill() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Gate).await;
    let mut settings = world.settings(Role::Learner, &provider, "one");
    for endpoint in settings.endpoints.values_mut() {
        endpoint.hedge_after_seconds = Some(0.2);
    }
    let _agent = Running::start(settings, Box::new(Plain));
    let status = eventually("its card", || async { world.cards().await.pop() }).await;
    assert_eq!(status.max_calls, 2, "an answer, and a request that nobody waits for");

    // The leader of a job that reserved for one request gets one.
    let alone = Job {
        max_calls: 1,
        ..Job::answer("r1", "1+1?")
    };
    world.publish(&alone).await;
    provider.until_asked(1).await;
    let twice = Job {
        max_calls: 2,
        ..Job::answer("r1", "2+2?")
    };
    world.publish(&twice).await;
    provider.until_asked(2).await;
    provider.set(Mode::Say("from the second request".into()));
    let result = world.result(&twice).await;
    assert_eq!(said(&result.finding.unwrap()), "from the second request");
    assert_eq!(
        (result.usage.calls, result.usage.requests, result.usage.estimated),
        (2, 2, true),
        "the other one is charged at its worst"
    );
    assert_eq!(provider.calls(), 3);
    provider.set(Mode::Gate);
    provider.open_gate();
    let result = world.result(&alone).await;
    assert_eq!(said(&result.finding.unwrap()), "from behind the gate");
    assert_eq!((result.usage.calls, result.usage.requests, provider.calls()), (1, 1, 3));
}

#[tokio::test]
async fn a_request_that_may_be_paid_for_is_repeated_within_what_is_reserved_and_charged_at_its_worst() {
    let world = World::start().await;
    // A gateway's timeout: nobody knows whether the model behind it has answered.
    let provider = Provider::start(Mode::Status(504)).await;
    let mut settings = world.settings(Role::Learner, &provider, "one");
    for endpoint in settings.endpoints.values_mut() {
        endpoint.retry.attempts = 5;
        endpoint.retry.first_delay_seconds = 0.01;
    }
    let _one = Running::start(settings, Box::new(Plain));
    let mut sent = 0;
    for reserved in [1, 2] {
        let job = Job {
            max_calls: reserved,
            ..Job::answer(&format!("r{reserved}"), "2+2?")
        };
        world.publish(&job).await;
        let result = world.result(&job).await;
        assert_eq!(result.finding.unwrap_err().reason, Reason::Unavailable);
        sent += reserved;
        assert_eq!(provider.calls(), sent as usize, "{reserved} reserved");
        let usage = result.usage;
        assert_eq!(
            (usage.calls, usage.requests, usage.estimated),
            (reserved, reserved, true)
        );
        let (input, output) = (
            "Be brief.2+2?".len() as u64,
            u64::from(sipdo_llm::ModelSettings::new("", "").max_tokens),
        );
        let times = u64::from(reserved);
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (times * input, times * output)
        );
    }
}
