//! A coordinator that is stopped before it has reached NATS ends as any other: it gives its telemetry time, and says what was sent.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// Waits until the process says at its admin port that it is alive: from then on it follows signals.
fn until_alive(port_file: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let alive = || -> Option<()> {
        let address: SocketAddr = std::fs::read_to_string(port_file).ok()?.trim().parse().ok()?;
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("200").then_some(())
    };
    while alive().is_none() {
        assert!(Instant::now() < deadline, "the coordinator never said that it is alive");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_coordinator_without_nats_closes_its_telemetry_when_it_is_stopped() {
    // It takes connections and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nats = nobody.local_addr().unwrap();
    drop(nobody);
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("port");
    let process = Command::new(env!("CARGO_BIN_EXE_sipdo-coordinator"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--admin-port-file")
        .arg(&port_file)
        .env("SIPDO_NATS_URL", format!("nats://{nats}"))
        .env("SIPDO_LOG", "info")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", collector.local_addr().unwrap()),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(process);
    until_alive(&port_file);
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut stderr = process.0.stderr.take().unwrap();
    let (send, said) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        drop(send.send(text));
    });
    let said = said.recv_timeout(PATIENCE).unwrap();
    assert!(process.0.wait().unwrap().success(), "{said}");
    assert!(said.contains("the last spans were sent"), "{said}");
}
