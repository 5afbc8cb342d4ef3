//! Answers that are paid for and not yet safe on the bus, as files: what a process that dies leaves for the next.
//!
//! Room for an answer is taken before it is bought, so that a disk that fills up meanwhile costs nothing that is paid for.
//! A file is written under another name and renamed, so that a half-written one is never read. It is not forced to disk: it is there to
//! survive the death of the process, whatever the bus does at that moment; the rare loss of power costs at most the calls of the last
//! seconds, and forcing each file would cost every job several milliseconds.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::Role;
use sipdo_protocol::pb;
use std::path::{Path, PathBuf};
use std::{
    fs,
    io::{self, Read as _, Seek as _, Write as _},
};

/// A role's folder of the spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
}

/// Room for one answer on the spool's disk. Given back when it is dropped unused.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
    /// Locked as long as this process lives: who opens the spool can tell what nobody needs any more.
    file: Option<fs::File>,
}

/// One answer as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// Key in the completion store; none where the answer is of no use to other jobs.
    pub key: Option<String>,
    /// The result.
    pub result: pb::JobResult,
    /// The place in a trace of the message that published the job; none where nothing was recorded.
    pub trace: Option<String>,
}

/// What stands in a file beside the result. Protobuf messages that are written one after the other are read as one, and each reader
/// passes over what it does not know: a file is still a result.
#[derive(Clone, PartialEq, prost::Message)]
struct Beside {
    #[prost(string, optional, tag = "1000")]
    traceparent: Option<String>,
}

/// Ends the name of a file that is whole.
const WHOLE: &str = ".result";
/// Ends the name of a file that is not.
const PART: &str = ".part";
/// Stands in the name for an answer without a key.
const NO_KEY: &str = "none";

impl Spool {
    /// Opens, and makes where it is missing, the folder of `role`.
    pub fn open(spool_dir: &Path, role: Role) -> io::Result<Self> {
        let folder = spool_dir.join(role.name());
        fs::create_dir_all(&folder)?;
        let spool = Self { folder };
        spool.clear_abandoned()?;
        Ok(spool)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes room for an answer of so many bytes, so that it can be kept however full the disk is when it comes.
    pub fn reserve(&self, bytes: u64) -> io::Result<Room> {
        let path = self.folder.join(format!("{}{PART}", uuid::Uuid::new_v4().simple()));
        let file = fs::File::create_new(&path)?;
        let room = Room { path, file: Some(file) };
        if let Some(file) = &room.file {
            file.try_lock()?;
            allocate(file, bytes)?;
        }
        Ok(room)
    }

    /// Removes the room that processes had taken which have died. What they had kept stays.
    fn clear_abandoned(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.to_str().is_none_or(|path| !path.ends_with(PART)) {
                continue;
            }
            // Another process may be clearing it away too.
            if let Ok(file) = fs::File::open(&path)
                && file.try_lock().is_ok()
            {
                Self::forget(&path);
            }
        }
        Ok(())
    }

    /// Keeps an answer in the room that was taken for it, and returns its file.
    pub fn keep(&self, kept: &Kept, room: Room) -> io::Result<PathBuf> {
        let pb::JobResult { run, job, attempt, .. } = &kept.result;
        let name = format!(
            "{}.{attempt}-{}",
            place(run, job),
            kept.key.as_deref().unwrap_or(NO_KEY)
        );
        let path = self.folder.join(format!("{name}{WHOLE}"));
        let beside = Beside {
            traceparent: kept.trace.clone(),
        };
        room.fill(&[kept.result.encode_to_vec(), beside.encode_to_vec()].concat(), &path)?;
        Ok(path)
    }

    /// Whatever is kept, by file.
    pub fn all(&self) -> io::Result<Vec<(PathBuf, Kept)>> {
        self.matching("")
    }

    /// The answer to any attempt at a job, if some process of this machine has left it.
    pub fn of(&self, run: &str, job: &str) -> io::Result<Option<(PathBuf, Kept)>> {
        Ok(self.matching(&place(run, job))?.pop())
    }

