//! A small disk of its own, to be filled: a file system in memory, where this machine lets us mount one.

use anyhow::Result;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Names the file that fills it.
const BALLAST: &str = "ballast";
const BLOCK: usize = 4096;

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many megabytes at `folder`. None, with the reason on stderr, where that is not allowed.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn mount(folder: &Path, megabytes: u32) -> Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let options = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => {
                let folder = folder.to_owned();
                return Ok(Some(Self { folder }));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("SKIPPED: this machine mounts no file system for a test: {why}");
        Ok(None)
    }

    /// Whether this machine mounts one.
    pub fn can_be_mounted() -> bool {
        static CAN: LazyLock<bool> = LazyLock::new(|| {
            let tried = tempfile::tempdir().map(|folder| SmallDisk::mount(folder.path(), 1));
            matches!(tried, Ok(Ok(Some(_))))
        });
        *CAN
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fills it until so many bytes are free, or nothing more is taken.
    ///
    /// # Errors
    /// Something else than a full disk.
    pub fn fill_until(&self, free: u64) -> Result<()> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(BALLAST))?;
        loop {
            let disk = rustix::fs::statvfs(&self.folder)?;
            if disk.f_bavail * disk.f_frsize <= free {
                return Ok(());
            }
            match file.write_all(&[1; BLOCK]) {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }

    /// Takes out what filled it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.folder.join(BALLAST))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once where nobody uses it any more, else as soon as the last one is gone.
        drop(Command::new("umount").arg("-l").arg(&self.folder).output());
    }
}
