//! Whether there is room for more: looked at now and then, so that runs are held back before the server has none left.
//!
//! Nothing new is begun above the high-water mark; what is in flight ends, and its answers have room. Where a limit is met all
//! the same - one that this process knows nothing of, a disk that something else has filled - the leader that meets it keeps its
//! run and says so here. None of this can be told through the run's own journal, so it is told live, by whoever is asked.

use crate::{
    context::Context,
    fold::is_end,
    refusal::{no_room, unavailable},
};
use sipdo_bus::{Bus, BusError, HIGH_WATER, RunId, StoreUse, size};
use sipdo_protocol::pb;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tonic::Status;

/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_secs(2);
/// Runs go on below this many thousandths of a limit: a little less than where they are held back, so that they do not do so by turns.
const LOW_WATER: u64 = HIGH_WATER - 20;
/// Of the server's disk so much stays free, or a tenth of a small one.
const FREE: u64 = 1_000_000_000;
/// What to do about it.
const REMEDY: &str =
    "delete runs (`sipdo runs delete`) or raise the limit; `sipdo doctor` shows what each stream holds";

/// What is known of the room on the server. Shared by the parts of a process.
#[derive(Debug, Default, Clone)]
pub struct Storage {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Why nothing new is begun.
    tight: Option<String>,
    /// Why the last decision of a run that is led here could not be stored.
    refused: BTreeMap<RunId, String>,
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is whole after any panic: nothing is done with it but single inserts and removes.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing new is begun, if so. The words stay the same as long as it lasts.
    pub fn tight(&self) -> Option<String> {
        self.lock().tight.clone()
    }

    /// What a run waits for, or else this whole process.
    pub fn trouble(&self, run: Option<&RunId>) -> Option<String> {
        let known = self.lock();
        let refused = run.map_or(known.refused.values().next(), |run| known.refused.get(run));
        refused.or(known.tight.as_ref()).cloned()
    }

    /// A decision or a job of this run could not be stored.
    pub fn refused(&self, run: &RunId, reason: String) {
        if self.lock().refused.insert(run.clone(), reason.clone()).is_none() {
            tracing::warn!(%run, reason, "there is no room for the next decision or job; the run waits");
        }
    }

    /// This run goes on, or is no longer led here.
    pub fn taken(&self, run: &RunId) {
        if self.lock().refused.remove(run).is_some() {
            tracing::info!(%run, "the run goes on");
        }
    }

    fn look(&self, found: Result<Option<String>, BusError>) {
        let mut known = self.lock();
        match (found, &known.tight) {
            (Ok(Some(reason)), None) => {
                tracing::warn!(reason, "runs are held back: there is too little room");
                known.tight = Some(format!("room: {reason}; {REMEDY}"));
            }
            (Ok(None), Some(_)) => {
                tracing::info!("there is room again: runs go on");
                known.tight = None;
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::debug!(%error, "the server could not be asked what its streams hold"),
        }
    }
}

/// Looks for ever. `store_dir` is where the server keeps its streams, if that is on this machine.
pub async fn watch(context: Context, store_dir: Option<PathBuf>) {
    loop {
        let mark = context.storage.tight().map_or(HIGH_WATER, |_| LOW_WATER);
        let found = find(&context.bus, store_dir.as_deref(), mark).await;
        context.storage.look(found);
        tokio::time::sleep(LOOK).await;
    }
}

async fn find(bus: &Bus, store_dir: Option<&Path>, mark: u64) -> Result<Option<String>, BusError> {
    if let Some(reason) = store_dir.and_then(|folder| disk(folder, mark)) {
        return Ok(Some(reason));
    }
    Ok(bus.usage().await?.without_room(0, mark))
}

/// Why the disk of a folder has too little left. A folder that cannot be asked says nothing.
fn disk(folder: &Path, mark: u64) -> Option<String> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let (free, all) = (
        disk.f_bavail.saturating_mul(disk.f_frsize),
        disk.f_blocks.saturating_mul(disk.f_frsize),
    );
    (free < least_free(all, mark)).then(|| {
        format!(
            "the disk of {} has {} left of {}",
            folder.display(),
            size(free),
            size(all)
        )
    })
}