    /// What is kept under names that begin so. A file that cannot be read is put aside, so that it is neither lost nor met again.
    fn matching(&self, start: &str) -> io::Result<Vec<(PathBuf, Kept)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(WHOLE));
            let Some(name) = name.filter(|name| name.starts_with(start)) else {
                continue;
            };
            let key = name.split_once('-').map(|(_, key)| key).filter(|key| *key != NO_KEY);
            let key = key.map(str::to_owned);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // Another process has brought it to the bus meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let read = (
                pb::JobResult::decode(bytes.as_slice()),
                Beside::decode(bytes.as_slice()),
            );
            match read {
                (Ok(result), Ok(Beside { traceparent: trace })) => found.push((path, Kept { key, result, trace })),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(file = %path.display(), %error, "a file of the spool cannot be read and is put aside");
                    fs::rename(&path, path.with_extension("unreadable"))?;
                }
            }
        }
        Ok(found)
    }

    /// Forgets an answer that is safe. Gone already is as good: another process may have uploaded it.
    pub fn forget(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path.display(), %error, "cannot delete a file of the spool");
        }
    }
}

impl Room {
    fn fill(mut self, content: &[u8], path: &Path) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.write_all(content)?;
            file.set_len(content.len() as u64)?;
        }
        fs::rename(&self.path, path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Filled, it has another name.
        drop(fs::remove_file(&self.path));
    }
}

/// Takes room on the disk; where its file system cannot do that, by writing.
fn allocate(file: &fs::File, bytes: u64) -> io::Result<()> {
    use rustix::{fs::FallocateFlags, io::Errno};
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            let mut file = file;
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            file.rewind()
        }
        taken => Ok(taken?),
    }
}

/// The part of a file's name that tells the job. Names of runs and jobs may be too long for it; the content tells them.
fn place(run: &str, job: &str) -> String {
    let hash = Sha256::digest(format!("{run}.{job}").as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(job: &str) -> pb::JobResult {
        pb::JobResult {
            run: "r".repeat(128),
            job: job.repeat(128),
            attempt: 2,
            ..pb::JobResult::default()
        }
    }

    fn keep(spool: &Spool, kept: &Kept) -> PathBuf {
        spool.keep(kept, spool.reserve(1 << 16).unwrap()).unwrap()
    }

    fn parts(spool: &Spool) -> usize {
        let files = fs::read_dir(&spool.folder).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().path().to_str().unwrap().ends_with(PART))
            .count()
    }

    #[test]
    fn room_is_taken_given_back_and_cleared_away_after_the_dead() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let room = spool.reserve(1 << 20).unwrap();
        assert_eq!(fs::metadata(&room.path).unwrap().len(), 1 << 20);
        // What a process that was killed has left, that nobody holds a lock on.
        fs::write(spool.folder.join("left.part"), [0; 99]).unwrap();
        assert_eq!(parts(&spool), 2);
        Spool::open(folder.path(), Role::Learner).unwrap();
        assert_eq!(parts(&spool), 1, "the room of the living stays");
        drop(room);
        assert_eq!(parts(&spool), 0);
        let kept = Kept {
            key: None,
            result: result("j"),
            trace: None,
        };
        let path = keep(&spool, &kept);
        assert_eq!(
            fs::read(path).unwrap(),
            kept.result.encode_to_vec(),
            "no longer than it is"
        );
        assert_eq!(parts(&spool), 0);
    }

    #[test]
    fn what_is_kept_is_found_again_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let kept = Kept {
            key: Some("ab".repeat(32)),
            result: result("j"),
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        };
        let path = keep(&spool, &kept);
        let keyless = Kept {
            key: None,
            result: result("k"),
            trace: None,
        };
        keep(&spool, &keyless);
        let again = Spool::open(folder.path(), Role::Learner).unwrap();
        let mut all: Vec<_> = again.all().unwrap().into_iter().map(|(_, kept)| kept).collect();
        all.sort_by_key(|kept| kept.key.is_none());
        assert_eq!(all, [kept, keyless]);
        assert!(
            Spool::open(folder.path(), Role::Checker)
                .unwrap()
                .all()
                .unwrap()
                .is_empty(),
            "each role has its own"
        );
        let (run, job) = (&result("j").run, &result("j").job);
        assert!(again.of(run, "another").unwrap().is_none());
        assert_eq!(again.of(run, job).unwrap().map(|(file, _)| file), Some(path.clone()));
        Spool::forget(&path);
        Spool::forget(&path);
        assert_eq!(again.all().unwrap().len(), 1);
    }

    #[test]
    fn half_a_file_is_not_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        fs::write(spool.folder.join("00-none.part"), b"half").unwrap();
        fs::write(spool.folder.join("01-none.result"), [0xff; 9]).unwrap();
        assert!(spool.all().unwrap().is_empty());
        assert!(spool.folder.join("01-none.unreadable").exists(), "put aside, not lost");
    }
}
