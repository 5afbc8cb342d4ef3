//! A coordinator to speak to, found or started: named by a flag, of the local stack, or of a stack started to read what is kept.

use std::path::Path;

use sipdo_protocol::pb;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::Global,
    client::{self, Api, Bearer},
    failure::{Exit, Failure, Outcome},
    output,
    stack::{self, Plan, Stack, layout::Layout},
};

/// A connected coordinator, and the stack behind it where this command started one.
pub struct Session {
    /// The run service.
    pub api: Api,
    /// What this command started and must take down.
    pub stack: Option<Stack>,
    /// The local stack's folder; none for a coordinator named by its URL.
    pub layout: Option<Layout>,
}

impl Session {
    /// Whether the models behind it are simulated, as far as this machine knows.
    pub fn simulated(&self) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.simulated)
    }

    /// Takes down what this command started.
    pub async fn close(self) {
        if let Some(stack) = self.stack {
            stack.stop().await;
        }
    }
}

impl Global {
    fn token(&self) -> Result<Bearer, Failure> {
        Bearer::from_file(self.token_file.as_deref())
    }

    /// The local stack's folder, for simulated models or for real ones.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn layout(&self, simulated: bool) -> Result<Layout, Failure> {
        Layout::new(self.data_dir.as_deref(), simulated)
    }

    /// The folders to look in: only the simulated one if it was asked for, else both.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn layouts(&self) -> Result<Vec<Layout>, Failure> {
        if self.simulated {
            return Ok(vec![self.layout(true)?]);
        }
        Ok(vec![self.layout(false)?, self.layout(true)?])
    }

    /// A coordinator that runs: the named one, or the local stack's that keeps `run`. None where nothing runs.
    ///
    /// # Errors
    /// It does not answer, or refuses the token.
    pub async fn running(&self, run: Option<&str>) -> Result<Option<Session>, Failure> {
        if let Some(url) = &self.coordinator {
            let api = client::connect(url, self.token()?).await?;
            return Ok(Some(Session {
                api,
                stack: None,
                layout: None,
            }));
        }
        let keeps = |layout: &Layout| run.is_some_and(|run| layout.remembers(run));
        let mut layouts = self.layouts()?;
        layouts.sort_by_key(|layout| !keeps(layout));
        for layout in layouts {
            if let Some(state) = stack::running(&layout) {
                return self.connect_local(&state.coordinator, layout, None).await.map(Some);
            }
            if keeps(&layout) {
                // Another folder's stack cannot know this run.
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn connect_local(&self, url: &str, layout: Layout, stack: Option<Stack>) -> Result<Session, Failure> {
        Ok(Session {
            api: client::connect(url, self.token()?).await?,
            stack,
            layout: Some(layout),
        })
    }

    /// A coordinator that runs, or else one started for this command over what is kept in the data folder.
    ///
    /// # Errors
    /// Nothing runs and nothing is kept; the stack does not start.
    pub async fn reach(&self, run: Option<&str>) -> Result<Session, Failure> {
        if let Some(session) = self.running(run).await? {
            return Ok(session);
        }
        let mut layouts = self.layouts()?;
        layouts.sort_by_key(|layout| !run.is_some_and(|run| layout.remembers(run)));
        let folders: Vec<String> = layouts.iter().map(|layout| layout.root.display().to_string()).collect();
        let Some(layout) = layouts.into_iter().find(Layout::has_data) else {
            return Err(Failure::unavailable(format!(
                "no local stack runs, and no run is kept in {}",
                folders.join(" or ")
            ))
            .hint("`sipdo optimize TASK.toml --simulated` makes a first run; --coordinator URL speaks to a stack elsewhere"));
        };
        self.start(&Plan::reading(layout)).await
    }

    /// Starts a stack for this command.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self, plan: &Plan) -> Result<Session, Failure> {
        let stack = Stack::start(plan).await?;
        let url = stack.state.coordinator.clone();
        match client::connect(&url, self.token()?).await {
            Ok(api) => Ok(Session {
                api,
                stack: Some(stack),
                layout: Some(plan.layout.clone()),
            }),
            Err(failure) => {
                stack.stop().await;
                Err(failure)
            }
        }
    }

    /// Reaches a coordinator, does `work` with it, and takes down what was started for it, also when interrupted.
    ///
    /// # Errors
    /// What reaching or the work fails with.
    pub async fn with_api(&self, run: Option<&str>, work: impl AsyncFnOnce(&mut Api) -> Outcome) -> Outcome {
        let mut interrupts = Interrupts::new()?;
        // A stack that is being started must be seen to its end, so that there is something to take down.
        let mut session = self.reach(run).await?;
        let outcome = tokio::select! {
            outcome = work(&mut session.api) => outcome,
            () = interrupts.next() => Ok(Exit::Interrupted),
        };
        session.close().await;
        outcome
    }
}

/// Ctrl-C, and the polite ways of ending a process.
pub struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
    /// True once a signal came after which nobody waits: the process is to end.
    pub urgent: bool,
}

impl Interrupts {
    /// Listens from now on; the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> Result<Self, Failure> {
        Ok(Interrupts {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            urgent: false,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => self.urgent = true,
            _ = self.hup.recv() => self.urgent = true,
        }
    }
}

/// The run that `name` means: itself, or with `latest` the newest one.
///
/// # Errors
/// There is no run at all.
pub async fn run_named(api: &mut Api, name: &str) -> Result<String, Failure> {
    if name != "latest" {
        return Ok(name.to_owned());
    }
    let request = pb::ListRunsRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let runs = api.list_runs(request).await?.into_inner().runs;
    let newest = runs.into_iter().next().map(|summary| summary.run);
    newest.ok_or_else(|| Failure::new(Exit::NotFound, "there is no run yet"))
}

/// A run, whole.
///
/// # Errors
/// There is none of this name.
pub async fn get_run(api: &mut Api, name: &str) -> Result<pb::Run, Failure> {
    let run = run_named(api, name).await?;
    Ok(api.get_run(pb::GetRunRequest { run }).await?.into_inner())
}

/// A path for a message, relative to the current folder where it is below it.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let path = here
        .as_deref()
        .and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path);
    output::clean_line(&path.display().to_string())
}
