//! Reading a run: replay, then the new messages, in order, without loss or repetition, whatever the server does.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sipdo_bus::{Journal, RunMessage, RunReader, RunSubject};

use crate::kit::{self, bus, job_id, role, run, text};

async fn read_until(reader: &mut RunReader, count: usize) -> Vec<RunMessage> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(
            kit::soon("messages of the run", reader.next_chunk())
                .await
                .unwrap()
                .messages,
        );
    }
    all
}

#[tokio::test]
async fn a_run_without_messages_is_caught_up_at_once() {
    let (_server, bus) = bus().await;
    let mut reader = RunReader::open(&bus, &run("new"), 0).await.unwrap();
    let chunk = kit::soon("the first chunk", reader.next_chunk()).await.unwrap();
    assert!(chunk.caught_up && chunk.messages.is_empty());
    bus.create_run(&run("new"), text("created")).await.unwrap();
    assert_eq!(read_until(&mut reader, 1).await[0].kind, RunSubject::Log);
}

#[tokio::test]
async fn every_kind_is_told_apart_and_other_runs_are_not_seen() {
    let (_server, bus) = bus().await;
    let (run, role, job) = (run("r"), role(), job_id(1));
    bus.create_run(&run, text("a")).await.unwrap();
    bus.create_run(&kit::run("other"), text("not mine")).await.unwrap();
    bus.create_lost(&run, &role, &job, 2, text("b")).await.unwrap();
    bus.create_result(&run, &role, &job, text("c").with("Sipdo-Schema", "result.v1"))
        .await
        .unwrap();
    bus.control(&run, text("d"), "1").await.unwrap();
    let mut reader = RunReader::open(&bus, &run, 0).await.unwrap();
    let all = read_until(&mut reader, 4).await;
    let kinds: Vec<_> = all.iter().map(|message| message.kind.clone()).collect();
    let lost = RunSubject::Lost {
        role: role.clone(),
        job: job.clone(),
        n: 2,
    };
    assert_eq!(
        kinds,
        [
            RunSubject::Log,
            lost,
            RunSubject::Result { role, job },
            RunSubject::Control
        ]
    );
    assert_eq!(
        all.iter()
            .flat_map(|message| message.payload.to_vec())
            .collect::<Vec<_>>(),
        b"abcd"
    );
    assert_eq!(all[2].headers.get("Sipdo-Schema"), Some("result.v1"));
    assert!(reader.caught_up());

    // One of them again.
    let again = bus.run_message(all[1].seq).await.unwrap();
    assert_eq!((again.seq, &again.kind), (all[1].seq, &all[1].kind));
    assert_eq!(&again.payload[..], b"b");

    // From the middle, as a leader that knows the beginning.
    let mut rest = RunReader::open(&bus, &run, all[1].seq).await.unwrap();
    assert_eq!(read_until(&mut rest, 2).await[0].seq, all[2].seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_over_a_killed_server() {
    let (mut server, bus) = bus().await;
    let run = run("r");
    let before = 3000;
    let mut last = bus.create_run(&run, text("0")).await.unwrap();
    let results = (0..before).map(|n| {
        let (bus, run) = (bus.clone(), run.clone());
        async move {
            bus.create_result(&run, &role(), &job_id(n), text(&n.to_string()))
                .await
                .unwrap()
        }
    });
    futures::stream::StreamExt::collect::<Vec<_>>(futures::StreamExt::buffer_unordered(
        futures::stream::iter(results),
        200,
    ))
    .await;

    let mut reader = RunReader::open(&bus, &run, 0).await.unwrap();
    let mut all = Vec::new();
    while !reader.caught_up() {
        let chunk = kit::soon("the replay", reader.next_chunk()).await.unwrap();
        all.extend(chunk.messages);
        assert_eq!(
            chunk.caught_up,
            all.len() > before,
            "caught up exactly at the end of what was there"
        );
    }
    assert_eq!(all.len(), before + 1);

    // Now live, with a writer that goes on until the server was killed twice.
    let killed = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (journal, bus, run) = (Journal::open(&bus, &run), bus.clone(), run.clone());
        let killed = Arc::clone(&killed);
        async move {
            let mut n = 0;
            while n < 60 || !killed.load(Ordering::Relaxed) {
                n += 1;
                last = journal
                    .append(text(&n.to_string()), &n.to_string(), last)
                    .await
                    .unwrap();
                bus.create_lost(&run, &role(), &job_id(n), 1, text("lost"))
                    .await
                    .unwrap();
            }
            n
        }
    });
    for at in [15, 75] {
        while all.len() < before + 1 + at {
            all.extend(kit::soon("live messages", reader.next_chunk()).await.unwrap().messages);
        }
        server.nats.kill().await.unwrap();
        server.nats.start_again().await.unwrap();
    }
    killed.store(true, Ordering::Relaxed);
    let live = kit::soon("the writer", writer).await.unwrap();
    let missing = before + 1 + 2 * live - all.len();
    all.extend(read_until(&mut reader, missing).await);

    assert!(
        all.windows(2).all(|pair| pair[0].seq < pair[1].seq),
        "in order, each once"
    );
    assert_eq!(all.len(), before + 1 + 2 * live);
    let logs: Vec<_> = all.iter().filter(|message| message.kind == RunSubject::Log).collect();
    let told: Vec<usize> = logs
        .iter()
        .map(|log| String::from_utf8_lossy(&log.payload).parse().unwrap())
        .collect();
    assert_eq!(told, (0..=live).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_is_cancelled_again_and_again_loses_nothing() {
    let (_server, bus) = bus().await;
    let run = run("r");
    let mut last = bus.create_run(&run, text("0")).await.unwrap();
    let mut reader = RunReader::open(&bus, &run, 0).await.unwrap();
    let journal = Journal::open(&bus, &run);
    let mut seen = Vec::new();
    for n in 1..200 {
        last = journal
            .append(text(&n.to_string()), &n.to_string(), last)
            .await
            .unwrap();
        if let Some(chunk) = futures::FutureExt::now_or_never(reader.next_chunk()) {
            seen.extend(chunk.unwrap().messages);
        }
        let short = std::time::Duration::from_micros(50 * n % 700);
        if let Ok(chunk) = tokio::time::timeout(short, reader.next_chunk()).await {
            seen.extend(chunk.unwrap().messages);
        }
    }
    let missing = 200 - seen.len();
    seen.extend(read_until(&mut reader, missing).await);
    let told: Vec<u64> = seen
        .iter()
        .map(|log| String::from_utf8_lossy(&log.payload).parse().unwrap())
        .collect();
    assert_eq!(told, (0..200).collect::<Vec<_>>());
}
