//! The program itself: flags, the port file, a settings file that is wrong, and an orderly end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipdo-simulator"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Ends the child when a test fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn it_writes_its_address_serves_and_ends_on_request() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("simulator.toml"), "models = [\"from-file\"]\n").unwrap();
    let flags = [
        "--port",
        "0",
        "--port-file",
        "address",
        "--model",
        "from-flag=strong",
        "--latency-ms",
        "1-3",
    ];
    let mut started = Started(program(folder.path(), &flags).spawn().unwrap());
    let address = wait_for("the port file", || {
        std::fs::read_to_string(folder.path().join("address")).ok()
    });
    // A second installation fails; the first one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let models = reqwest::get(format!("http://{address}/v1/models"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(models.contains("from-file") && models.contains("from-flag"), "{models}");
    let ended = Command::new("kill").arg(started.0.id().to_string()).status().unwrap();
    assert!(ended.success());
    let status = wait_for("the end", || started.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn wrong_settings_are_refused_before_anything_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wrong.toml"), "[rates]\nlabel_eror = 0.1\n").unwrap();
    let cases = [
        (&["--config", "wrong.toml"][..], "label_eror"),
        (&["--config", "absent.toml"], "absent.toml"),
        (&["--label-error-rate", "3"], "between 0 and 1"),
        (&["--fault", "flood=0.5"], "rate_limited"),
        (&["--latency-ms", "9-1"], "latency"),
    ];
    for (arguments, told) in cases {
        let output = program(folder.path(), arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{arguments:?}: {said}");
    }
}
