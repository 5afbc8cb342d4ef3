//! Answers that are paid for and not yet safe on the bus, as files: what a process that dies leaves for the next.
//!
//! A file is written under another name and renamed, so that a half-written one is never read. It is not forced to disk: it is there to
//! survive the death of the process, whatever the bus does at that moment; the rare loss of power costs at most the calls of the last
//! seconds, and forcing each file would cost every job several milliseconds.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::Role;
use sipdo_protocol::pb;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A role's folder of the spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
}

/// One answer as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// Key in the completion store; none where the answer is of no use to other jobs.
    pub key: Option<String>,
    /// The result.
    pub result: pb::JobResult,
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
        Ok(Self { folder })
    }

    /// Keeps an answer and returns its file.
    pub fn keep(&self, kept: &Kept) -> io::Result<PathBuf> {
        let pb::JobResult { run, job, attempt, .. } = &kept.result;
        let name = format!(
            "{}.{attempt}-{}",
            place(run, job),
            kept.key.as_deref().unwrap_or(NO_KEY)
        );
        let (unfinished, path) = (
            self.folder.join(format!("{name}.part")),
            self.folder.join(format!("{name}{WHOLE}")),
        );
        fs::write(&unfinished, kept.result.encode_to_vec())?;
        fs::rename(&unfinished, &path)?;
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
            match pb::JobResult::decode(bytes.as_slice()) {
                Ok(result) => found.push((path, Kept { key, result })),
                Err(error) => {
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

    #[test]
    fn what_is_kept_is_found_again_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Role::Learner).unwrap();
        let kept = Kept {
            key: Some("ab".repeat(32)),
            result: result("j"),
        };
        let path = spool.keep(&kept).unwrap();
        let keyless = Kept {
            key: None,
            result: result("k"),
        };
        spool.keep(&keyless).unwrap();
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
