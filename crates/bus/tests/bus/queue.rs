//! Jobs: one per free slot, again after a death, back by hand, dead with a reason, never more than the window.

use std::collections::BTreeSet;
use std::time::Duration;

use sipdo_bus::{Bus, BusSettings, Delivery, JobQueue, Published};
use tokio::time::{Instant, timeout};

use crate::kit::{self, ACK_WAIT, PATIENCE, bus, job, job_id, publish, role, run, text};

/// Long enough that a job which is going to come has come.
const A_WHILE: Duration = Duration::from_millis(250);
/// How long a server hangs.
const HANG: Duration = Duration::from_millis(250);

async fn next(queue: &mut JobQueue) -> Delivery {
    kit::soon("a job", queue.next()).await.unwrap()
}

#[tokio::test]
async fn a_job_comes_with_everything_it_was_published_with() {
    let (_server, bus) = bus().await;
    let mut sent = job(&run("r"), 1);
    (sent.attempt, sent.epoch) = (3, 7);
    sent.message = text("what is asked").with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(publish(&bus, sent.clone()).await, Published::Queued);
    assert_eq!(publish(&bus, sent.clone()).await, Published::Repeated);
    sent.repeat = 1;
    assert_eq!(publish(&bus, sent).await, Published::Queued);

    let mut queue = JobQueue::join(&bus, &role(), 1).await.unwrap();
    let got = next(&mut queue).await;
    assert_eq!(
        (got.run.as_str(), got.role(), &got.payload[..], got.delivered),
        ("r", &role(), &b"what is asked"[..], 1)
    );
    let numbers = ["Sipdo-Attempt", "Sipdo-Epoch"].map(|name| got.headers.number(name));
    assert_eq!(numbers, [Some(3), Some(7)]);
    assert_eq!(got.headers.get("Sipdo-Job"), Some(job_id(1).as_str()));
    assert!(
        got.headers
            .get("traceparent")
            .unwrap()
            .contains("0af7651916cd43dd8448eb211c80319c")
    );
    got.ack_confirmed().await.unwrap();
    next(&mut queue).await.ack().await.unwrap();
    assert!(timeout(A_WHILE, queue.next()).await.is_err(), "both are done");
}

#[tokio::test]
async fn no_job_is_taken_without_a_free_slot() {
    let (server, bus) = bus().await;
    for n in 0..5 {
        publish(&bus, job(&run("r"), n)).await;
    }
    let mut busy = JobQueue::join(&bus, &role(), 2).await.unwrap();
    let held = [next(&mut busy).await, next(&mut busy).await];
    assert!(timeout(A_WHILE, busy.next()).await.is_err(), "two slots, two jobs");
    // What the busy agent has not taken is there for another at once.
    let mut other = JobQueue::join(&kit::connect(&server).await, &role(), 8).await.unwrap();
    let mut seen: BTreeSet<_> = held.iter().map(|job| job.payload.clone()).collect();
    for _ in 0..3 {
        seen.insert(next(&mut other).await.payload.clone());
    }
    assert_eq!(seen.len(), 5, "each job to one agent: {seen:?}");
}

#[tokio::test]
async fn a_job_in_work_stays_here_and_one_dropped_comes_again() {
    let (_server, bus) = bus().await;
    publish(&bus, job(&run("r"), 1)).await;
    let mut queue = JobQueue::join(&bus, &role(), 2).await.unwrap();
    let held = next(&mut queue).await;
    assert!(
        timeout(ACK_WAIT * 3, queue.next()).await.is_err(),
        "worked on three times as long as the server waits"
    );
    let dropped = Instant::now();
    drop(held);
    let again = next(&mut queue).await;
    assert_eq!((again.delivered, &again.payload[..]), (2, &b"payload 1"[..]));
    assert!(
        dropped.elapsed() >= ACK_WAIT / 2,
        "not at once, or a job that panics would spin: {:?}",
        dropped.elapsed()
    );
    again.ack_confirmed().await.unwrap();
}

