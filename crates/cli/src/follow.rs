//! Following a run to its end: through broken connections, with Ctrl-C meaning what the command says it means.

use std::time::{Duration, Instant};

use sipdo_protocol::pb::{self, RunUpdate, control};
use tonic::Code;

use crate::{
    client::Api,
    display::Display,
    failure::Failure,
    output,
    progress::RunView,
    session::Interrupts,
    stack::Stack,
    words::{cancel_hint, is_over},
};

/// How long a coordinator may be gone before we give up watching: another one takes over, or it is started again.
const GONE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(250);
const STACK_CHECK: Duration = Duration::from_secs(1);

/// What a first Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstInterrupt {
    /// Asks the run to stop early, keep its best and conclude; a second one leaves it.
    StopsRun,
    /// Stops watching; the run goes on.
    LeavesRun,
}

/// How watching ended.
#[derive(Debug)]
pub enum End {
    /// The run has ended.
    Over(Box<pb::Run>),
    /// The user left; the run has not ended.
    Left,
}

/// Shows a run until it ends or the user leaves it. `view` knows what was said of it before.
///
/// # Errors
/// The coordinator refuses, or is gone for longer than it may be; a process that the run needs has died.
pub async fn follow(
    api: &mut Api,
    run: &str,
    stack: Option<&mut Stack>,
    view: RunView,
    first: FirstInterrupt,
) -> Result<End, Failure> {
    let display = Display::suited();
    let end = watch(api, run, stack, view, first, &display).await;
    display.close();
    end
}

async fn watch(
    api: &mut Api,
    run: &str,
    mut stack: Option<&mut Stack>,
    mut view: RunView,
    first: FirstInterrupt,
    display: &Display,
) -> Result<End, Failure> {
    let mut interrupts = Interrupts::new()?;
    let mut asked_to_stop = first == FirstInterrupt::LeavesRun;
    let mut last_seen = Instant::now();
    loop {
        let request = pb::WatchRunRequest {
            run: run.to_owned(),
            after_sequence: view.sequence,
        };
        let broken = match api.watch_run(request).await.map(tonic::Response::into_inner) {
            Err(status) => status,
            Ok(mut stream) => loop {
                tokio::select! {
                    message = stream.message() => match message {
                        Ok(Some(update)) => {
                            last_seen = Instant::now();
                            show(&mut view, &update, display)?;
                        }
                        Ok(None) => break tonic::Status::unavailable("the stream ended"),
                        Err(status) => break status,
                    },
                    () = interrupts.next() => {
                        if asked_to_stop || interrupts.urgent {
                            return Ok(End::Left);
                        }
                        asked_to_stop = true;
                        stop_early(api, run, display).await;
                    }
                    () = tokio::time::sleep(STACK_CHECK) => {
                        if let Some(stack) = stack.as_mut() {
                            check_stack(stack, display)?;
                        }
                    }
                }
            },
        };
        if !may_pass(broken.code()) {
            return Err(broken.into());
        }
        if let Some(run) = ended_run(api, run, &view).await {
            return Ok(End::Over(Box::new(run)));
        }
        if last_seen.elapsed() > GONE {
            return Err(Failure::from(broken).hint(format!(
                "no coordinator has answered for {}; the run is kept: `sipdo runs watch {run}` watches it again",
                output::duration(GONE.as_secs())
            )));
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = interrupts.next() => return Ok(End::Left),
        }
    }
}

/// An agent that has ended may be started again by hand, with another model even; without its coordinator a private stack is over.
fn check_stack(stack: &mut Stack, display: &Display) -> Result<(), Failure> {
    for (name, failure) in stack.ended() {
        if name == "coordinator" {
            return Err(failure);
        }
        display.say(&failure.message);
    }
    Ok(())
}

fn show(view: &mut RunView, update: &RunUpdate, display: &Display) -> Result<(), Failure> {
    let lines = view.take(update);
    display.show(view, update, &lines)
}

/// The run, if it has ended. Whatever cannot be known now is asked again.
async fn ended_run(api: &mut Api, run: &str, view: &RunView) -> Option<pb::Run> {
    let found = api
        .get_run(pb::GetRunRequest { run: run.to_owned() })
        .await
        .ok()?
        .into_inner();
    let state = found
        .summary
        .as_ref()
        .map_or(pb::State::Unspecified, pb::Summary::state);
    (is_over(state) || view.ended.is_some()).then_some(found)
}

async fn stop_early(api: &mut Api, run: &str, display: &Display) {
    display.say(&format!(
        "stopping early: the best prompt so far is kept and tested; press Ctrl-C again to leave the run without waiting; {}",
        cancel_hint(run)
    ));
    if let Err(failure) = control(api, run, control::Kind::Stop, None).await {
        display.say(&format!("the run could not be asked to stop: {}", failure.message));
    }
}

/// Whether a broken stream is worth another try.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted
    )
}

/// Asks something of a run's leader.
///
/// # Errors
/// There is no such run, or it has ended.
pub async fn control(api: &mut Api, run: &str, kind: control::Kind, budget: Option<pb::Budget>) -> Result<(), Failure> {
    let request = pb::ControlRunRequest {
        run: run.to_owned(),
        control: Some(pb::Control {
            kind: kind.into(),
            budget,
            by: user(),
            id: uuid::Uuid::now_v7().to_string(),
        }),
    };
    api.control_run(request).await?;
    Ok(())
}

/// Who asks, for the record.
pub fn user() -> String {
    let name = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name} on {host}")
}
