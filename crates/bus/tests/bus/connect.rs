//! Connecting: what is refused, and what is waited for.

use std::time::Duration;

use sipdo_bus::{Bus, BusError, BusSettings, NewMessage};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::kit::{self, PATIENCE, run, text};

/// A server that greets as one of this version, and answers pings.
async fn server_of_version(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://user:secret@{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let info = format!(
                r#"INFO {{"server_id":"x","server_name":"old","version":"{version}","headers":true,"jetstream":true,"max_payload":1048576,"proto":1}}"#
            );
            write.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") && write.write_all(b"PONG\r\n").await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

fn quick(url: &str) -> BusSettings {
    BusSettings {
        connect_within: Some(PATIENCE),
        ..BusSettings::new(url)
    }
}

#[tokio::test]
async fn an_old_server_is_refused_with_what_to_do() {
    let url = server_of_version("2.9.10").await;
    let error = Bus::connect(quick(&url)).await.unwrap_err();
    assert!(
        matches!(&error, BusError::TooOld { found, .. } if found == "2.9.10"),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("2.10.27") && told.contains("get-nats-server.sh"),
        "{told}"
    );
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused_with_what_to_do() {
    let server = kit::server_with(|options| options.jetstream = false).await;
    let error = Bus::connect(quick(&server.nats.url())).await.unwrap_err();
    assert!(matches!(error, BusError::NoJetStream { .. }), "{error}");
    assert!(error.to_string().contains("store_dir"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_in_time_and_without_the_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://me:secret@{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = BusSettings {
        connect_within: Some(Duration::from_millis(300)),
        ..BusSettings::new(url)
    };
    let error = Bus::connect(settings).await.unwrap_err();
    assert!(matches!(error, BusError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("127.0.0.1") && !error.to_string().contains("secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_process_that_starts_before_its_server_waits_for_it() {
    let mut server = kit::server().await;
    server.nats.kill().await.unwrap();
    let connecting = tokio::spawn(Bus::connect(quick(&server.nats.url())));
    server.nats.start_again().await.unwrap();
    let bus = kit::soon("the connection", connecting).await.unwrap().unwrap();
    bus.ensure_streams().await.unwrap();
}

#[tokio::test]
async fn many_processes_make_the_streams_at_the_same_time() {
    let server = kit::server().await;
    let makers = (0..6).map(async |n| {
        let settings = BusSettings {
            window_per_run: 10 + n,
            ..kit::settings(&server)
        };
        Bus::connect(settings).await.unwrap().ensure_streams().await
    });
    for made in futures::future::join_all(makers).await {
        made.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_somebody_made_otherwise_is_refused() {
    let server = kit::server().await;
    let client = async_nats::connect(server.nats.url()).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "SIPDO_JOB".into(),
        subjects: vec!["sipdo.v1.job.>".into()],
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(config).await.unwrap();
    let error = kit::connect(&server).await.ensure_streams().await.unwrap_err();
    assert!(
        matches!(&error, BusError::StreamMismatch { stream, setting: "retention", .. } if stream == "SIPDO_JOB"),
        "{error}"
    );
}

#[tokio::test]
async fn a_message_too_large_is_refused_before_it_is_sent() {
    let server = kit::server_with(|options| options.max_payload = 10_000).await;
    let bus = kit::connect(&server).await;
    bus.ensure_streams().await.unwrap();
    let large = NewMessage::new(vec![b'x'; 10_000]);
    let error = bus
        .create_result(&run("r"), &kit::role(), &kit::job_id(1), large)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            BusError::TooLarge {
                what: "result of a job",
                limit: 10_000,
                ..
            }
        ),
        "{error}"
    );
    // What is told is exact: a message shorter by just that much is taken.
    let error_text = error.to_string();
    let BusError::TooLarge { size, limit, .. } = error else {
        unreachable!()
    };
    assert!(
        error_text.contains(&format!("{} more than the 10000", size - limit)),
        "{error_text}"
    );
    let fits = NewMessage::new(vec![b'x'; 10_000 - (size - limit)]);
    assert!(
        bus.create_result(&run("r"), &kit::role(), &kit::job_id(1), fits)
            .await
            .unwrap()
            .is_new()
    );
    assert!(bus.publish_job(kit::job(&run("r"), 1)).await.is_ok());
    assert!(bus.control(&run("r"), text("cancel"), "1").await.is_ok());
}