#[tokio::test]
async fn a_job_is_kept_and_delivered_again_for_as_long_as_it_takes() {
    let (server, bus) = bus().await;
    let _queue = JobQueue::join(&bus, &role(), 1).await.unwrap();
    let client = async_nats::connect(server.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut jobs = jetstream.get_stream("SIPDO_JOB").await.unwrap();
    let kept = jobs.info().await.unwrap().config.clone();
    assert_eq!(
        (kept.max_age, kept.max_messages, kept.max_bytes),
        (Duration::ZERO, -1, -1)
    );
    let consumer = jobs.consumer_info(role().as_str()).await.unwrap().config;
    assert_eq!(
        (consumer.max_deliver, consumer.inactive_threshold),
        (-1, Duration::ZERO)
    );
}

#[tokio::test]
async fn a_job_handed_back_comes_again_after_its_delay() {
    let (_server, bus) = kit::patient_bus(PATIENCE).await;
    publish(&bus, job(&run("r"), 1)).await;
    let mut queue = JobQueue::join(&bus, &role(), 1).await.unwrap();
    let start = Instant::now();
    next(&mut queue)
        .await
        .hand_back(Duration::from_millis(300))
        .await
        .unwrap();
    let again = next(&mut queue).await;
    assert_eq!(again.delivered, 2);
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
    again.hand_back(Duration::ZERO).await.unwrap();
    let at_once = Instant::now();
    assert_eq!(next(&mut queue).await.delivered, 3);
    assert!(at_once.elapsed() < PATIENCE / 2, "{:?}", at_once.elapsed());
}

#[tokio::test]
async fn the_window_is_held_by_the_server_for_each_run_alone() {
    let server = kit::server().await;
    let bus = Bus::connect(BusSettings {
        window_per_run: 3,
        ..kit::settings(&server)
    })
    .await
    .unwrap();
    bus.ensure_streams().await.unwrap();
    let big = run("big");
    for n in 0..3 {
        assert_eq!(publish(&bus, job(&big, n)).await, Published::Queued);
    }
    assert_eq!(publish(&bus, job(&big, 3)).await, Published::WindowFull);
    assert_eq!(publish(&bus, job(&run("small"), 0)).await, Published::Queued);

    let mut queue = JobQueue::join(&bus, &role(), 1).await.unwrap();
    next(&mut queue).await.ack_confirmed().await.unwrap();
    // The very job that was refused is not taken for a repetition of itself.
    kit::until("room in the window", async || {
        publish(&bus, job(&big, 3)).await == Published::Queued
    })
    .await;

    assert_eq!(bus.purge_jobs(&big).await.unwrap(), 3);
    // The one that was on its way already still comes; the others do not.
    let mut left = vec![next(&mut queue).await.run.clone()];
    if left[0] == big {
        left.push(next(&mut queue).await.run.clone());
    }
    assert_eq!(left.last(), Some(&run("small")));
}

#[tokio::test]
async fn a_poison_job_is_kept_with_its_reason_and_gone_from_the_queue() {
    let (_server, bus) = bus().await;
    publish(&bus, job(&run("r"), 1)).await;
    let mut queue = JobQueue::join(&bus, &role(), 1).await.unwrap();
    next(&mut queue)
        .await
        .dead_letter("cannot be decoded:\nunknown wire type")
        .await
        .unwrap();
    assert!(
        timeout(ACK_WAIT * 2, queue.next()).await.is_err(),
        "it never comes again"
    );

    let dead = bus.dead_letters(None, 10).await.unwrap().0;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].role.as_str(), dead[0].run.as_str()), ("learner", "r"));
    assert_eq!(dead[0].reason, "cannot be decoded: unknown wire type");
    assert_eq!(
        (dead[0].subject.as_str(), dead[0].delivered),
        ("sipdo.v1.job.learner.r", 1)
    );
    assert_eq!(
        (&dead[0].payload[..], dead[0].headers.get("Sipdo-Job")),
        (&b"payload 1"[..], Some("job-1"))
    );
}

#[tokio::test]
async fn the_last_dead_letters_are_listed() {
    let (_server, bus) = bus().await;
    assert!(bus.dead_letters(None, 3).await.unwrap().0.is_empty());
    for n in 1..=5 {
        let origin = ("sipdo.v1.run.r.log", n);
        bus.keep_dead_letter(&role(), &run("r"), text("x"), origin, 1, &format!("reason {n}"))
            .await
            .unwrap();
        bus.keep_dead_letter(&role(), &run("r"), text("x"), origin, 2, "the same again")
            .await
            .unwrap();
    }
    let reasons: Vec<_> = bus
        .dead_letters(None, 3)
        .await
        .unwrap()
        .0
        .into_iter()
        .map(|letter| letter.reason)
        .collect();
    assert_eq!(reasons, ["reason 3", "reason 4", "reason 5"]);
}

#[tokio::test]
async fn a_drained_queue_hands_back_what_it_had_not_begun() {
    const ACK_WAIT: Duration = Duration::from_secs(2);
    let (server, bus) = kit::patient_bus(ACK_WAIT).await;
    for n in 0..4 {
        publish(&bus, job(&run("r"), n)).await;
    }
    let mut leaving = JobQueue::join(&bus, &role(), 4).await.unwrap();
    let begun = next(&mut leaving).await;
    leaving.drain().await;
    assert!(leaving.next().await.is_none());
    let other = kit::patient(&server, ACK_WAIT).await;
    let mut staying = JobQueue::join(&other, &role(), 4).await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let job = next(&mut staying).await;
        assert_ne!(job.payload, begun.payload, "the job that was begun stays where it is");
        job.ack_confirmed().await.unwrap();
    }
    assert!(start.elapsed() < ACK_WAIT, "handed back at once: {:?}", start.elapsed());
    assert!(
        timeout(ACK_WAIT * 2, staying.next()).await.is_err(),
        "work goes on after draining"
    );
    begun.ack_confirmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_are_done_over_killed_and_paused_servers() {
    let (mut server, bus) = bus().await;
    let run = run("r");
    let jobs = 240;
    let mut queue = JobQueue::join(&bus, &role(), 16).await.unwrap();
    let worker_bus = bus.clone();
    let worker = tokio::spawn(async move {
        let mut done = BTreeSet::new();
        while done.len() < jobs {
            let job = kit::soon("a job", queue.next()).await.unwrap();
            done.insert(job.payload.clone());
            let id = sipdo_bus::JobId::new(job.headers.get("Sipdo-Job").unwrap()).unwrap();
            worker_bus
                .create_result(&job.run, job.role(), &id, text("done"))
                .await
                .unwrap();
            job.ack().await.unwrap();
        }
        done.len()
    });
    for n in 0..jobs {
        loop {
            // A publish without an answer is simply sent again.
            match bus.publish_job(job(&run, n)).await.unwrap().settled().await {
                Ok(Published::Queued | Published::Repeated) => break,
                Ok(Published::WindowFull) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        match n {
            60 => {
                server.nats.kill().await.unwrap();
                server.nats.start_again().await.unwrap();
            }
            140 => {
                server.nats.pause().await.unwrap();
                tokio::time::sleep(HANG).await;
                server.nats.resume().await.unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(kit::soon("all jobs", worker).await.unwrap(), jobs);
}
