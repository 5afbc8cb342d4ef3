//! Answers that are paid for and not yet safe on the bus, as files: what a process that dies leaves for the next.
//!
//! Room for an answer is taken before it is bought, so that a disk that fills up meanwhile costs nothing that is paid for.
//! A file is written under another name and renamed, so that a half-written one is never read. When its answer is safe it is renamed
//! back and filled again: to make and delete a file for every job cost more than everything else that an agent does for it. It is not
//! forced to disk: it is there to survive the death of the process, whatever the bus does at that moment; the rare loss of power costs
//! at most the calls of the last seconds, and forcing each file would cost every job several milliseconds.

mod space;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::Role;
use sipdo_protocol::pb;
use space::{PART, SpoolFile};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{
    fs,
    io::{self, Read as _},
};

/// A role's folder of the spool.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Files that wait to be filled.
    free: Arc<Mutex<Vec<SpoolFile>>>,
    /// Files that hold an answer of this process, by their name.
    filled: Mutex<HashMap<PathBuf, SpoolFile>>,
}

/// Room for one answer on the spool's disk. Given back when it is dropped unused.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Option<SpoolFile>,
    free: Arc<Mutex<Vec<SpoolFile>>>,
}

/// One answer in the spool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpooledAnswer {
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
/// Stands in the name for an answer without a key.
const NO_KEY: &str = "none";

impl Spool {
    /// Opens, and makes where it is missing, the folder of `role`.
    pub fn open(spool_dir: &Path, role: Role) -> io::Result<Self> {
        let folder = spool_dir.join(role.name());
        fs::create_dir_all(&folder)?;
        let spool = Self {
            folder,
            free: Arc::default(),
            filled: Mutex::default(),
        };
        spool.clear_abandoned()?;
        Ok(spool)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes room for an answer of so many bytes, so that it can be kept however full the disk is when it comes.
    pub fn reserve(&self, bytes: u64) -> io::Result<Reservation> {
        let free = lock(&self.free).pop();
        let space = match free {
            Some(space) => space,
            None => SpoolFile::new(&self.folder)?,
        };
        let mut room = Reservation {
            space: Some(space),
            free: Arc::clone(&self.free),
        };
        if let Some(space) = &mut room.space {
            space.grow(bytes)?;
        }
        Ok(room)
    }

    /// Removes the room that processes had taken which have died. Their answers stay.
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
                delete(&path);
            }
        }
        Ok(())
    }

    /// Keeps an answer in the room that was taken for it, and returns its file.
    pub fn keep(&self, answer: &SpooledAnswer, mut room: Reservation) -> io::Result<PathBuf> {
        let pb::JobResult { run, job, attempt, .. } = &answer.result;
        let name = format!(
            "{}.{attempt}-{}",
            place(run, job),
            answer.key.as_deref().unwrap_or(NO_KEY)
        );
        let path = self.folder.join(format!("{name}{WHOLE}"));
        let beside = Beside {
            traceparent: answer.trace.clone(),
        };
        let content = [answer.result.encode_to_vec(), beside.encode_to_vec()].concat();
        if let Some(mut space) = room.space.take() {
            space.fill(content)?;
            fs::rename(&space.path, &path)?;
            lock(&self.filled).insert(path.clone(), space);
        }
        Ok(path)
    }

    /// All answers, by file.
    pub fn all(&self) -> io::Result<Vec<(PathBuf, SpooledAnswer)>> {
        self.matching("")
    }

    /// The answer to any attempt at a job, if some process of this machine has left it.
    pub fn of(&self, run: &str, job: &str) -> io::Result<Option<(PathBuf, SpooledAnswer)>> {
        Ok(self.matching(&place(run, job))?.pop())
    }

    /// The answers in files whose names begin so. A file that cannot be read is set aside: it is not lost, and not read again.
    fn matching(&self, start: &str) -> io::Result<Vec<(PathBuf, SpooledAnswer)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(WHOLE));
            let Some(name) = name.filter(|name| name.starts_with(start)) else {
                continue;
            };
            let key = name.split_once('-').map(|(_, key)| key).filter(|key| *key != NO_KEY);
            let key = key.map(str::to_owned);
            // Another process may have brought it to the bus meanwhile.
            let Some(bytes) = read(&path)? else { continue };
            let read = (
                pb::JobResult::decode(bytes.as_slice()),
                Beside::decode(bytes.as_slice()),
            );
            match read {
                (Ok(result), Ok(Beside { traceparent: trace })) => {
                    found.push((path, SpooledAnswer { key, result, trace }))
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(file = %path.display(), %error, "cannot read a spool file; it is set aside");
                    fs::rename(&path, path.with_extension("unreadable"))?;
                }
            }
        }
        Ok(found)
    }

    /// Forgets an answer that is safe. Gone already is as good: another process may have uploaded it.
    pub fn forget(&self, path: &Path) {
        let own = lock(&self.filled).remove(path);
        match own {
            // Where it is gone, so is the room.
            Some(space) => {
                if fs::rename(path, &space.path).is_ok() {
                    lock(&self.free).push(space);
                }
            }
            None => delete(path),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(space) = self.space.take() {
            lock(&self.free).push(space);
        }
    }
}

