//! The private server itself: same port after a restart, never two on the same data, and gone when told to go.

use sipdo_bus::local::{LocalError, NatsServer, NatsServerOptions, running, stop_left_behind};
use sipdo_bus::{Bus, BusSettings};

use crate::kit::{self, PATIENCE, run, text};

#[tokio::test]
async fn data_and_port_stay_over_a_restart() {
    let (mut server, bus) = kit::bus().await;
    bus.create_run(&run("r"), text("created")).await.unwrap();
    let port = server.nats.port();
    server.nats.terminate().await.unwrap();
    assert!(server.nats.pid().is_none());
    server.nats.start_again().await.unwrap();
    assert_eq!(server.nats.port(), port);
    let again = kit::connect(&server).await;
    assert_eq!(
        &again.last_log(&run("r")).await.unwrap().unwrap().payload[..],
        b"created"
    );
}

#[tokio::test]
async fn a_server_left_behind_is_found_refused_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!stop_left_behind(folder.path()).await.unwrap(), "none yet");
    let options = NatsServerOptions {
        end_with_us: false,
        ..NatsServerOptions::new(folder.path())
    };
    let server = NatsServer::start(options.clone()).await.unwrap();
    let (pid, url) = (server.pid().unwrap(), server.url());
    drop(server);
    assert_eq!(running(folder.path()).await, Some((pid, url.clone())));
    let error = NatsServer::start(options).await.unwrap_err();
    assert!(
        matches!(&error, LocalError::Running { pid: there, .. } if *there == pid),
        "{error}"
    );
    let settings = BusSettings {
        connect_within: Some(PATIENCE),
        ..BusSettings::new(url)
    };
    assert!(Bus::connect(settings).await.is_ok(), "it goes on without its parent");
    assert!(stop_left_behind(folder.path()).await.unwrap());
    assert_eq!(running(folder.path()).await, None);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_log_of_the_server() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = NatsServer::start(NatsServerOptions {
        port,
        ..NatsServerOptions::new(folder.path())
    })
    .await
    .unwrap_err();
    assert!(matches!(error, LocalError::NotStarted { .. }), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test]
async fn a_binary_that_is_no_server_or_too_old_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old-server");
    std::fs::write(&old, "#!/bin/sh\necho 'nats-server: v2.9.10'\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = |binary| NatsServerOptions {
        binary: Some(binary),
        ..NatsServerOptions::new(folder.path().join("data"))
    };
    let error = NatsServer::start(options(old)).await.unwrap_err();
    assert!(
        matches!(&error, LocalError::TooOld { found, .. } if found == "2.9.10"),
        "{error}"
    );
    assert!(NatsServer::start(options("/bin/true".into())).await.is_err());
}
