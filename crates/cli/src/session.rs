//! A coordinator to speak to, found or started: named by a flag, of the local stack, or of a stack started to read what is kept.

use std::path::Path;

use sipdo_protocol::pb;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    ask::newest,
    client::{self, Api, Bearer},
    failure::{Exit, Failure, Outcome},
    global::Global,
    output,
    stack::{self, Plan, Stack, layout::Layout},
};

/// Names the newest run; for `prompt`, `diff` and `runs export` the newest optimization.
pub const LATEST: &str = "latest";
/// The strategy that only measures.
pub const EVAL: &str = "eval";
/// Runs looked through for an optimization, at most.
const LOOKED_THROUGH: u32 = 2_000;

/// A connected coordinator, and the stack behind it where this command started one.
pub struct Session {
    /// The run service.
    pub api: Api,
    /// The private stack that this command started or shares, and must leave or take down.
    pub stack: Option<Stack>,
    /// The local stack's folder; none for a coordinator named by its URL.
    pub layout: Option<Layout>,
    /// Warnings that the user has seen already.
    pub warned: Vec<String>,
    /// The answers that the eval that was created last will ask for.
    pub answers: Option<u64>,
}

impl Session {
    /// Whether the models behind it are simulated, as far as this machine knows.
    pub fn simulated(&self) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.simulated)
    }

    /// Whether a run can make progress, as far as this machine knows.
    pub fn has_agents(&self) -> bool {
        self.stack.as_ref().is_none_or(Stack::has_agents)
    }

    /// Takes down what this command started, or leaves it to the others that use it.
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

    /// The folders to look for a run in: the one that keeps it first, then one with runs. Of two with runs the one with real models
    /// comes first: `--simulated` chooses the other, and not what was used last.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn layouts_for(&self, run: &str) -> Result<Vec<Layout>, Failure> {
        let mut layouts = self.layouts()?;
        let has_runs = |layout: &Layout| layout.last_run().is_some() || stack::running(layout).is_some();
        layouts.sort_by_cached_key(|layout| (!layout.remembers(run), !has_runs(layout), !layout.has_data()));
        Ok(layouts)
    }

    /// Says whose runs these are where no flag and no run's id did: simulated scores must never be taken for real ones. A warning,
    /// since it matters also to those who want only data.
    fn tell_kind(&self, layout: &Layout, run: Option<&str>) -> Result<(), Failure> {
        if self.simulated || run.is_some_and(|run| run != LATEST) {
            return Ok(());
        }
        let other = self.layout(!layout.simulated)?;
        if layout.simulated {
            output::warning(&format!(
                "simulated models: no run with real models is in use in {}; --simulated chooses these runs without this warning",
                other.root.display()
            ));
        } else if other.last_run() > layout.last_run() {
            output::warning("real models: the newest run has simulated models; --simulated chooses it");
        }
        Ok(())
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
                warned: Vec::new(),
                answers: None,
            }));
        }
        let layouts = match run {
            Some(run) => self.layouts_for(run)?,
            None => self.layouts()?,
        };
        for layout in layouts {
            if stack::running(&layout).is_some() {
                self.tell_kind(&layout, run)?;
                return self.running_in(layout.simulated).await;
            }
            let keeps = |run: &str| layout.remembers(run) || (run == LATEST && layout.last_run().is_some());
            if run.is_some_and(keeps) {
                // Another folder's stack cannot know this run.
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The stack that runs in the folder for simulated models, or in that for real ones. None where none does.
    ///
    /// # Errors
    /// It does not answer, or refuses the token.
    pub async fn running_in(&self, simulated: bool) -> Result<Option<Session>, Failure> {
        let layout = self.layout(simulated)?;
        let Some(state) = stack::running(&layout) else {
            return Ok(None);
        };
        let stack = Stack::join(&layout).await?;
        if stack.is_none() && stack::running(&layout).is_none() {
            // It ended while we waited for the right to use it.
            return Ok(None);
        }
        let url = stack
            .as_ref()
            .map_or(state.coordinator, |stack| stack.state.coordinator.clone());
        self.connect_local(&url, layout, stack).await.map(Some)
    }

    async fn connect_local(&self, url: &str, layout: Layout, stack: Option<Stack>) -> Result<Session, Failure> {
        let connected = match self.token() {
            Ok(token) => client::connect(url, token).await,
            Err(failure) => Err(failure),
        };
        match connected {
            Ok(api) => Ok(Session {
                api,
                stack,
                layout: Some(layout),
                warned: Vec::new(),
                answers: None,
            }),
            Err(failure) => {
                if let Some(stack) = stack {
                    stack.stop().await;
                }
                Err(failure)
            }
        }
    }

    /// A coordinator that runs, or else one started for this command over what is kept in the data folder.
    ///
    /// # Errors
    /// Nothing runs and nothing is kept; the stack does not start.
    pub async fn reach(&self, run: Option<&str>) -> Result<Session, Failure> {
        if let Some(session) = self.running(run).await? {
            return Ok(session);
        }
        let layouts = self.layouts_for(run.unwrap_or(LATEST))?;
        let folders: Vec<String> = layouts.iter().map(|layout| layout.root.display().to_string()).collect();
        let Some(layout) = layouts.into_iter().find(Layout::has_data) else {
            return Err(Failure::unavailable(format!(
                "no local stack is running, and there is no run in {}",
                folders.join(" or ")
            ))
            .hint("`sipdo optimize TASK.toml --simulated` starts a first run; --coordinator URL connects to a stack elsewhere"));
        };
        self.tell_kind(&layout, run)?;
        self.start(&Plan::reading(layout)).await
    }

    /// Starts a stack for this command.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self, plan: &Plan) -> Result<Session, Failure> {
        let stack = Stack::start(plan).await?;
        let url = stack.state.coordinator.clone();
        self.connect_local(&url, plan.layout.clone(), Some(stack)).await
    }

    /// Reaches a coordinator, does `work` with it, and takes down what was started for it, also when interrupted.
    ///
    /// # Errors
    /// What reaching or the work fails with.
    pub async fn with_api(&self, run: Option<&str>, work: impl AsyncFnOnce(&mut Api) -> Outcome) -> Outcome {
        self.with_session(run, async |session| work(&mut session.api).await)
            .await
    }

    /// As [`Global::with_api`], for work that asks whose models these are.
    ///
    /// # Errors
    /// What reaching or the work fails with.
    pub async fn with_session(&self, run: Option<&str>, work: impl AsyncFnOnce(&mut Session) -> Outcome) -> Outcome {
        let mut interrupts = Interrupts::new()?;
        // A stack that is being started must be seen to its end, so that there is something to take down.
        let mut session = self.reach(run).await?;
        let outcome = tokio::select! {
            outcome = work(&mut session) => outcome,
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
    if name != LATEST {
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

/// The run that `name` means to those who want a prompt: itself, or with `latest` the newest optimization. An eval only measures.
///
/// # Errors
/// There is no optimization; the coordinator does not answer.
pub async fn optimization_named(api: &mut Api, name: &str) -> Result<String, Failure> {
    if name != LATEST {
        return Ok(name.to_owned());
    }
    let runs = newest(api, LOOKED_THROUGH).await?;
    let evals = runs.len() as u64;
    let newest = runs.into_iter().find(|run| run.strategy != EVAL);
    newest.map(|summary| summary.run).ok_or_else(|| match evals {
        0 => Failure::new(Exit::NotFound, "there is no run yet"),
        evals => Failure::new(
            Exit::NotFound,
            format!("there is no optimization yet, only {}", output::plural(evals, "eval")),
        )
        .hint("`sipdo runs list` lists them: name one by its id"),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_looked_for_where_it_is_kept_and_latest_is_real_unless_simulated_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let global = Global {
            data_dir: Some(dir.path().to_owned()),
            ..Global::default()
        };
        let first = |run: &str| global.layouts_for(run).unwrap().first().map(|layout| layout.simulated);
        assert_eq!(
            first(LATEST),
            Some(false),
            "with nothing kept anywhere, real models come first"
        );
        let (real, simulated) = (global.layout(false).unwrap(), global.layout(true).unwrap());
        real.make().unwrap();
        simulated.make().unwrap();
        simulated.remember("r-sim");
        assert_eq!(first(LATEST), Some(true), "a folder without runs has no latest one");
        real.remember("r-real");
        std::fs::File::options()
            .append(true)
            .open(simulated.root.join("runs.txt"))
            .and_then(|file| file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)))
            .unwrap();
        assert_eq!(first(LATEST), Some(false), "whatever was used last");
        assert_eq!((first("r-sim"), first("r-real")), (Some(true), Some(false)));
        let only_simulated = Global {
            simulated: true,
            ..global.clone()
        };
        assert_eq!(only_simulated.layouts_for("r-real").unwrap(), [simulated]);
    }
}
