//! The fence, appends whose answer got lost, and things created once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sipdo_bus::{AppendError, Bus, BusError, BusSettings, CreateRunError, Created, Journal};

use crate::kit::{self, bus, job_id, role, run, text};

/// How long a server hangs, so that one try of an append runs out of time, whatever became of it.
const HANG: Duration = Duration::from_millis(2700);
/// How often a server is killed while many write.
const KILLS: usize = 3;

#[tokio::test]
async fn of_two_leaders_one_is_fenced() {
    let (server, one) = bus().await;
    let two = kit::connect(&server).await;
    let run = run("r");
    let first = one.create_run(&run, text("created")).await.unwrap();
    let (old, new) = (Journal::open(&one, &run), Journal::open(&two, &run));
    let mut last = old.append(text("claimed 1"), "claim.1", first).await.unwrap();
    // Other messages of the run come in between, and do not disturb.
    one.create_result(&run, &role(), &job_id(1), text("result"))
        .await
        .unwrap();
    last = old.append(text("issued"), "1.1", last).await.unwrap();

    let claimed = new.append(text("claimed 2"), "claim.2", last).await.unwrap();
    let error = old.append(text("issued more"), "1.2", last).await.unwrap_err();
    assert!(
        matches!(error, AppendError::Fenced { last, .. } if last == claimed),
        "{error}"
    );
    let end = new.last().await.unwrap().unwrap();
    assert_eq!((end.seq, &end.payload[..]), (claimed, &b"claimed 2"[..]));
}

#[tokio::test]
async fn a_race_of_many_writers_makes_one_chain() {
    let (mut server, bus) = bus().await;
    let run = run("race");
    bus.create_run(&run, text("0")).await.unwrap();
    let settings = kit::settings(&server);
    let killed = AtomicUsize::new(0);
    let writers = (0..8).map(async |writer| {
        let bus = Bus::connect(settings.clone()).await.unwrap();
        let journal = Journal::open(&bus, &run);
        let mut won = Vec::new();
        for n in 0.. {
            // A server that is away cannot be asked.
            let Ok(Some(last)) = journal.last().await else { continue };
            let last = last.seq;
            match journal
                .append(text(&last.to_string()), &format!("{writer}.{n}"), last)
                .await
            {
                Ok(seq) => won.push((last, seq)),
                Err(AppendError::Fenced { last: now, .. }) => assert!(now > last),
                Err(error) => panic!("{error}"),
            }
            if won.len() >= 5 && killed.load(Ordering::Relaxed) == KILLS {
                break;
            }
        }
        won
    });
    // Meanwhile the server is killed, again and again; until then they do not end.
    let journal = Journal::open(&bus, &run);
    let killing = async {
        for kills in 1..=KILLS {
            let there = async || matches!(journal.last().await, Ok(Some(last)) if last.seq > 8 * kills as u64);
            kit::until("so many entries", there).await;
            server.nats.kill().await.unwrap();
            server.nats.start_again().await.unwrap();
            killed.store(kills, Ordering::Relaxed);
        }
    };
    let (chain, ()) = futures::join!(futures::future::join_all(writers), killing);
    let mut chain: Vec<_> = chain.concat();
    chain.sort_unstable();
    assert!(chain.len() >= 40);
    assert_eq!(chain.len() as u64 + 1, journal.last().await.unwrap().unwrap().seq);
    for pair in chain.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "each entry follows the one before: {chain:?}");
    }
}

#[tokio::test]
async fn an_append_whose_answer_got_lost_is_settled_by_reading() {
    let (mut server, bus) = bus().await;
    let run = run("r");
    let first = bus.create_run(&run, text("created")).await.unwrap();
    let journal = Journal::open(&bus, &run);

    // The server stops in the middle: the append is sent, and nobody answers until the server has died and come back.
    server.nats.pause().await.unwrap();
    let appending = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(text("claimed"), "claim.1", first).await }
    });
    tokio::time::sleep(HANG).await;
    server.nats.kill().await.unwrap();
    server.nats.start_again().await.unwrap();
    let seq = kit::soon("the append", appending).await.unwrap().unwrap();
    let end = journal.last().await.unwrap().unwrap();
    assert_eq!((end.seq, &end.payload[..]), (seq, &b"claimed"[..]));
}

