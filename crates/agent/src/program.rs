//! Running a program that the operator allows, as a check of one example.
//!
//! The message names the program; what that means is in the operator's file alone. The example reaches it through its standard input,
//! never through its arguments.

use crate::settings::{ProgramSettings, known};
use serde_json::json;
use sipdo_domain::{CheckRequest, CheckResult, Measured, NotMeasured, Reason, fence};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Most that is read of what a program prints, in bytes.
const MAX_OUTPUT: u64 = 4096;
/// Most of it that becomes a reason, in characters.
const MAX_REASON: usize = 1000;

/// Runs the program that `check` names over its example. Exit code 0 lets it pass, 1 does not; anything else decides nothing.
///
/// # Errors
/// Not measured: no such program (misconfigured), it cannot be started or is misused (misconfigured), it takes too long (timeout),
/// or it ends with another code (undecided).
pub(crate) async fn check(programs: &BTreeMap<String, ProgramSettings>, check: &CheckRequest) -> Measured<CheckResult> {
    let Some(program) = programs.get(&check.name) else {
        let name: String = check.name.chars().take(64).collect();
        let detail = format!("this checker knows no program \"{name}\" ({})", known(programs.keys()));
        return Err(NotMeasured::new(Reason::Misconfigured, detail));
    };
    let child = start(program).map_err(|error| {
        let detail = format!("the program \"{}\" cannot be started: {error}", check.name);
        NotMeasured::new(Reason::Misconfigured, detail)
    })?;
    let example = json!({"input": check.input, "target": check.target}).to_string();
    let limit = Duration::from_secs_f64(program.timeout_seconds);
    // The child is killed when the future that owns it is dropped.
    match tokio::time::timeout(limit, converse(child, example)).await {
        Ok(said) => said.map_or_else(
            |error| Err(undecided(check, &error.to_string())),
            |(code, words)| verdict(check, code, words),
        ),
        Err(_) => {
            let detail = format!(
                "the program \"{}\" took longer than {} s",
                check.name, program.timeout_seconds
            );
            Err(NotMeasured::new(Reason::Timeout, detail))
        }
    }
}

fn start(program: &ProgramSettings) -> std::io::Result<Child> {
    let mut command = program.command.iter();
    let name = command.next().map(String::as_str).unwrap_or_default();
    Command::new(name)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Writes the example, and reads what the program says while it is written: either may be larger than a pipe holds.
async fn converse(mut child: Child, example: String) -> std::io::Result<(Option<i32>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that decides without reading closes its end; that is its right.
            let _ = stdin.write_all(example.as_bytes()).await;
        }
    };
    let ((), out, err) = tokio::join!(write, words(stdout), words(stderr));
    let status = child.wait().await?;
    let (out, err) = (out?, err?);
    Ok((status.code(), if out.trim().is_empty() { err } else { out }))
}

async fn words(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
        // The rest is read and thrown away, so that a talkative program can end.
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn verdict(check: &CheckRequest, code: Option<i32>, words: String) -> Measured<CheckResult> {
    let reason: String = fence::clean(&words).trim().chars().take(MAX_REASON).collect();
    match code {
        Some(0) => Ok(CheckResult { passed: true, reason }),
        Some(1) => Ok(CheckResult { passed: false, reason }),
        Some(code) => Err(undecided(check, &format!("exit code {code}: {reason}"))),
        None => Err(undecided(check, &format!("it was killed by a signal: {reason}"))),
    }
}

fn undecided(check: &CheckRequest, why: &str) -> NotMeasured {
    let why: String = why.chars().take(300).collect();
    NotMeasured::new(
        Reason::Undecided,
        format!("the program \"{}\" decided nothing ({why})", check.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str, input: &str) -> Measured<CheckResult> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let programs = BTreeMap::from([(
            "p".to_owned(),
            ProgramSettings {
                command,
                timeout_seconds: 5.0,
            },
        )]);
        check(
            &programs,
            &CheckRequest {
                name: "p".into(),
                input: input.into(),
                target: "4".into(),
                pool: String::new(),
            },
        )
        .await
    }

    #[tokio::test]
    async fn the_exit_code_decides_and_the_words_are_the_reason() {
        let passed = run("echo fine", "2+2").await.unwrap();
        assert_eq!(
            passed,
            CheckResult {
                passed: true,
                reason: "fine".into()
            }
        );
        let failed = run("echo wrong >&2; exit 1", "2+2").await.unwrap();
        assert_eq!(
            failed,
            CheckResult {
                passed: false,
                reason: "wrong".into()
            }
        );
        let why = run("echo crashed; exit 3", "2+2").await.unwrap_err();
        assert_eq!(why.reason, Reason::Undecided);
        assert!(why.detail.contains("exit code 3: crashed"), "{why}");
        assert_eq!(run("kill -9 $$", "2+2").await.unwrap_err().reason, Reason::Undecided);
    }

    #[tokio::test]
    async fn the_example_comes_as_json_and_never_as_an_argument() {
        let passed = run("cat", "a\"; rm -rf /").await.unwrap();
        assert_eq!(passed.reason, r#"{"input":"a\"; rm -rf /","target":"4"}"#);
        let large = "x".repeat(300_000);
        assert!(run("cat >/dev/null", &large).await.unwrap().passed);
        assert!(
            run("exit 0", &large).await.unwrap().passed,
            "a program may decide without reading"
        );
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_an_endless_program_is_killed() {
        let passed = run("yes | head -c 1000000", "").await.unwrap();
        assert_eq!(passed.reason.chars().count(), MAX_REASON);
        let command = ["sleep", "60"].map(str::to_owned).to_vec();
        let programs = BTreeMap::from([(
            "p".to_owned(),
            ProgramSettings {
                command,
                timeout_seconds: 0.05,
            },
        )]);
        let why = check(
            &programs,
            &CheckRequest {
                name: "p".into(),
                input: String::new(),
                target: String::new(),
                pool: String::new(),
            },
        )
        .await
        .unwrap_err();
        assert_eq!(why.reason, Reason::Timeout);
    }

    #[tokio::test]
    async fn only_what_the_operator_names_can_run() {
        let why = check(
            &BTreeMap::new(),
            &CheckRequest {
                name: "sh".into(),
                input: String::new(),
                target: String::new(),
                pool: String::new(),
            },
        )
        .await
        .unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
        assert!(why.detail.contains("\"sh\""), "{why}");
        let missing = ProgramSettings {
            command: vec!["/no/such/program".into()],
            timeout_seconds: 1.0,
        };
        let programs = BTreeMap::from([("p".to_owned(), missing)]);
        let why = check(
            &programs,
            &CheckRequest {
                name: "p".into(),
                input: String::new(),
                target: String::new(),
                pool: String::new(),
            },
        )
        .await
        .unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
    }
}