/// The bytes that stay free on a disk of `all` bytes; a little more before runs that are held back go on.
fn least_free(all: u64, mark: u64) -> u64 {
    let least = FREE.min(all / 10);
    if mark < HIGH_WATER { least + least / 10 } else { least }
}

impl Context {
    /// Refuses what would begin something new while there is no room for it and `bytes` of its own.
    ///
    /// # Errors
    /// There is none; the bus does not answer.
    pub async fn demand_room(&self, bytes: u64) -> Result<(), Status> {
        if let Some(reason) = self.storage.tight() {
            return Err(no_room(reason));
        }
        let usage = self.bus.usage().await.map_err(unavailable)?;
        match usage.without_room(bytes, HIGH_WATER) {
            Some(reason) => Err(no_room(format!("room: {reason}; {REMEDY}"))),
            None => Ok(()),
        }
    }

    /// Why a run that has not ended waits for room, as this process or the run's leader knows it.
    pub fn waits_for_room(&self, summary: &pb::Summary) -> Option<String> {
        if is_end(summary.state()) {
            return None;
        }
        let run = RunId::new(&summary.run).ok()?;
        let own = self.storage.trouble(Some(&run));
        own.or_else(|| self.leader_trouble(&summary.coordinator))
    }

    /// Lets a run that goes on say that it waits for room, where its journal cannot say so.
    pub fn say_waiting(&self, summary: &mut pb::Summary) {
        let Some(reason) = self.waits_for_room(summary) else {
            return;
        };
        if !summary.waiting.contains(&reason) {
            let before = std::mem::take(&mut summary.waiting);
            summary.waiting = [before, reason]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
        }
    }
}

/// What the streams hold, as the API tells it.
///
/// # Errors
/// The bus does not answer.
pub async fn told(context: &Context) -> Result<pb::Storage, Status> {
    let usage = context.bus.usage().await.map_err(unavailable)?;
    let stream = |used: &StoreUse| pb::StreamUse {
        name: used.store.name().into(),
        stream: used.store.stream(),
        messages: used.messages,
        bytes: used.bytes,
        max_bytes: used.max_bytes,
        max_age_seconds: used.max_age.map(|age| age.as_secs()),
        replicas: u32::try_from(used.replicas).unwrap_or(u32::MAX),
    };
    Ok(pb::Storage {
        streams: usage.stores.iter().map(stream).collect(),
        total_bytes: usage.total,
        max_total_bytes: usage.max_total,
        trouble: context.storage.trouble(None).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_stays_the_same_until_there_is_room() {
        let storage = Storage::default();
        storage.look(Ok(None));
        assert_eq!(storage.tight(), None);
        storage.look(Ok(Some("91 of 100".into())));
        let first = storage.tight().unwrap();
        assert!(first.contains("91 of 100") && first.contains("runs delete"), "{first}");
        storage.look(Ok(Some("95 of 100".into())));
        assert_eq!(
            storage.tight(),
            Some(first),
            "a run that says it would fill its stream by that"
        );
        storage.look(Ok(None));
        assert_eq!(storage.tight(), None);
    }

    #[test]
    fn a_refused_decision_is_told_of_its_run_and_of_the_process() {
        let (storage, run) = (Storage::default(), RunId::new("r1").unwrap());
        storage.refused(&run, "full".into());
        assert_eq!(storage.trouble(Some(&run)).as_deref(), Some("full"));
        assert_eq!(storage.trouble(None).as_deref(), Some("full"));
        assert_eq!(storage.trouble(Some(&RunId::new("r2").unwrap())), None);
        storage.taken(&run);
        assert_eq!(storage.trouble(None), None);
    }

    #[test]
    fn a_disk_counts_as_full_before_it_is_and_needs_more_room_to_go_on() {
        let (small, large) = (500_000_000, 100 * FREE);
        assert_eq!(least_free(small, HIGH_WATER), small / 10);
        assert_eq!(least_free(large, HIGH_WATER), FREE);
        assert_eq!(least_free(large, LOW_WATER), FREE + FREE / 10);
    }

    #[test]
    fn a_folder_that_cannot_be_asked_holds_nobody_back() {
        assert_eq!(disk(Path::new("/no/such/folder"), HIGH_WATER), None);
    }
}
