//! A file with room for one answer, filled again and again.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Ends the name of a file that holds no answer.
pub(super) const PART: &str = ".part";
/// Begins the last field of a file, number 1001, whose value is whatever still stands in the file behind the answer: its tag, and its
/// length in five bytes of a varint.
const REST: [u8; 2] = [0xca, 0x3e];
/// The length of tag and length.
const REST_HEAD: u64 = 7;

/// A file of this process, deleted with it while it holds no answer.
#[derive(Debug)]
pub(super) struct SpoolFile {
    /// Its name while it holds none.
    pub path: PathBuf,
    /// Locked as long as this process lives: who opens the spool can tell what nobody needs any more.
    file: fs::File,
    /// What it has room for.
    bytes: u64,
}

impl SpoolFile {
    /// A new file in this folder, with no room yet.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{}{PART}", uuid::Uuid::new_v4().simple()));
        let file = fs::File::create_new(&path)?;
        let space = Self { path, file, bytes: 0 };
        space.file.try_lock()?;
        Ok(space)
    }

    /// Takes room for so many bytes, if it has less.
    pub fn grow(&mut self, bytes: u64) -> io::Result<()> {
        if self.bytes < bytes {
            allocate(&self.file, bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Writes an answer, and makes what stands behind it part of the file's last field.
    pub fn fill(&mut self, mut content: Vec<u8>) -> io::Result<()> {
        match self.bytes.checked_sub(content.len() as u64 + REST_HEAD) {
            Some(rest) => {
                content.extend(REST);
                content.extend((0..4).map(|place| 0x80 | (rest >> (7 * place)) as u8));
                content.push((rest >> 28) as u8 & 0x7f);
                self.file.write_all_at(&content, 0)
            }
            None => {
                self.bytes = content.len() as u64;
                self.file.write_all_at(&content, 0)?;
                self.file.set_len(self.bytes)
            }
        }
    }
}

impl Drop for SpoolFile {
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
            file.rewind()?;
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            Ok(())
        }
        taken => Ok(taken?),
    }
}
