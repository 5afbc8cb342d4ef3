//! Runs as their streams tell them, read once for everybody in this process who looks at one: the first to ask has the run read from
//! its beginning, and it is followed from then on, until nobody has looked for a while.

use anyhow::{Result, anyhow};
use sipdo_bus::{Bus, BusError, RunId, RunMessage, RunReader};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long a run is followed that nobody looks at.
const IDLE: Duration = Duration::from_secs(15);
/// So many runs are followed at a time; beyond that, those that nobody looks at are let go at once.
const MOST: usize = 32;
/// How often it is looked whether somebody still looks.
const TICK: Duration = Duration::from_secs(1);

/// What is kept of a run's stream.
pub trait Projection: Send + 'static {
    /// Of a run of which nothing was read yet.
    fn new(run: &RunId) -> Self;

    /// Takes the next message of the stream.
    fn apply(&mut self, message: RunMessage);
}

/// The runs that are followed in this process. Cheap to clone.
#[derive(Debug)]
pub struct Followers<P> {
    bus: Bus,
    runs: Arc<Mutex<HashMap<RunId, Weak<Followed<P>>>>>,
}

/// One run that is followed.
#[derive(Debug)]
pub struct Followed<P> {
    projection: Mutex<P>,
    progress: watch::Sender<Progress>,
    used: Mutex<Instant>,
}

/// How far a run was read.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Stream sequence of the last message.
    pub sequence: u64,
    /// Why it is not read any further.
    pub failed: Option<String>,
}

impl<P> Clone for Followers<P> {
    fn clone(&self) -> Self {
        Followers {
            bus: self.bus.clone(),
            runs: Arc::clone(&self.runs),
        }
    }
}

impl<P> Followed<P> {
    /// Reads what is known of the run. Nobody else reads or writes meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&P) -> T) -> T {
        *lock(&self.used) = Instant::now();
        read(&lock(&self.projection))
    }

    /// How far the run was read, as it goes on.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

impl<P: Projection> Followers<P> {
    /// Nothing is followed yet.
    pub fn new(bus: Bus) -> Self {
        let runs = Arc::default();
        Followers { bus, runs }
    }

    /// A run with all that its stream holds at this moment; none where there is no such run.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn open(&self, run: &RunId) -> Result<Option<Arc<Followed<P>>>> {
        let Some(last) = self.bus.last_sequence(run).await? else {
            return Ok(None);
        };
        let followed = self.followed(run);
        let mut progress = followed.progress();
        let read = progress.wait_for(|progress| progress.sequence >= last || progress.failed.is_some());
        let failed = read.await.ok().and_then(|progress| progress.failed.clone());
        match failed {
            None => Ok(Some(followed)),
            Some(reason) => Err(anyhow!("the stream of run {run} cannot be read: {reason}")),
        }
    }

    fn followed(&self, run: &RunId) -> Arc<Followed<P>> {
        let mut runs = lock(&self.runs);
        if let Some(followed) = runs.get(run).and_then(Weak::upgrade) {
            *lock(&followed.used) = Instant::now();
            return followed;
        }
        let followed = Arc::new(Followed {
            projection: Mutex::new(P::new(run)),
            progress: watch::Sender::default(),
            used: Mutex::new(Instant::now()),
        });
        runs.insert(run.clone(), Arc::downgrade(&followed));
        tokio::spawn(self.clone().follow(run.clone(), Arc::clone(&followed)));
        followed
    }

    async fn follow(self, run: RunId, followed: Arc<Followed<P>>) {
        let Err(error) = self.read_on(&run, &followed).await else {
            return;
        };
        tracing::warn!(%run, %error, "the run is not followed any further");
        lock(&self.runs).remove(&run);
        followed
            .progress
            .send_modify(|progress| progress.failed = Some(error.to_string()));
    }

    /// Reads the run until nobody looks at it any more.
    async fn read_on(&self, run: &RunId, followed: &Arc<Followed<P>>) -> Result<(), BusError> {
        let mut reader = RunReader::open(&self.bus, run, 0).await?;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                chunk = reader.next_chunk() => take(followed, chunk?.messages),
                _ = tick.tick() => {
                    if self.let_go(run, followed) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Forgets a run that nobody looks at. Under the lock by which others find it, so that none finds one that is not read any more.
    fn let_go(&self, run: &RunId, followed: &Arc<Followed<P>>) -> bool {
        let mut runs = lock(&self.runs);
        let idle = if runs.len() > MOST { Duration::ZERO } else { IDLE };
        // The task that asks holds one.
        let unused = Arc::strong_count(followed) == 1 && lock(&followed.used).elapsed() >= idle;
        if unused {
            runs.remove(run);
        }
        unused
    }
}

fn take<P: Projection>(followed: &Followed<P>, messages: Vec<RunMessage>) {
    let Some(sequence) = messages.last().map(|message| message.seq) else {
        return;
    };
    let mut projection = lock(&followed.projection);
    messages.into_iter().for_each(|message| projection.apply(message));
    drop(projection);
    followed.progress.send_modify(|progress| progress.sequence = sequence);
}

/// What a panic of another thread leaves behind is whole: a projection applies one message after the other.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_bus::{
        BusSettings, Journal, NewMessage,
        local::{NatsServer, NatsServerOptions},
    };

    /// The sequences that were read, in their order.
    struct Sequences(Vec<u64>);

    impl Projection for Sequences {
        fn new(_: &RunId) -> Self {
            Sequences(Vec::new())
        }

        fn apply(&mut self, message: RunMessage) {
            self.0.push(message.seq);
        }
    }

    async fn open(followers: &Followers<Sequences>, run: &RunId) -> (Arc<Followed<Sequences>>, Vec<u64>) {
        let followed = followers.open(run).await.unwrap().unwrap();
        let sequences = followed.read(|sequences| sequences.0.clone());
        (followed, sequences)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_is_read_once_for_all_who_look_at_it_and_let_go_when_nobody_does() {
        let folder = tempfile::tempdir().unwrap();
        let server = NatsServer::start(NatsServerOptions::new(folder.path())).await.unwrap();
        let bus = Bus::connect(BusSettings::new(server.url())).await.unwrap();
        bus.ensure_streams().await.unwrap();
        let (run, text) = (RunId::new("r").unwrap(), |text: &str| NewMessage::new(text.to_owned()));
        let followers = Followers::<Sequences>::new(bus.clone());
        assert!(followers.open(&run).await.unwrap().is_none(), "there is no such run");

        let first = bus.create_run(&run, text("created")).await.unwrap();
        let (one, seen) = open(&followers, &run).await;
        assert_eq!(seen, [first]);
        let second = Journal::open(&bus, &run)
            .append(text("more"), "1", first)
            .await
            .unwrap();
        let (other, seen) = open(&followers, &run).await;
        assert_eq!(seen, [first, second], "up to date, and each message was read once");
        assert!(Arc::ptr_eq(&one, &other));

        assert!(!followers.let_go(&run, &one), "somebody looks at it");
        drop((one, other));
        let left = lock(&followers.runs).get(&run).and_then(Weak::upgrade).unwrap();
        *lock(&left.used) = Instant::now().checked_sub(IDLE).unwrap();
        let mut progress = left.progress();
        drop(left);
        let gone = async { while progress.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
        assert!(lock(&followers.runs).is_empty());
        let (_, seen) = open(&followers, &run).await;
        assert_eq!(seen, [first, second], "and read anew when it is asked for again");
    }
}
