//! Files that tell where a process listens.

use std::io;
use std::path::Path;

/// Writes `text` into `file`. The text is written to a file beside it, which is then renamed: a reader sees all of it or nothing.
///
/// # Errors
/// What the system says.
pub fn write_port_file(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(part, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("port");
        write_port_file(&file, "7450").unwrap();
        write_port_file(&file, "7").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "7");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_port_file(&folder.path().join("missing/port"), "7").is_err());
    }
}
