//! Whether there is room for more: looked at now and then, so that runs are held back before the server has none left.

use crate::{
    context::Context,
    refusal::{no_room, unavailable},
    run_state::is_end,
    storage::REMEDY,
};
use sipdo_bus::{Bus, BusError, HIGH_WATER, RunId, StoreUse, size};
use sipdo_protocol::pb;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::Status;

/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_secs(2);
/// Runs go on below this many thousandths of a limit: a little less than where they are held back, so that they do not do so by turns.
const LOW_WATER: u64 = HIGH_WATER - 20;
/// Of the server's disk so much stays free, or a tenth of a small one.
const FREE: u64 = 1_000_000_000;

/// Looks for ever. `store_dir` is where the server keeps its streams, if that is on this machine.
pub async fn watch(context: Context, store_dir: Option<PathBuf>) {
    loop {
        let mark = context.storage.no_room().map_or(HIGH_WATER, |_| LOW_WATER);
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

/// Refuses what would begin something new while there is no room for it and `bytes` of its own.
///
/// # Errors
/// There is none; the bus does not answer.
pub async fn demand(context: &Context, bytes: u64) -> Result<(), Status> {
    if let Some(reason) = context.storage.no_room() {
        return Err(no_room(reason));
    }
    let usage = context.bus.usage().await.map_err(unavailable)?;
    match usage.without_room(bytes, HIGH_WATER) {
        Some(reason) => Err(no_room(format!("room: {reason}; {REMEDY}"))),
        None => Ok(()),
    }
}

/// Why a run that has not ended waits for room, as this process or the run's leader knows it.
pub fn waits(context: &Context, summary: &pb::Summary) -> Option<String> {
    if is_end(summary.state()) {
        return None;
    }
    let run = RunId::new(&summary.run).ok()?;
    let own = context.storage.trouble(Some(&run));
    own.or_else(|| context.leader_trouble(&summary.coordinator))
}

/// Lets a run that goes on say that it waits for room, where its journal cannot say so.
pub fn show_waiting(context: &Context, summary: &mut pb::Summary) {
    let Some(reason) = waits(context, summary) else {
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

/// What the streams hold, as the API tells it.
///
/// # Errors
/// The bus does not answer.
pub async fn show(context: &Context) -> Result<pb::Storage, Status> {
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