#[tokio::test]
async fn the_same_append_again_is_recognised_and_an_id_used_twice_is_a_mistake() {
    let (_server, bus) = bus().await;
    let run = run("r");
    let first = bus.create_run(&run, text("created")).await.unwrap();
    let journal = Journal::open(&bus, &run);
    let seq = journal.append(text("claimed"), "claim.1", first).await.unwrap();
    // As after a crash between sending and hearing: the very same append is not a second entry.
    assert_eq!(journal.append(text("claimed"), "claim.1", first).await.unwrap(), seq);
    let error = journal
        .append(text("something else"), "claim.1", seq)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppendError::IdUsed { seq: used, .. } if used == seq),
        "{error}"
    );
    // Another run may use the same id.
    let other = kit::run("other");
    let first = bus.create_run(&other, text("created")).await.unwrap();
    Journal::open(&bus, &other)
        .append(text("claimed"), "claim.1", first)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_append_that_nobody_answers_is_told_to_be_unsettled() {
    let (server, _) = bus().await;
    let settings = BusSettings {
        settle_within: Duration::from_millis(100),
        ..kit::settings(&server)
    };
    let impatient = Bus::connect(settings).await.unwrap();
    server.nats.pause().await.unwrap();
    let error = Journal::open(&impatient, &run("r"))
        .append(text("x"), "1", 0)
        .await
        .unwrap_err();
    server.nats.resume().await.unwrap();
    assert!(matches!(error, AppendError::Bus(BusError::Unsettled { .. })), "{error}");
}

#[tokio::test]
async fn a_run_is_created_once_and_tells_who_was_first() {
    let (_server, bus) = bus().await;
    bus.create_run(&run("r"), text("task A")).await.unwrap();
    match bus.create_run(&run("r"), text("task B")).await {
        Err(CreateRunError::Exists { first, .. }) => assert_eq!(&first.payload[..], b"task A"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn results_and_rights_to_buy_are_created_once() {
    let (server, one) = bus().await;
    let two = kit::connect(&server).await;
    let (run, role, job) = (run("r"), role(), job_id(7));
    assert!(one.attempt(&run, &role, &job, 1).await.unwrap().is_none());
    let rights = futures::join!(
        one.create_attempt(&run, &role, &job, 1, text("one")),
        two.create_attempt(&run, &role, &job, 1, text("two")),
    );
    let (first, second) = (rights.0.unwrap(), rights.1.unwrap());
    assert_ne!(
        first.is_new(),
        second.is_new(),
        "exactly one may buy: {first:?} {second:?}"
    );
    let owner = one.attempt(&run, &role, &job, 1).await.unwrap().unwrap();
    assert_eq!(
        &owner.payload[..],
        if first.is_new() { &b"one"[..] } else { &b"two"[..] }
    );
    assert!(
        one.create_attempt(&run, &role, &job, 2, text("one"))
            .await
            .unwrap()
            .is_new()
    );

    assert!(one.result(&run, &role, &job).await.unwrap().is_none());
    assert!(
        one.create_lost(&run, &role, &job, 1, text("gone"))
            .await
            .unwrap()
            .is_new()
    );
    assert!(two.create_result(&run, &role, &job, text("42")).await.unwrap().is_new());
    assert_eq!(
        one.create_result(&run, &role, &job, text("43")).await.unwrap(),
        Created::Exists
    );
    assert_eq!(
        &one.result(&run, &role, &job).await.unwrap().unwrap().payload[..],
        b"42"
    );
}

#[tokio::test]
async fn all_runs_are_listed_by_their_last_entry() {
    let (_server, bus) = bus().await;
    assert!(bus.list_runs().await.unwrap().is_empty());
    for n in 0..5 {
        let run = run(&format!("run-{n}"));
        let first = bus.create_run(&run, text("created")).await.unwrap();
        Journal::open(&bus, &run)
            .append(text(&format!("end {n}")), "1", first)
            .await
            .unwrap();
        bus.control(&run, text("not a log entry"), "1").await.unwrap();
    }
    let listed = bus.list_runs().await.unwrap();
    let told: Vec<_> = listed
        .iter()
        .map(|(run, last)| format!("{run}: {}", String::from_utf8_lossy(&last.payload)))
        .collect();
    assert_eq!(
        told,
        [
            "run-0: end 0",
            "run-1: end 1",
            "run-2: end 2",
            "run-3: end 3",
            "run-4: end 4"
        ]
    );
    assert_eq!(
        &bus.first_log(&run("run-3")).await.unwrap().unwrap().payload[..],
        b"created"
    );
    assert_eq!(
        &bus.last_log(&run("run-3")).await.unwrap().unwrap().payload[..],
        b"end 3"
    );
    assert!(bus.last_log(&run("nowhere")).await.unwrap().is_none());
}