/// What a file holds; none where it is gone. Its process may fill it again for another job, but renames it first: what is still called
/// so after it was read, is what was read.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let found = || -> io::Result<Option<Vec<u8>>> {
        let mut file = fs::File::open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let same = fs::metadata(path)?.ino() == file.metadata()?.ino();
        Ok(same.then_some(bytes))
    };
    match found() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

fn delete(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "cannot delete a spool file");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a file's name that tells the job. Names of runs and jobs may be too long for it; the content tells them.
fn place(run: &str, job: &str) -> String {
    let hash = Sha256::digest(format!("{run}.{job}").as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::{NotMeasured, Reason};

    fn result(job: &str) -> pb::JobResult {
        pb::JobResult {
            run: "r".repeat(128),
            job: job.repeat(128),
            attempt: 2,
            ..pb::JobResult::default()
        }
    }

    fn keep(spool: &Spool, kept: &SpooledAnswer) -> PathBuf {
        spool.keep(kept, spool.reserve(1 << 16).unwrap()).unwrap()
    }

    fn parts(spool: &Spool) -> usize {
        let files = fs::read_dir(&spool.folder).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().path().to_str().unwrap().ends_with(PART))
            .count()
    }

    fn answer(job: &str, text: &str) -> SpooledAnswer {
        let mut result = result(job);
        let why = NotMeasured::new(Reason::Malformed, text);
        result.finding = Some(pb::job_result::Finding::NotMeasured(why.into()));
        SpooledAnswer {
            key: None,
            result,
            trace: None,
        }
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn room_is_taken_given_back_and_cleared_away_after_the_dead() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let room = spool.reserve(1 << 20).unwrap();
        let file = room.space.as_ref().unwrap().path.clone();
        assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20);
        // What a process that was killed has left, that nobody holds a lock on.
        fs::write(spool.folder.join("left.part"), [0; 99]).unwrap();
        assert_eq!(parts(&spool), 2);
        Spool::open(folder.path(), Role::Learner).unwrap();
        assert_eq!(parts(&spool), 1, "the room of the living stays");
        drop(room);
        let (again, another) = (spool.reserve(1).unwrap(), spool.reserve(1).unwrap());
        assert_eq!(
            again.space.as_ref().unwrap().path,
            file,
            "what was given back is taken first"
        );
        assert_eq!(parts(&spool), 2);
        drop((again, another));
        let path = keep(&spool, &answer("j", "four"));
        drop(spool);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(left, [path], "with its process all of it goes but the answers");
    }

    #[test]
    fn a_file_that_held_a_longer_answer_holds_the_next_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let text = |length| "x".repeat(length);
        let answers = [40_000, 3, 70_000, 65_000, 65_536 - 300, 2].map(text);
        let mut files = Vec::new();
        for (number, text) in answers.iter().enumerate() {
            let kept = answer(&number.to_string(), text);
            let path = keep(&spool, &kept);
            files.push(inode(&path));
            assert_eq!(spool.all().unwrap(), [(path.clone(), kept)]);
            spool.forget(&path);
            assert!(spool.all().unwrap().is_empty());
        }
        files.dedup();
        assert_eq!(files.len(), 1, "all in one file");
    }

    #[test]
    fn an_answer_of_any_length_fits_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        for length in 0..400 {
            let kept = answer("j", &"x".repeat(length));
            let path = spool.keep(&kept, spool.reserve(512).unwrap()).unwrap();
            assert_eq!(spool.all().unwrap(), [(path.clone(), kept)], "{length}");
            spool.forget(&path);
        }
    }

    #[test]
    fn a_file_that_another_process_has_deleted_is_not_filled_again() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let another = Spool::open(folder.path(), Role::Learner).unwrap();
        let path = keep(&spool, &answer("j", "four"));
        another.forget(&path);
        assert!(!path.exists());
        spool.forget(&path);
        let kept = answer("k", "five");
        keep(&spool, &kept);
        assert_eq!(
            another
                .of(&kept.result.run, &kept.result.job)
                .unwrap()
                .map(|(_, kept)| kept),
            Some(kept)
        );
    }

    #[test]
    fn what_is_kept_is_found_again_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let kept = SpooledAnswer {
            key: Some("ab".repeat(32)),
            result: result("j"),
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        };
        let path = keep(&spool, &kept);
        let keyless = SpooledAnswer {
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
        spool.forget(&path);
        spool.forget(&path);
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
